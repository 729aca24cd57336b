"""Run on folder, as a user drives it: real files, the real window, only the choosing of paths left out."""

import csv
import shlex

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

import napari_densecrf as ndc
from driving import WAIT_MS, image_layer, picture
from napari_densecrf.cli import main


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    for k in range(4):
        image, probabilities = picture((30, 32), 3, seed=k)
        tifffile.imwrite(tmp_path / "images" / f"cell {k}.tif", image)
        np.save(tmp_path / "maps" / f"cell {k}_prob.npy", probabilities)
    return tmp_path


@pytest.fixture
def docked(folder, make_napari_viewer, qtbot):
    """Return viewer, widget and the window of a folder, of which one image is open."""
    viewer = make_napari_viewer(show=True)
    viewer.open(folder / "images" / "cell 0.tif", plugin="napari", scale=(0.5, 0.5))
    viewer.open(folder / "maps" / "cell 0_prob.npy", plugin="napari", scale=(1, 0.5, 0.5))
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    qtbot.waitUntil(lambda: widget.last_result is not None, timeout=WAIT_MS)
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.run_on_folder.changed.emit(True)
    return viewer, widget, run


def rows(form):
    """Return what the table says."""
    table = form.table
    return [[table.item(row, k).text() for k in range(table.columnCount())] for row in range(table.rowCount())]


def done(qtbot, widget, run):
    run._form.start.changed.emit(True)
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)


def expected(widget, k):
    image, probabilities = picture((30, 32), 3, seed=k)
    return ndc.refine(image, probabilities, widget.params, spacing=0.5).labels


def test_a_folder_is_refined_with_the_numbers_of_the_sliders(docked, folder, qtbot):
    _, widget, run = docked
    form = run._form
    assert form.native.isVisible()
    assert form.maps.line_edit.value == str(folder / "maps" / "{stem}_prob.npy")
    assert form.output.value == folder / "images" / "refined"
    assert form.found.value == "4 images, each with its map."
    (folder / "images" / "cell 1.tif").write_text("no image")
    widget.smoothness_weight.value = 4.0
    done(qtbot, widget, run)
    # It stays, and says what became of each.
    assert form.native.isVisible()
    assert rows(form)[1][2].startswith("failed: cell 1.tif cannot be read")
    assert [row[2].split(":")[0] for row in rows(form)] == ["done", "failed", "done", "done"]
    assert widget.job.value.startswith("3 of 4 images done, 1 failed: cell 1.tif cannot be read")
    assert form.found.value == widget.job.value
    for k in (0, 2, 3):
        assert_array_equal(tifffile.imread(folder / "images" / "refined" / f"cell {k}.tif"), expected(widget, k))
    with (folder / "images" / "refined" / "summary.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "failed", "done", "done"]


def test_a_folder_that_holds_the_images_is_refused_before_anything_is_written(docked, folder, qtbot):
    _, widget, run = docked
    run._form.output.value = folder / "images"

    def held():
        return {path: path.read_bytes() for name in ("images", "maps") for path in (folder / name).rglob("*")}

    before = held()
    done(qtbot, widget, run)
    assert "cell 0.tif is the image, which would be lost" in widget.job.value
    assert held() == before


def test_the_copied_command_does_the_same(docked, folder, qtbot):
    _, widget, run = docked
    run._form.output.value = folder / "there"
    run._form.copy.changed.emit(True)
    words = shlex.split(QApplication.clipboard().text())
    assert words[:2] == ["napari-densecrf", "batch"]
    assert main([*words[1:], "--quiet"]) == 0
    for k in range(4):
        assert_array_equal(tifffile.imread(folder / "there" / f"cell {k}.tif"), expected(widget, k))


def test_a_stopped_folder_goes_on_where_it_was(docked, folder, qtbot):
    _, widget, run = docked
    run._form.start.changed.emit(True)
    qtbot.waitUntil(lambda: "1 of 4 done" in widget.job.value, timeout=WAIT_MS)
    widget.stop.changed.emit(True)
    assert "Stopped after 1 of 4; the same run goes on" in widget.job.value
    written = folder / "images" / "refined" / "cell 0.tif"
    before = written.stat().st_mtime_ns
    qtbot.waitUntil(lambda: not run._runner.busy, timeout=WAIT_MS)
    done(qtbot, widget, run)
    assert widget.job.value.startswith("All 4 images done")
    assert written.stat().st_mtime_ns == before
    assert (folder / "images" / "refined" / "summary.csv").read_text().count(",done,") == 4


def test_the_map_of_one_image_tells_those_of_all(docked, folder):
    _, _, run = docked
    form = run._form
    for path in (folder / "maps").iterdir():
        path.rename(path.with_name(path.name.replace("_prob", " of a network")))
    form.maps.value = folder / "maps" / "cell 2 of a network.npy"
    assert form.maps.line_edit.value == str(folder / "maps" / "{stem} of a network.npy")
    assert form.found.value == "4 images, each with its map."
    (folder / "maps" / "cell 3 of a network.npy").unlink()
    form.maps.changed.emit(form.maps.value)
    assert form.found.value == "4 images, 1 without a map: cell 3.tif"
    form.images.line_edit.value = str(folder / "nowhere")
    assert form.found.value == "There is no image."
    assert not form.start.enabled


def test_stacks_are_refined_as_the_stack_at_hand(dock, tmp_path, qtbot):
    at = tmp_path / "stacks" / "mine"
    at.mkdir(parents=True)
    image, probabilities = picture((3, 30, 32))
    tifffile.imwrite(at / "a.tif", image)
    np.save(at / "a_prob.npy", probabilities)
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.slices.value = "As a volume"
    widget.appearance_position_sigma.value = 3.0
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.run_on_folder.changed.emit(True)
    assert run._form.found.value == "Choose the folder of the images."
    run._form.images.value = at
    # What is open has no file, and a name beside it is no sign of a map.
    assert run._form.found.value == "2 images: choose the map of one of them."
    run._form.maps.value = at / "a_prob.npy"
    assert run._form.found.value == "1 image, with its map."
    done(qtbot, widget, run)
    whole = ndc.refine(image, probabilities, widget.params).labels
    assert_array_equal(tifffile.imread(at / "refined" / "a.tif"), whole)


def test_pairs_are_shown_before_anything_is_done(docked, folder):
    _, _, run = docked
    form = run._form
    assert rows(form) == [[f"cell {k}.tif", f"cell {k}_prob.npy", "image and map"] for k in range(4)]
    assert not (folder / "images" / "refined").exists()
    (folder / "maps" / "cell 3_prob.npy").unlink()
    form.maps.changed.emit(form.maps.value)
    assert rows(form)[3] == ["cell 3.tif", "cell 3_prob.npy", "no map of this name"]
    form.images.line_edit.value = str(folder / "nowhere")
    assert rows(form) == []


def test_a_photo_is_no_map(docked, folder, qtbot):
    """Names are no sign: what does not sum to one is not taken for a map, and what to do is said without options."""
    _, widget, run = docked
    for k, photo in (
        (1, picture((30, 32), seed=7)[0]),
        (2, np.stack([picture((30, 32), seed=k)[0] for k in range(3)])),
    ):
        np.save(folder / "maps" / f"cell {k}_prob.npy", photo)
    mask = np.zeros((30, 32), np.uint8)
    mask[5:9] = 255
    np.save(folder / "maps" / "cell 3_prob.npy", mask)
    done(qtbot, widget, run)
    said = [row[2] for row in rows(run._form)]
    assert said[0] == "done"
    assert said[1].startswith("failed: cell 1_prob.npy may be a picture: it goes up to")
    assert said[1].endswith("if it is the foreground of two classes, open it")
    assert said[2].startswith("failed: cell 2_prob.npy: the map sums to")
    assert "it seems to hold a picture; save one of its planes" in said[2]
    assert "it holds a mask; open it with its image and click the button that names it" in said[3]
    assert not any("--" in words for words in [*said, widget.job.value])
    assert widget.job.value.startswith("1 of 4 images done, 3 failed: ")


def test_a_gray_map_is_one_where_the_open_one_is(folder, make_napari_viewer, qtbot):
    for k in range(4):
        _, probabilities = picture((30, 32), seed=k)
        np.save(folder / "maps" / f"cell {k}_fg.npy", np.round(255 * probabilities[1]).astype(np.uint8))
    viewer = make_napari_viewer(show=True)
    viewer.open(folder / "images" / "cell 0.tif", plugin="napari")
    viewer.open(folder / "maps" / "cell 0_fg.npy", plugin="napari")
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    widget.image.value, widget.probabilities.value = viewer.layers["cell 0"], viewer.layers["cell 0_fg"]
    qtbot.waitUntil(lambda: widget.last_result is not None, timeout=WAIT_MS)
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.run_on_folder.changed.emit(True)
    done(qtbot, widget, run)
    said = [row[2] for row in rows(run._form)]
    assert said[0] == "done: cell 0_fg.npy is taken for the foreground of two classes; it goes up to 255 of 255"
    assert [words.split(":")[0] for words in said] == ["done"] * 4
    run._form.copy.changed.emit(True)
    assert "--map-axes YX" in QApplication.clipboard().text()
