"""Apply where the result fits no memory: written to disk by the real window, and shown from there."""

from pathlib import Path

import dask.array as da
import numpy as np
import psutil
import pytest
import tifffile
import zarr
from napari.layers import Labels
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import WAIT_MS, after, image_layer, picture, settle

pytest.importorskip("ome_zarr")

# Enough for a slice of the tests, less than `fits` takes one for.
LITTLE = 25_000_000


@pytest.fixture
def little_memory(monkeypatch):
    real = psutil.virtual_memory
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real()._replace(available=LITTLE))


def applied(qtbot, widget):
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)


@pytest.fixture
def stack(tmp_path, make_napari_viewer, qtbot, little_memory):
    """Return a docked widget on a stack that came from a file, with what it and its map hold."""
    image, probabilities = picture((4, 300, 320), 3)
    tifffile.imwrite(tmp_path / "cells.tif", image)
    viewer = make_napari_viewer(show=True)
    viewer.open(tmp_path / "cells.tif", plugin="napari", scale=(2.0, 0.5, 0.5), units=("um", "um", "um"))
    chunks = (3, 1, 300, 320)
    viewer.add_image(da.from_array(probabilities, chunks), name="map", scale=(1, 2.0, 0.5, 0.5))
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    qtbot.waitUntil(lambda: widget.last_result is not None, timeout=WAIT_MS)
    settle(qtbot, widget)
    return viewer, widget, image, probabilities


def test_what_fits_no_memory_is_written_beside_its_image_and_shown(stack, tmp_path, qtbot):
    viewer, widget, image, probabilities = stack
    applied(qtbot, widget)
    path = tmp_path / "cells refined.ome.zarr"
    assert str(path) in widget.job.value
    layer = viewer.layers["cells applied"]
    assert layer.multiscale
    assert isinstance(layer.data[0], zarr.Array)
    assert layer.data[1].shape == (4, 150, 160)
    for z in range(4):
        whole = ndc.refine(image[z], probabilities[:, z], widget.params, spacing=(0.5, 0.5)).labels
        assert_array_equal(layer.data[0][z], whole)
    assert_array_equal(layer.scale, (2.0, 0.5, 0.5))
    made = layer.metadata["napari-densecrf"]
    assert made["params"] == widget.params.to_dict()
    assert made["file"] == str(path)
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    assert attributes["napari-densecrf"]["params"] == widget.params.to_dict()
    scales = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scales == [2.0, 0.5, 0.5]
    applied(qtbot, widget)
    assert (tmp_path / "cells refined 2.ome.zarr").is_dir()


def test_a_stopped_job_on_disk_goes_on_where_it_was(stack, tmp_path, qtbot):
    viewer, widget, *_ = stack
    widget.apply.changed.emit(True)
    qtbot.waitUntil(lambda: widget.job.value.startswith("1 of 4 done"), timeout=WAIT_MS)
    widget.stop.changed.emit(True)
    assert widget.job.value == "Stopped after 1 of 4; Apply goes on from there."
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    qtbot.waitUntil(lambda: not run._runner.busy, timeout=WAIT_MS)
    first = tmp_path / ".cells refined.ome.zarr.partial" / "labels" / "0" / "0"
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    assert before
    assert "cells applied" not in viewer.layers
    applied(qtbot, widget)
    written = tmp_path / "cells refined.ome.zarr" / "0" / "0"
    after_all = {path.relative_to(written): path.stat().st_mtime_ns for path in written.rglob("*") if path.is_file()}
    assert after_all == {path.relative_to(first): stamp for path, stamp in before.items()}
    assert not (tmp_path / ".cells refined.ome.zarr.partial").exists()
    assert "cells applied" in viewer.layers


def test_channels_strokes_and_a_rough_segmentation_go_to_disk_too(dock, qtbot, little_memory):
    rough = np.full((2, 300, 320), 5, np.uint8)
    rough[:, 100:200, 100:200] = 9
    # Noise would take a larger lattice than there is memory.
    image = np.stack([rough * scale for scale in (5, 10, 20)], axis=1)
    strokes = np.zeros((2, 300, 320), np.uint8)
    strokes[1, 10:20, 10:20] = 2
    layers = image_layer(image, name="image"), Labels(rough, name="rough"), Labels(strokes, name="mine")
    viewer, widget = dock(*layers, expect=False)
    widget.probabilities.value = layers[1]
    after(qtbot, widget, lambda: setattr(widget.strokes, "value", layers[2]))
    applied(qtbot, widget)
    layer = viewer.layers["image applied"]
    assert Path(layer.metadata["napari-densecrf"]["file"]).name.startswith("image refined")
    assert layer.data[0].shape == (2, 1, 300, 320)
    for t in range(2):
        probabilities = ndc.probabilities_from_labels((rough[t] == 9).astype(np.uint8))
        whole = ndc.refine(image[t], probabilities, widget.params, channel_axis=0, strokes=strokes[t]).labels
        assert_array_equal(np.asarray(layer.data[0][t, 0]), np.array([5, 9])[whole])
