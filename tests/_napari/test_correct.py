"""Strokes and frozen results, in a real window."""

import numpy as np
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import WAIT_MS, after, expected, image_layer, picture, result_of, settle


def stroke(layer, coordinates, label):
    """Paint as the mouse does: one stroke, one entry in the history."""
    layer.selected_label = label
    with layer.block_history():
        for point in coordinates:
            layer.paint(point, label)


def test_a_stroke_holds_and_its_undo_takes_it_back(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    before = result_of(viewer).data.copy()
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    assert widget.strokes.value is layer
    assert viewer.layers.selection.active is layer
    assert layer.mode == "paint"
    layer.brush_size = 4
    after(qtbot, widget, lambda: stroke(layer, [(20, 20), (20, 24)], 2))
    painted = layer.data == 2
    assert painted.any()
    assert (result_of(viewer).data[painted] == 1).all()
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities, strokes=layer.data))
    assert "Keys 1 to 9" in widget.stroke_classes.value
    after(qtbot, widget, layer.undo)
    assert_array_equal(result_of(viewer).data, before)


def test_the_keys_of_a_strokes_layer_choose_the_class(dock, qtbot):
    image, probabilities = picture((30, 30), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    press = {str(key): action for key, action in layer.keymap.items()}
    press["3"](layer)
    assert (layer.selected_label, layer.mode) == (3, "paint")
    press["0"](layer)
    assert layer.mode == "erase"


def test_strokes_are_painted_in_the_slice_that_is_shown(dock, qtbot):
    image, probabilities = picture((3, 30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    assert layer.data.shape == image.shape
    z = viewer.dims.current_step[-3]
    after(qtbot, widget, lambda: stroke(layer, [(z, 10, 10)], 3))
    assert (result_of(viewer).data[layer.data == 3] == 2).all()


def test_a_frozen_result_stays_and_can_be_edited(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.freeze.changed.emit(True)
    frozen = viewer.layers["image frozen"]
    kept = frozen.data.copy()
    assert_array_equal(kept, result_of(viewer).data)
    assert frozen.editable
    assert frozen.metadata["napari-densecrf"]["params"] == widget.params.to_dict()
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 50.0))
    assert_array_equal(frozen.data, kept)
    assert not np.array_equal(result_of(viewer).data, kept)
    assert frozen in widget.probabilities.choices


def two_halves(shape, seed=0):
    """Return a noisy image, dark on the left and bright on the right, and its truth."""
    truth = np.zeros(shape, int)
    truth[..., shape[-1] // 2 :] = 1
    noise = np.random.default_rng(seed).normal(0, 25, shape)
    return np.clip(80 + 90 * truth + noise, 0, 255).astype(np.uint8), truth


def test_strokes_alone_are_enough(dock, qtbot):
    image, truth = two_halves((60, 80))
    viewer, widget = dock(image_layer(image, name="image"), expect=False)
    qtbot.waitUntil(lambda: "paint a few strokes" in widget.understood.value, timeout=WAIT_MS)
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    layer.brush_size = 6
    stroke(layer, [(30, 10), (30, 20)], 1)
    qtbot.waitUntil(lambda: "two classes" in widget.understood.value, timeout=WAIT_MS)
    after(qtbot, widget, lambda: stroke(layer, [(30, 60), (30, 70)], 2))
    result = result_of(viewer)
    assert (result.data == truth).mean() > 0.97
    script_labels = ndc.refine(
        image, ndc.probabilities_from_strokes(image, layer.data), widget.params, strokes=layer.data
    ).labels
    assert_array_equal(result.data, script_labels)
    assert layer.visible


def test_strokes_on_one_frame_teach_the_others(dock, qtbot):
    image, truth = two_halves((3, 60, 80))
    viewer, widget = dock(image_layer(image, name="image", axis_labels=("t", "y", "x")), expect=False)
    qtbot.waitUntil(lambda: "Needs" in widget.understood.value, timeout=WAIT_MS)
    viewer.dims.set_current_step(0, 0)
    # Three frames are as few as channels may be; the name of the axis tells.
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    assert layer.data.shape == image.shape
    layer.brush_size = 6
    stroke(layer, [(0, 30, 10), (0, 30, 20)], 1)
    after(qtbot, widget, lambda: stroke(layer, [(0, 30, 60), (0, 30, 70)], 2))
    assert (result_of(viewer).data[0] == truth[0]).mean() > 0.97
    after(qtbot, widget, lambda: viewer.dims.set_current_step(0, 2))
    assert (result_of(viewer).data[2] == truth[2]).mean() > 0.97


def test_strokes_that_are_no_longer_chosen_hold_nothing(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    before = result_of(viewer).data.copy()
    strokes = np.zeros(image.shape, np.uint8)
    strokes[5:15, 5:15] = 2 - before[10, 10]
    layer = viewer.add_labels(strokes, name="strokes")
    after(qtbot, widget, lambda: setattr(widget.strokes, "value", layer))
    assert (result_of(viewer).data != before).any()
    # As the mouse chooses it.
    after(qtbot, widget, lambda: widget.strokes.native.setCurrentIndex(0))
    assert widget.strokes.value is None
    assert_array_equal(result_of(viewer).data, before)
