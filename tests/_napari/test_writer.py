"""Saving beside files of others, and where a zarr of labels goes: no viewer needed."""

import json

import numpy as np
import pytest
from napari.layers import Image
from napari.layers._source import layer_source

from napari_densecrf._napari.contributions.writer import write_labels
from napari_densecrf._napari.runs.to_zarr import free_path

LABELS = np.ones((4, 5), np.uint8)


def test_the_json_of_somebody_else_stays(tmp_path):
    made = {"metadata": {"napari-densecrf": {"params": {"n_iterations": 5}}}}
    path = tmp_path / "a.tif"
    for _ in range(2):
        assert write_labels(str(path), LABELS, made) == [str(path), f"{path}.json"]
    (tmp_path / "a.tif.json").write_text('{"mine": 1}')
    with pytest.warns(UserWarning, match=r"a\.tif\.json is not of napari-densecrf and was left as it is"):
        assert write_labels(str(path), LABELS, made) == [str(path)]
    assert json.loads((tmp_path / "a.tif.json").read_text()) == {"mine": 1}


def test_a_zarr_of_labels_goes_beside_the_zarr_of_its_image_and_takes_no_name(tmp_path):
    inner = tmp_path / "image.ome.zarr" / "labels" / "cells"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "image.ome.zarr", inner.parent, inner):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    with layer_source(path=str(inner)):
        image = Image(LABELS, name="cells")
    assert free_path(image) == tmp_path / "cells refined.ome.zarr"
    # A link to nowhere is a name too.
    (tmp_path / "cells refined.ome.zarr").symlink_to(tmp_path / "nowhere")
    assert free_path(image) == tmp_path / "cells refined 2.ome.zarr"
