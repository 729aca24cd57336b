"""How a test drives the widget: as a script does, waiting for its signals."""

import numpy as np
from qtpy.QtWidgets import QApplication

import napari_densecrf as ndc

WAIT_MS = 240_000  # the first result waits for Numba


def picture(shape=(40, 50), n_labels=2, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(n_labels), shape), -1, 0)
    return image, probabilities.astype(np.float32)


def settle(qtbot, widget):
    """Wait until nothing runs, waits or is about to be asked, and what has been done has arrived."""

    def quiet():
        if not widget.session.idle:
            return False
        QApplication.processEvents()
        return widget.session.idle

    qtbot.waitUntil(quiet, timeout=WAIT_MS)


def after(qtbot, widget, change):
    """Make a change, and wait for the result that shows it."""
    got = []
    widget.refined.connect(got.append)
    change()
    qtbot.waitUntil(lambda: bool(got), timeout=WAIT_MS)
    settle(qtbot, widget)
    widget.refined.disconnect(got.append)
    return got[-1]


def image_layer(data, **options):
    from napari.layers import Image

    return Image(data, **options)


def map_on(source, probabilities, **options):
    """Return a layer of a map, classes first, that lies where its image lies."""
    zero, *ones = [source.data_to_world(at) for at in np.vstack([np.zeros(2), np.eye(2)])]
    affine = np.eye(4)
    affine[1:3, 1:3], affine[1:3, 3] = np.transpose(np.subtract(ones, zero)), zero
    return image_layer(probabilities, affine=affine, units=("pixel", *source.units), **options)


def result_of(viewer, name="image refined"):
    return viewer.layers[name]


def expected(widget, image, probabilities, **options):
    return ndc.refine(image, probabilities, widget.params, **options).labels


def readable(widget, control):
    """Tell whether a text says something and has room in the panel."""
    native = control.native
    return bool(control.value) and native.isVisibleTo(widget.panel) and native.maximumHeight() > 0
