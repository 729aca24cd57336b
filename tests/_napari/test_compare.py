"""The fold "Before / after": before and after, and two sets of numbers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from driving import WAIT_MS, after, expected, image_layer, picture, readable, result_of, settle


@pytest.fixture
def compared(dock):
    """Return a function that docks on a picture, and gives what the map says too."""

    def make(shape=(40, 50), n_labels=2, **options):
        image, probabilities = picture(shape, n_labels)
        viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"), **options)
        return viewer, widget, image, probabilities

    return make


def before_of(widget):
    return next(section for section in widget.sections if section.title == "Before / after").parts[0]


def press(viewer, letter):
    """Press a key as napari does, and return a function that lets go of it."""
    action = next(action for key, action in viewer.keymap.items() if str(key) == letter)
    held = action(viewer)
    if held is None:
        return None
    next(held)
    return lambda: next(held, None)


def stand_in(qtbot, viewer):
    qtbot.waitUntil(
        lambda: "image compared" in viewer.layers and viewer.layers["image compared"].visible, timeout=WAIT_MS
    )
    return viewer.layers["image compared"]


@pytest.mark.parametrize("live", [True, False])
def test_the_map_is_shown_while_the_key_is_held(compared, qtbot, live):
    viewer, widget, _, probabilities = compared()
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 9.0))
    widget.live.value = live
    settle(qtbot, widget)
    result = result_of(viewer)
    refined = result.data.copy()
    let_go = press(viewer, "H")
    layer = stand_in(qtbot, viewer)
    assert not result.visible
    assert_array_equal(layer.data, probabilities.argmax(axis=0))
    assert_array_equal(layer.colormap.map(np.arange(2)), result.colormap.map(np.arange(2)))
    let_go()
    assert result.visible
    assert not layer.visible
    assert_array_equal(result.data, refined)
    settle(qtbot, widget)
    assert not widget.session.extras


def test_the_button_does_as_the_key_does(compared, qtbot):
    viewer, widget, _, _ = compared()
    widget.before.native.pressed.emit()
    stand_in(qtbot, viewer)
    widget.before.native.released.emit()
    assert result_of(viewer).visible


class Event:
    """What napari tells of the mouse."""

    button = 1

    def __init__(self, kind, *position):
        self.type, self.position = kind, position


def test_the_line_parts_the_map_from_the_result_and_can_be_dragged(compared, qtbot):
    viewer, widget, image, probabilities = compared()
    press(viewer, "W")
    assert widget.swipe.value
    layer = stand_in(qtbot, viewer)
    settle(qtbot, widget)
    before, said = before_of(widget), probabilities.argmax(axis=0)

    def assert_parted(column):
        assert_array_equal(layer.data[:, :column], said[:, :column])
        assert_array_equal(layer.data[:, column:], expected(widget, image, probabilities)[:, column:])

    assert before.column == pytest.approx(24.5, abs=0.5)
    assert_parted(round(before.column + 0.5))
    assert before._line.shown == 1
    event = Event("mouse_move", 0, 10, before.column)
    before._on_move(viewer, event)
    assert not viewer.scene.camera.mouse_pan
    event.type = "mouse_press"
    drag = before._on_press(viewer, event)
    next(drag)
    event.type, event.position = "mouse_move", (0, 10, 7.0)
    next(drag)
    assert_parted(8)
    event.type = "mouse_release"
    next(drag, None)
    before._on_move(viewer, Event("mouse_move", 0, 10, 40.0))
    assert viewer.scene.camera.mouse_pan
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 20.0))
    assert_parted(8)
    press(viewer, "W")
    assert not layer.visible
    assert result_of(viewer).visible
    assert before._line.shown == 0
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities))


def test_swiping_goes_along_through_a_stack(compared, qtbot):
    viewer, widget, image, probabilities = compared((4, 30, 32), 3)
    widget.swipe.value = True
    layer = stand_in(qtbot, viewer)
    settle(qtbot, widget)
    other = 0 if viewer.dims.current_step[-3] else 3
    after(qtbot, widget, lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, other))
    column = round(before_of(widget).column + 0.5)
    assert_array_equal(layer.data[:, :column], probabilities[:, other].argmax(axis=0)[:, :column])
    assert_array_equal(layer.data[:, column:], expected(widget, image[other], probabilities[:, other])[:, column:])


def test_removing_what_is_compared_is_quiet(compared, qtbot):
    viewer, widget, _, _ = compared(show=False)
    widget.swipe.value = True
    layer = stand_in(qtbot, viewer)
    settle(qtbot, widget)
    viewer.layers.remove(layer)
    assert not widget.swipe.value
    assert result_of(viewer).visible
    widget.swipe.value = True
    stand_in(qtbot, viewer)
    viewer.layers.remove("image refined")
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 20.0))
    viewer.layers.remove("image")
    settle(qtbot, widget)


def test_closing_while_swiping_is_quiet(compared, qtbot):
    viewer, widget, _, _ = compared()
    widget.swipe.value = True
    stand_in(qtbot, viewer)
    thread = widget.session._runner
    viewer.close()
    qtbot.waitUntil(lambda: not thread.alive, timeout=WAIT_MS)
    assert not {str(key) for key in viewer.keymap} & {"H", "W", "U"}


def test_two_sides_keep_their_numbers(compared, qtbot):
    viewer, widget, image, probabilities = compared()
    first = widget.params
    widget.side.value = "B"
    assert widget.params == first
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 20.0))
    second = widget.params
    after(qtbot, widget, lambda: press(viewer, "U"))
    assert widget.side.value == "A"
    assert widget.params == first
    assert widget.side_says.value == "B has Strength w1 20."
    widget.panel.folds["Before / after"].open = True
    assert readable(widget, widget.side_says)
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities))
    after(qtbot, widget, lambda: press(viewer, "U"))
    assert widget.params == second
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities))


def test_an_image_of_other_units_has_no_second_side_yet(compared, qtbot):
    viewer, widget, image, _ = compared()
    widget.side.value = "B"
    after(qtbot, widget, lambda: setattr(widget.appearance_intensity_sigma, "value", 44.0))
    bright = image_layer(image.astype(np.uint16) * 200, name="bright")
    viewer.add_layer(bright)
    after(qtbot, widget, lambda: setattr(widget.image, "value", bright))
    assert widget.side.value == "A"
    assert not widget.side_says.value
    there = widget.params
    assert there.kernels[0].intensity_sigma > 1000
    widget.side.value = "B"
    assert widget.params == there
    # One of the same range keeps them.
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 20.0))
    viewer.add_layer(image_layer(image[::-1].astype(np.uint16) * 210, name="other"))
    after(qtbot, widget, lambda: setattr(widget.image, "value", viewer.layers["other"]))
    after(qtbot, widget, lambda: press(viewer, "U"))
    assert widget.params == there


def test_in_3d_the_whole_result_is_shown_and_it_is_said_why(compared, qtbot):
    viewer, widget, _, _ = compared((4, 30, 32), 3)
    widget.swipe.value = True
    layer = stand_in(qtbot, viewer)
    widget.influence.value = True
    settle(qtbot, widget)
    viewer.dims.ndisplay = 3
    assert not layer.visible
    assert result_of(viewer).visible
    assert before_of(widget)._line.shown == 0
    for says in (widget.swipe_says, widget.influence_says):
        assert says.value == "Only in the 2D view."
        assert readable(widget, says)
    let_go = press(viewer, "H")
    assert viewer.status == "Only in the 2D view."
    assert result_of(viewer).visible
    let_go()
    after(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 9.0))
    # napari's own words may stand in its status line by now.
    assert not layer.visible
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: layer.visible, timeout=WAIT_MS)
    assert not widget.swipe_says.value
    assert "2D" not in widget.influence_says.value
