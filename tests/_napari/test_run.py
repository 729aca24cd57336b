"""All slices and whole volumes, live and in the background, in a real window."""

import numpy as np
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import WAIT_MS, after, expected, image_layer, picture, result_of, settle


def applied(qtbot, widget, viewer, name="image applied"):
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)
    return viewer.layers[name]


def test_apply_refines_every_slice_as_the_slice_itself(dock, qtbot):
    image, probabilities = picture((4, 30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    layer = applied(qtbot, widget, viewer)
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


def test_a_stopped_job_goes_on_where_it_was(dock, qtbot):
    image, probabilities = picture((30, 60, 64))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: "of 30 done" in widget.job.value, timeout=WAIT_MS)
    widget.stop.changed.emit(True)
    assert "Stopped" in widget.job.value
    (run,) = [section for section in widget.sections if section.title == "Run"]
    n_before = len(run._job.done)
    assert 0 < n_before < 30
    layer = applied(qtbot, widget, viewer)
    assert [one.name for one in viewer.layers].count("image applied") == 1
    assert len(run._job.done) == 30
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


def test_closing_while_a_job_runs_ends_its_thread(dock, qtbot):
    image, probabilities = picture((30, 60, 64))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    (run,) = [section for section in widget.sections if section.title == "Run"]
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: "of 30 done" in widget.job.value, timeout=WAIT_MS)
    viewer.close()
    qtbot.waitUntil(lambda: not run._runner._thread.is_alive(), timeout=WAIT_MS)


def test_a_map_from_strokes_is_refused_in_a_sentence(dock, qtbot):
    image, _ = picture((40, 50))
    viewer, widget = dock(image_layer(image, name="image"), expect=False)
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    layer.paint((10, 10), 1)
    after(qtbot, widget, lambda: layer.paint((30, 30), 2))
    widget.apply.changed.emit(True)
    assert "slice by slice" in widget.job.value
    assert "image applied" not in viewer.layers
