"""The window driven at random: no traceback, no write to a layer that is not ours, no thread left."""

import threading

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication

from driving import WAIT_MS, picture
from napari_densecrf.numbers import NAMES

N_EVENTS = 700
MOST_LAYERS = 9
# Made here: only these may be written to.
OURS = ("refined", "confidence", "changes", "compared", "influence", "applied", "strokes", "frozen")


def cells(shape):
    """Return objects, a number each."""
    y, x = np.indices(shape)[-2:]
    return ((y // 10) * 6 + x // 10 + 1) * ((y % 10 < 7) & (x % 10 < 7))


def brought(rng):
    """Return a layer of a kind that people bring."""
    shape = (3, 40, 50) if rng.random() < 0.3 else (40, 50)
    image, probabilities = picture(shape, int(rng.integers(2, 4)), int(rng.integers(100)))
    rough = probabilities.argmax(axis=0)
    kinds = [
        lambda: Image(image),
        lambda: Image(image.astype(np.float32) / 255),
        lambda: Image(np.stack([image] * 3, -1)[..., :3], rgb=True),
        lambda: Image(probabilities),
        lambda: Image(np.moveaxis(probabilities, 0, -1), rgb=False),
        lambda: Image(probabilities[0]),
        lambda: Image((probabilities[0] > 0.5).astype(np.uint16) * 255),
        lambda: Image(np.round(100 * probabilities).astype(np.uint8)),
        lambda: Image(np.log(probabilities)),
        lambda: Image(np.where(probabilities > 0.9, np.nan, probabilities)),
        lambda: Labels(rough),
        lambda: Labels(rough * 70000 - 1),
        lambda: Labels(np.zeros(shape, int)),
        lambda: Labels(cells(shape)),
        lambda: Labels(3 * cells(shape).astype(np.uint16)),
        lambda: Image(probabilities[..., ::2, ::2], scale=(1,) * (len(shape) - 1) + (2, 2)),
        lambda: Image(image, translate=(5,) * len(shape), name="<h1>elsewhere</h1>"),
        lambda: Image(image, scale=(0.5,) * len(shape), units=("um",) * len(shape)),
    ]
    return kinds[rng.integers(len(kinds))]()


class Driver:
    """Does things at random to a viewer and the widget that is docked in it."""

    def __init__(self, viewer, rng):
        self.viewer, self.rng = viewer, rng
        self.widget = None
        self.n_docks, self.results = 0, []
        self.dock()

    def dock(self):
        if self.widget is None or self.widget.session.is_closed:
            self.widget = self.viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")[1]
            self.widget.result_shown.connect(lambda _: self.results.append(1))
            self.n_docks += 1

    def close_dock(self):
        parent = self.widget.native.parent()
        while parent is not None and not hasattr(parent, "destroyOnClose"):
            parent = parent.parent()
        if parent is not None and self.rng.random() < 0.3:
            parent.destroyOnClose()

    def add(self):
        if len(self.viewer.layers) < MOST_LAYERS:
            self.viewer.add_layer(brought(self.rng))

    def remove(self):
        if len(self.viewer.layers) > 1:
            self.viewer.layers.pop(int(self.rng.integers(len(self.viewer.layers))))

    def move_slider(self):
        name = NAMES[self.rng.integers(len(NAMES))]
        control = self.widget[name]
        control.value = int(self.rng.integers(0, 8)) if name == "n_iterations" else float(self.rng.uniform(0.3, 0.9))

    def choose(self):
        name = ("image", "probabilities", "strokes", "region", "slices", "leading", "labels_are")[self.rng.integers(7)]
        choices = self.widget[name].choices
        if choices:
            self.widget[name].value = choices[self.rng.integers(len(choices))]

    def toggle(self):
        name = ("live", "influence", "confidence", "changes", "areas", "swipe")[self.rng.integers(6)]
        self.widget[name].value = not self.widget[name].value

    def press(self):
        names = ("update_now", "reset", "cancel", "remedy", "new_strokes", "freeze", "copy_python", "restore", "apply")
        self.widget[names[self.rng.integers(len(names))]].changed.emit(True)

    def look_elsewhere(self):
        dims = self.viewer.dims
        axis = int(self.rng.integers(dims.ndim))
        dims.set_current_step(axis, int(self.rng.integers(4)))
        self.viewer.scene.camera.zoom = float(self.rng.uniform(0.5, 8))
        if self.rng.random() < 0.1:
            dims.ndisplay = 5 - dims.ndisplay
        if self.rng.random() < 0.1:
            dims.roll()

    def select(self):
        layers = list(self.viewer.layers)
        n = int(self.rng.integers(0, len(layers) + 1))
        self.viewer.layers.selection = {layers[i] for i in self.rng.permutation(len(layers))[:n]}

    def change_data(self):
        images = [one for one in self.viewer.layers if isinstance(one, Image) and not one.multiscale]
        if images:
            layer = images[self.rng.integers(len(images))]
            data = np.array(layer.data)
            layer.data = (data[..., ::-1, :] if layer.rgb else data[..., ::-1]).copy()

    def fold(self):
        folds = list(self.widget.panel.folds.values())
        fold = folds[self.rng.integers(len(folds))]
        fold.open = not fold.open

    def drive(self):
        self.dock()
        actions = [self.move_slider] * 6 + [self.choose, self.toggle, self.press, self.look_elsewhere] * 2
        actions += [self.add, self.remove, self.select, self.change_data, self.fold, self.close_dock]
        actions[self.rng.integers(len(actions))]()
        QApplication.processEvents()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_done_nothing_breaks(make_napari_viewer, qtbot, seed):
    rng = np.random.default_rng(seed)
    viewer = make_napari_viewer(show=False)
    image, probabilities = picture()
    for layer in (Image(image), Image(probabilities), brought(rng)):
        viewer.add_layer(layer)
    driver = Driver(viewer, rng)
    untouched = {}
    for number in range(N_EVENTS):
        before = {id(one): one for one in viewer.layers}
        driver.drive()
        if number % 10 == 0:
            # Now and then it comes to rest.
            qtbot.waitUntil(lambda: driver.widget.session.idle, timeout=WAIT_MS)
        if number % 50 == 0:
            for layer in before.values():
                if not any(word in layer.name for word in OURS):
                    untouched[id(layer)] = layer, np.array(layer.data, copy=True), layer.data
        for layer, copy, data in untouched.values():
            if layer in viewer.layers and layer.data is data:
                np.testing.assert_array_equal(layer.data, copy)
    if not driver.widget.session.is_closed:
        qtbot.waitUntil(lambda: driver.widget.session.idle, timeout=WAIT_MS)
    # It was driven, and not just refused.
    assert len(driver.results) > 5
    assert driver.n_docks > 2
    driver.widget.close_session()
    qtbot.waitUntil(
        lambda: not [one for one in threading.enumerate() if one.name.startswith("napari-densecrf")], timeout=WAIT_MS
    )
