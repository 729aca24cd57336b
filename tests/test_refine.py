"""What must hold always: invariants, the same bits, nothing rebuilt, bad input named."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import napari_densecrf as ndc
import reference
from cases import all_cases, kernels
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.crf.refine import Terms

CASES = {case.name: case for case in all_cases()}
MILD = CRFParams(kernels(3, 6.0, 20.0, 1.0, 1.5))


def problem(shape=(24, 30), n_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    probabilities = rng.dirichlet(np.ones(n_labels), shape)
    return image, np.moveaxis(probabilities, -1, 0).astype(np.float32)


@given(seed=st.integers(0, 1000), n_labels=st.integers(2, 6))
def test_zero_weights_give_the_map_back(seed, n_labels):
    image, probabilities = problem((7, 9), n_labels, seed)
    result = ndc.refine(image, probabilities, CRFParams(kernels(0, 5, 5, 0, 2)))
    expected = np.maximum(probabilities, 1e-6)
    assert_allclose(result.marginals, expected / expected.sum(axis=0), atol=1e-5)


@given(seed=st.integers(0, 1000))
def test_marginals_are_probabilities_and_labels_their_argmax(seed):
    image, probabilities = problem((8, 8), 4, seed)
    result = ndc.refine(image, probabilities, MILD)
    assert result.marginals.dtype == np.float32
    assert result.marginals.min() >= 0
    assert_allclose(result.marginals.sum(axis=0), 1, atol=1e-5)
    assert result.labels.dtype == np.uint8
    assert_array_equal(result.labels, result.marginals.argmax(axis=0))
    assert result.entropy.min() >= 0
    assert result.entropy.max() <= 1


def test_permuting_labels_permutes_marginals():
    image, probabilities = problem(n_labels=4)
    order = [2, 0, 3, 1]
    straight = ndc.refine(image, probabilities, MILD).marginals
    permuted = ndc.refine(image, probabilities[order], MILD).marginals
    assert_allclose(permuted, straight[order], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_flipping_an_axis_flips_the_result(axis):
    case = CASES["gray, wide"]
    straight = ndc.refine(case.image, case.probabilities, MILD).marginals
    flipped = ndc.refine(np.flip(case.image, axis), np.flip(case.probabilities, axis + 1), MILD).marginals
    assert np.abs(np.flip(flipped, axis + 1) - straight).mean() < 5e-3


def test_spacing_scales_with_position_sigma():
    image, probabilities = problem()
    scaled = CRFParams(kernels(3, 6.0 * 0.25, 20.0, 1.0, 1.5 * 0.25))
    assert_allclose(
        ndc.refine(image, probabilities, scaled, spacing=0.25).marginals,
        ndc.refine(image, probabilities, MILD).marginals,
        atol=1e-5,
    )


def test_intensity_scales_with_intensity_sigma():
    image, probabilities = problem()
    wide = CRFParams(kernels(3, 6.0, 20.0 * 257, 1.0, 1.5))
    assert_allclose(
        ndc.refine(image.astype(np.uint16) * 257, probabilities, wide).marginals,
        ndc.refine(image, probabilities, MILD).marginals,
        atol=1e-4,
    )


def test_a_constant_image_makes_the_appearance_kernel_a_spatial_one():
    _, probabilities = problem((20, 20), 2)
    appearance = CRFParams((PairwiseKernel(3.0, 3.0, 10.0),))
    spatial = CRFParams((PairwiseKernel(3.0, 3.0),))
    ours = ndc.refine(np.zeros((20, 20)), probabilities, appearance).marginals
    assert np.abs(ours - ndc.refine(np.zeros((20, 20)), probabilities, spatial).marginals).mean() < 0.01


def test_channel_axis_may_be_anywhere():
    image, probabilities = problem()
    rgb = np.stack([image, image[::-1], image[:, ::-1]])
    first = ndc.refine(rgb, probabilities, MILD, channel_axis=0)
    last = ndc.refine(np.moveaxis(rgb, 0, -1), probabilities, MILD, channel_axis=-1)
    assert_array_equal(first.marginals, last.marginals)


def test_foreground_map_is_two_classes():
    image, probabilities = problem(n_labels=2)
    both = ndc.refine(image, probabilities, MILD)
    foreground = ndc.refine(image, probabilities[1], MILD)
    assert_allclose(foreground.marginals, both.marginals, atol=1e-4)


def test_integer_maps_are_scaled():
    image, probabilities = problem(n_labels=2)
    eight = np.round(probabilities[1] * 255).astype(np.uint8)
    assert_allclose(
        ndc.refine(image, eight, MILD).marginals, ndc.refine(image, eight / 255.0, MILD).marginals, atol=1e-4
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 5, 5), (3, 1, 1)])
def test_the_smallest_images_work(shape):
    image, probabilities = problem(shape, 2)
    assert ndc.refine(image, probabilities, MILD).labels.shape == shape


def test_one_pixel_keeps_its_map():
    result = ndc.refine(np.ones((1, 1)), np.array([[[0.3]], [[0.7]]]), CRFParams())
    assert_allclose(result.marginals.ravel(), [0.3, 0.7], atol=1e-4)


def test_300_classes_are_uint16():
    rng = np.random.default_rng(0)
    probabilities = rng.random((300, 6, 6))
    with pytest.warns(ndc.InputWarning, match="renormalised"):
        result = ndc.refine(rng.random((6, 6)), probabilities, CRFParams(kernels(0.1, 2, 1, 0.1, 1)))
    assert result.labels.dtype == np.uint16
    assert result.labels.max() > 255


def test_tiny_sigmas_leave_the_map_alone():
    image, probabilities = problem((10, 10), 2)
    result = ndc.refine(image, probabilities, CRFParams(kernels(5, 0.05, 0.5, 5, 0.01)))
    assert_allclose(result.marginals, probabilities, atol=1e-3)


@pytest.mark.parametrize("name", ["rgb, 3 labels", "volume", "noise"])
def test_the_same_bits_with_any_number_of_threads(name):
    case = CASES[name]
    image = np.concatenate([case.image] * 9, axis=1)
    probabilities = np.concatenate([case.probabilities] * 9, axis=2)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append(ndc.refine(image, probabilities, case.params, **case.options))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        assert_array_equal(other.marginals, results[0].marginals)
        assert_array_equal(other.free_energy, results[0].free_energy)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import napari_densecrf as ndc
from test_refine import MILD, problem
image, probabilities = problem((70, 300))
result = ndc.refine(image, probabilities, MILD)
print(hashlib.sha256(result.marginals.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bits_in_other_processes():
    hashes = set()
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "NUMBA_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout.strip())
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


def test_a_refiner_gives_the_same_bits_after_any_history():
    image, probabilities = problem((40, 50))
    refiner = ndc.Refiner(image)
    others = [
        replace(MILD, kernels=kernels(5, 6.0, 20.0)),
        replace(MILD, kernels=kernels(3, 9.0, 12.0, 1.0, 1.5)),
        replace(MILD, n_iterations=2, damping=0.4),
        MILD,
    ]
    for params in others:
        refiner.refine(probabilities[::-1].copy(), params)
        assert_array_equal(
            refiner.refine(probabilities, params).marginals, ndc.refine(image, probabilities, params).marginals
        )


def test_results_are_not_written_into_by_later_ones():
    image, probabilities = problem()
    refiner = ndc.Refiner(image)
    first = refiner.refine(probabilities, MILD)
    kept = first.marginals.copy()
    refiner.refine(probabilities[::-1].copy(), MILD)
    assert_array_equal(first.marginals, kept)


@pytest.fixture
def built(monkeypatch):
    """Return the list of kernels that get built."""
    made = []
    original = Terms._build

    def build(self, kernel):
        made.append(kernel.intensity_sigma is not None)
        return original(self, kernel)

    monkeypatch.setattr(Terms, "_build", build)
    return made


def test_nothing_is_built_that_a_change_leaves_valid(built):
    image, probabilities = problem()
    refiner = ndc.Refiner(image)
    refiner.refine(probabilities, MILD)
    assert built == [True, False]
    built.clear()
    strokes = np.zeros(image.shape, int)
    strokes[3, 3] = 1
    refiner.refine(probabilities, CRFParams(kernels(8, 6.0, 20.0, 2.0, 1.5), n_iterations=3, damping=0.2))
    refiner.refine(probabilities[::-1].copy(), replace(MILD, compatibility=1 - np.eye(3)), strokes=strokes)
    assert built == []
    refiner.refine(probabilities, CRFParams(kernels(3, 6.0, 20.0, 1.0, 2.5)))
    assert built == [False]
    built.clear()
    refiner.refine(probabilities, CRFParams(kernels(3, 6.0, 25.0, 1.0, 2.5)))
    assert built == [True]


def test_switching_a_kernel_off_and_on_builds_nothing(built):
    image, probabilities = problem()
    refiner = ndc.Refiner(image)
    refiner.refine(probabilities, MILD)
    built.clear()
    refiner.refine(probabilities, CRFParams(kernels(0, 6.0, 20.0, 1.0, 1.5)))
    refiner.refine(probabilities, MILD)
    assert built == []


def test_steps_can_be_left_at_any_point():
    image, probabilities = problem()
    refiner = ndc.Refiner(image)
    n_steps = len(list(refiner.steps(probabilities, MILD)))
    assert n_steps > MILD.n_iterations
    for stop in range(n_steps):
        fresh = ndc.Refiner(image)
        for done, step in enumerate(fresh.steps(probabilities, MILD)):
            assert (step.refinement is not None) == (done == n_steps - 1) or done < n_steps - 1
            if done == stop:
                break
        assert_array_equal(fresh.refine(probabilities, MILD).labels, refiner.refine(probabilities, MILD).labels)


def test_a_part_lies_on_the_lattice_of_the_whole():
    case = CASES["gray, sharp"]
    params = CRFParams(kernels(5, 3.0, 20.0, 1.0, 1.0))
    whole = ndc.refine(case.image, case.probabilities, params).marginals
    part = ndc.refine(case.image[13:, 7:], case.probabilities[:, 13:, 7:], params, origin=(13, 7)).marginals
    inner = np.abs(part[:, 18:, 18:] - whole[:, 31:, 25:]).mean()
    assert inner < 5e-3


def test_labels_make_a_map():
    labels = np.array([[0, 1], [2, 1]])
    probabilities = ndc.probabilities_from_labels(labels, confidence=0.8)
    assert probabilities.shape == (3, 2, 2)
    assert_array_equal(probabilities.argmax(axis=0), labels)
    assert_allclose(probabilities.max(axis=0), 0.8)
    assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    assert ndc.probabilities_from_labels(labels > 0).shape == (2, 2, 2)


IMAGE, MAP = problem((6, 8), 2)


@pytest.mark.parametrize(
    ("image", "probabilities", "options", "words"),
    [
        (IMAGE, MAP[:, :, :5], {}, r"shape \(2, 6, 5\): expected \(n_labels, 6, 8\)"),
        (IMAGE, np.moveaxis(MAP, 0, -1), {}, "class axis is the last"),
        (np.stack([IMAGE] * 3, -1), MAP, {}, "channel_axis=-1"),
        (IMAGE, np.where(np.arange(48).reshape(6, 8) == 20, np.nan, MAP), {}, "have NaN at 1 of 48 pixels"),
        (IMAGE, MAP - 0.5, {}, "no probability is negative"),
        (IMAGE, np.where(MAP > 0.9, np.inf, MAP), {}, "infinite or negative at"),
        (IMAGE, MAP[:1], {}, "1 class"),
        (IMAGE, MAP[1] * 255, {}, "goes up to .* divide it by 255"),
        (IMAGE, (MAP[1] > 0.5).astype(np.uint8), {}, "only 0 and 1"),
        (IMAGE, MAP[1] > 0.5, {}, "probabilities_from_labels"),
        (IMAGE, (MAP[1] > 0.5).astype(int), {}, "probabilities_from_labels"),
        (np.zeros((0, 8)), np.zeros((2, 0, 8)), {}, "empty"),
        (np.where(IMAGE > 200, np.inf, 1.0), MAP, {}, "infinite values at"),
        (IMAGE > 100, MAP, {}, "bool values"),
        (IMAGE.astype(complex), MAP, {}, "complex128"),
        (IMAGE, MAP, {"spacing": (1.0,)}, "spacing has 1 numbers: expected 2"),
        (IMAGE, MAP, {"spacing": (1.0, -1.0)}, "positive"),
        (IMAGE, MAP, {"strokes": np.full((6, 8), 3)}, "strokes hold 3: expected 0"),
        (IMAGE, MAP, {"strokes": np.zeros((6, 7), int)}, r"strokes have shape \(6, 7\)"),
        (IMAGE, MAP, {"channel_axis": 5}, "channel_axis is 5|spatial axes"),
        (IMAGE, MAP, {"params": CRFParams(compatibility=np.eye(3))}, r"expected \(2, 2\)"),
        (IMAGE, MAP, {"params": CRFParams((PairwiseKernel(1, (1, 2, 3)),))}, "position_sigma has 3 numbers"),
        (IMAGE, MAP, {"params": CRFParams((PairwiseKernel(1, 1, (1, 2)),))}, "intensity_sigma has 2 numbers"),
    ],
)
def test_bad_input_is_named_in_one_sentence(image, probabilities, options, words):
    options = dict(options)
    params = options.pop("params", MILD)
    with pytest.raises(ValueError, match=words) as caught:
        ndc.refine(image, probabilities, params, **options)
    assert "\n" not in str(caught.value)


def test_pixels_without_any_probability_become_uniform():
    probabilities = MAP.copy()
    probabilities[:, 2, 3] = 0
    with pytest.warns(ndc.InputWarning, match="sum to 0 at 1 of 48 pixels"):
        result = ndc.refine(IMAGE, probabilities, CRFParams(()))
    assert_allclose(result.marginals[:, 2, 3], 0.5, atol=1e-6)


def test_sums_near_one_pass_in_silence_and_others_do_not():
    assert_allclose(ndc.refine(IMAGE, MAP * 1.015, MILD).marginals, ndc.refine(IMAGE, MAP, MILD).marginals, atol=1e-4)
    with pytest.warns(ndc.InputWarning, match="renormalised"):
        ndc.refine(IMAGE, MAP * 1.5, MILD)


def test_the_largest_change_is_that_of_the_marginals():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 40)).astype(np.uint8)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(2), (30, 40)), -1, 0).astype(np.float32)
    kernels = CRFParams().kernels
    states = [ndc.refine(image, probabilities, CRFParams(kernels, n_iterations=n)).marginals for n in range(4)]
    changes = ndc.refine(image, probabilities, CRFParams(kernels, n_iterations=3)).largest_change
    expected = [np.abs(new - old).max() for old, new in itertools.pairwise(states)]
    np.testing.assert_allclose(changes, expected, atol=1e-6)


@pytest.mark.parametrize("n_labels", [2, 4])
def test_a_label_bias_is_what_it_says(n_labels):
    image, probabilities = problem(n_labels=n_labels)
    bias = np.linspace(-1.0, 1.5, n_labels)
    params = replace(MILD, label_bias=tuple(bias))
    favoured = probabilities * np.exp(bias)[:, None, None]
    favoured /= favoured.sum(axis=0)
    expected, energies = reference.refine(image, favoured, MILD)
    refined = ndc.refine(image, probabilities, params)
    plain, _ = reference.refine(image, probabilities, MILD)
    off = ndc.refine(image, probabilities, MILD).marginals
    # As near to the truth as without a bias.
    assert np.abs(refined.marginals - expected).mean() < 2 * np.abs(off - plain).mean() + 1e-4
    assert np.abs(refined.marginals - off).mean() > 0.02
    assert_allclose(refined.free_energy, energies, rtol=0.05, atol=0.05 * np.ptp(energies))


def test_only_differences_of_a_label_bias_count():
    image, probabilities = problem(n_labels=2)
    first = ndc.refine(image, probabilities, replace(MILD, label_bias=(0.0, 1.0)))
    second = ndc.refine(image, probabilities, replace(MILD, label_bias=(2.0, 3.0)))
    assert_array_equal(first.marginals, second.marginals)
    assert_allclose(first.free_energy, second.free_energy, rtol=1e-4)


def test_a_label_bias_builds_nothing_and_strokes_hold(built):
    image, probabilities = problem(n_labels=2)
    strokes = np.zeros(image.shape, np.uint8)
    strokes[3, 4] = 1
    refiner = ndc.Refiner(image)
    refiner.refine(probabilities, MILD)
    before = list(built)
    refined = refiner.refine(probabilities, replace(MILD, label_bias=(0.0, 30.0)), strokes=strokes)
    assert built == before
    assert refined.labels[3, 4] == 0
    assert (refined.labels == 1).sum() == image.size - 1


def test_a_label_bias_has_a_number_a_class():
    image, probabilities = problem(n_labels=2)
    with pytest.raises(ValueError, match="expected 2, one for each class"):
        ndc.refine(image, probabilities, replace(MILD, label_bias=(0.0, 1.0, 2.0)))
