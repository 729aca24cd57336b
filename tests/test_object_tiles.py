"""Objects in tiles: the labels of the whole, each id once, whatever the tiling; little read at a time."""

import dask
import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage as ndi

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.large import object_choice, object_planning, object_problem
from tiles_compared import MIB

PARAMS = CRFParams(kernels=(PairwiseKernel(3, 5, 20), PairwiseKernel(1, 1)))


def cells(shape=(300, 280), step=24, seed=0, channels=0, bright=(40.0, 140.0)):
    """Return an image, cells in it, of which each has its own brightness, and the cells with moved borders."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.int32)
    places = np.stack(np.meshgrid(*(np.arange(step // 2, n, step) for n in shape), indexing="ij"), -1)
    places = places.reshape(-1, len(shape))
    at = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32)
    for number, centre in enumerate(places + rng.integers(-3, 4, places.shape), 1):
        part = tuple(slice(max(0, c - step), c + step) for c in centre)
        inside = ((at[part] - centre) ** 2).sum(-1) <= (step * rng.uniform(0.3, 0.55)) ** 2
        truth[part][inside] = number
    level = np.concatenate([[0], rng.uniform(*bright, len(places))])
    image = 50 + ndi.gaussian_filter(level[truth], 1) + rng.normal(0, 6, shape)
    if channels:
        image = np.stack([image, 255 - image, 40 + 0.3 * image][:channels], axis=0)
    fields = [ndi.gaussian_filter(rng.normal(size=shape), 4) for _ in shape]
    moved = tuple(
        np.clip((a + 1.5 * f / f.std()).round().astype(int), 0, n - 1)
        for a, f, n in zip(np.indices(shape), fields, shape, strict=True)
    )
    return np.clip(image, 0, 255).astype(np.uint8), truth, truth[moved]


def lost(before, after):
    return np.setdiff1d(np.unique(before), np.unique(after))


def n_pieces(objects):
    """Return how many pieces each id has."""
    boxes = ndi.find_objects(objects)
    return [0 if box is None else ndi.label(objects[box] == k + 1, np.ones((3, 3)))[1] for k, box in enumerate(boxes)]


@pytest.fixture(scope="module")
def slide():
    return cells((620, 560))


@pytest.mark.parametrize("tile_memory", [10 * MIB, 25 * MIB])
def test_labels_are_those_of_the_whole_and_every_id_stays(slide, tile_memory):
    image, _, rough = slide
    whole = ndc.refine_objects(image, rough)
    arrays = ndc.refine_objects_tiles(image, rough, tile_memory=tile_memory, result=("labels", "confidence", "report"))
    assert arrays[0].npartitions > 3
    labels, confidence, report = dask.compute(*arrays)
    assert labels.dtype == rough.dtype
    changed = whole.labels != rough
    assert (labels == whole.labels).mean() >= 0.999
    assert (labels == whole.labels)[changed].mean() >= 0.995
    assert np.abs(confidence - whole.confidence).mean() < 1e-3
    assert not lost(rough, labels).size
    assert not lost(labels, rough).size
    assert n_pieces(labels) == n_pieces(whole.labels)
    # An id is in one place: not twice, on both sides of a seam.
    distance = [np.abs(a - b).max() for a, b in zip(middles(rough), middles(labels), strict=True)]
    assert max(distance) < 5
    assert_array_equal(report["id"], whole.report["id"])
    assert_array_equal(report["area_before"], whole.report["area_before"])
    assert_array_equal(report["area_after"], np.bincount(labels.ravel())[report["id"]])
    assert np.abs(report["border_moved"] - whole.report["border_moved"]).max() < 0.05


def middles(objects):
    ids = np.unique(objects)[1:]
    return np.array(ndi.center_of_mass(objects > 0, objects, ids))


def test_an_image_that_fits_one_tile_gives_the_bits_of_refine_objects():
    image, _, rough = cells((90, 80))
    for how in ({}, {"params": PARAMS, "border": 2.0}, {"params": PARAMS, "border": 2.0, "one_contrast": True}):
        arrays = ndc.refine_objects_tiles(image, rough, result=("labels", "confidence", "report"), **how)
        labels, confidence, report = dask.compute(*arrays)
        whole = ndc.refine_objects(image, rough, **how)
        assert_array_equal(labels, whole.labels)
        assert_array_equal(confidence, whole.confidence)
        assert_array_equal(report, whole.report)


def test_channels_foreground_and_parameters_that_are_given():
    image, truth, rough = cells(channels=3)
    foreground = np.clip(ndi.gaussian_filter((truth > 0).astype(np.float32), 2), 0, 1)
    how = {"channel_axis": 0, "foreground": foreground, "border": 2.0}
    whole = ndc.refine_objects(image, rough, PARAMS, **how)
    labels = ndc.refine_objects_tiles(image, rough, PARAMS, tile_memory=12 * MIB, **how)
    assert labels.npartitions > 1
    assert (labels.compute() == whole.labels).mean() >= 0.999
    other = ndc.refine_objects(image, rough, PARAMS, channel_axis=0, border=2.0)
    assert not np.array_equal(other.labels, whole.labels)


def test_volumes_with_thick_slices():
    image, _, rough = cells((24, 96, 96), step=16, bright=(90, 110))
    how = {"spacing": (2.0, 1.0, 1.0), "params": PARAMS, "border": 1.5}
    whole = ndc.refine_objects(image, rough, **how)
    labels = ndc.refine_objects_tiles(image, rough, tile_memory=40 * MIB, **how)
    assert labels.npartitions > 1
    assert (labels.compute() == whole.labels).mean() >= 0.999


def test_strokes_make_and_take_objects_in_any_tile(slide):
    image, _, rough = slide
    rough = np.where(rough == 5, 0, rough)
    strokes = np.zeros(rough.shape, np.int32)
    y, x = np.argwhere(rough == 0)[1000]
    strokes[y, x] = 2_000_000
    strokes[rough == 9] = -1
    labels = ndc.refine_objects_tiles(image, rough, tile_memory=10 * MIB, strokes=strokes).compute()
    assert labels[y, x] == 2_000_000
    assert 9 not in labels
    with pytest.raises(ValueError, match="which uint16 of the objects does not hold"):
        ndc.refine_objects_tiles(image, rough.astype(np.uint16), PARAMS, border=2, strokes=strokes).compute()


def test_tiles_without_objects_are_background_and_any_ids_stay():
    image, _, rough = cells((40, 1000))
    rough = np.where(rough > 0, rough.astype(np.int64) + 2**40, 0)
    rough[:, 60:] = 0
    labels = ndc.refine_objects_tiles(image, rough, PARAMS, border=2, tile_memory=3 * MIB)
    assert labels.numblocks[1] > 2
    found = labels.compute()
    assert found.dtype == np.int64
    assert_array_equal(np.unique(found), np.unique(rough))
    assert not found[:, 80:].any()
    with pytest.raises(ValueError, match="at least one object"):
        ndc.refine_objects_tiles(image, np.zeros_like(rough))


def test_the_same_bits_on_every_scheduler(slide):
    image, _, rough = slide
    labels = ndc.refine_objects_tiles(image, rough, PARAMS, border=2, tile_memory=25 * MIB)
    assert_array_equal(labels.compute(scheduler="threads"), labels.compute(scheduler="synchronous"))


def test_arrays_of_different_options_are_different_when_they_are_computed_together():
    image, _, rough = cells((120, 120))
    arrays = [ndc.refine_objects_tiles(image, rough, PARAMS, border=2, one_contrast=one) for one in (False, True)]
    for together, alone in zip(dask.compute(*arrays), arrays, strict=True):
        assert_array_equal(together, alone.compute())
    assert not np.array_equal(*dask.compute(*arrays))


def test_what_is_chosen_for_a_large_image_is_chosen_on_its_busiest_part(monkeypatch, slide):
    image, _, rough = slide
    rough = rough.copy()
    rough[:, :300] = 0
    monkeypatch.setattr(object_choice, "SAMPLE_POINTS", 2**14)
    monkeypatch.setattr(object_choice, "WINDOW", 32)
    read = []
    whole = da.from_array(image, chunks=64).map_blocks(lambda block: read.append(block.shape) or block, dtype=np.uint8)
    read.clear()
    problem = object_problem.object_problem_of(whole, rough, None, None, None, None)
    sample = object_choice.sample_of(lambda _: problem, ())
    assert sample.where[1].start >= 200
    choice = object_choice.choose(sample, None, None, None)
    assert 0 < len(read) <= 16
    expected = ndc.suggest_for_objects(image[sample.where], rough[sample.where])
    assert choice.common.border == expected.border
    assert choice.why == expected.why
    assert "%" in choice.why
    # Where windows show no object, the first that there is.
    few = np.zeros_like(rough)
    few[4:9, 555:] = 7
    problem = object_problem.object_problem_of(whole, few, None, None, None, None)
    assert few[object_choice.sample_of(lambda _: problem, ()).where].any()


def test_the_halo_holds_the_objects_or_no_tile_fits(slide):
    image, _, rough = slide
    problem = object_problem.object_problem_of(image, rough, None, None, None, None)
    choice = object_choice.choose(object_choice.sample_of(lambda _: problem, ()), PARAMS, 2.0, False)
    plan = object_planning.plan_objects(choice, 0.999, 25 * MIB)
    assert max(plan.halo) >= max(choice.object_size)
    with pytest.raises(MemoryError, match="allow more memory"):
        object_planning.plan_objects(choice, 0.999, MIB // 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": np.zeros((36, 40), int)}, r"objects have shape \(36, 40\): expected \(40, 40\)"),
        ({"objects": np.zeros((40, 40))}, "objects hold float64 values: expected integers"),
        ({"foreground": np.zeros((4, 4))}, "foreground has shape"),
        ({"border": -1.0}, "positive"),
        ({"params": CRFParams(label_bias=(0, 1, 2))}, "expected 2"),
        ({"result": "entropy"}, "labels, confidence, report"),
        ({"agreement": 1.0}, "above 0.5"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(change, words):
    image, _, rough = cells((40, 40))
    arguments = {"objects": rough, "params": PARAMS, "border": 2.0, **change}
    with pytest.raises(ValueError, match=words):
        ndc.refine_objects_tiles(image, arguments.pop("objects"), **arguments)


def test_an_object_that_is_larger_than_tiles_stays_one(slide):
    image, _, rough = slide
    y, x = np.indices(image.shape) - np.array([300, 280])[:, None, None]
    far, angle = np.hypot(y, x), np.arctan2(y, x)
    rng = np.random.default_rng(0)
    image = np.where(far < 215, np.where(far < 200, 150, 50) + rng.normal(0, 6, image.shape), image).astype(np.uint8)
    rough = np.where(far < 200 + 5 * np.sin(40 * angle), 9999, np.where(far < 212, 0, rough))
    labels, report = dask.compute(
        *ndc.refine_objects_tiles(image, rough, tile_memory=10 * MIB, result=("labels", "report"))
    )
    whole = ndc.refine_objects(image, rough)
    assert (labels == whole.labels).mean() >= 0.999
    assert n_pieces(labels)[9998] == 1
    assert ((labels == 9999) != (far < 200)).sum() < 0.5 * ((rough == 9999) != (far < 200)).sum()
    row, other = (one[one["id"] == 9999][0] for one in (report, whole.report))
    assert row["area_before"] == other["area_before"]
    assert row["area_after"] == (labels == 9999).sum()
    assert not row["held"]


@pytest.mark.slow
def test_a_cluster_gives_the_same_bits(slide):
    distributed = pytest.importorskip("distributed")
    image, _, rough = slide
    labels, report = ndc.refine_objects_tiles(
        image, rough, PARAMS, border=2, tile_memory=25 * MIB, result=("labels", "report")
    )
    expected = dask.compute(labels, report, scheduler="synchronous")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = client.gather(client.compute([labels, report]))
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)
