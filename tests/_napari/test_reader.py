"""ilastik's exports as layers: the map with its classes first, by the manifest and in a viewer model."""

import sys
from pathlib import Path

import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from npe2 import PluginManager
from numpy.testing import assert_array_equal

from napari_densecrf._napari.contributions.reader import get_reader
from napari_densecrf._napari.work.reading import class_names

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_files import write_ilastik

PROBABILITIES = np.moveaxis(np.random.default_rng(0).dirichlet(np.ones(3), (5, 20, 24)), -1, 0).astype(np.float32)


def read_as_napari(path):
    """Read through npe2, as napari does when a file is dropped on it."""
    manager = PluginManager.instance()
    manager.discover()
    readers = [one.command for one in manager.iter_compatible_readers([str(path)])]
    assert "napari-densecrf.read_ilastik" in readers
    return npe2.read([str(path)], stack=False, plugin_name="napari-densecrf")


def test_a_map_is_one_layer_with_its_classes(tmp_path):
    path = tmp_path / "cells_Probabilities.h5"
    write_ilastik(path, np.moveaxis(PROBABILITIES, 0, -1), "zyxc")
    layer = ViewerModel()._add_layer_from_data(*read_as_napari(path)[0])[0]
    assert isinstance(layer, Image)
    assert layer.name == "cells_Probabilities"
    assert layer.axis_labels == ("class", "z", "y", "x")
    assert tuple(layer.contrast_limits) == (0, 1)
    assert class_names(layer, 3) == ["Label 1", "Label 2", "Label 3"]
    assert_array_equal(layer.data, PROBABILITIES)


def test_names_and_sizes_of_the_file_are_the_layers(tmp_path):
    path = tmp_path / "map.h5"
    eight = np.round(PROBABILITIES[:, 0] * 255).astype(np.uint8)
    write_ilastik(path, eight, "cyx", class_names='["sky", "sea", "sand"]', element_size_um=[0.5, 0.25])
    data, about, kind = get_reader(str(path))(str(path))[0]
    assert about["metadata"]["classes"] == ["sky", "sea", "sand"]
    assert about["scale"] == [1.0, 0.5, 0.25]
    assert about["contrast_limits"] == (0, 255)
    assert kind == "image"
    assert_array_equal(data, eight)


def test_a_segmentation_is_a_labels_layer(tmp_path):
    path = tmp_path / "cells_Simple Segmentation.h5"
    write_ilastik(path, np.ones((1, 20, 24, 1), np.uint8), "tyxc")
    layer = ViewerModel()._add_layer_from_data(*read_as_napari(path)[0])[0]
    assert isinstance(layer, Labels)
    assert layer.data.shape == (20, 24)


@pytest.mark.parametrize("content", [b"no image", None])
def test_other_files_are_left_to_others(tmp_path, content):
    path = tmp_path / "a.h5"
    if content is not None:
        path.write_bytes(content)
    assert get_reader(str(path)) is None


def test_the_reader_needs_no_qt(tmp_path):
    import subprocess

    script = (
        "import sys; from napari_densecrf._napari.contributions.reader import get_reader; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'qtpy', 'PyQt6', 'magicgui'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
