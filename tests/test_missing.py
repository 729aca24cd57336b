"""Pixels without a value take no part: the others get what they would get if there were only these."""

import csv
import warnings

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import napari_densecrf as ndc
import reference
from cases import all_cases
from napari_densecrf.blank import named
from napari_densecrf.cli import main
from napari_densecrf.crf.numba.parallel import threads_at_most
from napari_densecrf.files.read import read

pytestmark = pytest.mark.filterwarnings("ignore:.* of the pixels have no value")

CASES = {case.name: case for case in all_cases()}
Y, X = np.indices((64, 64))
DISC = (Y - 32) ** 2 + (X - 32) ** 2 < 20**2
IMAGE = (60 + 120 * DISC).astype(np.float32) + np.random.default_rng(1).normal(0, 5, DISC.shape).astype(np.float32)
ROUGH = DISC ^ (np.random.default_rng(0).random(DISC.shape) < 0.1)
P = np.stack([np.where(ROUGH, 0.3, 0.7), np.where(ROUGH, 0.7, 0.3)]).astype(np.float32)
# A stitched image: nothing at one side, and a hole.
BLANK = (X > 55) | ((abs(Y - 20) < 6) & (abs(X - 20) < 6))


def gaps_of(case):
    """Return where a case has no value: at the border, and a hole, in the image and the map in different places."""
    spatial = case.probabilities.shape[1:]
    of_image, of_map = np.zeros((2, *spatial), bool)
    of_image[..., :7, :] = True
    of_map[..., 10:19, 9:18] = True
    of_map[..., -3:] = True
    return of_image, of_map


def with_gaps(case):
    of_image, of_map = gaps_of(case)
    image, probabilities = case.image.astype(float), case.probabilities.copy()
    image[of_image] = np.nan
    probabilities[:, of_map] = np.nan
    return image, probabilities, ~(of_image | of_map)


def exact_among(case, valid):
    """Return marginals (n_valid, n_labels) and free energies where there are no other pixels than the valid ones."""
    probabilities = np.clip(case.probabilities[:, valid].astype(float), 1e-6, 1)
    channels = case.image.reshape(valid.size, -1)[valid.ravel()].astype(float)
    coordinates = reference.positions(valid.shape, case.options.get("spacing"))[valid.ravel()]
    pairwise = reference.pairwise_matrix(case.params, coordinates, channels)
    return reference.mean_field(-np.log((probabilities / probabilities.sum(axis=0)).T), pairwise, case.params)


@pytest.mark.parametrize("name", CASES)
def test_the_others_get_what_they_get_without_them(name):
    case = CASES[name]
    image, probabilities, valid = with_gaps(case)
    ours = ndc.refine(image, probabilities, case.params, **case.options)
    exact, energy = exact_among(case, valid)
    # The lattice's error, as it is where all pixels have a value.
    assert np.abs(ours.marginals[:, valid].T - exact).mean() < 0.006
    assert (ours.labels[valid] == exact.argmax(axis=1)).mean() > 0.99
    np.testing.assert_allclose(ours.free_energy, energy, atol=0.02 * np.abs(energy).max())


@pytest.mark.parametrize("damping", [0.0, 0.4])
@pytest.mark.parametrize("n_labels", [2, 5])
def test_smoothness_among_some_pixels_is_exact(n_labels, damping):
    case = CASES["gray, 5 labels"]
    params = ndc.CRFParams((ndc.PairwiseKernel(4.0, 2.5),), n_iterations=8, damping=damping)
    few = case.probabilities[:n_labels] / case.probabilities[:n_labels].sum(axis=0)
    case = type(case)(case.name, case.image, few, params, case.options)
    image, probabilities, valid = with_gaps(case)
    exact, energy = exact_among(case, valid)
    ours = ndc.refine(image, probabilities, params)
    np.testing.assert_allclose(ours.marginals[:, valid].T, exact, atol=2e-3)
    np.testing.assert_allclose(ours.free_energy, energy, rtol=1e-4, atol=1)


def test_any_compatibility_and_strokes():
    case = CASES["rgb, 3 labels"]
    costs = ((0, 1, 3), (1, 0, 1), (3, 1, 0))
    params = ndc.CRFParams(case.params.kernels, n_iterations=5, compatibility=costs)
    image, probabilities, valid = with_gaps(case)
    strokes = np.zeros(valid.shape, int)
    strokes[25:28, 5:30] = 3
    # Painted over pixels without a value too.
    strokes[2:12, 30:34] = 2
    ours = ndc.refine(image, probabilities, params, strokes=strokes, channel_axis=-1)
    assert (ours.labels[valid & (strokes > 0)] == strokes[valid & (strokes > 0)] - 1).all()
    assert (ours.labels[~valid] == 255).all()
    # As if they were cut off, where what is left is a rectangle.
    cut = np.where(np.indices(valid.shape)[0] < 7, np.nan, case.image[..., 0].astype(float))
    whole = ndc.refine(cut, case.probabilities, params, strokes=strokes)
    alone = ndc.refine(case.image[7:, :, 0], case.probabilities[:, 7:], params, strokes=strokes[7:])
    assert (whole.labels[7:] == alone.labels).mean() > 0.995
    np.testing.assert_allclose(whole.free_energy, alone.free_energy, rtol=0.01)


def test_what_they_have_instead():
    image, probabilities, valid = with_gaps(CASES["gray, 5 labels"])
    result = ndc.refine(image, probabilities, CASES["gray, 5 labels"].params)
    assert result.n_missing == np.count_nonzero(~valid)
    assert result.labels.dtype == np.uint8
    np.testing.assert_array_equal(result.labels == ndc.no_label(np.uint8), ~valid)
    np.testing.assert_array_equal(np.isnan(result.marginals), np.broadcast_to(~valid, result.marginals.shape))
    np.testing.assert_array_equal(np.isnan(result.entropy), ~valid)
    # The marginals are a map again, of the same pixels.
    again = ndc.refine(case_image := np.nan_to_num(image), result.marginals, CASES["gray, 5 labels"].params)
    assert again.n_missing == result.n_missing
    assert np.isfinite(case_image).all()


def test_the_number_for_no_label():
    assert (ndc.no_label(np.uint8), ndc.no_label(np.uint16)) == (255, 65535)
    # A mask of 0 and 255 keeps its 255.
    assert ndc.no_label(np.uint8, [0, 255]) == 254
    assert ndc.no_label(np.int64) == 2**63 - 1
    with pytest.raises(ValueError, match="all numbers of uint8 are classes"):
        ndc.no_label(np.uint8, range(256))
    classes = np.array([0, 1, 255], np.uint8)
    assert named(classes, np.array([0, 255], np.uint8)).tolist() == [0, 255, 254]
    assert named(classes[:2], np.array([3, 7])).tolist() == [3, 7]


def test_256_classes_leave_a_number_for_none():
    probabilities = np.full((256, 12, 12), 1 / 256, np.float32)
    probabilities[:, :2] = np.nan
    labels = ndc.refine(np.zeros((12, 12)), probabilities, ndc.CRFParams((), n_iterations=0)).labels
    assert labels.dtype == np.uint16
    assert (labels[:2] == 65535).all()
    assert (labels[2:] < 256).all()


def test_how_many_is_said():
    with pytest.warns(ndc.InputWarning, match="^15 % of the pixels have no value and take no part$"):
        ndc.refine(np.where(BLANK, np.nan, IMAGE), P)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ndc.refine(IMAGE, P)


def bits(result):
    return result.labels.tobytes(), result.marginals.tobytes(), result.free_energy.tobytes()


@pytest.mark.parametrize("name", ["gray, 5 labels", "rgb, readme", "volume"])
def test_same_bits_over_threads_and_history(name):
    case = CASES[name]
    image, probabilities, _ = with_gaps(case)
    refiner = ndc.Refiner(image, **case.options)
    first = bits(refiner.refine(probabilities, case.params))
    with threads_at_most(1):
        assert bits(ndc.refine(image, probabilities, case.params, **case.options)) == first
    # Other pixels between.
    refiner.refine(case.probabilities, case.params)
    assert bits(refiner.refine(probabilities, case.params)) == first


def test_a_mask_is_as_nan_and_may_be_anywhere():
    with_nan = ndc.refine(np.where(BLANK, np.nan, IMAGE), P)
    assert bits(ndc.refine(np.ma.array(IMAGE, mask=BLANK), P)) == bits(with_nan)
    planes = np.ma.array(np.round(P * 255).astype(np.uint8), mask=np.stack([BLANK, BLANK & (Y > 30)]))
    assert (ndc.refine(IMAGE, planes).labels == 255).sum() == BLANK.sum()
    # Three dead pixels: a mask is meant.
    dead = np.zeros(IMAGE.shape, bool)
    dead[[10, 30, 50], [12, 33, 20]] = True
    assert ndc.refine(np.ma.array(IMAGE, mask=dead), P).n_missing == 3
    rough = np.ma.array(ROUGH.astype(int), mask=dead)
    np.testing.assert_array_equal(np.isnan(ndc.probabilities_from_labels(rough)), np.stack([dead, dead]))
    with pytest.raises(ValueError, match="masked at all pixels"):
        ndc.probabilities_from_labels(np.ma.array([0, 1], mask=True))


@pytest.mark.parametrize("brought", ["image", "map"])
def test_scattered_nan_is_refused_with_its_number(brought):
    # 0 / 0 in a ratio of two channels.
    few = np.zeros(IMAGE.shape, bool)
    few[[10, 30, 50], [12, 33, 20]] = True
    few |= BLANK
    image = np.where(few, np.nan, IMAGE) if brought == "image" else IMAGE
    probabilities = np.where(few, np.nan, P) if brought == "map" else P
    with pytest.raises(ValueError, match="NaN at 3 of 4,096 pixels that lie scattered inside the picture"):
        ndc.refine(image, probabilities)
    lazy = ndc.refine_tiles(da.from_array(image), da.from_array(probabilities), ndc.CRFParams())
    with pytest.raises(ValueError, match="NaN at 3 of"):
        lazy.compute()


@pytest.mark.parametrize(
    ("few", "n_scattered"),
    [
        ((Y < 1) & (X < 3), 0),
        ((Y > 10) & (Y < 19) & (X > 10) & (X < 19), 0),
        ((Y > 10) & (Y < 19) & (X > 10) & (X < 18), 56),
        # Neighbours along a diagonal are one region.
        ((Y == X) & (Y < 5), 0),
    ],
)
def test_a_region_touches_the_border_or_is_large(few, n_scattered):
    image = np.where(few, np.nan, IMAGE)
    if n_scattered:
        with pytest.raises(ValueError, match=f"NaN at {n_scattered} of"):
            ndc.refine(image, P)
    else:
        assert ndc.refine(image, P).n_missing == few.sum()


def test_no_value_anywhere_is_refused_but_in_a_part():
    with pytest.raises(ValueError, match="no value at any pixel"):
        ndc.refine(np.full(IMAGE.shape, np.nan), P)
    with pytest.raises(ValueError, match="no value at any pixel"):
        ndc.refine(IMAGE, np.full(P.shape, np.nan))
    part = ndc.refine(np.full(IMAGE.shape, np.nan), P, origin=(64, 0), probe=ndc.take_probe(IMAGE))
    assert (part.labels == 255).all()
    assert np.isfinite(part.free_energy).all()


def test_infinite_values_are_none():
    with pytest.raises(ValueError, match="infinite values at 1 of"):
        ndc.refine(np.where((Y == 0) & (X == 0), np.inf, IMAGE), P)


def test_tiles_as_the_whole():
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 200, (30, 26)), np.ones((16, 16))).astype(np.float32)
    truth = image > 100
    image += rng.normal(0, 8, image.shape).astype(np.float32)
    probabilities = np.stack([np.where(truth, 0.3, 0.7), np.where(truth, 0.7, 0.3)]).astype(np.float32)
    # Tiles without any value, and with some.
    image[:200, :220] = np.nan
    probabilities[:, 400:, 100:300] = np.nan
    params = ndc.CRFParams((ndc.PairwiseKernel(3.0, 4.0, 20.0), ndc.PairwiseKernel(1.0, 1.0)), n_iterations=4)
    plan = ndc.plan_tiles(image, probabilities, params, tile_memory=1 << 22)
    assert plan.n_tiles > 4
    labels, marginals, entropy = da.compute(
        *ndc.refine_tiles(image, probabilities, params, plan=plan, result=("labels", "marginals", "entropy"))
    )
    whole = ndc.refine(image, probabilities, params)
    missing = np.isnan(image) | np.isnan(probabilities[0])
    np.testing.assert_array_equal(labels == 255, missing)
    np.testing.assert_array_equal(np.isnan(marginals[0]), missing)
    np.testing.assert_array_equal(np.isnan(entropy), missing)
    assert (labels == whole.labels).mean() > 0.999
    with threads_at_most(1):
        again = ndc.refine_tiles(image, probabilities, params, plan=plan).compute(scheduler="synchronous")
    np.testing.assert_array_equal(again, labels)


def test_influence_is_among_the_valid_pixels():
    params = ndc.CRFParams((ndc.PairwiseKernel(3.0, 6.0, 20.0), ndc.PairwiseKernel(2.0, 2.0)))
    image = np.where(BLANK, np.nan, IMAGE)
    pull = ndc.influence(image, params, (27, 27))
    assert (pull[BLANK] == 0).all()
    valid = ~BLANK
    pairwise = reference.pairwise_matrix(
        params, reference.positions(valid.shape)[valid.ravel()], IMAGE.reshape(-1, 1)[valid.ravel()]
    )
    here = np.flatnonzero(valid.ravel()).tolist().index(27 * 64 + 27)
    np.testing.assert_allclose(pull[valid], pairwise[here], atol=1e-5)
    carried = ndc.influence(image, params, (27, 27), exact_points=1)
    np.testing.assert_allclose(carried, pull, atol=0.1 * pull.max())
    assert not ndc.influence(image, params, (20, 20)).any()


def test_auto_and_fit_take_them_in():
    image = np.where(BLANK, np.nan, IMAGE)
    with_gaps, alone = ndc.suggest(image, P), ndc.suggest(IMAGE[:, :56], P[:, :, :56])
    assert (with_gaps.params is None) == (alone.params is None)
    strokes = np.zeros(IMAGE.shape, int)
    strokes[30:33, 28:38] = 2
    strokes[5:7, 5:30] = 1
    strokes[58:60, 5:30] = 1
    strokes[40:42, 28:38] = 2
    found = ndc.fit(image, P, strokes, ndc.CRFParams())
    assert 0 <= found.agreement_before <= found.agreement_after <= 1
    with pytest.raises(ValueError, match="no value at any pixel"):
        ndc.suggest(np.full(IMAGE.shape, np.nan), P)


# ---- files


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "image.npy", np.where(BLANK, np.nan, IMAGE))
    np.save(tmp_path / "map.npy", P)
    np.save(tmp_path / "rough.npy", ROUGH * np.uint8(255))
    return tmp_path


@pytest.mark.parametrize(("options", "name", "none"), [([], "map", 255), (["--from-labels", "0.9"], "rough", 254)])
@pytest.mark.parametrize("out", ["out.tif", "out.npy", "out.ome.zarr"])
def test_saved_labels_have_a_number_for_none(folder, capsys, options, name, none, out):
    names = [str(folder / one) for one in ("image.npy", f"{name}.npy")]
    assert main(["refine", *names, "-o", str(folder / out), *options]) == 0
    assert (
        f"15 % of the pixels have no value and take no part; they are {none} in the labels" in capsys.readouterr().err
    )
    labels = np.asarray(read(folder / out).pixels)
    np.testing.assert_array_equal(labels == none, BLANK)
    if out == "out.tif":
        with tifffile.TiffFile(folder / out) as file:
            about = file.shaped_metadata[0]["napari-densecrf"]
    elif out == "out.ome.zarr":
        about = dict(zarr.open(folder / out, mode="r").attrs)["napari-densecrf"]
    else:
        return
    assert (about["no_label"], about["n_missing"]) == (none, BLANK.sum())


@pytest.mark.parametrize("out", ["out.tif", "out.ome.tif", "out.ome.zarr"])
@pytest.mark.parametrize(("options", "name", "none"), [([], "map", 255), (["--from-labels", "0.9"], "rough", 254)])
def test_saved_labels_that_come_back_have_none_again(folder, capsys, options, name, none, out):
    names = [str(folder / one) for one in ("image.npy", f"{name}.npy")]
    assert main(["refine", *names, "-o", str(folder / out), *options]) == 0
    kept = read(folder / out)
    assert kept.no_label == none
    values = set(np.unique(kept.pixels)) - {none}
    # Beside an image that has a value everywhere: what had no label is no class of it.
    np.save(folder / "whole.npy", IMAGE)
    names = [str(folder / "whole.npy"), str(folder / out)]
    assert main(["refine", *names, "-o", str(folder / "again.npy"), "--from-labels", "0.9", "--axes", "YX"]) == 0
    again = np.load(folder / "again.npy")
    np.testing.assert_array_equal(again == none, BLANK)
    assert set(np.unique(again)) - {none} == values
    expected = np.ma.masked_array(np.searchsorted(sorted(values), kept.pixels[...]), BLANK)
    labels = ndc.refine(IMAGE, ndc.probabilities_from_labels(expected, 0.9), ndc.CRFParams()).labels
    np.testing.assert_array_equal(np.array(sorted(values))[np.minimum(labels, 1)][~BLANK], again[~BLANK])


@pytest.mark.parametrize("said", ["[", "[" * 100_000, "7", '{"no_label": "255"}', '{"no_label": true}', "{}"])
def test_a_json_beside_that_says_nothing_is_no_obstacle(folder, said):
    tifffile.imwrite(folder / "a.tif", ROUGH * np.uint8(255))
    (folder / "a.tif.json").write_text(said)
    assert read(folder / "a.tif").no_label is None


def test_a_number_that_the_type_lacks_is_nowhere(folder):
    tifffile.imwrite(folder / "a.tif", ROUGH * np.uint8(255), metadata={"napari-densecrf": {"no_label": 70_000}})
    names = [str(folder / "image.npy"), str(folder / "a.tif")]
    assert main(["refine", *names, "-o", str(folder / "out.npy"), "--from-labels", "0.9"]) == 0
    assert set(np.unique(np.load(folder / "out.npy"))) == {0, 254, 255}


def test_a_batch_counts_only_what_has_a_label(folder):
    out = folder / "out"
    images, maps = str(folder / "image.npy"), str(folder / "map.npy")
    assert main(["batch", images, "--probabilities", maps, "-o", str(out)]) == 0
    with (out / "summary.csv").open(encoding="utf-8", newline="") as table:
        (row,) = csv.DictReader(table)
    areas = {key: int(value) for key, value in row.items() if key.startswith("pixels_")}
    assert set(areas) == {"pixels_0", "pixels_1"}
    assert sum(areas.values()) == np.count_nonzero(~BLANK)
    assert "15 % of the pixels have no value" in row["remarks"]


def test_marginals_in_files_say_none_as_nan_or_0(folder):
    names = [str(folder / one) for one in ("image.npy", "map.npy")]
    for dtype, none in (("float32", np.isnan), ("uint8", lambda planes: planes == 0)):
        marginals = folder / f"{dtype}.npy"
        options = ["--marginals", str(marginals), "--marginals-dtype", dtype]
        assert main(["refine", *names, "-o", str(folder / f"of-{dtype}.tif"), *options]) == 0
        np.testing.assert_array_equal(none(np.load(marginals)).all(axis=0), BLANK)


def test_scattered_nan_in_a_file_is_refused(folder, capsys):
    image = IMAGE.copy()
    image[30, 33] = np.nan
    np.save(folder / "image.npy", image)
    names = [str(folder / one) for one in ("image.npy", "map.npy")]
    assert main(["refine", *names, "-o", str(folder / "out.tif")]) == 2
    assert "NaN at 1 of 4,096 pixels that lie scattered" in capsys.readouterr().err
    assert not (folder / "out.tif").exists()


@pytest.mark.parametrize("name", ["image", "map"])
def test_a_file_without_any_value_is_refused(folder, capsys, name):
    pixels = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", np.full_like(pixels, np.nan, dtype=np.float32))
    names = [str(folder / one) for one in ("image.npy", "map.npy")]
    assert main(["refine", *names, "-o", str(folder / "out.tif")]) == 2
    assert "no value at any pixel" in capsys.readouterr().err
    assert not (folder / "out.tif").exists()
