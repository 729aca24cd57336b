"""The real widget in a real window, driven as a script drives it, waiting for its signals."""

import threading

import numpy as np
import pytest
from napari.utils.colormaps import DirectLabelColormap
from numpy.testing import assert_array_equal
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QScrollArea

import napari_densecrf as ndc
from driving import WAIT_MS, after, expected, image_layer, map_on, picture, result_of, settle
from napari_densecrf import CRFParams
from napari_densecrf._napari.problem import understand as plans


@pytest.mark.smoke
def test_a_result_appears_and_follows_the_sliders(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = result_of(viewer)
    assert_array_equal(layer.data, expected(widget, image, probabilities))
    assert layer.data.dtype == np.uint8
    for name, value in (
        ("appearance_weight", 7.3),
        ("appearance_position_sigma", 3.3),
        ("appearance_intensity_sigma", 91.7),
        ("smoothness_weight", 0.0),
        ("smoothness_position_sigma", 2.2),
        ("n_iterations", 3),
    ):
        control = getattr(widget, name)
        assert after(qtbot, widget, lambda control=control, value=value: setattr(control, "value", value)) is layer
        assert control.value == value
        assert_array_equal(layer.data, expected(widget, image, probabilities))
    assert [one.name for one in viewer.layers].count("image refined") == 1
    assert not viewer.layers["map"].visible
    assert layer.opacity == pytest.approx(0.6)


@pytest.mark.smoke
def test_the_last_of_many_requests_wins(dock, qtbot):
    image, probabilities = picture((200, 220))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    values = np.linspace(1, 30, 25)

    def drag():
        for value in values:
            widget.appearance_position_sigma.value = value

    after(qtbot, widget, drag)
    assert widget.params.kernels[0].position_sigma == values[-1]
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities))


def test_results_keep_coming_while_a_slider_is_dragged(dock, qtbot):
    image, probabilities = picture((300, 320))
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    got = []
    # Previews count, and exact results where they are quick enough.
    widget.result_shown.connect(got.append)
    moves = iter(np.linspace(1, 30, 2000))

    def drag():
        # A new value at every look of the waiting loop, faster than any refinement.
        widget.appearance_position_sigma.value = next(moves)
        return len(got) >= 3

    qtbot.waitUntil(drag, timeout=WAIT_MS)
    settle(qtbot, widget)


def test_not_live_waits_for_update(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    before = result_of(viewer).data.copy()
    widget.live.value = False
    widget.smoothness_weight.value = 60.0
    settle(qtbot, widget)
    assert_array_equal(result_of(viewer).data, before)
    after(qtbot, widget, lambda: widget.update_now.changed.emit(True))
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities))


def test_stacks_are_refined_slice_by_slice_on_arrival(dock, qtbot):
    image, probabilities = picture((4, 30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = result_of(viewer)
    assert layer.data.shape == image.shape
    seen = viewer.dims.current_step[-3]
    for z in (0, 3):
        if z != seen:
            after(qtbot, widget, lambda z=z: viewer.dims.set_current_step(viewer.dims.ndim - 3, z))
        assert_array_equal(layer.data[z], expected(widget, image[z], probabilities[:, z]))
    assert "4 slices of 30 x 32" in widget.understood.value


@pytest.mark.smoke
def test_the_place_in_the_world_is_kept(dock):
    image, probabilities = picture()
    place = {
        "scale": (0.5, 0.25),
        "translate": (3, 4),
        "rotate": 20,
        "shear": [0.1],
        "affine": [[1, 0.1, 2], [0, 1.2, 1], [0, 0, 1]],
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
    }
    source = image_layer(image, name="image", **place)
    viewer, widget = dock(source, map_on(source, probabilities, name="map"))
    layer = result_of(viewer)
    np.testing.assert_allclose(layer.scale, source.scale)
    np.testing.assert_allclose(layer.translate, source.translate)
    np.testing.assert_allclose(layer.data_to_world((7, 11)), source.data_to_world((7, 11)))
    assert layer.units == source.units
    assert layer.axis_labels == source.axis_labels
    assert_array_equal(layer.data, expected(widget, image, probabilities, spacing=(0.5, 0.25)))
    assert "µm/pixel" in widget.understood.value or "um/pixel" in widget.understood.value


def test_shapes_are_understood():
    image, probabilities = picture((20, 22), 3)
    gray = image_layer(image)
    rgb = image_layer(np.stack([image] * 3, -1), rgb=True)
    assert plans.understand(gray, image_layer(probabilities)).class_axis == 0
    assert plans.understand(rgb, image_layer(np.moveaxis(probabilities, 0, -1), rgb=False)).class_axis == 2
    assert plans.understand(gray, image_layer(probabilities[0])).n_classes == 2
    three = tuple(image_layer(plane) for plane in probabilities)
    assert plans.understand(gray, three).n_classes == 3
    channels = plans.understand(image_layer(np.stack([image] * 4)), image_layer(probabilities))
    assert (channels.channel_axis, channels.class_axis) == (0, 0)
    time = plans.understand(image_layer(np.zeros((6, 2, 20, 22))), image_layer(np.zeros((3, 6, 20, 22))))
    assert (time.channel_axis, time.class_axis, time.shape) == (1, 0, (6, 20, 22))
    # As many channels as classes, and the time could be either.
    time = plans.understand(image_layer(np.zeros((6, 3, 20, 22)), rgb=False), image_layer(np.zeros((3, 6, 20, 22))))
    assert (time.channel_axis, time.class_axis, time.shape) == (1, 0, (6, 20, 22))
    with pytest.raises(plans.Misfit, match="20 x 22"):
        plans.understand(gray, image_layer(np.zeros((3, 9, 9))))


@pytest.mark.parametrize("foreground", [False, True])
def test_of_two_images_the_active_one_is_taken_with_its_own_map(dock, qtbot, foreground):
    image, probabilities = picture()
    source = probabilities[0] if foreground else probabilities
    names = ("left", "right", "left map", "right map")
    made = [image_layer(source if "map" in name else image, name=name) for name in names]
    viewer, widget = dock(*made)
    # The last that was added is active.
    assert (widget.image.value.name, widget.probabilities.value.name) == ("right", "right map")
    viewer.layers.selection.active = viewer.layers["left"]
    viewer.layers.remove("right map")
    settle(qtbot, widget)
    # What was chosen stays, as long as something fits it.
    assert (widget.image.value.name, widget.probabilities.value.name) == ("right", "left map")
    viewer.layers.remove("right")
    settle(qtbot, widget)
    assert (widget.image.value.name, widget.probabilities.value.name) == ("left", "left map")


@pytest.mark.parametrize("last", [False, True])
def test_channels_and_class_axes_give_what_a_script_gives(dock, last):
    image, probabilities = picture((24, 26), 3)
    channels = np.stack([image, image[::-1]]).astype(np.uint16) * 100
    source = np.moveaxis(probabilities, 0, -1) if last else probabilities
    viewer, widget = dock(image_layer(channels, name="image"), image_layer(source, name="map", rgb=False))
    assert "2 channels" in widget.understood.value
    assert_array_equal(result_of(viewer).data, expected(widget, channels, probabilities, channel_axis=0))


def test_a_time_lapse_of_channels_shows_each_result_at_its_time(dock, qtbot):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4000, (4, 2, 24, 26)).astype(np.uint16)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(3), (4, 24, 26)), -1, 0).astype(np.float32)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = result_of(viewer)
    assert layer.data.shape == (4, 1, 24, 26)
    for time in (3, 1):
        if viewer.dims.current_step[0] != time:
            after(qtbot, widget, lambda time=time: viewer.dims.set_current_step(0, time))
        labels = expected(widget, image[time], probabilities[:, time], channel_axis=0)
        assert_array_equal(layer.data[time, 0], labels)
        for channel in (0, 1):
            viewer.dims.set_current_step(1, channel)
            settle(qtbot, widget)
            shown = layer.world_to_data(viewer.dims.point)
            assert (round(shown[0]), round(shown[1])) == (time, 0)


def test_a_labels_layer_is_a_rough_segmentation(dock):
    from napari.layers import Labels

    image, probabilities = picture((24, 26), 3)
    values = np.array([0, 2, 9])[probabilities.argmax(axis=0)]
    source = Labels(values, name="rough")
    viewer, widget = dock(image_layer(image, name="image"), source)
    layer = result_of(viewer)
    labels = expected(widget, image, ndc.probabilities_from_labels(probabilities.argmax(axis=0)))
    assert_array_equal(layer.data, np.array([0, 2, 9])[labels])
    assert_array_equal(layer.colormap.map(np.array([2, 9])), source.colormap.map(np.array([2, 9])))


def test_classes_have_names_and_steady_colours(dock, qtbot):
    image, probabilities = picture((24, 26), 3)
    names = ["sky", "leaf", "stem"]
    viewer, widget = dock(
        image_layer(image, name="image"), image_layer(probabilities, name="map", metadata={"classes": names})
    )
    layer = result_of(viewer)
    assert isinstance(layer.colormap, DirectLabelColormap)
    colours = layer.colormap.map(np.arange(3))
    assert list(layer.features["class"]) == names
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 9.0))
    assert_array_equal(layer.colormap.map(np.arange(3)), colours)
    kept = layer.metadata["napari-densecrf"]
    assert CRFParams.from_dict(kept["params"]) == widget.params
    assert (kept["image"], kept["probabilities"], kept["classes"]) == ("image", ["map"], names)


def test_undo_writes_nothing_stale(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = result_of(viewer)
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 20.0))
    shown = layer.data.copy()
    layer.undo()
    assert_array_equal(layer.data, shown)
    assert not layer.editable


def test_new_data_in_a_layer_refreshes(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    flipped = image[::-1].copy()
    after(qtbot, widget, lambda: setattr(viewer.layers["image"], "data", flipped))
    assert_array_equal(result_of(viewer).data, expected(widget, flipped, probabilities))


@pytest.mark.smoke
def test_strokes_hold(dock, qtbot):
    from napari.layers import Labels

    image, probabilities = picture()
    strokes = np.zeros(image.shape, np.uint8)
    strokes[5:10, 5:10] = 2
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    viewer.add_layer(Labels(strokes, name="mine"))
    layer = after(qtbot, widget, lambda: setattr(widget.strokes, "value", viewer.layers["mine"]))
    assert (layer.data[5:10, 5:10] == 1).all()
    assert_array_equal(layer.data, expected(widget, image, probabilities, strokes=strokes))


def test_sliders_fit_the_image(dock):
    image, probabilities = picture((60, 60))
    bright = image.astype(np.uint16) * 200 + 500
    _, widget = dock(image_layer(bright, name="image"), image_layer(probabilities, name="map"))
    assert 0.7 < widget.appearance_intensity_sigma.value / (200 * 12.5) < 1.3


def test_reset_brings_the_proposal_back(dock, qtbot):
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    proposed = widget.params
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 55.0))
    after(qtbot, widget, lambda: widget.reset.changed.emit(True))
    assert widget.params == proposed


def held_up(widget):
    """Let refinements begin but not go on; return the events that tell and let go."""
    begun, gate, steps = threading.Event(), threading.Event(), widget.session.engine.steps

    def slow(request):
        begun.set()
        gate.wait(20)
        yield from steps(request)

    widget.session.engine.steps = slow
    return begun, gate


def test_removing_a_layer_while_it_runs_is_quiet(dock, qtbot):
    image, probabilities = picture((400, 400))
    # Not shown: Mesa's software renderer now and then crashes in glDrawArrays when a drawn layer has been removed.
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"), show=False)
    begun, gate = held_up(widget)
    widget.appearance_position_sigma.value = 17.0
    qtbot.waitUntil(begun.is_set, timeout=WAIT_MS)
    viewer.layers.remove("image")
    gate.set()
    settle(qtbot, widget)
    assert widget.image.value is None or widget.image.value in viewer.layers
    assert (
        "expected" in widget.understood.value
        or "Open an image" in widget.understood.value
        or "Needs" in (widget.understood.value)
    )


def test_removing_the_result_makes_it_anew(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"), show=False)
    viewer.layers.remove("image refined")
    layer = after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 9.0))
    assert layer in viewer.layers


def test_closing_while_it_runs_ends_the_thread(dock, qtbot):
    image, probabilities = picture((400, 400))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    thread = widget.session._runner
    begun, gate = held_up(widget)
    widget.appearance_position_sigma.value = 23.0
    qtbot.waitUntil(begun.is_set, timeout=WAIT_MS)
    viewer.close()
    gate.set()
    qtbot.waitUntil(lambda: not thread.alive, timeout=WAIT_MS)


def test_switching_the_image_writes_onto_its_own_layer(dock, qtbot):
    first, probabilities = picture((300, 300))
    second, _ = picture((300, 300), seed=3)
    viewer, widget = dock(
        image_layer(first, name="image"), image_layer(probabilities, name="map"), image_layer(second, name="second")
    )
    other = "second" if widget.image.value.name == "image" else "image"
    widget.appearance_weight.value = 8.0
    layer = after(qtbot, widget, lambda: setattr(widget.image, "value", viewer.layers[other]))
    assert layer.name == f"{other} refined"
    assert_array_equal(layer.data, expected(widget, viewer.layers[other].data, probabilities))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: np.where(p > 0.9, np.nan, p), "NaN"),
        (lambda p: p - 0.5, "negative"),
    ],
)
def test_bad_maps_are_named_once(dock, qtbot, spoil, words):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(spoil(probabilities), name="map"), expect=False)
    qtbot.waitUntil(lambda: words in widget.status.value + widget.understood.value, timeout=WAIT_MS)
    assert "image refined" not in viewer.layers


def test_what_does_not_fit_is_said(dock, qtbot):
    image, _ = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(np.zeros((2, 9, 9)), name="map"), expect=False)
    qtbot.waitUntil(lambda: "expected" in widget.understood.value or "Needs" in widget.understood.value)


def test_an_empty_viewer_says_what_to_do(dock, qtbot):
    _, widget = dock(expect=False)
    qtbot.waitUntil(lambda: "Open Sample" in widget.understood.value)


class CountingArray:
    """An array that tells which parts of it were read, and in which thread."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.ndim, self.size = data, data.shape, data.dtype, data.ndim, data.size
        self.reads = []

    def __getitem__(self, at):  # noqa: D105
        part = self.data[at]
        self.reads.append((part.size, threading.current_thread().name))
        return part

    def __array__(self, dtype=None, copy=None):  # noqa: D105
        return np.asarray(self[...], dtype=dtype)


def test_the_visible_part_agrees_with_the_whole(dock, qtbot):
    image, probabilities = picture((300, 320))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.appearance_position_sigma.value = 4.0
    whole = after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 2.0)).data.copy()
    viewer.scene.camera.zoom = 12.0
    viewer.scene.camera.center = (0, 150, 160)
    qtbot.waitUntil(lambda: np.ptp(viewer.layers["image"].corner_pixels[:, 0]) < 200)
    layer = after(qtbot, widget, lambda: setattr(widget.region, "value", "Visible part"))
    (y0, x0), (y1, x1) = viewer.layers["image"].corner_pixels
    part = (slice(max(0, y0), y1 + 1), slice(max(0, x0), x1 + 1))
    assert (layer.data[part] == whole[part]).mean() > 0.995


def test_only_what_is_needed_is_read(dock, qtbot):
    image, probabilities = picture((5, 64, 64))
    counting = CountingArray(image)
    viewer, widget = dock(image_layer(counting, name="image"), image_layer(probabilities, name="map"))

    def read_by_us():
        return [size for size, thread in counting.reads if thread == "napari-densecrf"]

    assert max(read_by_us()) == 64 * 64
    counting.reads.clear()
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 5.0))
    assert not read_by_us()
    after(qtbot, widget, lambda: viewer.dims.set_current_step(viewer.dims.ndim - 3, 4))
    # The slice, and the probe of it.
    assert max(read_by_us()) == 64 * 64
    assert sum(read_by_us()) <= 64 * 64 + 2**14


def test_a_change_in_place_is_seen_after_a_refresh(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    viewer.layers["image"].data[:] = 255 - viewer.layers["image"].data
    after(qtbot, widget, viewer.layers["image"].refresh)
    assert_array_equal(result_of(viewer).data, expected(widget, viewer.layers["image"].data, probabilities))


def test_a_change_of_the_scale_moves_the_result(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = after(qtbot, widget, lambda: setattr(viewer.layers["image"], "scale", (2.0, 0.5)))
    np.testing.assert_allclose(layer.scale, (2.0, 0.5))
    assert_array_equal(layer.data, expected(widget, image, probabilities, spacing=(2.0, 0.5)))


def test_strokes_of_another_shape_are_refused_in_a_sentence(dock, qtbot):
    from napari.layers import Labels

    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    viewer.add_layer(Labels(np.zeros((7, 8), np.uint8), name="mine"))
    widget.strokes.value = viewer.layers["mine"]
    qtbot.waitUntil(lambda: "expected 40 x 50" in widget.understood.value)


def test_a_large_image_is_refined_as_it_is_shown(dock, qtbot):
    image, probabilities = picture((2304, 2304))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities[1], name="map"))
    layer = result_of(viewer)
    step = layer.metadata["napari-densecrf"]["window"]["step"]
    assert step > 1
    whole = ndc.refine(image[::step, ::step], probabilities[1, ::step, ::step], widget.params, spacing=float(step))
    (y0, x0), (y1, x1) = viewer.layers["image"].corner_pixels // step
    shown = slice(y0, y1), slice(x0, x1)
    assert (layer.data[::step, ::step][shown] == whole.labels[shown]).mean() > 0.999

    def look_closer():
        viewer.scene.camera.zoom = 8.0
        viewer.scene.camera.center = (0, 1000, 1100)

    after(qtbot, widget, look_closer)
    assert layer.metadata["napari-densecrf"]["window"]["step"] == 1


def test_a_slide_gets_a_result_of_several_resolutions(dock, qtbot):
    side = 6000
    image = np.zeros((side, side), np.uint8)
    image[1000:4000, 2000:5000] = 200
    foreground = np.where(image > 100, np.float32(0.8), np.float32(0.2))
    viewer, _widget = dock(image_layer(image, name="image"), image_layer(foreground, name="map"))
    layer = result_of(viewer)
    assert layer.multiscale
    window = layer.metadata["napari-densecrf"]["window"]
    step = window["step"]
    level = layer.data[int(np.log2(step))]
    assert level.shape == (side // step, side // step)
    seen = tuple(slice(first // step, -(-last // step)) for first, last in (window["y"], window["x"]))
    right = (image > 100)[::step, ::step]
    assert_array_equal(level[seen], right[seen])
    # What has not been seen has no label.
    assert_array_equal(level, np.where(level == 255, 255, right))
    assert (level == 255).any()


def test_of_a_multiscale_image_the_level_that_is_shown_is_read(dock):
    from napari.layers import Image

    rng = np.random.default_rng(0)
    finest = rng.integers(0, 255, (4096, 4096)).astype(np.uint8)
    levels = [CountingArray(finest[::step, ::step]) for step in (1, 2, 4)]
    foreground = np.where(finest > 100, np.float32(0.8), np.float32(0.2))
    viewer, _widget = dock(Image(levels, multiscale=True, name="image"), image_layer(foreground, name="map"))
    step = result_of(viewer).metadata["napari-densecrf"]["window"]["step"]
    assert step in (2, 4)

    def read_by_us(level):
        return sum(size for size, thread in levels[level].reads if thread == "napari-densecrf")

    assert read_by_us([1, 2, 4].index(step)) >= 512 * 512
    # Of the finest the intensities' range was measured, on a few pixels.
    assert read_by_us(0) <= 512 * 512


def test_a_fold_that_is_clicked_comes_into_view(dock, qtbot):
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    area, folds = widget.native.findChild(QScrollArea), widget.panel.folds

    def seen(part):
        return area.viewport().rect().contains(part.mapTo(area.viewport(), QPoint(0, part.height() - 1)))

    # Opened by the program they move nothing.
    for title in ("Why?", "Before / after", "Correct", "Choose numbers", "Save and script"):
        folds[title].open = True
    qtbot.waitUntil(lambda: not seen(folds["All slices and files"].button), timeout=5000)
    assert area.verticalScrollBar().value() == 0
    folds["All slices and files"].button.click()
    qtbot.waitUntil(lambda: seen(widget.apply.native), timeout=5000)
    assert seen(folds["All slices and files"].button)
    # A key that opens a fold shows it too.
    widget.swipe.value = False
    folds["Before / after"].open = False
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    widget.swipe.value = True
    qtbot.waitUntil(lambda: seen(widget.swipe.native), timeout=5000)
    folds["More"].button.click()
    section = next(one for one in widget.sections if one.title == "Convergence")
    qtbot.waitUntil(lambda: seen(section.change), timeout=5000)
    assert seen(folds["More"].button)


def test_the_button_below_the_line_takes_channels_and_lays_maps(dock, qtbot):
    image, probabilities = picture()
    planes = image_layer(image, name="DAPI"), image_layer(image[::-1].copy(), name="GFP")
    viewer, widget = dock(*planes, image_layer(probabilities, name="map"))
    assert not widget.remedy.native.isVisibleTo(widget.panel)
    viewer.layers.selection = set(planes)
    settle(qtbot, widget)
    assert widget.remedy.native.isVisibleTo(widget.panel)
    assert widget.remedy.text == "Use the 2 selected layers as channels"
    after(qtbot, widget, widget.remedy.native.click)
    assert widget.image.value == planes
    assert widget.image.current_choice == "DAPI + GFP"
    assert not widget.remedy.native.isVisibleTo(widget.panel)
    together = np.stack([image, image[::-1]], axis=-1)
    assert_array_equal(
        result_of(viewer, "DAPI refined").data, expected(widget, together, probabilities, channel_axis=-1)
    )
    # One of them alone again, and a map that does not say where it lies.
    half = image_layer(probabilities[:, ::2, ::2], name="half")
    viewer.add_layer(half)
    after(qtbot, widget, lambda: setattr(widget.image, "value", planes[0]))
    widget.probabilities.value = half
    settle(qtbot, widget)
    assert widget.remedy.text == "Stretch it over “DAPI”"
    after(qtbot, widget, widget.remedy.native.click)
    assert "at half resolution, brought onto the image" in widget.understood.value
