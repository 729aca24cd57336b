"""Objects: against the O(N^2) truth with the same candidates, and what must hold always."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.choose import objects as choosing
from napari_densecrf.crf.numba.parallel import threads_at_most
from napari_densecrf.crf.objects.refine import ObjectRefiner
from reference import features, pairwise_matrix, positions

PARAMS = CRFParams(kernels=(PairwiseKernel(3, 5, 20), PairwiseKernel(1, 1)))


def discs(shape, centres, radius, spacing=None):
    """Return objects 1, 2, ...: balls around centres, in the unit of spacing; the later ones are above."""
    spacing = np.ones(len(shape)) if spacing is None else np.asarray(spacing)
    at = np.moveaxis(np.indices(shape), 0, -1) * spacing
    objects = np.zeros(shape, np.int32)
    for number, centre in enumerate(centres, 1):
        objects[((at - np.asarray(centre) * spacing) ** 2).sum(-1) <= radius**2] = number
    return objects


def scene(seed=0, shape=(36, 44), channels=0):
    """Return an image, its true objects, and rough ones, shifted by two pixels."""
    rng = np.random.default_rng(seed)
    truth = discs(shape, [(11, 12), (12, 26), (26, 20)], 7.5)
    image = 60.0 + 100 * (truth > 0) + rng.normal(0, 8, shape)
    if channels:
        image = np.stack([image, 255 - image, 40 + 0.3 * image][:channels], axis=-1)
    return image.astype(np.float32), truth, np.roll(truth, (2, -1), (0, 1))


def exact(refiner, params, border, image):
    """Return what the mean field over the pairs is with true Gaussians: Q of pairs and of the background."""
    pairs = refiner._pairs_at(border)
    n_points = pairs.background.size
    numbers = np.repeat(np.arange(1, pairs.starts.size), np.diff(pairs.starts))
    log_p = np.full((n_points, pairs.starts.size), -np.inf)
    log_p[:, 0] = pairs.background
    log_p[pairs.pixels, numbers] = pairs.log_p
    intensities = np.asarray(image, float).reshape(n_points, -1)
    pairwise = pairwise_matrix(params, positions(refiner.grid.shape, refiner.grid.spacing), intensities)
    bias = np.zeros(pairs.starts.size)
    if params.label_bias is not None:
        bias[0], bias[1:] = params.label_bias

    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    q = softmax(log_p + bias)
    for _ in range(params.n_iterations):
        q = softmax(log_p + bias + pairwise @ q)
    return q[pairs.pixels, numbers], q[:, 0], pairs


def field_of(refiner, params, border):
    """Return the marginals that the fast engine finds, of pairs and of the background."""
    from napari_densecrf.crf.objects.own_field import OwnField, iterate, routes
    from napari_densecrf.crf.objects.refine import object_bias

    pairs = refiner._pairs_at(border)
    for kernel in params.kernels:
        refiner.terms.build(kernel)
    terms = [(kernel.weight, refiner.terms[kernel]) for kernel in params.kernels]
    shape = refiner.source.numbers.shape
    ways = routes(pairs, [term for _, term in terms], shape)
    field = OwnField(pairs, terms, ways, shape, bias=object_bias(params), damping=params.damping)
    states = [(state.q.copy(), state.background.copy()) for state in iterate(field, params.n_iterations)]
    return states[-1]


CASES = {
    "gray": (scene(), {}, PARAMS),
    "rgb": (scene(1, channels=3), {"channel_axis": -1}, PARAMS),
    "spacing": (scene(2), {"spacing": (1.5, 1.0)}, PARAMS),
    "bias": (scene(3), {}, CRFParams(kernels=PARAMS.kernels, label_bias=(0, 0.7))),
    "smoothness": (scene(4), {}, CRFParams(kernels=(PairwiseKernel(4, 1.5),))),
    "two lattices": (scene(5), {}, CRFParams(kernels=(PairwiseKernel(2, 4, 20), PairwiseKernel(2, 8, 40)))),
}


def on_the_whole_lattice(refiner, params, border):
    """Return the marginals with a channel for each object on the lattice of the whole image."""
    pairs = refiner._pairs_at(border)
    numbers = np.repeat(np.arange(1, pairs.starts.size), np.diff(pairs.starts))
    n_points, n_labels = pairs.background.size, pairs.starts.size
    log_p = np.full((n_points, n_labels), -np.inf)
    log_p[:, 0] = pairs.background
    log_p[pairs.pixels, numbers] = pairs.log_p
    q = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    for _ in range(params.n_iterations):
        sent = np.zeros((n_points, 4), np.float32)
        values = np.zeros_like(sent)
        values[:, :n_labels] = q
        for kernel in params.kernels:
            refiner.terms[kernel].add_messages(values, kernel.weight, sent)
        z = log_p + sent[:, :n_labels]
        q = np.exp(z - z.max(axis=1, keepdims=True))
        q /= q.sum(axis=1, keepdims=True)
    return q[pairs.pixels, numbers], q[:, 0]


@pytest.mark.parametrize("name", CASES)
def test_marginals_are_near_those_of_true_gaussians(name):
    (image, _, rough), how, params = CASES[name]
    refiner = ObjectRefiner(image, rough, one_contrast=False, **how)
    q, background, pairs = exact(refiner, params, 2.5, image)
    mine, mine_background = field_of(refiner, params, 2.5)
    open_pairs = pairs.is_open[pairs.pixels]
    assert np.abs(q - mine)[open_pairs].mean() < 0.003
    assert np.abs(background - mine_background)[pairs.is_open].mean() < 0.003
    assert np.array_equal(mine[~open_pairs], q[~open_pairs].astype(np.float32))


def of_the_reference_implementation(refiner, params, border, image):
    """Return what pydensecrf2 makes of the same candidates, a label for each object, all others ruled out."""
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    pairs = refiner._pairs_at(border)
    numbers = np.repeat(np.arange(1, pairs.starts.size), np.diff(pairs.starts))
    unary = np.full((pairs.starts.size, pairs.background.size), 1e4, np.float32)
    unary[0] = np.minimum(-pairs.background, 1e4)
    unary[numbers, pairs.pixels] = -pairs.log_p
    if params.label_bias is not None:
        unary[1:] -= params.label_bias[1]
    solver = densecrf.DenseCRF(unary.shape[1], unary.shape[0])
    solver.setUnaryEnergy(unary)
    coordinates = positions(refiner.grid.shape, refiner.grid.spacing)
    intensities = np.asarray(image, float).reshape(len(coordinates), -1)
    for kernel in params.kernels:
        points = features(kernel, coordinates, intensities)
        solver.addPairwiseEnergy(np.ascontiguousarray(points.T, dtype=np.float32), compat=kernel.weight)
    return np.array(solver.inference(params.n_iterations)).reshape(unary.shape)[numbers, pairs.pixels]


def test_the_error_is_at_most_half_of_the_reference_implementations():
    ours, theirs = 0.0, 0.0
    for (image, _, rough), how, params in (CASES[name] for name in CASES if name != "smoothness"):
        refiner = ObjectRefiner(image, rough, one_contrast=False, **how)
        q, _, pairs = exact(refiner, params, 2.5, image)
        open_pairs = pairs.is_open[pairs.pixels]
        ours += np.abs(q - field_of(refiner, params, 2.5)[0])[open_pairs].mean()
        theirs += np.abs(q - of_the_reference_implementation(refiner, params, 2.5, image))[open_pairs].mean()
    assert ours < 0.5 * theirs


@pytest.mark.parametrize("name", ["gray", "rgb", "spacing", "two lattices"])
def test_objects_own_vertices_lose_nothing_of_the_whole_lattice(name):
    (image, _, rough), how, params = CASES[name]
    refiner = ObjectRefiner(image, rough, one_contrast=False, **how)
    mine, mine_background = field_of(refiner, params, 2.5)
    q, background = on_the_whole_lattice(refiner, params, 2.5)
    assert np.abs(q - mine).max() < 0.02
    assert np.abs(q - mine).mean() < 1e-4
    assert np.abs(background - mine_background).max() < 0.02


def test_borders_snap_to_the_image():
    image, truth, rough = scene()
    result = ndc.refine_objects(image, rough)
    assert (rough != truth).mean() > 0.08
    assert (result.labels != truth).mean() < 0.4 * (rough != truth).mean()
    assert result.confidence.shape == image.shape
    assert 0 < result.confidence.min() <= result.confidence.max() <= 1


def test_a_volume_with_thick_slices():
    spacing = (2.0, 1.0, 1.0)
    truth = discs((14, 30, 32), [(5, 11, 10), (8, 16, 23)], 8, spacing)
    rng = np.random.default_rng(0)
    image = 50 + 90.0 * (truth > 0) + rng.normal(0, 8, truth.shape)
    rough = np.roll(truth, (1, 2, 0), (0, 1, 2))
    result = ndc.refine_objects(image, rough, spacing=spacing)
    assert (result.labels != truth).mean() < 0.5 * (rough != truth).mean()
    flat = ndc.refine_objects(image[5], rough[5])
    assert flat.labels.shape == (30, 32)


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [((7, 70_000, 3), np.int32), ((-5, 2, 9), np.int64), ((1, 2**40, 2**41), np.int64), ((250, 3, 200), np.uint8)],
)
def test_ids_stay_in_their_type(ids, dtype):
    image, _, rough = scene()
    given = np.zeros(rough.shape, dtype)
    for number, one in enumerate(ids, 1):
        given[rough == number] = one
    plain = ndc.refine_objects(image, rough, PARAMS, border=2)
    named = ndc.refine_objects(image, given, PARAMS, border=2)
    assert named.labels.dtype == dtype
    order = np.argsort(ids)
    for number, one in enumerate(ids, 1):
        assert np.array_equal(named.labels == one, plain.labels == number)
    assert named.report["id"].tolist() == [ids[k] for k in order]


def test_report_counts():
    image, _, rough = scene()
    result = ndc.refine_objects(image, rough, PARAMS, border=2)
    for row in result.report:
        assert row["area_before"] == (rough == row["id"]).sum()
        assert row["area_after"] == (result.labels == row["id"]).sum()
        assert 0 <= row["border_moved"] <= 1
    unmoved = ndc.refine_objects(image, rough, CRFParams(kernels=()), border=0.2)
    assert np.array_equal(unmoved.labels, rough)
    assert not unmoved.report["border_moved"].any()


def test_an_object_that_looks_like_its_surroundings_is_held():
    image, _, rough = scene()
    image[rough == 2] = image[0, 0]
    image[discs(rough.shape, [(12 + 2, 26 - 1)], 15) > 0] = 60.0
    result = ndc.refine_objects(image, rough, PARAMS, border=2)
    held = result.report["id"][result.report["held"]].tolist()
    assert 2 in held
    assert np.array_equal(result.labels == 2, rough == 2)


def test_strokes_decide():
    image, _, rough = scene()
    strokes = np.zeros(rough.shape, np.int32)
    strokes[20, 12] = 2
    strokes[14, 12] = -1
    strokes[30:33, 36:40] = 9
    result = ndc.refine_objects(image, rough, PARAMS, border=2, strokes=strokes)
    assert result.labels[20, 12] == 2
    assert result.labels[14, 12] == 0
    assert (result.labels[30:33, 36:40] == 9).all()
    assert result.report["id"].tolist() == [1, 2, 3, 9]
    unsigned = strokes.astype(np.uint8)
    assert unsigned[14, 12] == 255
    again = ndc.refine_objects(image, rough, PARAMS, border=2, strokes=unsigned)
    assert np.array_equal(again.labels, result.labels)


def test_a_foreground_map_counts():
    image, truth, rough = scene()
    plain = np.full(image.shape, 100.0)
    foreground = np.where(truth > 0, 0.95, 0.05).astype(np.float32)
    params = CRFParams(kernels=(PairwiseKernel(1, 1),))
    without = ndc.refine_objects(plain, rough, params, border=3)
    result = ndc.refine_objects(plain + image * 1e-3, rough, params, border=3, foreground=foreground)
    assert ((result.labels > 0) != (truth > 0)).mean() < 0.5 * ((without.labels > 0) != (truth > 0)).mean()


def test_pixels_without_a_value_take_no_part():
    image, _, rough = scene()
    whole = ndc.refine_objects(image, rough, PARAMS, border=2)
    with_hole = np.vstack([image, np.full((6, 44), np.nan, np.float32)])
    more = np.vstack([rough, np.full((6, 44), 3)])
    result = ndc.refine_objects(with_hole, more, PARAMS, border=2)
    assert np.array_equal(result.labels[36:], more[36:])
    # Object 3 now reaches the last line; the rest of the image knows nothing of that.
    assert np.array_equal(result.labels[:18], whole.labels[:18])


def test_favouring_objects_makes_them_larger():
    image, _, rough = scene()
    sizes = [
        (ndc.refine_objects(image, rough, CRFParams(kernels=PARAMS.kernels, label_bias=b), border=2).labels > 0).sum()
        for b in ((2, 0), None, (0, 2))
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_what_a_change_leaves_valid_is_kept():
    image, _, rough = scene()
    refiner = ObjectRefiner(image, rough)
    refiner.refine(PARAMS, 2.0)
    lattices, pairs, ways = refiner.terms.lattices, refiner._pairs[1], refiner._routes
    heavier = CRFParams(kernels=(PairwiseKernel(5, 5, 20), PairwiseKernel(2, 1)), label_bias=(0, 1))
    refiner.refine(heavier, 2.0)
    assert refiner.terms.lattices == lattices
    assert refiner._pairs[1] is pairs
    assert list(refiner._routes.on_lattices.values()) == list(ways.on_lattices.values())
    refiner.refine(heavier, 3.0)
    assert refiner.terms.lattices == lattices
    assert refiner._pairs[1] is not pairs


def test_same_bits_over_threads_and_history():
    image, _, rough = scene(channels=3)
    first = ndc.refine_objects(image, rough, PARAMS, border=2, channel_axis=-1)
    with threads_at_most(1):
        alone = ndc.refine_objects(image, rough, PARAMS, border=2, channel_axis=-1)
    refiner = ObjectRefiner(image, rough, channel_axis=-1, one_contrast=False)
    refiner.refine(CRFParams(kernels=(PairwiseKernel(1, 9, 30), PairwiseKernel(1, 2))), 3.0)
    later = refiner.refine(PARAMS, 2.0)
    # Only weights move: what the first marginals send is kept.
    refiner.refine(CRFParams(kernels=tuple(replace(one, weight=1.7 * one.weight) for one in PARAMS.kernels)), 2.0)
    assert len(refiner._beginning.sent) == len(PARAMS.kernels)
    at_last = refiner.refine(PARAMS, 2.0)
    for other in (alone, later, at_last):
        assert np.array_equal(first.labels, other.labels)
        assert np.array_equal(first.confidence, other.confidence)
        assert np.array_equal(first.free_energy, other.free_energy)


def test_free_energy_falls():
    image, _, rough = scene()
    energy = ndc.refine_objects(image, rough, CRFParams(kernels=PARAMS.kernels, damping=0.3), border=2).free_energy
    assert (np.diff(energy) < 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": np.zeros((36, 44), int)}, "at least one object"),
        ({"objects": np.zeros((36, 44), bool)}, "a number for each object"),
        ({"objects": np.zeros((36, 44))}, "expected integers"),
        ({"objects": np.zeros((36, 40), int)}, "expected .36, 44."),
        ({"border": 0}, "positive"),
        ({"params": CRFParams(compatibility=((0, 1), (1, 0)))}, "Potts"),
        ({"params": CRFParams(label_bias=(0, 1, 2))}, "expected 2"),
        ({"foreground": np.full((36, 44), 3.0)}, "0 to 1"),
        ({"strokes": np.zeros((36, 44))}, "expected integers"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, words):
    image, _, rough = scene()
    arguments = {"objects": rough, "params": PARAMS, "border": 2.0, **change}
    with pytest.raises(ValueError, match=words):
        ndc.refine_objects(image, arguments.pop("objects"), arguments.pop("params"), **arguments)


@st.composite
def random_objects(draw):
    """Return noise and random objects in it, some in pieces, some with holes, some thin."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shape = draw(st.sampled_from([(23, 31), (1, 40), (17, 17), (6, 12, 13)]))
    coarse = rng.integers(0, draw(st.integers(2, 9)), [-(-n // 4) for n in shape])
    objects = coarse
    for axis in range(len(shape)):
        objects = np.repeat(objects, 4, axis)
    objects = objects[tuple(slice(n) for n in shape)].copy()
    objects[rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.4]))] = 0
    objects.ravel()[0] = 1
    image = rng.normal(0, 20, shape) + 40.0 * objects * draw(st.sampled_from([0, 1]))
    border = draw(st.sampled_from([0.5, 1.5, 4.0]))
    weight = draw(st.sampled_from([0.0, 3.0, 200.0]))
    bias = draw(st.sampled_from([-20.0, 0.0, 20.0]))
    return image, objects, border, weight, bias


def pieces_of(objects, number):
    return ndi.label(objects == number, np.ones((3,) * objects.ndim))[1]


@given(random_objects())
@settings(max_examples=40)
def test_no_object_is_ever_lost_broken_or_renamed(case):
    image, objects, border, weight, bias = case
    kernels = (PairwiseKernel(weight, 3, 20), PairwiseKernel(weight / 3, 1))
    params = CRFParams(kernels=kernels, label_bias=(0, bias))
    labels = ndc.refine_objects(image, objects, params, border=border).labels
    assert labels.dtype == objects.dtype
    assert set(np.unique(labels)) | {0} == set(np.unique(objects)) | {0}
    for number in np.unique(objects)[np.unique(objects) != 0]:
        assert pieces_of(labels, number) <= pieces_of(objects, number)


@given(st.integers(0, 1000))
@settings(max_examples=5)
def test_a_mask_of_one_object_gets_no_new_hole(seed):
    rng = np.random.default_rng(seed)
    objects = discs((40, 40), [(20, 20)], 14)
    image = 50 + 80.0 * (objects > 0) + rng.normal(0, 5, objects.shape)
    image[ndi.binary_dilation(discs((40, 40), [rng.integers(14, 26, 2)], 3))] = 50
    labels = ndc.refine_objects(image, objects, CRFParams(kernels=(PairwiseKernel(20, 6, 15),)), border=6).labels
    assert np.array_equal(ndi.binary_fill_holes(labels == 1), labels == 1)


def test_the_border_chosen_grows_with_how_far_borders_are_off():
    image, truth, _ = scene(shape=(72, 88))
    rng = np.random.default_rng(0)
    chosen = []
    for amount in (0.0, 1.0, 2.5):
        at = np.indices(truth.shape)
        fields = [ndi.gaussian_filter(rng.normal(size=truth.shape), 4) for _ in at]
        index = tuple(
            np.clip((a + amount * f / f.std()).round().astype(int), 0, n - 1)
            for a, f, n in zip(at, fields, truth.shape, strict=True)
        )
        numbers = ndc.suggest_for_objects(ndi.gaussian_filter(image, 1), truth[index])
        chosen.append((numbers.border, numbers.why))
    (of_truth, follows), (by_one, one), (by_more, more) = chosen
    assert "threshold" in follows
    assert of_truth == 3
    assert "%" in one
    assert "%" in more
    assert by_one < by_more


def test_numbers_of_a_large_image_are_tried_on_a_part_of_it(monkeypatch):
    image, _, rough = scene(shape=(72, 88))
    whole = ndc.suggest_for_objects(image, rough)
    monkeypatch.setattr(choosing, "PIXELS_TO_TRY", 2500)
    part = ndc.suggest_for_objects(image, rough)
    assert part.border == whole.border
    assert part.params.kernels == whole.params.kernels


def test_the_chosen_balance_keeps_the_size():
    truth = discs((72, 88), [(20, 20), (20, 60), (52, 40)], 11)
    rng = np.random.default_rng(3)
    image = ndi.gaussian_filter(60 + 100.0 * (truth > 0), 2) + rng.normal(0, 4, truth.shape)
    wide = discs((72, 88), [(20, 20), (20, 60), (52, 40)], 13)
    result = ndc.refine_objects(image, wide)
    change = result.report["area_after"] / result.report["area_before"]
    assert abs(np.median(change) - 1) < 0.05
