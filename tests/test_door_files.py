"""What people bring to Python and to the command line: read right, refused in one sentence, or said to be a guess.

A number behind a case is the public report of a neighbouring tool that describes it.
"""

import csv
import os

import dask.array as da
import numpy as np
import pytest
import tifffile
from scipy import ndimage

import napari_densecrf as ndc
from files_written import written
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import Kind
from napari_densecrf.files.read import read

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
        # imageio #525, tifffile: files of the other byte order.
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
        # A mask or ids saved as an image (napari #2899; QuPath #1001, cellpose #1174 export so).
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
        # Interpolation of order 3 overshoots (scikit-image #5202).
        (1.2 * SOFT - 0.1, "from -0.0.* to 1.0.*clip it to 0 to 1"),
        # NaN, a number that stands for no value (rasterio's nodata), masked pixels.
        (np.where(X > 60, np.nan, P), "NaN, infinite or negative at 192 of 4,096"),
        (np.where(X > 60, -9999, SOFT), "NaN, infinite or negative at 192 of 4,096"),
        (np.ma.array(P, mask=np.stack([X > 60] * 2)), "NaN, infinite or negative at 192 of 4,096"),
        (np.ma.array(np.round(P * 255).astype(np.uint8), mask=np.stack([X > 60] * 2)), "NaN, infinite or negative"),
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


def test_a_masked_image_is_not_read_as_if_it_were_whole():
    with pytest.raises(ValueError, match="NaN or infinite values at 192 of 4,096"):
        refined(P, np.ma.array(IMAGE, mask=X > 60))


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
        (np.ma.array(TRUTH.astype(int), mask=X > 60), "masked"),
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
        (RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8), "no map of probabilities: it sums to"),
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
    assert words in rows["m.npy"]["error"]


def test_guesses_are_in_the_table(folder):
    np.save(folder / "maps" / "a.npy", np.round(SOFT * 255).astype(np.uint8))
    code, rows = batch(folder)
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
