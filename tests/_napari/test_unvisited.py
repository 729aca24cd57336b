"""Slices that nobody has refined look like nothing, are told from class 0 wherever the result is kept, and are said."""

import json

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

import napari_densecrf as ndc
from driving import WAIT_MS, after, image_layer, picture, result_of, settle
from napari_densecrf._napari.display import sparse
from napari_densecrf._napari.problem.problem import METADATA_KEY
from napari_densecrf._napari.recipes.command import options_of
from napari_densecrf.cli import main


@pytest.fixture(params=["in memory", "sparse"])
def docked(dock, request, monkeypatch):
    if request.param == "sparse":
        monkeypatch.setattr(sparse, "SPARSE_BYTES", 0)
    image, probabilities = picture((5, 30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    assert isinstance(result_of(viewer).data, np.ndarray) == (request.param == "in memory")
    return viewer, widget


def shown(widget):
    """Return the slice that is shown."""
    return widget.last_result.request.region.index[0]


def clear_at(viewer, layer, step):
    """Tell what colour the middle of a slice has."""
    viewer.dims.current_step = (0, step, 0, 0)
    return layer.colormap.map(np.asarray(layer.data[step]))[..., 3]


def test_the_others_are_clear_and_no_class(docked, qtbot):
    viewer, widget = docked
    layer, here = result_of(viewer), shown(widget)
    values = np.asarray(layer.data)
    assert set(np.unique(values[here])) <= {0, 1, 2}
    others = np.delete(values, here, axis=0)
    assert (others == 255).all()
    assert layer.metadata[METADATA_KEY]["no_label"] == 255
    widget.live.value = False
    assert (clear_at(viewer, layer, (here + 1) % 5) == 0).all()
    settle(qtbot, widget)
    # Nothing is said of this slice but what would refine it.
    assert "changed" not in widget.status.value
    assert "Not live: Update refines" in widget.status.value
    assert "1 of 5 slices refined" in widget.status.value
    for name in ("refine_all", "keep_refined"):
        assert widget[name].visible


def test_another_slice_with_other_numbers_is_said(docked, qtbot):
    viewer, widget = docked
    after(qtbot, widget, lambda: setattr(viewer.dims, "current_step", (0, 0, 0, 0)))
    assert "2 of 5 slices refined" in widget.status.value
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    assert "1 of 5 slices refined, 1 more with other numbers" in widget.status.value
    slices = result_of(viewer).metadata[METADATA_KEY]["slices"]
    assert slices == {"refined": 1, "of": 5, "with_other_numbers": 1}


def test_what_is_kept_and_saved_says_it(docked, qtbot, tmp_path):
    viewer, widget = docked
    here = shown(widget)
    widget.keep_refined.changed.emit(True)
    frozen = viewer.layers["image frozen"]
    assert widget.frozen.value == "Kept as “image frozen”: 1 of 5 slices refined. The others have no label."
    assert widget.panel.folds["Correct"].open
    assert (np.delete(frozen.data, here, axis=0) == 255).all()
    assert isinstance(frozen.data, np.ndarray)
    said = []
    notification_manager.notification_ready.connect(lambda one: said.append(str(one.message)))
    for layer, name in ((frozen, "frozen"), (result_of(viewer), "refined")):
        viewer.layers.selection = {layer}
        viewer.layers.save(str(tmp_path / f"{name}.tif"), selected=True)
        saved = tifffile.imread(tmp_path / f"{name}.tif")
        assert_array_equal(saved, np.asarray(result_of(viewer).data))
        about = json.loads((tmp_path / f"{name}.tif.json").read_text())
        assert about["slices"] == {"refined": 1, "of": 5}
        assert about["no_label"] == 255
        words = f"“{name}.tif”: 1 of 5 slices refined. The others are 255 in the file, which is no label."
        assert words in said


def test_how_sure_is_said_of_the_refined_slices_alone(docked, qtbot):
    viewer, widget = docked
    after(qtbot, widget, lambda: setattr(widget.confidence, "value", True))
    layer, here = viewer.layers["image confidence"], shown(widget)
    values = np.asarray(layer.data)
    assert ((values[here] >= 0) & (values[here] <= 100)).all()
    assert np.isnan(np.delete(values, here, axis=0)).all()
    # Not the dark of a pixel that may be any class.
    assert layer.colormap.map(np.array([np.nan]))[0, 3] == 0
    assert layer.colormap.map(np.array([0.0]))[0, 3] == 1
    widget.live.value = False
    others = [one for one in viewer.layers if one is not layer]
    for one in others:
        one.visible = False
    drawn = []
    for step in (here, (here + 1) % 5):
        viewer.dims.current_step = (0, step, 0, 0)
        settle(qtbot, widget)
        drawn.append(viewer.screenshot(flash=False)[..., :3].astype(int))
    assert drawn[0].max() > 100
    assert (drawn[1] == drawn[1][0, 0]).all()


def test_pixels_without_a_value_are_not_unsure(dock, qtbot):
    image, probabilities = picture((30, 32), 3)
    blank = np.zeros(image.shape, bool)
    blank[:, 20:] = True
    image = np.where(blank, np.nan, image).astype(np.float32)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.confidence, "value", True))
    assert_array_equal(np.isnan(viewer.layers["image confidence"].data), blank)


def test_the_copied_python_of_what_was_kept_has_no_class_more(docked, qtbot, tmp_path):
    viewer, widget = docked
    here = shown(widget)
    widget.keep_refined.changed.emit(True)
    frozen = viewer.layers["image frozen"]
    frozen.data[here, :9] = 255
    after(qtbot, widget, lambda: setattr(widget.probabilities, "value", frozen))
    assert widget.last_result.inputs.values.tolist() == [0, 1, 2]
    widget.copy_python.changed.emit(True)
    namespace = {"viewer": viewer}
    with pytest.warns(ndc.InputWarning, match="30 % of the pixels have no value"):
        exec(QApplication.clipboard().text(), namespace)
    assert_array_equal(namespace["labels"], widget.last_result.labels)
    assert (namespace["labels"][:9] == 255).all()
    # As files, on the command line too: once what has no label is in its file.
    tifffile.imwrite(tmp_path / "image.tif", viewer.layers["image"].data)
    widget.copy_command.changed.emit(True)
    assert "save" in widget.kept.value
    viewer.layers.selection = {frozen}
    viewer.layers.save(str(tmp_path / "frozen.tif"), selected=True)
    names = [str(tmp_path / "image.tif"), str(tmp_path / "frozen.tif"), "--axes", "TYX", "--from-labels", "0.9"]
    options = list(options_of(widget.params))
    assert main(["refine", *names, "-o", str(tmp_path / "out.npy"), *options]) == 0
    assert_array_equal(np.load(tmp_path / "out.npy")[here], widget.last_result.labels)


def test_refine_all_refines_them(docked, qtbot):
    viewer, widget = docked
    widget.refine_all.changed.emit(True)
    assert widget.panel.folds["All slices and files"].open
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)
    applied = viewer.layers["image applied"]
    assert set(np.unique(applied.data)) <= {0, 1, 2}
    assert not applied.metadata[METADATA_KEY]["stopped"]
    here = shown(widget)
    assert_array_equal(applied.data[here], np.asarray(result_of(viewer).data)[here])


def test_one_image_has_nothing_left(dock, qtbot):
    image, probabilities = picture((30, 32), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    assert not widget.refine_all.native.isVisibleTo(widget.panel)
    assert (result_of(viewer).data < 3).all()
    settle(qtbot, widget)


def test_before_a_result_nothing_is_offered_for_it(dock):
    _, widget = dock(image_layer(picture()[0], name="image"), expect=False)
    widget.panel.folds["Choose numbers"].open = True
    for name in ("refine_all", "keep_refined", "other_numbers", "continue_project"):
        assert not widget[name].native.isVisibleTo(widget.panel)


def test_a_class_of_the_largest_number_is_a_class(dock, qtbot):
    from napari.layers import Labels

    image, _ = picture((3, 30, 32))
    mask = np.zeros((3, 30, 32), np.uint8)
    mask[:, 5:20, 5:20] = 255
    viewer, widget = dock(image_layer(image, name="image"), Labels(mask, name="mask"))
    layer, here = result_of(viewer), shown(widget)
    assert layer.data.dtype == np.uint8
    assert set(np.unique(layer.data[here])) <= {0, 255}
    assert (np.delete(layer.data, here, axis=0) == 254).all()
    assert layer.metadata[METADATA_KEY]["no_label"] == 254
    assert (layer.colormap.map(254)[..., 3] == 0).all()
