"""The fold "Why?": which pixels pull, how far, how sure the result is, and what it has changed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from vispy.gloo.program import Program

import napari_densecrf as ndc
from driving import WAIT_MS, after, image_layer, map_on, picture, readable, result_of, settle
from napari_densecrf._napari.sections.areas import areas
from napari_densecrf.crf.influence import Influence


def part(widget, name):
    """Return the part of a section that a toggle belongs to."""
    return next(part for section in widget.sections for part in getattr(section, "parts", ()) if name in part.controls)


def layers(image, probabilities, **options):
    return image_layer(image, name="image", **options), image_layer(probabilities, name="map")


def wait_for_layer(qtbot, viewer, name):
    qtbot.waitUntil(lambda: name in viewer.layers and viewer.layers[name].visible, timeout=WAIT_MS)
    return viewer.layers[name]


def say(qtbot, widget, change):
    """Make a change, and wait for the influence that it leads to."""
    influence = part(widget, "influence")
    done = []
    influence.drawn.connect(lambda *_: done.append(1))
    change()
    # Its words come ten times a second at most.
    qtbot.waitUntil(
        lambda: bool(done) and not influence._runner.busy and not influence._words_timer.active, timeout=WAIT_MS
    )


def relative(pull):
    return pull / pull.max()


@pytest.fixture
def influenced(dock, qtbot):
    """Return a function that docks on layers and shows the influence on a pixel."""

    def make(*given, pixel=(12, 20), **options):
        viewer, widget = dock(*given, **options)
        widget.influence.value = True
        say(qtbot, widget, lambda: part(widget, "influence").pin(pixel))
        return viewer, widget, wait_for_layer(qtbot, viewer, "image influence")

    return make


@pytest.mark.smoke
def test_influence_is_what_a_script_gives(influenced, qtbot):
    image, probabilities = picture()
    _, widget, layer = influenced(*layers(image, probabilities))
    np.testing.assert_allclose(layer.data, relative(ndc.influence(image, widget.params, (12, 20))), atol=1e-5)
    assert "pixels pull" in widget.influence_says.value or "alone" in widget.influence_says.value
    assert readable(widget, widget.influence_says)
    say(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 6.0))
    np.testing.assert_allclose(layer.data, relative(ndc.influence(image, widget.params, (12, 20))), atol=1e-5)


def test_influence_follows_the_mouse_until_a_click(influenced, qtbot):
    image, probabilities = picture()
    viewer, widget, layer = influenced(*layers(image, probabilities))
    seen = part(widget, "influence")

    class Event:
        button, type = 1, "mouse_press"

        def __init__(self, *position):
            self.position = position

    seen.pin(None)
    # napari fills the view's own axes in front.
    say(qtbot, widget, lambda: [move(viewer, Event(0, 30, 7)) for move in viewer.mouse_move_callbacks])
    assert np.unravel_index(layer.data.argmax(), layer.data.shape) != (30, 7)
    assert layer.data[30, 7] == 0
    np.testing.assert_allclose(layer.data, relative(ndc.influence(image, widget.params, (30, 7))), atol=1e-5)
    click = seen._on_press(viewer, Event(0, 30, 7))
    next(click)
    release = next(click, None)
    assert release is None
    assert seen.pinned == (30, 7)
    dragged = Event(0, 30, 7)
    drag = seen._on_press(viewer, dragged)
    next(drag)
    dragged.type = "mouse_move"
    next(drag, None)
    assert seen.pinned == (30, 7)


def test_influence_is_where_the_pixels_are(influenced):
    image, probabilities = picture()
    place = {"scale": (0.5, 0.25), "translate": (3, 4), "rotate": 20, "shear": [0.1], "units": ("um", "um")}
    source = image_layer(image, name="image", **place)
    _, widget, layer = influenced(source, map_on(source, probabilities, name="map"))
    np.testing.assert_allclose(layer.data_to_world((7, 11)), source.data_to_world((7, 11)))
    expected = ndc.influence(image, widget.params, (12, 20), spacing=(0.5, 0.25))
    np.testing.assert_allclose(layer.data, relative(expected), atol=1e-5)


def test_a_pixel_unlike_all_others_is_said_to_stand_alone(influenced, qtbot):
    image, probabilities = picture()
    image[:] = 100
    image[12, 20] = 255
    _, widget, _ = influenced(*layers(image, probabilities))
    say(qtbot, widget, lambda: setattr(widget.appearance_intensity_sigma, "value", 5.0))
    assert "stands alone" in widget.influence_says.value
    say(qtbot, widget, lambda: part(widget, "influence").pin((3, 3)))
    assert "pixels pull" in widget.influence_says.value


def test_influence_follows_the_slices_of_a_stack(influenced, qtbot):
    image, probabilities = picture((4, 30, 32), 3)
    viewer, widget, layer = influenced(*layers(image, probabilities), pixel=(9, 8))
    assert layer.ndim == 2
    other = 0 if viewer.dims.current_step[-3] else 3
    after(qtbot, widget, lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, other))
    qtbot.waitUntil(lambda: not part(widget, "influence")._runner.busy, timeout=WAIT_MS)
    expected = relative(ndc.influence(image[other], widget.params, (9, 8)))
    qtbot.waitUntil(lambda: np.allclose(layer.data, expected, atol=1e-5), timeout=WAIT_MS)


def test_influence_in_a_volume_comes_from_other_slices_too(influenced, qtbot):
    image, probabilities = picture((4, 30, 32), 2)
    _, widget, layer = influenced(*layers(image, probabilities), pixel=(9, 8))
    after(qtbot, widget, lambda: setattr(widget.slices, "value", "As a volume"))
    z = widget.last_result.request.region.index[-1]
    pull = ndc.influence(image, widget.params, (z, 9, 8))
    expected = pull[z] / pull.max()
    qtbot.waitUntil(lambda: np.allclose(layer.data, expected, atol=1e-5), timeout=WAIT_MS)


def test_the_key_switches_and_folding_hides(influenced, qtbot):
    viewer, widget, layer = influenced(*layers(*picture()))
    fold = widget.panel.folds["Why?"]
    assert fold.open
    n_callbacks = len(viewer.mouse_move_callbacks)
    fold.open = False
    assert not layer.visible
    assert len(viewer.mouse_move_callbacks) == n_callbacks - 1
    assert not widget.influence_says.value
    fold.open = True
    assert not viewer.layers["map"].visible
    key = next(action for key, action in viewer.keymap.items() if str(key) == "G")
    key(viewer)
    assert not widget.influence.value


def test_removing_the_layer_of_influence_switches_it_off(influenced, qtbot):
    viewer, widget, layer = influenced(*layers(*picture()), show=False)
    viewer.layers.remove(layer)
    assert not widget.influence.value
    settle(qtbot, widget)
    assert "image influence" not in viewer.layers


def test_closing_while_influence_runs_ends_its_thread(influenced, qtbot):
    viewer, widget, _ = influenced(*layers(*picture((200, 210))))
    thread = part(widget, "influence")._runner
    widget.appearance_position_sigma.value = 9.0
    viewer.close()
    qtbot.waitUntil(lambda: not thread.alive, timeout=WAIT_MS)
    assert not [key for key in viewer.keymap if str(key) == "G"]


def test_confidence_is_one_minus_entropy_and_follows(dock, qtbot):
    image, probabilities = picture((30, 32), 3)
    viewer, widget = dock(*layers(image, probabilities))
    assert not widget.session.extras
    after(qtbot, widget, lambda: setattr(widget.confidence, "value", True))
    layer = viewer.layers["image confidence"]

    def expected():
        return np.round(100 * (1 - ndc.refine(image, probabilities, widget.params).entropy))

    assert_array_equal(layer.data, expected())
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 9.0))
    assert_array_equal(layer.data, expected())
    widget.confidence.value = False
    assert not layer.visible
    assert not widget.session.extras


def test_the_layer_that_was_active_is_so_again(dock, qtbot):
    viewer, widget = dock(*layers(*picture()))
    viewer.layers.selection.active = viewer.layers["image"]
    after(qtbot, widget, lambda: setattr(widget.changes, "value", True))
    assert viewer.layers.selection.active.name == "image changes"
    widget.changes.value = False
    assert viewer.layers.selection.active.name == "image"


def test_changes_are_named_pairs(dock, qtbot):
    image, probabilities = picture((30, 32), 3)
    names = ["sky", "leaf", "stem"]
    viewer, widget = dock(
        image_layer(image, name="image"), image_layer(probabilities, name="map", metadata={"classes": names})
    )
    after(qtbot, widget, lambda: setattr(widget.changes, "value", True))
    layer = viewer.layers["image changes"]
    said, labels = probabilities.argmax(axis=0), result_of(viewer).data.astype(int)
    assert_array_equal(layer.data > 0, said != labels)
    assert_array_equal(layer.data[said != labels], (1 + said * 3 + labels)[said != labels])
    y, x = np.argwhere(said != labels)[0]
    told = layer.get_status(np.array(layer.data_to_world((y, x))))["value"]
    assert f"{names[said[y, x]]} → {names[labels[y, x]]}" in told
    assert layer.colormap.map(np.array([0]))[0][3] == 0


def test_extras_do_not_need_live(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(*layers(image, probabilities))
    before = result_of(viewer).data.copy()
    widget.live.value = False
    widget.smoothness_weight.value = 50.0
    settle(qtbot, widget)
    widget.changes.value = True
    layer = wait_for_layer(qtbot, viewer, "image changes")
    assert_array_equal(result_of(viewer).data, before)
    assert_array_equal(layer.data > 0, probabilities.argmax(axis=0) != before)


@pytest.mark.parametrize("toggle", ["confidence", "changes"])
def test_extras_of_a_stack_are_written_slice_by_slice(dock, qtbot, toggle):
    image, probabilities = picture((4, 30, 32), 3)
    viewer, widget = dock(*layers(image, probabilities))
    after(qtbot, widget, lambda: setattr(getattr(widget, toggle), "value", True))
    layer = viewer.layers[f"image {toggle}"]
    assert layer.data.shape == image.shape
    other = 0 if viewer.dims.current_step[-3] else 3
    # How sure nobody is of what is not refined, is no number.
    assert not np.nan_to_num(layer.data[other]).any()
    after(qtbot, widget, lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, other))
    assert np.nan_to_num(layer.data[other]).any()


def test_removing_a_companion_switches_it_off_and_the_run_goes_on(dock, qtbot):
    image, probabilities = picture((300, 310))
    viewer, widget = dock(*layers(image, probabilities), show=False)
    after(qtbot, widget, lambda: setattr(widget.changes, "value", True))
    widget.appearance_position_sigma.value = 11.0
    qtbot.waitUntil(lambda: widget.session._runner.busy, timeout=WAIT_MS)
    viewer.layers.remove("image changes")
    assert not widget.changes.value
    settle(qtbot, widget)
    assert "image changes" not in viewer.layers
    after(qtbot, widget, lambda: setattr(widget.changes, "value", True))
    assert "image changes" in viewer.layers


def test_areas_balance():
    counts = np.array([[50, 3, 0], [7, 20, 1], [0, 0, 9]])
    table = areas(counts)
    assert_array_equal(table, [[53, 57, 7, 3], [28, 23, 3, 8], [9, 10, 1, 0]])
    assert_array_equal(table[:, 1] - table[:, 0], table[:, 2] - table[:, 3])


def test_the_table_of_areas_has_pixels_and_units(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(
        image_layer(image, name="image", scale=(2.0, 0.5), units=("um", "um")),
        image_layer(probabilities, name="map", scale=(1, 2.0, 0.5), units=("pixel", "um", "um")),
    )
    widget.changes.value = True
    after(qtbot, widget, lambda: setattr(widget.areas, "value", True))
    n_before = int((probabilities.argmax(axis=0) == 1).sum())
    n_after = int((result_of(viewer).data == 1).sum())
    text = widget.area_table.value
    assert f"{n_before:,}" in text
    assert f"{n_after:,}" in text
    assert "m²" in text
    assert readable(widget, widget.area_table)
    # Two parts want the same of the result: one that is switched off takes it from no other.
    widget.changes.value = False
    assert widget.session.extras == {"changes"}
    widget.panel.folds["Why?"].open = False
    assert not widget.session.extras


def test_the_reach_is_drawn_in_true_size_and_goes_after_a_second(dock, qtbot):
    image, probabilities = picture((60, 80))
    viewer, widget = dock(
        image_layer(image, name="image", scale=(2.0, 0.5)), image_layer(probabilities, name="map", scale=(1, 2.0, 0.5))
    )
    drawing = next(one for one in widget.sections[0].parts if hasattr(one, "drawing")).drawing
    names = [layer.name for layer in viewer.layers]
    assert drawing.shown == 0
    # A virtual screen may have its mouse anywhere.
    viewer.mouse_over_canvas = False
    widget.smoothness_position_sigma.value = 7.0
    assert drawing.shown == 3
    # VisPy has x first.
    circle = drawing.lines[0]
    np.testing.assert_allclose(np.ptp(circle, axis=0), (14, 14), rtol=1e-2)
    np.testing.assert_allclose(circle[:-1].mean(axis=0), viewer.scene.camera.center[:-3:-1], atol=0.1)
    # The mouse may be over the canvas without having moved there: napari has it at the origin.
    viewer.mouse_over_canvas, viewer.cursor.position = True, (0, 30, 12)
    widget.smoothness_position_sigma.value = 7.5
    np.testing.assert_allclose(drawing.lines[0][:-1].mean(axis=0), viewer.scene.camera.center[:-3:-1], atol=0.1)
    for move in list(viewer.mouse_move_callbacks):
        move(viewer, None)
    widget.smoothness_position_sigma.value = 8.0
    np.testing.assert_allclose(drawing.lines[0][:-1].mean(axis=0), (12, 30), atol=0.1)
    qtbot.waitUntil(lambda: drawing.shown == 0, timeout=5000)
    assert [layer.name for layer in viewer.layers] == names


def test_the_first_ellipse_has_nothing_to_build(dock, qtbot, monkeypatch):
    built, parse = [], Program._parse_variables_from_code

    def watched(program, **options):
        built.append(program)
        parse(program, **options)

    monkeypatch.setattr(Program, "_parse_variables_from_code", watched)
    viewer, widget = dock(*layers(*picture()))
    widget.live.value = False
    settle(qtbot, widget)
    drawing = next(one for one in widget.sections[0].parts if hasattr(one, "drawing")).drawing
    qtbot.waitUntil(lambda: drawing.is_prepared, timeout=WAIT_MS)
    assert built
    assert drawing.shown == 0
    built.clear()
    before = viewer.screenshot(flash=False)
    widget.smoothness_position_sigma.value = 5.0
    assert drawing.shown == 3
    assert (viewer.screenshot(flash=False) != before).any()
    assert not built


def test_influence_is_quick_while_it_moves_and_exact_at_rest(influenced, qtbot):
    image, probabilities = picture((90, 100))
    _, widget, layer = influenced(*layers(image, probabilities))
    exact = relative(ndc.influence(image, widget.params, (12, 20)))
    qtbot.waitUntil(lambda: np.allclose(layer.data, exact, atol=1e-5), timeout=WAIT_MS)
    drawn = []
    part(widget, "influence").drawn.connect(lambda _: drawn.append(layer.data.copy()))
    say(qtbot, widget, lambda: part(widget, "influence").pin((30, 40)))
    quick = relative(Influence(image).at((30, 40), widget.params, most_anchors=6).values)
    exact = relative(ndc.influence(image, widget.params, (30, 40)))
    assert not np.allclose(quick, exact, atol=1e-5)
    qtbot.waitUntil(lambda: np.allclose(layer.data, exact, atol=1e-5), timeout=WAIT_MS)
    np.testing.assert_allclose(drawn[0], quick, atol=1e-5)
    assert len(drawn) == 2


def test_influence_is_made_and_drawn_once_for_a_move_of_a_slider(influenced, qtbot):
    viewer, widget, _ = influenced(*layers(*picture()))
    settle(qtbot, widget)
    seen, radii = part(widget, "influence"), widget.sections[0].parts[1]
    made, told = [], []
    seen.drawn.connect(lambda *_: made.append(radii.drawing.shown))
    viewer.layers.events.connect(lambda event: told.append(event.type))
    shown = []
    seen.drawn.connect(lambda _: shown.append(radii.drawing.shown), priority=1)
    after(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 6.0))
    qtbot.waitUntil(lambda: bool(made) and not seen.busy, timeout=WAIT_MS)
    # The labels came too: they change nothing of what pulls. And the ellipse came with the layer, not before.
    assert len(made) == 1
    assert shown == [0]
    assert radii.drawing.shown == 3
    assert widget.live.value
    # napari's list of layers would paint itself anew.
    assert "set_data" not in told
