"""A dock that is closed by its X: nothing of the widget is left."""

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels

from driving import WAIT_MS, after, image_layer, picture, settle

MINE = "napari-densecrf"


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(MINE)]


def keys_of(viewer):
    return {str(key) for key in viewer.keymap}


def callbacks_of(viewer):
    emitters = [
        viewer.dims.events.current_step,
        viewer.dims.events.order,
        viewer.dims.events.ndisplay,
        viewer.scene.camera.events,
        viewer.canvas.events.size,
        viewer.layers.events.removed,
        viewer.layers.events.inserted,
        viewer.layers.events.reordered,
        viewer.layers.events.renamed,
        viewer.layers.selection.events.changed,
        viewer.events.theme,
    ]
    owners = [owner for emitter in emitters for owner in owners_of(emitter)]
    return owners, len(viewer.mouse_move_callbacks), len(viewer.mouse_drag_callbacks)


def owners_of(emitter):
    """Return who of this plugin listens, and None for who is no more."""
    if hasattr(emitter, "callbacks"):
        callbacks = [one[0]() if isinstance(one, tuple) else one for one in emitter.callbacks]
    else:
        callbacks = [slot.dereference() for slot in emitter._slots]
    modules = [None if one is None else getattr(one, "__module__", type(one).__module__) for one in callbacks]
    return [module for module in modules if module is None or module.startswith("napari_densecrf")]


def close_by_x(widget):
    """Do what the X in a dock's title bar does."""
    parent = widget.native.parent()
    while not hasattr(parent, "destroyOnClose"):
        parent = parent.parent()
    parent.destroyOnClose()


def switch_on(qtbot, widget, toggles):
    for name in toggles:
        after(qtbot, widget, lambda name=name: (setattr(widget[name], "value", True), widget.session.update()))
    settle(qtbot, widget)


@pytest.mark.smoke
@pytest.mark.parametrize("toggles", [(), ("influence", "confidence", "swipe", "areas")])
def test_nothing_is_left_of_a_dock_that_is_closed(make_napari_viewer, qtbot, toggles):
    image, probabilities = picture()
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(image_layer(image, name="image"))
    viewer.add_layer(image_layer(probabilities, name="map"))
    before = keys_of(viewer), callbacks_of(viewer)
    assert not threads()
    widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")[1]
    qtbot.waitUntil(lambda: widget.last_result is not None, timeout=WAIT_MS)
    switch_on(qtbot, widget, toggles)
    assert threads()
    assert keys_of(viewer) > before[0]

    close_by_x(widget)
    qtbot.waitUntil(lambda: widget.session.is_closed, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not threads(), timeout=WAIT_MS)
    assert keys_of(viewer) == before[0]
    shown = viewer.layers["image refined"].data.copy()
    # What happens now is no concern of a closed widget.
    viewer.layers["image"].data = 255 - image
    viewer.add_layer(Labels(np.zeros(image.shape, int), name="later"))
    viewer.layers.selection = {viewer.layers["image"], viewer.layers["map"]}
    viewer.layers["image"].scale = (2, 2)
    viewer.scene.camera.zoom *= 2
    widget.session.set_numbers(replace(widget.session.numbers, appearance_weight=50.0))
    qtbot.wait(50)
    assert not threads()
    np.testing.assert_array_equal(viewer.layers["image refined"].data, shown)
    assert viewer.layers["image refined"].visible

    gone = weakref.ref(widget), weakref.ref(widget.session)
    widget = None
    qtbot.waitUntil(lambda: gc.collect() >= 0 and [one() for one in gone] == [None, None], timeout=5000)
    assert callbacks_of(viewer) == before[1]


def test_a_dock_that_is_floated_or_moved_goes_on(dock, qtbot):
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    parent = widget.native.parent()
    while not hasattr(parent, "destroyOnClose"):
        parent = parent.parent()
    parent.setFloating(True)
    parent.setFloating(False)
    parent.hide()
    parent.show()
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 9.0))
    assert not widget.session.is_closed


@pytest.mark.smoke
def test_closing_and_opening_again_works(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    close_by_x(widget)
    qtbot.waitUntil(lambda: widget.session.is_closed, timeout=WAIT_MS)
    _, again = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    qtbot.waitUntil(lambda: again.last_result is not None, timeout=WAIT_MS)
    settle(qtbot, again)
    assert again.image.value == viewer.layers["image"]
