"""docs/from-one-slice-to-everything.md: its commands do what it says, in its order, in a folder with its files."""

import io
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import napari_densecrf as ndc
from napari_densecrf.cli import main
from test_files import write_ilastik, write_ome_zarr

# Runs all commands of a page, a cluster among them.
pytestmark = pytest.mark.slow

pytest.importorskip("ome_zarr")
pytest.importorskip("distributed")

TEXT = (Path(__file__).parents[1] / "docs" / "from-one-slice-to-everything.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", TEXT, flags=re.DOTALL)


def scene(shape, seed=0):
    rng = np.random.default_rng(seed)
    places = np.indices(shape).sum(axis=0)
    image = (128 + 100 * np.sin(places / 6)).astype(np.uint8)
    foreground = np.clip((image > 128) * 0.6 + 0.4 * rng.random(shape), 0, 1).astype(np.float32)
    return image, np.stack([1 - foreground, foreground])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the page's files, run all it says, and return where."""
    at = tmp_path_factory.mktemp("page")
    image, probabilities = scene((3, 40, 48))
    tifffile.imwrite(at / "image.tif", image, metadata={"axes": "TYX"})
    write_ilastik(at / "map.h5", np.moveaxis(probabilities, 0, -1), "tyxc")
    volume, chances = scene((6, 30, 36))
    tifffile.imwrite(at / "cells.tif", volume, metadata={"axes": "ZYX"})
    tifffile.imwrite(at / "cells_prob.tif", chances[1], metadata={"axes": "ZYX"})
    slide, chances = scene((300, 400))
    write_ome_zarr(at / "slide.ome.zarr", slide, "yx", [0.5, 0.5])
    write_ome_zarr(at / "slide_map.ome.zarr", chances, "cyx", [1, 0.5, 0.5])
    for name in ("images", "maps"):
        (at / name).mkdir()
    for k in range(2):
        image, probabilities = scene((40, 48), k)
        tifffile.imwrite(at / "images" / f"{k}.tif", image)
        np.save(at / "maps" / f"{k}_prob.npy", probabilities)
    run_page(at)
    return at


def run_page(at):
    """Run the blocks in order; what a shell has put in the background ends with the page."""
    names = {}
    background = []
    before = Path.cwd()
    os.chdir(at)
    try:
        for kind, text in BLOCKS:
            if kind == "python":
                exec(text, names)
                continue
            for line in text.splitlines():
                if line.endswith("&"):
                    background.append(start(line.removesuffix("&").split()))
                    continue
                words = shlex.split(line)
                assert words[0] == "napari-densecrf"
                with redirect_stdout(io.StringIO()) as said:
                    assert main(words[1:]) == 0, line
                if "--dry-run" in words:
                    assert said.getvalue().startswith("reads   image.tif: 3 x 40 x 48 TYX uint8")
                    assert not (at / "labels.tif").exists()
    finally:
        os.chdir(before)
        for process in reversed(background):
            process.terminate()
            process.wait(30)


def start(words):
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.0)
    return process


def params(at):
    return ndc.CRFParams.from_json((at / "params.json").read_text())


def test_a_time_lapse_is_refined_frame_by_frame_here_and_on_the_cluster(folder):
    image, probabilities = scene((3, 40, 48))
    expected = [ndc.refine(image[t], probabilities[:, t], params(folder)).labels for t in range(3)]
    np.testing.assert_array_equal(tifffile.imread(folder / "labels.tif"), expected)
    np.testing.assert_array_equal(tifffile.imread(folder / "cluster.tif"), expected)


def test_marginals_in_255ths(folder):
    image, probabilities = scene((3, 40, 48))
    expected = [ndc.refine(image[t], probabilities[:, t], params(folder)).marginals for t in range(3)]
    found = tifffile.imread(folder / "sure.tif")
    np.testing.assert_array_equal(found, np.round(255 * np.stack(expected, axis=1)))


def test_frames_that_hold_each_other(folder):
    image, probabilities = scene((3, 40, 48))
    film = ndc.refine(image, probabilities, params(folder).coupled_in_time(0.7)).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "film.tif"), film)


def test_a_volume_and_its_slices(folder):
    image, probabilities = scene((6, 30, 36))
    volume = ndc.refine(image, probabilities[1], params(folder), spacing=(2, 1, 1)).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "volume.tif"), volume)
    slices = [ndc.refine(image[z], probabilities[1, z], params(folder)).labels for z in range(6)]
    np.testing.assert_array_equal(tifffile.imread(folder / "slices.tif"), slices)


def test_a_slide_into_a_pyramid_into_itself_and_into_a_lazy_array(folder):
    image, probabilities = scene((300, 400))
    expected = ndc.refine(image, probabilities, params(folder)).labels
    for name in ("slide_labels.ome.zarr/0", "slide.ome.zarr/labels/refined/0", "labels.zarr"):
        np.testing.assert_array_equal(zarr.open_array(folder / name, mode="r")[:], expected)


@pytest.mark.parametrize("output", ["image.tif", "map.h5/../image.tif", "slide.ome.zarr", "slide.ome.zarr/labels"])
def test_what_is_never_written_over(folder, output, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = ["refine", "slide.ome.zarr", "slide_map.ome.zarr", "-o", str(folder / output)]
    if output.endswith(".tif"):
        (folder / "linked.tif").symlink_to("image.tif")
        words = ["refine", "linked.tif", "map.h5", "-o", str(folder / output)]
    words[1:3] = [str(folder / name) for name in words[1:3]]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (folder / "linked.tif").unlink(missing_ok=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder(folder):
    for k in range(2):
        image, probabilities = scene((40, 48), k)
        expected = ndc.refine(image, probabilities, params(folder)).labels
        np.testing.assert_array_equal(tifffile.imread(folder / "out" / f"{k}.tif"), expected)
    assert (folder / "out" / "summary.csv").read_text().count("there already") == 2
