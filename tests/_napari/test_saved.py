"""What is saved through napari's own dialog is what it was when it is opened again: place, colours, classes, role."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from napari.plugins._npe2 import file_extensions_string_for_layers
from numpy.testing import assert_array_equal

from driving import after, image_layer, picture, result_of, settle
from napari_densecrf._napari.contributions.attributes import attributes_of, described
from napari_densecrf._napari.problem.problem import METADATA_KEY, STROKES_KEY
from napari_densecrf._napari.sections.legend import Legend

PLACED = {"scale": (0.5, 0.25), "translate": (3.0, 4.0), "units": ("micrometer", "micrometer")}


@pytest.fixture
def docked(dock):
    image, probabilities = picture((40, 50), 3)
    maps = {**{name: (0.0 if name == "translate" else 1.0, *value) for name, value in PLACED.items()}}
    maps["units"] = ("pixel", *PLACED["units"])
    layers = (
        image_layer(image, name="image", **PLACED),
        image_layer(probabilities, name="map", metadata={"classes": ["sky", "sea", "sand"]}, **maps),
    )
    return dock(*layers)


def save(viewer, path, *layers, kind="*.tif"):
    """Save as napari's dialog does where the user takes the first filter of a kind; of one layer the first is a tif."""
    viewer.layers.selection = set(layers)
    filters, writers = file_extensions_string_for_layers(list(viewer.layers.selection))
    at = next(k for k, words in enumerate(filters.split(";;")) if kind in words)
    assert at == 0 or len(layers) > 1
    return filters.split(";;")[at], viewer.layers.save(str(path), selected=True, _writer=writers[at])


def reopened(viewer, qtbot, widget, path):
    """Open a file as napari does, and return the layer that it becomes."""
    viewer.open(path, plugin="napari")
    settle(qtbot, widget)
    return viewer.layers[Path(path).stem]


def test_the_filter_that_is_offered_keeps_how_labels_were_made(docked, qtbot, tmp_path):
    viewer, widget = docked
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    made, layer = widget.params, result_of(viewer)
    # The dialog gives a name without an ending.
    offered, written = save(viewer, tmp_path / "labels", layer)
    assert offered.startswith("Dense CRF labels with colours, scale and how they were made (*.tif")
    assert [str(path) for path in written] == [str(tmp_path / "labels.tif"), str(tmp_path / "labels.tif.json")]
    # The tif alone tells all.
    (tmp_path / "labels.tif.json").unlink()
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 1.1))
    again = reopened(viewer, qtbot, widget, tmp_path / "labels.tif")
    assert isinstance(again, Labels)
    assert again.data.dtype == np.uint8
    assert_array_equal(again.data, tifffile.imread(tmp_path / "labels.tif"))
    for name in ("scale", "translate"):
        assert tuple(getattr(again, name)) == PLACED[name]
    assert [str(unit) for unit in again.units] == list(PLACED["units"])
    assert again.axis_labels == layer.axis_labels
    for value in range(3):
        assert_array_equal(again.colormap.map(value), layer.colormap.map(value))
    assert list(again.features["class"]) == ["sky", "sea", "sand"]
    viewer.layers.selection.active = again
    widget.image.value, widget.probabilities.value = viewer.layers["image"], viewer.layers["map"]
    after(qtbot, widget, lambda: widget.restore.changed.emit(True))
    assert widget.params == made


def test_a_path_alone_finds_the_writer_that_keeps_it(docked, tmp_path):
    viewer, _ = docked
    viewer.layers.selection = {result_of(viewer)}
    viewer.layers.save(str(tmp_path / "a.tif"), selected=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        said = file.shaped_metadata[0]
        (pixels, length), unit = file.pages[0].tags["XResolution"].value, file.pages[0].tags["ResolutionUnit"].value
    assert said[METADATA_KEY]["params"]["n_iterations"] > 0
    assert said["layer"]["scale"] == [0.5, 0.25]
    # Fiji and others read it: 0.25 µm are 40,000 pixels a centimetre.
    assert (pixels / length, unit) == (40_000, 3)


def test_the_program_of_ome_files_reads_the_pixel_size(docked, tmp_path):
    viewer, _ = docked
    viewer.layers.selection = {result_of(viewer)}
    viewer.layers.save(str(tmp_path / "a.ome.tif"), selected=True)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.25, "µm")
    assert json.loads((tmp_path / "a.ome.tif.json").read_text())["layer"]["scale"] == [0.5, 0.25]


def test_all_layers_saved_to_a_folder_keep_it_too(docked, qtbot, tmp_path):
    viewer, widget = docked
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    offered, written = save(viewer, tmp_path / "all", *viewer.layers, kind="(*.*)")
    assert offered.startswith("Dense CRF Save to Folder")
    names = {Path(path).name for path in written}
    assert {"image.tif", "map.tif", "image refined.tif", "image strokes.tif"} <= names
    with tifffile.TiffFile(tmp_path / "all" / "image refined.tif") as file:
        assert METADATA_KEY in file.shaped_metadata[0]


def test_strokes_are_strokes_again(docked, qtbot, tmp_path):
    viewer, widget = docked
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    strokes = viewer.layers["image strokes"]
    after(qtbot, widget, lambda: strokes.paint((10, 10), 3))
    save(viewer, tmp_path / "mine.tif", strokes)
    painted, colours = strokes.data.copy(), strokes.colormap.map(np.arange(4))
    source = widget.probabilities.value
    viewer.layers.remove(strokes)
    settle(qtbot, widget)
    again = reopened(viewer, qtbot, widget, tmp_path / "mine.tif")
    assert again.metadata[STROKES_KEY]
    assert again.metadata["classes"] == ["sky", "sea", "sand"]
    assert again.visible
    assert_array_equal(again.data, painted)
    assert_array_equal(again.colormap.map(np.arange(4)), colours)
    assert widget.strokes.value is again
    assert widget.probabilities.value is source
    legend = next(section for section in widget.sections if isinstance(section, Legend))
    assert [entry.name for entry in legend.entries] == ["sky", "sea", "sand"]
    # Its keys choose the class.
    assert {str(key) for key in again.keymap} >= {"1", "2", "9", "0"}
    assert_array_equal(widget.last_result.request.strokes, painted)


def test_labels_that_were_not_made_here_keep_place_and_colours_but_get_no_file_beside(docked, qtbot, tmp_path):
    viewer, widget = docked
    viewer.add_labels(np.arange(2000, dtype=np.int64).reshape(40, 50), name="ids", **PLACED)
    settle(qtbot, widget)
    _, written = save(viewer, tmp_path / "ids.tif", viewer.layers["ids"])
    assert [Path(path).name for path in written] == ["ids.tif"]
    viewer.layers.remove("ids")
    again = reopened(viewer, qtbot, widget, tmp_path / "ids.tif")
    assert tuple(again.scale) == PLACED["scale"]
    assert METADATA_KEY not in again.metadata


def test_a_disk_that_is_full_leaves_the_file_that_was_there(docked, tmp_path, monkeypatch):
    viewer, _ = docked
    (tmp_path / "a.tif").write_bytes(b"earlier")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OSError, match="No space left"):
        save(viewer, tmp_path / "a.tif", result_of(viewer))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"earlier"


def test_looks_survive_json():
    layer = Labels(np.arange(12).reshape(3, 4), scale=(2, 3), rotate=30, translate=(1, 2), opacity=0.3)
    _, attributes, kind = layer.as_layer_data_tuple()
    again = Labels(layer.data, **attributes_of(json.loads(json.dumps(described(attributes, kind)))))
    for name in ("scale", "translate", "rotate", "shear", "opacity", "axis_labels", "units"):
        assert_array_equal(getattr(again, name), getattr(layer, name))
    assert_array_equal(again.colormap.map(np.arange(12)), layer.colormap.map(np.arange(12)))
