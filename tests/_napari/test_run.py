"""All slices and whole volumes, live and in the background, in a real window."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import WAIT_MS, after, expected, image_layer, picture, result_of, settle
from napari_densecrf.choose.classify import PixelClassifier
from napari_densecrf.large import planning


def applied(qtbot, widget, viewer, name="image applied"):
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)
    return viewer.layers[name]


def test_apply_refines_every_slice_as_the_slice_itself(dock, qtbot, monkeypatch):
    planned, plan = [], planning.plan
    monkeypatch.setattr(planning, "plan", lambda *arguments: planned.append(arguments) or plan(*arguments))
    image, probabilities = picture((4, 30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = applied(qtbot, widget, viewer)
    assert len(planned) == 1
    for z in range(4):
        assert_array_equal(layer.data[z], expected(widget, image[z], probabilities[:, z]))
    assert layer.metadata["napari-densecrf"]["params"] == widget.params.to_dict()
    assert "All 4 done" in widget.job.value
    kept = layer.data.copy()
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 30.0))
    assert_array_equal(layer.data, kept)


def test_a_volume_is_refined_as_one_and_previewed_like_it(dock, qtbot):
    rng = np.random.default_rng(0)
    truth = np.zeros((24, 40, 44), int)
    truth[6:18, 10:30, 10:30] = 1
    image = (90 * truth + rng.normal(60, 15, truth.shape)).clip(0, 255).astype(np.uint8)
    foreground = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32)
    viewer, widget = dock(
        image_layer(image, name="image", scale=(2.0, 1.0, 1.0)),
        image_layer(foreground, name="map", scale=(2.0, 1.0, 1.0)),
    )
    widget.appearance_position_sigma.value = 3.0
    after(qtbot, widget, lambda: setattr(widget.slices, "value", "As a volume"))
    whole = ndc.refine(image, foreground, widget.params, spacing=(2.0, 1.0, 1.0)).labels
    z = viewer.dims.current_step[0]
    assert (result_of(viewer).data[z] == whole[z]).mean() > 0.995
    assert widget.last_result.request.read.n_pixels < image.size
    layer = applied(qtbot, widget, viewer)
    assert_array_equal(layer.data, whole)


def film(n_frames=24):
    """Return a disc that moves slowly through noise, and its foreground map."""
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 44))
    truth = np.stack([(y - 20) ** 2 + (x - 12 - t * 0.5) ** 2 < 80 for t in range(n_frames)]).astype(int)
    image = (90 * truth + rng.normal(60, 15, truth.shape)).clip(0, 255).astype(np.uint8)
    foreground = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32)
    return image, foreground


def test_frames_are_coupled_in_time_and_previewed_like_the_whole(dock, qtbot):
    image, foreground = film()
    options = {"scale": (7.0, 0.5, 0.5), "units": ("s", "um", "um")}
    viewer, widget = dock(image_layer(image, name="image", **options), image_layer(foreground, name="map", **options))
    widget.appearance_position_sigma.value = 3.0
    widget.panel.folds["More"].open = True
    assert not widget.time_sigma.native.isVisible()
    alone = result_of(viewer).data[viewer.dims.current_step[0]].copy()
    after(qtbot, widget, lambda: setattr(widget.slices, "value", "Coupled in time"))
    assert widget.time_sigma.native.isVisible()
    params = widget.params.coupled_in_time(1.0)
    assert params.kernels[0].position_sigma == (1.0, 3.0, 3.0)
    whole = ndc.refine(image, foreground, params, spacing=(1.0, 0.5, 0.5)).labels
    t = viewer.dims.current_step[0]
    assert (result_of(viewer).data[t] == whole[t]).mean() > 0.995
    assert (result_of(viewer).data[t] != alone).any()
    assert widget.last_result.request.read.z == (t - 5, t + 6)
    layer = applied(qtbot, widget, viewer)
    assert_array_equal(layer.data, whole)
    made = layer.metadata["napari-densecrf"]
    assert (made["time_sigma"], made["volume"], made["params"]) == (1.0, False, widget.params.to_dict())
    after(qtbot, widget, lambda: setattr(widget.time_sigma, "value", 2.0))
    assert widget.last_result.request.read.z == (t - 10, t + 11)


def test_a_film_is_offered_where_there_may_be_time_and_volumes_are_not_coupled(dock, qtbot):
    image, foreground = film(4)
    viewer, widget = dock(
        image_layer(image, name="image", axis_labels=("z", "y", "x")), image_layer(foreground, name="map")
    )
    assert "Coupled in time" not in widget.slices.choices
    after(qtbot, widget, lambda: setattr(viewer.layers["image"], "axis_labels", ("t", "y", "x")))
    assert "Coupled in time" in widget.slices.choices
    viewer.add_image(image.reshape(2, 2, 40, 44), name="volumes")
    viewer.add_image(foreground.reshape(2, 2, 40, 44), name="their map")
    widget.slices.value = "Coupled in time"
    widget.image.value, widget.probabilities.value = viewer.layers["volumes"], viewer.layers["their map"]
    settle(qtbot, widget)
    assert widget.understood.value.startswith("Volumes cannot be coupled in time")


@pytest.mark.smoke
def test_a_stopped_job_goes_on_where_it_was(dock, qtbot):
    image, probabilities = picture((30, 60, 64))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: run._job.n_done > 0, timeout=WAIT_MS)
    widget.stop.changed.emit(True)
    assert "Stopped" in widget.job.value
    n_before = run._job.n_done
    assert 0 < n_before < 30
    layer = applied(qtbot, widget, viewer)
    assert [one.name for one in viewer.layers].count("image applied") == 1
    assert run._job.n_done == 30
    for z in (0, 15, 29):
        assert_array_equal(layer.data[z], expected(widget, image[z], probabilities[:, z]))


def test_strokes_hold_in_every_slice(dock, qtbot):
    from napari.layers import Labels

    image, probabilities = picture((3, 30, 32), 3)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[2, 5:10, 5:10] = 3
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    viewer.add_layer(Labels(strokes, name="mine"))
    settle(qtbot, widget)
    after(qtbot, widget, lambda: setattr(widget.strokes, "value", viewer.layers["mine"]))
    layer = applied(qtbot, widget, viewer)
    assert (layer.data[2, 5:10, 5:10] == 2).all()


def test_all_slices_have_the_classes_of_the_whole_layer_as_the_live_result_has(dock, qtbot):
    from napari.layers import Labels

    image, _ = picture((3, 30, 32))
    rough = np.zeros(image.shape, np.uint16)
    rough[:, 10:20, 10:20] = 5
    rough[1, 20:25] = 300
    rough[2] = 5
    viewer, widget = dock(image_layer(image, name="image"), Labels(rough, name="rough"), expect=False)
    viewer.dims.current_step = (0, 0, 0)
    after(qtbot, widget, lambda: setattr(widget.probabilities, "value", viewer.layers["rough"]))
    layer = applied(qtbot, widget, viewer)
    assert layer.data.dtype == np.uint16
    # A number is one class in all slices, whichever a slice has.
    values = [0, 5, 300]
    for z in range(3):
        probabilities = ndc.probabilities_from_labels(np.searchsorted(values, rough[z]), n_labels=len(values))
        whole = ndc.refine(image[z], probabilities, widget.params).labels
        assert_array_equal(layer.data[z], np.array(values)[whole])
    assert_array_equal(result_of(viewer).data[0], layer.data[0])
    after(qtbot, widget, lambda: viewer.dims.set_current_step(0, 2))
    assert_array_equal(result_of(viewer).data[2], layer.data[2])


def test_closing_while_a_job_runs_ends_its_thread(dock, qtbot):
    image, probabilities = picture((30, 60, 64))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: "of 30 done" in widget.job.value, timeout=WAIT_MS)
    viewer.close()
    qtbot.waitUntil(lambda: not run._runner.alive, timeout=WAIT_MS)


def test_a_map_from_strokes_is_made_and_refined_in_every_slice(dock, qtbot):
    rng = np.random.default_rng(0)
    truth = np.zeros((6, 40, 50), np.uint8)
    truth[:, 10:30, 25:] = 1
    image = (60 + 90 * truth + rng.normal(0, 15, truth.shape)).clip(0, 255).astype(np.uint8)
    viewer, widget = dock(image_layer(image, name="image"), expect=False)
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    layer.brush_size = 5
    first, second = (0, 20, 10), (1, 20, 40)
    viewer.dims.current_step = (0, 20, 20)
    layer.paint(first, 1)
    after(qtbot, widget, lambda: layer.paint(second, 2))
    applied(qtbot, widget, viewer)
    result = viewer.layers["image applied"]
    classifiers = [PixelClassifier(plane) for plane in image]
    learned = [classifiers[t].samples(layer.data[t], 2) for t in (0, 1)]
    for t in range(6):
        # The slice's own come first.
        samples = [classifiers[t].samples(layer.data[t], 2), *(one for k, one in enumerate(learned) if k != t)]
        probabilities = classifiers[t].probabilities_like(samples, 2)
        whole = ndc.refine(image[t], probabilities, widget.params, strokes=layer.data[t]).labels
        assert_array_equal(result.data[t], whole)
    assert (result.data == truth).mean() > 0.95
    assert (result.data[first], result.data[second]) == (0, 1)
    assert result.metadata["napari-densecrf"]["strokes"] == "image strokes"
    # Strokes that have changed are another job.
    after(qtbot, widget, lambda: layer.paint((2, 20, 40), 2))
    applied(qtbot, widget, viewer)
    assert "image applied [1]" in viewer.layers
