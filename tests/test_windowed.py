"""The appearance kernel summed within windows: what its definition says, and where drafts use it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_densecrf import CRFParams, PairwiseKernel, Refiner
from napari_densecrf.crf.pairwise import LatticeGaussian
from napari_densecrf.crf.windowed_gaussian import WindowedGaussian, pixels_in_window, window_of


def by_definition(shape, sigmas, features, valid):
    """Return k~ with j = i left out, (n_points, n_points)."""
    places = np.indices(shape).reshape(2, -1).T
    away = places[:, None] - places
    exponent = ((away / sigmas) ** 2).sum(-1) + ((features[:, None] - features) ** 2).sum(-1)
    kernel = np.exp(-0.5 * exponent) * (np.abs(away) <= window_of(sigmas)).all(-1) * (valid[:, None] & valid)
    sums = np.where(valid, kernel.sum(1), 1)
    kernel /= np.sqrt(sums[:, None] * sums)
    np.fill_diagonal(kernel, 0)
    return kernel


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sigmas=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    n_channels=st.integers(1, 3),
    missing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 99),
)
def test_messages_are_what_the_definition_says(shape, sigmas, n_channels, missing, seed):
    rng = np.random.default_rng(seed)
    sigmas, n_points = np.array(sigmas), shape[0] * shape[1]
    features = rng.normal(size=(n_points, n_channels)).astype(np.float32)
    valid = rng.random(n_points) >= missing
    expected = by_definition(shape, sigmas, features, valid)
    term = WindowedGaussian(shape, sigmas, np.where(valid[:, None], features, np.nan), None if missing == 0 else valid)
    marginals = rng.random((n_points, 2)).astype(np.float32) * valid[:, None]
    messages = np.ones_like(marginals)
    term.add_messages(marginals, 1.5, messages)
    assert_allclose(messages, 1 + 1.5 * expected @ marginals, atol=1e-5)
    assert_allclose(term.total(), expected.sum(1), atol=1e-5)


def test_a_draft_sums_small_windows_only():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)
    refiner = Refiner(image, channel_axis=-1)
    small, large, smooth = PairwiseKernel(4, 2, 30), PairwiseKernel(4, 12, 30), PairwiseKernel(1, 2)
    assert pixels_in_window(np.full(2, 12.0)) > 450
    assert not any(refiner.terms.sums_windows(kernel) for kernel in (small, large, smooth))
    refiner.terms.is_draft = True
    assert [refiner.terms.sums_windows(kernel) for kernel in (small, large, smooth)] == [True, False, False]
    refiner.terms.build(small)
    refiner.terms.build(large)
    assert isinstance(refiner.terms[small], WindowedGaussian)
    assert isinstance(refiner.terms[large], LatticeGaussian)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_draft_is_near_to_the_exact_result(n_labels):
    rng = np.random.default_rng(1)
    y, x = np.indices((40, 50))
    truth = np.where(x > 40, n_labels - 1, (y - 20) ** 2 + (x - 25) ** 2 < 150)
    image = (60 + 60 * truth + rng.normal(0, 5, truth.shape)).astype(np.float32)
    rough = np.moveaxis(np.eye(n_labels)[truth] * 0.4, -1, 0) + 0.6 * rng.random((n_labels, *truth.shape))
    probabilities = (rough / rough.sum(0)).astype(np.float32)
    params = CRFParams((PairwiseKernel(3, 2, 20), PairwiseKernel(1, 1)))
    exact, draft = Refiner(image), Refiner(image)
    draft.terms.is_draft = True
    labels, drafted = (one.refine(probabilities, params).labels for one in (exact, draft))
    assert_array_equal(np.unique(drafted), np.arange(n_labels))
    assert (labels != drafted).mean() < 0.02 < (labels != probabilities.argmax(0)).mean()
