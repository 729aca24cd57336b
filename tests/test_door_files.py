"""What people bring to Python and to the command line: read right, refused in one sentence, or said to be a guess.

A number behind a case is the public report of a neighbouring tool that describes it.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from scipy import ndimage

import napari_densecrf as ndc
from files_written import written
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main
from napari_densecrf.crf.numba import compile
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import Kind
from napari_densecrf.files import project
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import Options
from napari_densecrf.files.read import BadInput, read

Y, X = np.indices((64, 64))
TRUTH = (Y - 32) ** 2 + (X - 32) ** 2 < 20**2
IMAGE = (60 + 120 * TRUTH).astype(np.uint8)
RNG = np.random.default_rng(0)
ROUGH = TRUTH ^ (RNG.random(TRUTH.shape) < 0.1)
P = np.where(ROUGH, [[[0.3]], [[0.7]]], [[[0.7]], [[0.3]]]).astype(np.float32)
SOFT = np.clip(ndimage.gaussian_filter(TRUTH.astype(float), 3) + RNG.normal(0, 0.05, TRUTH.shape), 0.01, 0.99)
IDS = (Y // 8 * 8 + X // 8 + 1) * TRUTH
PARAMS = CRFParams((PairwiseKernel(4, 8, 20), PairwiseKernel(1, 2)))


def refined(probabilities, image=IMAGE, **options):
    return ndc.refine(image, probabilities, PARAMS, **options).labels


# ---- what the numbers are, in Python


@pytest.mark.parametrize(
    "probabilities",
    [
        P,
        P.astype(">f4"),
        P.astype(np.float64),
        P.astype(np.float16),
        np.round(P * 255).astype(np.uint8),
        np.round(P * 65535).astype("<u2"),
        # Files of the other byte order.
        np.round(P * 65535).astype(">u2"),
        np.ma.array(P, mask=np.zeros(P.shape, bool)),
        np.asfortranarray(P),
        np.moveaxis(np.ascontiguousarray(np.moveaxis(P, 0, -1)), -1, 0),
        P.tolist(),
        # A foreground map of two values, neither of which is 0.
        np.round(P[1] * 255).astype(np.uint8),
        np.round(P[1] * 65535).astype(">u2"),
    ],
)
def test_maps_of_any_type_and_order_are_read_right(probabilities):
    assert (refined(probabilities) != TRUTH).mean() < 0.01


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        # A mask or ids saved as an image (napari #2899).
        (ROUGH, "holds only true and false.*probabilities_from_labels"),
        (ROUGH.astype(np.uint8), "only 0 and 1 as uint8.*probabilities_from_labels"),
        (ROUGH.astype(np.int64), "only 0 and 1 as int64.*probabilities_from_labels"),
        (ROUGH * np.uint16(255), "only 0 and 255 as uint16: it holds a mask"),
        (ROUGH * np.uint8(255), "only 0 and 255 as uint8: it holds a mask"),
        (np.where(ROUGH, 255, 0).astype(">u2"), "only 0 and 255 as uint16: it holds a mask"),
        (ROUGH + 2 * (X > 50), "holds only the values 0, 1, 2.*probabilities_from_labels"),
        ((ROUGH * 127 + 128 * (X > 50)).astype(np.uint8), "if these are probabilities, divide it by 255"),
        (IDS.astype(np.uint16), "one number each, up to 54, as uint16"),
        (IDS.astype(np.int32), "objects"),
        (IDS.astype(np.float32), "whole numbers up to 54"),
        ((IDS - 1).astype(np.int16), "goes down to -1, as int16"),
        (IDS.astype(np.uint64) * 2**33, "objects"),
        # One plane of 0 and 1 a class.
        (np.stack([~ROUGH, ROUGH]).astype(np.uint8), "one plane of 0 and 1 each; pass .* argmax"),
        # Percent, 8 and 12 bit in uint16, floats of 0..255.
        (P * 100, "sums to 100 .*divide it by 100 "),
        (np.round(P * 100).astype(np.uint8), "divide it by 100 "),
        (np.round(P * 255).astype(np.uint16), "divide it by 255 "),
        (np.round(P * 4095).astype(np.uint16), "divide it by 4095 "),
        (SOFT * 255, "divide it by 255 "),
        (np.round(SOFT * 255).astype(np.int16), "divide it by 255 "),
        # Logits.
        (np.log(P), "negative: it holds logits; apply softmax"),
        (8 * SOFT - 4, "negative: it holds logits; apply softmax .* or the sigmoid"),
        (np.stack([3 + SOFT, 9 * SOFT + 1]), "sums to nothing in common: it holds logits"),
        # Interpolation of order 3 overshoots.
        (1.2 * SOFT - 0.1, "from -0.0.* to 1.0.*clip it to 0 to 1"),
        # A number that stands for no value (rasterio's nodata); NaN does, but not scattered.
        (np.where(X > 60, -9999, SOFT), "infinite or negative at 192 of 4,096"),
        (np.where((X % 20 == 9) & (Y % 20 == 9), np.nan, P), "NaN at 9 of .* pixels that lie scattered"),
        (P.astype(complex), "complex128"),
        (P.astype(object), "object"),
    ],
)
def test_what_is_no_map_is_refused_with_what_to_do(probabilities, words):
    for run in (refined, lambda one: ndc.refine_tiles(IMAGE, one, PARAMS).compute()):
        with pytest.raises(ValueError, match=words) as caught:
            run(probabilities)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


def test_images_and_strokes_of_the_other_byte_order():
    strokes = np.where((Y == 5) & (X == 5), 2, 0)
    expected = refined(P, strokes=strokes)
    assert expected[5, 5] == 1
    np.testing.assert_array_equal(refined(P, IMAGE.astype(">i4"), strokes=strokes.astype(">i2")), expected)


@pytest.mark.parametrize("other", ["suggest", "fit", "plan_tiles"])
def test_whatever_takes_a_map_looks_at_it(other):
    with pytest.raises(ValueError, match="only 0 and 255"):
        getattr(ndc, other)(IMAGE, ROUGH * np.uint8(255), *([TRUTH.astype(int)] if other == "fit" else []))


def test_a_part_is_not_judged_by_what_it_holds():
    eight = np.round(SOFT * 255).astype(np.uint8)
    eight[:, :8] = RNG.integers(0, 4, (64, 8))
    whole = ndc.refine(IMAGE, eight, PARAMS).labels
    part = ndc.refine(IMAGE[:, :8], eight[:, :8], PARAMS, origin=(0, 0), probe=ndc.take_probe(IMAGE)).labels
    np.testing.assert_array_equal(part, whole[:, :8])
    small = ndc.TilePlan((64, 64), (8, 64), (0, 0), 1, 1.0)
    assert (ndc.refine_tiles(IMAGE, eight, PARAMS, plan=small).compute() == TRUTH).mean() > 0.98


# ---- what the numbers of arrays are that are not in memory


@pytest.mark.parametrize(
    ("planes", "class_axis", "kind"),
    [
        (lambda rng, shape: rng.random((2, *shape), np.float32), 0, Kind.PROBABILITIES),
        (lambda rng, shape: rng.integers(0, 2, shape, np.uint8), None, Kind.MASK),
        (lambda rng, shape: rng.integers(0, 4096, shape, np.uint16), None, Kind.SCALED),
        (lambda rng, shape: rng.integers(0, 256, shape, np.uint8), None, Kind.PROBABILITIES),
        (lambda rng, shape: 5 * rng.standard_normal((2, *shape), np.float32), 0, Kind.LOGITS),
    ],
)
def test_a_lazy_map_is_judged_by_windows(planes, class_axis, kind):
    array = planes(np.random.default_rng(0), (2500, 2100))
    read = []
    lazy = da.from_array(Counted(array, read), chunks=(-1, 512, 512)[-array.ndim :])
    assert look_through(lazy, class_axis).kind is kind
    assert look_through(array, class_axis).kind is kind
    if kind not in (Kind.MASK, Kind.SCALED):
        assert sum(read) < 0.9 * array.size


def test_a_lazy_map_with_little_foreground_is_read_on_until_it_is_known():
    array = np.random.default_rng(0).integers(0, 4, (3000, 3000), np.uint8)
    assert look_through(da.from_array(array, chunks=512), None).kind is Kind.CLASSES
    array[1990:2010, 310:370] = np.random.default_rng(0).integers(100, 255, (20, 60))
    assert look_through(da.from_array(array, chunks=512), None).kind is Kind.PROBABILITIES


class Counted:
    """An array that notes how much of it is read."""

    def __init__(self, array, read):
        self.array, self.read = array, read
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, where):
        """Read a part."""
        part = self.array[where]
        self.read.append(part.size)
        return part


# ---- labels of any kind, in Python


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        # napari #3647 and #6077: 0 and 70000 asked for 36 GiB.
        (np.where(TRUTH, 70_000, 0), r"2 different values, 0, 70000: .*np.unique\(labels, return_inverse=True\)"),
        (TRUTH * np.uint8(255), "2 different values, 0, 255"),
        (np.where(TRUTH, 2**40, 3), "2 different values, 3, 1099511627776"),
        (np.arange(4096).reshape(64, 64), "4,096 different values, 0, 1, 2, …, 4095"),
        (np.where(TRUTH, 1, -1), "go down to -1: .*return_inverse"),
        (np.ma.array(TRUTH.astype(int), mask=X > -1), "masked at all pixels"),
        (TRUTH.astype(float), "float64 values"),
    ],
)
def test_labels_that_are_no_indices_are_refused_with_what_makes_them_so(labels, words):
    with pytest.raises(ValueError, match=words):
        ndc.probabilities_from_labels(labels)


def test_what_the_sentence_says_is_right():
    labels = np.where(ROUGH, 70_000, -3)
    values, ranks = np.unique(labels, return_inverse=True)
    result = values[refined(ndc.probabilities_from_labels(ranks.reshape(labels.shape)))]
    assert (result == np.where(TRUTH, 70_000, -3)).mean() > 0.99
    with pytest.raises(ValueError, match="only 0 and 255"):
        refined(ROUGH * np.uint8(255))
    assert (refined(ndc.probabilities_from_labels(ROUGH * np.uint8(255) > 0)) == TRUTH).mean() > 0.99


# ---- the command line


OPTIONS = ["--appearance-weight", "4", "--appearance-position-sigma", "8", "--appearance-intensity-sigma", "20"]
OPTIONS += ["--smoothness-weight", "1", "--smoothness-position-sigma", "2"]


@pytest.fixture
def command(tmp_path, capsys):
    """Return what refines arrays by way of files: exit code, what it said, and where the labels are."""

    def run(probabilities, *options, image=IMAGE, name="map.tif", out="out.tif", **written_as):
        np.save(tmp_path / "image.npy", image)
        if name.endswith(".npy"):
            np.save(tmp_path / name, probabilities)
        else:
            tifffile.imwrite(tmp_path / name, probabilities, **{"photometric": "minisblack", **written_as})
        names = [str(tmp_path / one) for one in ("image.npy", name)]
        code = main(["refine", *names, "-o", str(tmp_path / out), *OPTIONS, *options])
        return code, capsys.readouterr().err, tmp_path / out

    return run


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (
            ROUGH * np.uint8(255),
            "map.tif: the map holds only 0 and 255 as uint8: it holds a mask; say --from-labels 0.9",
        ),
        (ROUGH * np.uint16(255), "say --from-labels 0.9"),
        (IDS.astype(np.uint16), "say --from-labels 0.9 if each number is a class"),
        (IDS.astype(np.int32), "say --from-labels"),
        (np.stack([~ROUGH, ROUGH]).astype(np.uint8), "say --from-labels 0.9"),
        (np.round(P * 4095).astype(np.uint16), "divide it by 4095 and save it as floats"),
        (P * 100, "divide it by 100 and save"),
        (np.log(P), "apply softmax"),
    ],
)
def test_the_command_refuses_what_is_no_map_in_its_own_words(command, probabilities, words):
    code, said, out = command(probabilities)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i1", "i2", "i4", ">i4", "i8", "u8"])
@pytest.mark.parametrize("out", ["out.tif", "out.npy", "out.ome.tif", "out.ome.zarr"])
def test_labels_of_any_type_come_back_in_it(command, dtype, out):
    if out.endswith("zarr"):
        pytest.importorskip("ome_zarr")
    info = np.iinfo(dtype)
    low, high = (-1, info.max // 2) if info.min < 0 else (3, info.max - 1)
    if out == "out.ome.tif" and info.bits == 64:
        low, high = low, 70_000
    code, said, path = command(
        np.where(ROUGH, high, low).astype(dtype), "--from-labels", "0.8", out=out, name="map.npy"
    )
    assert (code, said) == (0, "")
    found = written(path)
    assert found.dtype == np.dtype(dtype).newbyteorder("=") or out == "out.ome.tif"
    assert set(np.unique(found).tolist()) == {low, high}
    assert ((found == high) == TRUTH).mean() > 0.99


def test_labels_that_a_kind_of_file_cannot_hold_are_said_before_any_work(command):
    code, said, path = command(np.where(ROUGH, 2**40, 0), "--from-labels", "0.8", out="out.ome.tif", name="map.npy")
    assert code == 2
    assert "cannot hold labels of 0 to 1099511627776, of 64 bit: expected .tif or .npy" in said
    assert not path.exists()


@pytest.mark.parametrize(
    ("labels", "high"),
    [
        (ROUGH, 1),
        (ROUGH.astype(np.float32), 1),
        (np.where(ROUGH, 7.0, 2.0), 7),
        (np.stack([~ROUGH, ROUGH]).astype(np.uint8), 1),
        (np.stack([~ROUGH, ROUGH]).astype(np.uint8) * 255, 1),
    ],
)
def test_from_labels_takes_masks_whole_floats_and_planes_of_0_and_1(command, labels, high):
    code, said, path = command(labels, "--from-labels", "0.8", name="map.npy")
    assert (code, said) == (0, "")
    assert ((tifffile.imread(path) == high) == TRUTH).mean() > 0.99


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(4096).reshape(64, 64), "more than 300 different labels, as int64, from 0 to "),
        (SOFT, "holds floats that are no whole numbers: expected one label a pixel"),
        (P, "one label a pixel"),
    ],
)
def test_from_labels_refuses_what_holds_none(command, labels, words):
    code, said, _ = command(labels, "--from-labels", "0.8", name="map.npy")
    assert code == 2
    assert words in said


def test_classes_are_those_of_all_frames(command, tmp_path):
    """As in ilastik #415, where slice 0 has {0, 1, 2}, slice 1 {0, 2}: a stroke's number is one class on both."""
    rough = np.stack([np.where(ROUGH, 5, 0), np.where(ROUGH, 9, 0)])
    rough[0, :8, :8] = 9
    strokes = np.zeros(rough.shape, np.uint8)
    strokes[:, 40, 5] = 3
    np.save(tmp_path / "strokes.npy", strokes)
    options = ["--from-labels", "0.8", "--axes", "TYX", "--strokes", str(tmp_path / "strokes.npy")]
    code, said, path = command(rough.astype(np.uint16), *options, image=np.stack([IMAGE] * 2), name="map.npy")
    assert (code, said) == (0, "")
    found = tifffile.imread(path)
    assert found.dtype == np.uint16
    assert found[:, 40, 5].tolist() == [9, 9]
    assert found[:, 32, 32].tolist() == [5, 9]


def test_areas_in_the_table_are_those_of_the_labels(tmp_path):
    for name, labels in (("a", np.where(ROUGH, 300, -1)), ("b", np.where(ROUGH, 300, 7))):
        np.save(tmp_path / f"{name}.npy", IMAGE)
        np.save(tmp_path / f"{name}_map.npy", labels)
    images = [str(tmp_path / f"{name}.npy") for name in "ab"]
    maps = ["--probabilities", str(tmp_path / "{stem}_map.npy"), "-o", str(tmp_path / "out"), "--from-labels", "0.8"]
    assert main(["batch", *images, *maps, *OPTIONS, "--quiet"]) == 0
    with (tmp_path / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, other in zip(rows, ("pixels_-1", "pixels_7"), strict=True):
        assert int(row["pixels_300"]) == pytest.approx(TRUTH.sum(), rel=0.02)
        assert int(row["pixels_300"]) + int(row[other]) == TRUTH.size


# ---- axes: names decide, then what sums to one; else it is said


THREE = np.stack([0.8 * P[0], P[1], 0.2 * P[0]]).astype(np.float32)
CHANNELS = np.stack([IMAGE, IMAGE[::-1], IMAGE[:, ::-1]])


def test_as_many_channels_as_classes(command):
    """What sums to one tells that axis 0 of the map holds classes, so that of the image holds channels."""
    expected = refined(THREE, CHANNELS, channel_axis=0)
    code, said, path = command(THREE, image=CHANNELS)
    assert (code, said) == (0, "")
    np.testing.assert_array_equal(tifffile.imread(path), expected)
    code, said, path = command(THREE, "--axes", "CYX", image=CHANNELS)
    assert (code, said) == (0, "")


def test_as_many_slices_as_classes_is_asked_where_nothing_tells(command):
    code, said, path = command(np.stack([SOFT] * 3), image=CHANNELS)
    assert code == 2
    assert "--axes ZYX" in said
    assert "--axes TYX" in said
    assert "--axes CYX where these are channels" in said
    assert not path.exists()


def test_classes_are_not_taken_for_frames(command):
    code, said, path = command(THREE, "--axes", "TYX", image=CHANNELS)
    assert code == 2
    assert "map.tif sums to 1 along T, so T counts classes there: say --axes CYX" in said
    assert not path.exists()


@pytest.mark.parametrize("class_axis", [0, 1])
def test_as_many_frames_as_classes(command, class_axis):
    frames = np.stack([THREE, THREE[:, ::-1], THREE[:, :, ::-1]])
    expected = [refined(THREE), refined(THREE[:, ::-1], IMAGE[::-1]), refined(THREE[:, :, ::-1], IMAGE[:, ::-1])]
    code, said, path = command(np.moveaxis(frames, 1, class_axis), "--axes", "TYX", image=CHANNELS)
    assert (code, said) == (0, "")
    np.testing.assert_array_equal(tifffile.imread(path), expected)


def test_a_guess_of_axes_is_said_with_the_option_that_ends_it(command):
    odd = np.stack([SOFT, SOFT**2, SOFT**0.5])
    frames = np.stack([odd] * 3)
    code, said, _ = command(frames, "--axes", "TYX", image=CHANNELS)
    assert code == 0
    assert "the classes are taken to be axis 1 of the map; they may be axis 2; --map-axes tells" in said
    code, said, _ = command(frames, "--axes", "TYX", "--map-axes", "TCYX", image=CHANNELS)
    assert code == 0
    assert "taken to be" not in said


def test_map_axes_that_do_not_fit_are_refused(command):
    code, said, _ = command(np.moveaxis(THREE, 0, -1), "--map-axes", "CYX")
    assert code == 2
    assert "with --map-axes CYX: expected (64, 64) along YX" in said


@pytest.mark.parametrize("shape", [(1, 1, 1, 64, 64), (1, 64, 64), (1, 1, 64, 64), (64, 64, 1)])
def test_axes_of_one_pixel_need_not_be_in_both(command, shape):
    """As in napari-omero #110: a 5D image with 2D labels."""
    options = ["--from-labels", "0.8"]
    code, said, path = command(ROUGH.astype(np.uint8), *options, image=IMAGE.reshape(shape), name="map.npy")
    assert (code, said) == (0, "")
    assert (written(path).squeeze() == TRUTH).mean() > 0.99
    code, said, path = command(ROUGH.reshape(shape).astype(np.uint8), *options, name="map.npy")
    assert (code, said) == (0, "")
    assert (written(path) == TRUTH).mean() > 0.99


def test_an_image_is_not_its_own_map(names, folder, capsys):
    says_one_sentence(["refine", names[0], names[0], *names[2:]], capsys, "as the image and as its map")
    images = str(folder / "images" / "{stem}.npy")
    arguments = ["batch", str(folder / "images"), "--probabilities", images, "-o", str(folder / "out")]
    says_one_sentence(arguments, capsys, "names the image", "itself: expected the pattern of its map")


def test_pictures_of_masks(command):
    """A mask that was saved as RGB or with an alpha channel is no map of three or two classes."""
    mask = ROUGH * np.uint8(255)
    code, said, _ = command(np.stack([mask] * 3, axis=-1), photometric="rgb")
    assert code == 2
    assert "has 3 equal planes: it holds a picture; save one of its planes" in said
    few = mask * (Y < 8)
    for options in ([], ["--from-labels", "0.8"]):
        code, said, _ = command(np.stack([few, np.full_like(few, 255)], axis=-1), *options, name="map.npy")
        assert code == 2, said
    # The colours of a palette, in which nothing but the mask is seen.
    colours = np.stack([200 * ROUGH + 20, 90 * ROUGH + 10, 60 * (1 - ROUGH) + 30], axis=-1).astype(np.uint8)
    code, said, _ = command(colours, photometric="rgb")
    assert code == 2
    assert "sums to 0.471 to 1.37" in said
    assert "seems to hold a picture" in said
    black = np.stack([mask, 255 - mask, 0 * mask]) * (X > 5).astype(np.uint8)
    code, said, _ = command(black, "--from-labels", "0.8", name="map.npy")
    assert code == 2
    assert "has no class, or several, at 384 pixels" in said


def test_a_map_that_is_called_labels_is_said_to_look_like_a_map(command):
    gray = np.round(SOFT * 255).astype(np.uint8)
    code, said, _ = command(gray, "--from-labels", "0.8", name="map.npy")
    assert code == 0
    assert f"holds {len(np.unique(gray))} values that look like a map or a picture" in said
    assert "leave out --from-labels" in said
    code, said, _ = command(ROUGH.astype(np.uint8), "--from-labels", "0.8", name="map.npy")
    assert (code, said) == (0, "")


def test_the_first_of_several_images_is_said_to_be_it(names, tmp_path, capsys):
    """As in imageio #681, where pages, series and stacks were mixed up."""
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as file:
        file.write(IMAGE)
        file.write(IMAGE[:20, :30])
    assert main(["refine", str(tmp_path / "two.ome.tif"), *names[1:], *OPTIONS]) == 0
    assert "two.ome.tif holds 2 images, of which the first is read" in capsys.readouterr().err


def test_integers_that_may_be_a_map_are_said_to_be_taken_for_one(command):
    code, said, path = command(np.round(SOFT * 255).astype(np.uint8))
    assert code == 0
    assert "map.tif is taken for the foreground of two classes; it goes up to 25" in said
    assert (tifffile.imread(path) == TRUTH).mean() > 0.98


# ---- units: one for all axes, transforms multiplied


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("units", "scales", "sizes", "unit"),
    [
        # fractal-analytics #112: the scale is that of the pyramid.
        (["micrometer"] * 3, ([1, 1, 1], [2, 0.5, 0.5]), {"Z": 2, "Y": 0.5, "X": 0.5}, "micrometer"),
        (["micrometer"] * 3, ([4, 2, 2], [0.5, 0.25, 0.25]), {"Z": 2, "Y": 0.5, "X": 0.5}, "micrometer"),
        # Bio-Formats #4240: nm and µm mixed.
        (["micrometer", "nanometer", "nanometer"], ([2, 500, 500], None), {"Z": 2000, "Y": 500, "X": 500}, "nanometer"),
        (["nanometer", "micrometer", "micrometer"], ([2000, 1, 1], [1, 0.5, 0.5]), {"Z": 2, "Y": 0.5, "X": 0.5}, None),
        ([None, None, None], ([3, 1, 1], None), {"Z": 3, "Y": 1, "X": 1}, None),
        # Without a measure in common a size is left out, and --spacing asks for it.
        (["inch", "micrometer", "micrometer"], ([2, 0.5, 0.5], None), {"Y": 0.5, "X": 0.5}, "micrometer"),
    ],
)
def test_sizes_in_ome_zarr_are_in_one_unit(tmp_path, zarr_format, units, scales, sizes, unit):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("0", data=np.zeros((3, 8, 9), np.uint8))
    axes = [
        {"name": name, "type": "space"} | ({"unit": one} if one else {}) for name, one in zip("zyx", units, strict=True)
    ]
    multiscales = {
        "axes": axes,
        "datasets": [{"path": "0"} | scale_of(scales[0])],
        "version": "0.4",
        **scale_of(scales[1]),
    }
    said = {"multiscales": [multiscales]}
    group.attrs.update(said if zarr_format == 2 else {"ome": {"version": "0.5", **said}})
    contents = read(tmp_path / "a.zarr")
    assert contents.sizes == pytest.approx(sizes)
    assert contents.unit == (unit if unit or units[0] is None else "micrometer")


@pytest.mark.parametrize(("unit", "size"), [("nm", 2000), ("um", 2), ("parsec", None)])
def test_sizes_in_hdf5_are_in_one_unit(tmp_path, unit, size):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("exported_data", data=np.zeros((3, 8, 9), np.uint8))
        tags = [{"key": key, "resolution": value} for key, value in zip("zyx", (2, 0.5, 0.5), strict=True)]
        dataset.attrs["axistags"] = json.dumps({"axes": tags})
        dataset.attrs["axis_units"] = json.dumps({"z": "um", "y": unit, "x": unit})
    sizes = {"Y": 0.5, "X": 0.5} | ({} if size is None else {"Z": size})
    assert read(tmp_path / "a.h5").sizes == pytest.approx(sizes)


@pytest.mark.parametrize("dtype", ["c8", "U3", "M8[s]", "O"])
def test_what_holds_no_numbers_is_said(command, dtype):
    code, said, _ = command(P, image=np.zeros((64, 64), dtype), name="map.npy")
    assert code == 2
    assert "image.npy holds" in said


@pytest.mark.parametrize("shape", [(64,), (), (0, 64), (64, 0)])
def test_what_is_no_image_is_said(command, shape):
    code, said, _ = command(P, image=np.zeros(shape, np.uint8), name="map.npy")
    assert code == 2
    assert "expected an image, of two axes or more" in said or "is empty" in said


def scale_of(scale):
    return {} if scale is None else {"coordinateTransformations": [{"type": "scale", "scale": scale}]}


# ---- many files: a bad one is a row


def batch(folder, *options, images=("*.npy",)):
    patterns = [str(folder / "images" / one) for one in images]
    maps = ["--probabilities", str(folder / "maps" / "{stem}.npy"), "-o", str(folder / "out")]
    code = main(["batch", *patterns, *maps, *OPTIONS, *options])
    with (folder / "out" / "summary.csv").open(encoding="utf-8") as file:
        return code, {row["image"].rsplit("/", 1)[-1]: row for row in csv.DictReader(file)}


@pytest.fixture
def folder(tmp_path):
    """Two images with good maps, and room for others."""
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    for name in ("a", "z"):
        np.save(tmp_path / "images" / f"{name}.npy", IMAGE)
        np.save(tmp_path / "maps" / f"{name}.npy", P)
    return tmp_path


def good_in(rows):
    return [name for name, row in rows.items() if row["status"] == "done"]


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (np.stack([SOFT, SOFT**2, SOFT**0.5]), "no map of probabilities: it sums to"),
        # A photo, taken by the pattern for the map of its sample.
        (RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8), "sums to .* picture"),
        (ROUGH * np.uint8(255), "say --from-labels 0.9"),
        (P[:, :50], "shape"),
        (b"no array", "cannot be read"),
        (b"", "cannot be read"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99", "cannot be read"),
        (None, "m.npy is no file"),
    ],
)
def test_what_is_no_map_is_a_row_and_the_batch_goes_on(folder, probabilities, words):
    np.save(folder / "images" / "m.npy", IMAGE)
    if isinstance(probabilities, bytes):
        (folder / "maps" / "m.npy").write_bytes(probabilities)
    elif probabilities is not None:
        np.save(folder / "maps" / "m.npy", probabilities)
    code, rows = batch(folder)
    assert code == 1
    assert good_in(rows) == ["a.npy", "z.npy"]
    assert re.search(words, rows["m.npy"]["error"])


def test_guesses_are_in_the_table(folder):
    np.save(folder / "maps" / "a.npy", np.round(SOFT * 255).astype(np.uint8))
    code, rows = batch(folder)
    # Of many files nobody looks at each, and a gray picture is no map.
    assert code == 1
    assert rows["a.npy"]["status"] == "failed"
    assert "a.npy may be a picture: it goes up to" in rows["a.npy"]["error"]
    np.save(folder / "maps" / "z.npy", SOFT)
    code, rows = batch(folder, "--map-axes", "YX")
    assert code == 0
    assert "is taken for the foreground of two classes" in rows["a.npy"]["remarks"]
    assert rows["z.npy"]["remarks"] == ""


def test_names_that_are_not_utf8(folder):
    for where, array in (("images", IMAGE), ("maps", P)):
        name = os.fsdecode(os.fsencode(folder / where) + b"/\xff\xfe.npy")
        try:
            np.save(name, array)
        except OSError:
            pytest.skip("this file system has no such names")
    code, rows = batch(folder)
    assert code == 0
    assert good_in(rows) == ["a.npy", "z.npy", "\\udcff\\udcfe.npy"]
    assert (
        np.array(tifffile.imread(os.fsdecode(os.fsencode(folder / "out") + b"/\xff\xfe.tif"))) == TRUTH
    ).mean() > 0.99


@pytest.mark.parametrize(("name", "patterns"), [("im[1]", ("im[1].npy", "a.npy")), ("b", ("../exp [1]/*.npy",))])
def test_brackets_in_names_that_exist_are_brackets(folder, name, patterns):
    """Globs skip such files in silence."""
    (folder / "exp [1]").mkdir()
    where = "exp [1]" if ".." in patterns[0] else "images"
    np.save(folder / where / f"{name}.npy", IMAGE)
    np.save(folder / "maps" / f"{name}.npy", P)
    code, rows = batch(folder, images=patterns)
    assert code == 0
    assert f"{name}.npy" in good_in(rows)


def test_names_are_no_formulas_in_the_table(folder, monkeypatch):
    monkeypatch.chdir(folder / "images")
    np.save("=1+1.npy", IMAGE)
    assert main(["batch", "=1+1.npy", "a.npy", "--probabilities", "../maps/a.npy", "-o", "../out", *OPTIONS]) == 0
    table = (folder / "out" / "summary.csv").read_text()
    assert "\n./=1+1.npy," in table
    assert "\n=" not in table


# ---- faults: one sentence, at once


def says_one_sentence(arguments, capsys, *words):
    """Run the command in process, and tell that it ends with exit code 2, soon and in one sentence."""
    started = time.process_time()
    try:
        code = main(arguments)
    except SystemExit as ended:
        # argparse says how the command is used before.
        code = ended.code
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    # No measurement: what this guards against took minutes.
    assert time.process_time() - started < 60
    assert said[-1].startswith("napari-densecrf")
    assert len(said) == 1 or said[0].startswith("usage")
    assert len(said[-1]) < 400
    for word in words:
        assert word in said[-1]


@pytest.fixture
def names(tmp_path):
    """Write a good image and its map; return their names, and where labels go."""
    np.save(tmp_path / "image.npy", IMAGE)
    np.save(tmp_path / "map.npy", P)
    return [str(tmp_path / "image.npy"), str(tmp_path / "map.npy"), "-o", str(tmp_path / "out.tif")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"damping": ' + "9" * 400 + "}", "damping is too large"),
        ('{"kernels": [{"weight": 1, "position_sigma": ' + "9" * 400 + "}]}", "position_sigma is too large"),
        ('{"n_iterations": ' + "9" * 400 + "}", "n_iterations is more than 100,000"),
        ('{"n_iterations": ' + "9" * 5000 + "}", "params.json"),
        ('{"damping": 1e999}', "damping is inf"),
        ('{"damping": NaN}', "damping is nan"),
        ("[" * 100_000, "brackets within brackets"),
        ('{"kernels": ' * 100_000, "brackets within brackets"),
        ('{"damping": [0.1]}', "damping is a list"),
        ("null", "parameters are a NoneType"),
        ("", "params.json"),
    ],
)
def test_parameters_that_are_none(names, tmp_path, capsys, text, words):
    (tmp_path / "params.json").write_text(text)
    says_one_sentence(["refine", *names, "--params", str(tmp_path / "params.json")], capsys, "params.json", words)


def test_parameters_that_are_no_text(names, tmp_path, capsys):
    (tmp_path / "params.json").write_bytes(b"\xff\xfe\x00{")
    says_one_sentence(["refine", *names, "--params", str(tmp_path / "params.json")], capsys, "params.json")


HOSTILE = ["[" * 100_000, '{"kind": ' * 100_000, "9" * 5000, '{"version": ' + "9" * 400 + "}", "null", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_projects_that_are_none(tmp_path, text):
    (tmp_path / "a.densecrf").write_text(text)
    with pytest.raises(BadInput, match="is no project of napari-densecrf"):
        project.load(tmp_path / "a.densecrf")
    # Nor is it written over.
    with pytest.raises(BadInput, match="is no project"):
        project.save(tmp_path / "a.densecrf", {"layers": []}, {})
    assert (tmp_path / "a.densecrf").read_text() == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", [".zattrs", "zarr.json"])
def test_attributes_that_are_none(names, tmp_path, capsys, text, name):
    folder = tmp_path / "image.ome.zarr"
    folder.mkdir()
    if name == ".zattrs":
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / name).write_text(text)
    says_one_sentence(["refine", str(folder), *names[1:]], capsys, "image.ome.zarr")
    says_one_sentence(["refine", *names[:2], "-o", str(folder)], capsys, "image.ome.zarr")
    assert (folder / name).read_text() == text


@pytest.mark.parametrize("attribute", ["axistags", "axis_units", "class_names"])
@pytest.mark.parametrize("text", HOSTILE[:3])
def test_attributes_of_hdf5_that_are_none(names, tmp_path, capsys, attribute, text):
    h5py = pytest.importorskip("h5py")
    if len(text) > 60_000:
        # HDF5 keeps no longer ones; deep enough all the same.
        text = text[:60_000]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", data=P).attrs[attribute] = text
    says_one_sentence(["refine", names[0], str(tmp_path / "a.h5"), *names[2:]], capsys, "a.h5")


@pytest.mark.parametrize("amount", ["inf", "nan", "-1", "0", "1e300", "much"])
def test_memory_that_is_no_amount(names, capsys, amount):
    says_one_sentence(["refine", *names, f"--tile-memory={amount}"], capsys, "--tile-memory", amount)


@pytest.mark.parametrize(
    "options", [["--from-labels", "inf"], ["--from-labels", "1"], ["--damping", "nan"], ["--iterations", "9" * 400]]
)
def test_numbers_that_are_none(names, capsys, options):
    says_one_sentence(["refine", *names, *options], capsys)


def test_an_npz_that_is_called_npy(names, tmp_path, capsys):
    with (tmp_path / "map.npy").open("wb") as file:
        np.savez(file, a=P, b=P)
    says_one_sentence(["refine", *names], capsys, "map.npy holds the arrays a, b of an .npz: expected one array")


def npy_of(shape):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00v\x00" + header + bytes(100)


def test_an_image_that_says_to_be_larger_than_any_disk(names, tmp_path, capsys):
    zarr = pytest.importorskip("zarr")
    (tmp_path / "huge.npy").write_bytes(npy_of((2**31, 2**31)))
    says_one_sentence(["refine", str(tmp_path / "huge.npy"), *names[1:]], capsys, "huge.npy")
    huge = str(tmp_path / "huge.zarr")
    for name in (huge, huge.replace("huge", "map")):
        zarr.create_array(name, shape=(2**31, 2**31), chunks=(1024, 1024), dtype=np.uint8)
    says_one_sentence(["refine", huge, name, *names[2:]], capsys, "too little room")
    says_one_sentence(["refine", huge, *names[1:]], capsys)
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        for name in "ab":
            file.create_dataset(name, shape=(2**31, 2**31), chunks=(1024, 1024), dtype=np.uint8)
    inside = [str(tmp_path / "huge.h5" / name) for name in "ab"]
    says_one_sentence(["refine", *inside, *names[2:]], capsys, "too little room")


@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.h5"])
def test_a_file_that_is_damaged_within(tmp_path, capsys, monkeypatch, name):
    """MegaDetector #19 and py-feat #96: one damaged file of a batch ends all of it."""
    from napari_densecrf.files import read as files

    monkeypatch.setattr(files, "AT_ONCE_BYTES", 100)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (256, 256)).astype(np.uint8)
    path = tmp_path / name
    if name == "a.tif":
        tifffile.imwrite(path, noise, compression="zlib", tile=(64, 64))
        damaged = path
    elif name == "a.zarr":
        pytest.importorskip("zarr").create_array(path, data=noise, chunks=(64, 64))
        damaged = path / "c" / "1" / "1"
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("a", data=noise, chunks=(64, 64), compression="gzip")
        damaged = path
    content = bytearray(damaged.read_bytes())
    half = len(content) // 2
    content[half : half + 1500] = bytes(min(1500, len(content) - half))
    damaged.write_bytes(content[:half] if name == "a.zarr" else content)
    np.save(tmp_path / "map.npy", rng.dirichlet(np.ones(2), (256, 256)).astype(np.float32))
    says_one_sentence(["refine", str(path), str(tmp_path / "map.npy"), "-o", str(tmp_path / "out.tif")], capsys)
    np.save(tmp_path / "z.npy", noise)
    maps = ["--probabilities", str(tmp_path / "map.npy"), "-o", str(tmp_path / "out")]
    assert main(["batch", str(path), str(tmp_path / "z.npy"), *maps, *OPTIONS]) == 1
    assert "1 of 2 images done" in capsys.readouterr().out


def test_the_target_of_a_link_is_written(names, tmp_path):
    (tmp_path / "real.tif").write_bytes(b"earlier")
    (tmp_path / "out.tif").symlink_to("real.tif")
    assert main(["refine", *names, *OPTIONS]) == 0
    assert (tmp_path / "out.tif").is_symlink()
    assert (tifffile.imread(tmp_path / "real.tif") == TRUTH).mean() > 0.99


# ---- faults of the machine


def in_process(script, *arguments, **environment):
    """Run a script in a process of its own; return exit code, output and errors."""
    root = str(Path(ndc.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, **environment}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


FORK = """
import os, sys, warnings
import numpy as np
import napari_densecrf as ndc
warnings.simplefilter("ignore", DeprecationWarning)
image, p = np.load(sys.argv[1]), np.load(sys.argv[2])
labels = ndc.refine(image, p).labels
layer = __import__("numba").threading_layer()
def child():
    try:
        assert (ndc.refine(image, p).labels == labels).all()
        print(layer, "right", flush=True)
    except RuntimeError as error:
        print(layer, error, flush=True)
for generations in (1, 2):
    pid = os.fork()
    if not pid:
        if generations == 2 and os.fork():
            os.wait()
            os._exit(0)
        child()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
assert (ndc.refine(image, p).labels == labels).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb"])
def test_forked_processes_work_or_say_why_not(names, layer):
    """With OpenMP children were ended (scverse/fast-array-utils #179, numba #7872), also those of children."""
    code, out, err = in_process(FORK, *names[:2], NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in err:
        pytest.skip(f"{layer} is not here")
    assert code == 0, err
    for line in out.splitlines():
        assert line.startswith(layer)
        assert line.endswith("right") or 'multiprocessing.get_context("spawn")' in line
    assert len(out.splitlines()) == 2


SPAWN = """
import sys, multiprocessing
import numpy as np
import napari_densecrf as ndc
def run(names):
    return ndc.refine(np.load(names[0]), np.load(names[1])).labels
if __name__ == "__main__":
    first = run(sys.argv[1:])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert (pool.map(run, [sys.argv[1:]])[0] == first).all()
"""


def test_what_the_sentence_about_forks_says_is_right(names, tmp_path):
    (tmp_path / "script.py").write_text(SPAWN)
    environment = {**os.environ, "PYTHONPATH": str(Path(ndc.__file__).parents[1])}
    subprocess.run([sys.executable, tmp_path / "script.py", *names[:2]], env=environment, check=True, timeout=300)


@pytest.mark.slow
def test_without_a_place_for_a_cache_all_works(names, tmp_path):
    """Numba #4032 and #7248, LMCache #4597: in containers importing was a traceback."""
    package = tmp_path / "site" / "napari_densecrf"
    shutil.copytree(Path(ndc.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "_napari"))
    for folder in [package, *(one for one in package.rglob("*") if one.is_dir())]:
        # A file in its place, as root may write into any folder.
        (folder / "__pycache__").touch()
    (tmp_path / "home").touch()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_CACHE", "XDG_"))}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path / "home")}

    def run(*arguments):
        command = [sys.executable, "-m", "napari_densecrf.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)

    asked = run("--help")
    assert asked.returncode == 0, asked.stderr
    assert "usage: napari-densecrf" in asked.stdout
    assert "Traceback" not in asked.stderr
    assert asked.stderr.count("compiled code cannot be kept on disk") == 1
    assert "NUMBA_CACHE_DIR" in asked.stderr
    done = run("refine", *names, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiled code cannot be kept on disk") == 1
    assert (tifffile.imread(names[-1]) == TRUTH).mean() > 0.99


def test_a_cache_that_is_full_or_damaged_is_no_reason_to_fail(recwarn):
    class Broken:
        def load_overload(self, signature, target_context):
            raise EOFError("half a file")

        def save_overload(self, signature, data):
            raise OSError(28, "No space left on device")

        def flush(self):
            flushed.append(self)

    flushed = []
    compile._said.clear()
    cache = compile._ForgivingCache(Broken())
    assert cache.load_overload(None, None) is None
    assert flushed
    assert not len(recwarn)
    cache.save_overload(None, None)
    cache.save_overload(None, None)
    assert ["No space left on device" in str(one.message) for one in recwarn] == [True]
    compile._said.clear()


USED = """
import numpy as np, warnings
warnings.simplefilter("error")
import napari_densecrf as ndc
image = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
ndc.refine(image, np.full((32, 32), 0.4, np.float32))
"""


@pytest.mark.slow
def test_a_damaged_cache_is_begun_anew_without_a_word(tmp_path):
    """As an index is that names classes which another version of this package had."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def use():
        return subprocess.run([sys.executable, "-c", USED], env=environment, capture_output=True, text=True)

    assert use().returncode == 0
    indices = sorted(tmp_path.rglob("*.nbi"))
    assert len(indices) > 20
    for index in indices:
        index.write_bytes(b"cnapari_densecrf.gone\nGone\n.")
    again = use()
    assert again.returncode == 0, again.stderr[-2000:]
    assert all(index.stat().st_size > 40 for index in indices)


TERM = """
import signal, sys, os
from napari_densecrf import cli
from napari_densecrf.files import jobs
def run(self):
    os.kill(os.getpid(), signal.SIGTERM)
    yield from ()
jobs.FileJob.run = run
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that is caught")
def test_sigterm_is_as_ctrl_c(names):
    code, _, err = in_process(TERM, "refine", *names, *OPTIONS)
    assert err == "napari-densecrf: stopped; the same command goes on with what is finished\n"
    assert code == 143


LIMITED = """
import resource, sys
from napari_densecrf.cli import main
from napari_densecrf.crf.numba import compile
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("ending", [".tif", ".npy"])
def test_a_full_disk_is_a_sentence_and_the_next_file_goes_on(folder, ending):
    """Numpy #21964 and memray #116: writing into a memory map of a full disk ends the process by SIGBUS."""
    np.save(folder / "images" / "m.npy", np.tile(IMAGE, (8, 8)))
    np.save(folder / "maps" / "m.npy", np.tile(P, (1, 8, 8)))
    arguments = ["--probabilities", folder / "maps" / "{stem}.npy", "-o", folder / "out", "--format", ending]
    code, out, err = in_process(LIMITED, 100_000, "batch", folder / "images", *arguments, *OPTIONS)
    assert code == 1, err
    assert "2 of 3 images done" in out
    assert f"m{ending}: File too large" in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"a{ending}", "summary.csv", f"z{ending}"]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("ending", [".tif", ".npy", ".ome.zarr"])
def test_a_disk_that_is_full(names, small_disk, tmp_path, ending):
    np.save(tmp_path / "image.npy", np.tile(IMAGE, (10, 10)))
    np.save(tmp_path / "map.npy", np.tile(P, (1, 10, 10)))
    with (small_disk / "other").open("wb") as file:
        file.write(bytes(270_000 if ending == ".ome.zarr" else 10_000))
    run = "import sys; from napari_densecrf.cli import main; sys.exit(main(sys.argv[1:]))"
    code, _, err = in_process(run, "refine", *names[:2], "-o", small_disk / f"out{ending}", *OPTIONS)
    assert code == 2, err
    assert "No space left on device" in err or "too little room" in err
    assert err.count("\n") == 1
    assert not (small_disk / f"out{ending}").exists()


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.npy"])
def test_two_runs_into_one_place(names, tmp_path, capsys, name):
    """The second says who holds it; one that was killed holds nothing."""
    if name.endswith("zarr"):
        pytest.importorskip("ome_zarr")
    out = tmp_path / name
    options = Options(PARAMS)
    steps = prepare(names[0], names[1], out, options).job.run()
    next(steps)
    says_one_sentence(
        ["refine", *names[:2], "-o", str(out), *OPTIONS, "--iterations", "3"],
        capsys,
        f"is in use by process {os.getpid()} on ",
        "wait for it, or stop it",
    )
    for _ in steps:
        pass
    assert (written(out) == TRUTH).mean() > 0.99
    holds = (
        "import os, sys; from pathlib import Path; from napari_densecrf.files.work_folder import hold_folder; "
        "held = hold_folder(Path(sys.argv[1])); print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    partial = tmp_path / f".{name}.partial"
    assert in_process(holds, partial)[1] == "held\n"
    assert partial.exists()
    assert main(["refine", *names[:2], "-o", str(out), *OPTIONS]) == 0
    assert not partial.exists()


def test_labels_that_two_runs_add_to_one_image_are_both_in_its_list(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from napari_densecrf.files.pyramid import _list_labels
    from napari_densecrf.files.work_folder import alone_in

    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4"}]
    labels = tmp_path / "a.zarr" / "labels"
    labels.mkdir()

    def add(number):
        work = tmp_path / f"work {number}"
        work.mkdir()
        with alone_in(labels):
            _list_labels(labels / f"run {number}", tmp_path / "a.zarr", work)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))
    if os.name != "nt":
        assert len(json.loads((labels / ".zattrs").read_text())["labels"]) == 40


# ---- further reports of neighbouring tools


def test_a_map_as_ilastik_exports_it_in_other_types(command):
    """Ilastik #1473, #2508 and #1341: maps of uint8, uint16 and floats are the same map."""
    results = []
    for probabilities in (P, np.round(P * 255).astype(np.uint8), np.round(P * 65535).astype(np.uint16)):
        code, said, path = command(probabilities)
        assert (code, said) == (0, "")
        results.append(tifffile.imread(path))
    assert (results[0] == results[1]).mean() > 0.999
    assert (results[0] == results[2]).mean() > 0.999


@pytest.mark.parametrize(
    "labels",
    [
        # ilastik #2291 and #2215: its simple segmentation holds 1, 2, ..; it looks black, and is no map.
        ROUGH + np.uint8(1),
        # pydensecrf #31: labels of 0 and 1, of which 0 meant "unknown", gave one class everywhere.
        ROUGH.astype(np.uint8),
        # ilastik #1961: object masks of uint16, from CellProfiler.
        IDS.astype(np.uint16),
    ],
)
def test_segmentations_are_no_maps_but_labels(command, labels):
    code, said, _ = command(labels)
    assert code == 2
    assert "--from-labels" in said
    code, said, path = command(labels, "--from-labels", "0.8")
    assert code == 0
    # Of ids, that there is a better way.
    assert ("--objects in place of --from-labels" in said) == (len(np.unique(labels)) > 16)
    assert said == "" or said.count("\n") == 1
    assert set(np.unique(tifffile.imread(path))) <= set(np.unique(labels))


def test_more_than_255_labels_stay_what_they_are(command):
    """Qubalab #23, scikit-image #7354: ids wrapped at 255."""
    labels = np.where(ROUGH, 256, 512).astype(np.uint16)
    labels[0, :40] = 768
    code, said, path = command(labels, "--from-labels", "0.8")
    assert (code, said) == (0, "")
    found = tifffile.imread(path)
    assert found.dtype == np.uint16
    assert ((found == 256) == TRUTH).mean() > 0.98
    assert set(np.unique(found)) <= {256, 512, 768}


def test_a_foreground_map_for_two_classes_is_no_single_class(command):
    """Pydensecrf #63: one class, 1 x N, came out as 0 everywhere."""
    code, said, path = command(SOFT[None])
    assert (code, said) == (0, "")
    assert (tifffile.imread(path) == TRUTH).mean() > 0.98


def test_logits_are_said_to_be_so(command):
    """crfasrnn_keras #4 and SEC-MXNet #11: scores or logs where probabilities are wanted, and the other way round."""
    for scores in (np.log(P), 5 * P - 2, np.stack([12 * SOFT, 40 * SOFT**2])):
        code, said, _ = command(scores.astype(np.float32))
        assert code == 2
        assert "apply softmax" in said


@pytest.mark.parametrize("axes", ["CYX", "YXC", "ZYX", "TYX"])
def test_axes_in_the_file_are_those_of_the_file(tmp_path, capsys, axes):
    """Tifffile #50 and #87, ilastik #2688: slices became channels, a time-lapse a stack."""
    shape = CHANNELS if axes != "YXC" else np.moveaxis(CHANNELS, 0, -1)
    as_rgb = {"photometric": "rgb"} if axes == "YXC" else {"photometric": "minisblack"}
    named = "YXS" if axes == "YXC" else axes
    tifffile.imwrite(tmp_path / "a.ome.tif", shape, metadata={"axes": named}, **as_rgb)
    np.save(tmp_path / "map.npy", THREE if "C" in axes else np.stack([1 - SOFT, SOFT])[:, None].repeat(3, 1))
    names = [str(tmp_path / one) for one in ("a.ome.tif", "map.npy")]
    code = main(["refine", *names, "-o", str(tmp_path / "out.tif"), *OPTIONS])
    said = capsys.readouterr().err
    if axes == "ZYX":
        assert code == 2
        assert "say --axes ZYX to refine it as a volume, or --axes TYX for each slice by itself" in said
    else:
        assert (code, said) == (0, "")
        assert tifffile.imread(tmp_path / "out.tif").shape == ((64, 64) if "C" in axes else (3, 64, 64))


def test_the_scale_of_a_pyramid_reaches_the_result(tmp_path):
    """napari-ome-zarr #73 and aicsimageio #509: the scale of the whole pyramid was left out."""
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=np.stack([IMAGE] * 3))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    levels = [{"path": "0"} | scale_of([1, 1, 1])]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": levels, "version": "0.4"} | scale_of([4, 0.5, 0.5])]
    np.save(tmp_path / "map.npy", np.stack([P] * 3, axis=1))
    names = [str(tmp_path / one) for one in ("a.zarr", "map.npy")]
    options = ["--axes", "ZYX", "--spacing", "file", *OPTIONS]
    assert main(["refine", *names, "-o", str(tmp_path / "out.ome.zarr"), *options]) == 0
    expected = ndc.refine(np.stack([IMAGE] * 3), np.stack([P] * 3, axis=1), PARAMS, spacing=(4, 0.5, 0.5)).labels
    np.testing.assert_array_equal(written(tmp_path / "out.ome.zarr"), expected)
    assert read(tmp_path / "out.ome.zarr").sizes == {"Z": 4, "Y": 0.5, "X": 0.5}


def test_brackets_are_globs_only_where_no_file_has_the_name(folder):
    """Ilastik #2391, difPy #94: such files cannot be opened, or are left out."""
    for name in ("b[12]", "b1", "b2"):
        np.save(folder / "images" / f"{name}.npy", IMAGE)
        np.save(folder / "maps" / f"{name}.npy", P)
    assert good_in(batch(folder, images=("b[12].npy",))[1]) == ["b[12].npy"]
    (folder / "images" / "b[12].npy").unlink()
    assert good_in(batch(folder, images=("b[12].npy",))[1]) == ["b1.npy", "b2.npy"]


def test_arrays_of_other_libraries():
    """Dask and masked arrays and matrices are arrays too; masked strokes are free."""
    expected = refined(SOFT)
    np.testing.assert_array_equal(refined(np.asmatrix(SOFT), np.asmatrix(IMAGE)), expected)
    np.testing.assert_array_equal(refined(da.from_array(SOFT), da.from_array(IMAGE)), expected)
    np.testing.assert_array_equal(refined(np.ma.array(SOFT), np.ma.array(IMAGE)), expected)
    strokes = np.ma.array(np.full(SOFT.shape, 2), mask=(Y != 5) | (X != 5))
    assert refined(SOFT, strokes=strokes)[5, 5] == 1


# ---- maps on other pixels, over the same field of view


HALF = P.reshape(2, 32, 2, 32, 2).mean(axis=(2, 4))


def ome(path, pixels, axes, size, unit="µm"):
    """Write an OME-TIFF with pixel sizes."""
    metadata = {"axes": axes}
    metadata |= {f"PhysicalSize{one}": size for one in "XY"} | {f"PhysicalSize{one}Unit": unit for one in "XY"}
    tifffile.imwrite(path, pixels, metadata=metadata, ome=True, photometric="minisblack")
    return str(path)


def refine_files(tmp_path, image, source, *options):
    out = tmp_path / "out.npy"
    code = main(["refine", image, source, "-o", str(out), *OPTIONS, *options])
    return code, np.load(out) if out.exists() else None


@pytest.mark.parametrize("unit", ["µm", "nm"])
def test_a_map_at_half_resolution_is_brought_onto_the_image(tmp_path, capsys, unit):
    image = ome(tmp_path / "image.ome.tif", IMAGE, "YX", 0.5)
    source = ome(tmp_path / "map.ome.tif", HALF, "CYX", {"µm": 1.0, "nm": 1000.0}[unit], unit)
    code, labels = refine_files(tmp_path, image, source)
    said = capsys.readouterr().err
    assert code == 0, said
    assert "map.ome.tif is brought onto the pixels of" in said
    along = (ndc.Along(0.5, -0.25),) * 2
    on_image = ndc.MapOnImage(HALF, IMAGE.shape, along, class_axis=0)
    np.testing.assert_array_equal(labels, refined(np.asarray(on_image)))
    assert (labels == TRUTH).mean() > 0.95
    # Python takes it as it is, and so do tiles.
    np.testing.assert_array_equal(refined(on_image), labels)
    np.testing.assert_array_equal(ndc.refine_tiles(IMAGE, on_image, PARAMS).compute(), labels)


def test_a_rough_segmentation_at_half_resolution(tmp_path, capsys):
    image = ome(tmp_path / "image.ome.tif", IMAGE, "YX", 0.5)
    source = ome(tmp_path / "map.ome.tif", ROUGH[::2, ::2] * np.uint8(7), "YX", 1.0)
    code, labels = refine_files(tmp_path, image, source, "--from-labels", "0.9")
    assert code == 0, capsys.readouterr().err
    assert set(np.unique(labels)) == {0, 7}


@pytest.mark.parametrize(
    ("pixels", "axes", "size", "words"),
    [
        # Cropped: nothing says where.
        (P[:, 4:60, 4:60], "CYX", 0.5, "expected the same field of view"),
        (HALF, "CYX", 0.7, "expected the same field of view"),
        # Interpolated, a mask would look like a map.
        (ROUGH[::2, ::2].astype(np.uint8), "YX", 1.0, "say --from-labels 0.9"),
    ],
)
def test_maps_of_another_field_of_view_and_masks_are_refused(tmp_path, capsys, pixels, axes, size, words):
    image = ome(tmp_path / "image.ome.tif", IMAGE, "YX", 0.5)
    code, labels = refine_files(tmp_path, image, ome(tmp_path / "map.ome.tif", pixels, axes, size))
    assert code == 2
    assert labels is None
    assert words in capsys.readouterr().err


def test_as_many_pixels_of_another_size_are_said(tmp_path, capsys):
    image = ome(tmp_path / "image.ome.tif", IMAGE, "YX", 0.5)
    code, labels = refine_files(tmp_path, image, ome(tmp_path / "map.ome.tif", P, "CYX", 1.0))
    assert code == 0
    assert "other pixel sizes than" in capsys.readouterr().err
    np.testing.assert_array_equal(labels, refined(P))
