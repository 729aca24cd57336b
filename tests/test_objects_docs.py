"""docs/objects.md: its commands and its Python do what it says, what it names is there, pictures are made by code."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_array_equal
from scipy import ndimage as ndi

import napari_densecrf as ndc
from napari_densecrf.choose import objects as choosing
from napari_densecrf.cli import main
from napari_densecrf.crf.objects import contrast, pairs
from test_object_tiles import cells

# Runs all commands of a page.
pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "objects.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Make the page's files, run its commands and its Python, and return the folder and the names of the Python."""
    at = tmp_path_factory.mktemp("page")
    image, truth, rough = cells((100, 90))
    tifffile.imwrite(at / "image.tif", image)
    tifffile.imwrite(at / "objects.tif", rough)
    tifffile.imwrite(at / "cells_prob.tif", ndi.gaussian_filter((truth > 0).astype(np.float32), 2))
    tifffile.imwrite(at / "film.tif", np.stack([image, image[::-1]]))
    tifffile.imwrite(at / "film_objects.tif", np.stack([rough, rough[::-1]]))
    volume, _, solid = cells((16, 48, 48), step=16, bright=(90, 110))
    tifffile.imwrite(at / "volume.tif", volume)
    tifffile.imwrite(at / "volume_objects.tif", solid)
    (at / "images").mkdir()
    (at / "masks").mkdir()
    tifffile.imwrite(at / "images" / "a.tif", image)
    tifffile.imwrite(at / "masks" / "a_masks.tif", rough)
    names = {"image": image, "objects": rough}
    before = Path.cwd()
    os.chdir(at)
    try:
        for kind, text in re.findall(r"```(python|sh)\n(.*?)```", TEXT, flags=re.DOTALL):
            if kind == "python":
                exec(text, names)
                continue
            for line in text.splitlines():
                words = shlex.split(line)
                assert words[0] == "napari-densecrf"
                assert main(words[1:]) == 0, line
    finally:
        os.chdir(before)
    return at, names


def test_python_says_what_the_page_says(page):
    at, names = page
    whole = ndc.refine_objects(names["image"], names["objects"])
    # Of the call with numbers, which is the same.
    assert_array_equal(names["result"].labels, whole.labels)
    assert_array_equal(zarr.open_array(at / "labels.zarr", mode="r")[:], whole.labels)
    report = names["report"]
    share = dict(zip(report["id"].tolist(), report["border_moved"].tolist(), strict=True))
    assert min(share[one] for one in names["moved_most"]) >= sorted(share.values())[-10]
    assert set(report.dtype.names) == set(re.findall(r"^\| `(\w+)`", TEXT, flags=re.MULTILINE)) | {"area_after"}


def test_commands_write_what_python_gives(page):
    at, names = page
    image, objects = names["image"], names["objects"]
    foreground = tifffile.imread(at / "cells_prob.tif")
    last = ndc.refine_objects(image, objects, foreground=foreground)
    assert_array_equal(tifffile.imread(at / "refined.tif"), last.labels)
    film = tifffile.imread(at / "film_refined.tif")
    assert film.shape == (2, *image.shape)
    volume, solid = (tifffile.imread(at / name) for name in ("volume.tif", "volume_objects.tif"))
    expected = ndc.refine_objects(volume, solid, spacing=(2, 1, 1)).labels
    assert_array_equal(tifffile.imread(at / "volume_refined.tif"), expected)
    assert_array_equal(tifffile.imread(at / "out" / "a.tif"), ndc.refine_objects(image, objects).labels)
    assert "objects,area before,area after,held" in (at / "out" / "summary.csv").read_text()


def test_numbers_are_those_of_the_code():
    assert f"{choosing.SLOPE} (1 - support) - {choosing.OFFSET} pixels" in TEXT
    assert f"from {choosing.SMALLEST_BORDER} to {choosing.LARGEST_BORDER:g} pixels" in TEXT
    assert f"{choosing.BORDER_OF_THRESHOLD:g} pixels where the borders follow one intensity" in TEXT
    assert f"{choosing.UNKNOWN_BORDER:g} pixel where no border" in TEXT
    assert f"up to {choosing.LOOK:g} pixels" in TEXT
    assert f"is {choosing.INTENSITY_SIGMA} of the typical contrast" in TEXT
    assert f"deeper than {pairs.CORE_DEPTH} of its deepest" in TEXT
    assert (contrast.TOLD_APART, pairs.REACH_BORDERS, pairs.SMALLEST) == (0.5, 2.0, 1e-3)


def test_the_probabilities_are_those_of_the_formula():
    border, objects = 2.0, np.zeros((1, 41), np.int32)
    objects[0, 10:20], objects[0, 20:34] = 1, 2
    made = ndc.ObjectRefiner(np.zeros((1, 41)), objects)._pairs_at(border)
    x = np.arange(41)
    # The border lies between two pixels.
    distances = [np.maximum(9.5 - x, x - 19.5), np.maximum(19.5 - x, x - 33.5)]
    for k, distance in enumerate(distances):
        of_object = slice(made.starts[k], made.starts[k + 1])
        pixels, log_p = made.pixels[of_object], made.log_p[of_object]
        assert set(pixels) == set(np.flatnonzero(distance <= 2 * border))
        is_open = made.is_open[pixels]
        p = np.maximum(1 / (1 + np.exp(distance[pixels] / (border / 2))), 1e-3)
        np.testing.assert_allclose(np.exp(log_p[is_open]), p[is_open], rtol=1e-5)
    nearest = np.minimum(*distances)
    possible = made.background > -np.inf
    assert set(np.flatnonzero(~possible)) == set(np.flatnonzero(made.certain > 0))
    p = np.maximum(1 / (1 + np.exp(-nearest / (border / 2))), 1e-3)
    is_open = possible & made.is_open
    np.testing.assert_allclose(np.exp(made.background[is_open]), p[is_open], rtol=1e-5)


def test_pictures_are_there_and_are_made_by_the_code(tmp_path):
    pytest.importorskip("matplotlib")
    named = re.findall(r"\]\(images/([\w-]+\.png)\)", TEXT)
    assert len(named) == 2
    subprocess.run([sys.executable, str(DOCS / "make_objects_figures.py"), str(tmp_path)], check=True)
    for name in named:
        assert (DOCS / "images" / name).is_file()
        assert (tmp_path / name).stat().st_size > 10_000


def test_all_that_is_named_exists():
    named = re.findall(r"`([\w/]+)\.py: (\w+)`", TEXT)
    assert len(named) >= 6
    for module, name in named:
        assert hasattr(import_module(f"napari_densecrf.{module.replace('/', '.')}"), name)
