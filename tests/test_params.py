"""Parameters: frozen, validated, JSON in and out."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_densecrf import CRFParams, PairwiseKernel

positive = st.floats(1e-6, 1e6)
sigmas = st.one_of(positive, st.tuples(positive, positive))
any_kernel = st.builds(PairwiseKernel, st.floats(0, 1e6), sigmas, st.none() | sigmas)


@given(
    kernels=st.lists(any_kernel, max_size=4),
    n_iterations=st.integers(0, 100),
    damping=st.floats(0, 0.99),
    matrix=st.none() | st.just([[0, 1.5], [1.5, 0]]),
)
def test_json_gives_back_what_it_was_given(kernels, n_iterations, damping, matrix):
    params = CRFParams(tuple(kernels), matrix, n_iterations, damping)
    assert CRFParams.from_json(params.to_json()) == params
    assert CRFParams.from_dict(params.to_dict()) == params
    assert hash(params) == hash(CRFParams.from_json(params.to_json()))


def test_parameters_are_frozen():
    with pytest.raises(FrozenInstanceError):
        CRFParams().damping = 0.5


def test_numpy_numbers_become_plain_ones():
    kernel = PairwiseKernel(np.float32(2), np.array([1, 2]), np.int64(3))
    assert kernel == PairwiseKernel(2.0, (1.0, 2.0), 3.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PairwiseKernel(-1, 1), "weight is -1.0"),
        (lambda: PairwiseKernel(float("nan"), 1), "finite"),
        (lambda: PairwiseKernel(1, 0), "position_sigma is 0"),
        (lambda: PairwiseKernel(1, (1, -2)), "positive"),
        (lambda: PairwiseKernel(1, ()), "empty"),
        (lambda: PairwiseKernel(1, 1, float("inf")), "intensity_sigma"),
        (lambda: PairwiseKernel("a lot", 1), "expected a number"),
        (lambda: CRFParams(n_iterations=-1), "n_iterations is -1"),
        (lambda: CRFParams(n_iterations=2.5), "whole number"),
        (lambda: CRFParams(damping=1.0), "damping is 1.0"),
        (lambda: CRFParams(compatibility=[[0, 1], [2, 0]]), "not symmetric"),
        (lambda: CRFParams(compatibility=[[0, 1]]), "rows of length"),
        (lambda: CRFParams(compatibility=[[0, np.nan], [np.nan, 0]]), "finite"),
        (lambda: CRFParams(kernels=(3,)), "expected PairwiseKernel"),
        (lambda: CRFParams.from_json('{"kernel": []}'), "unknown parameter 'kernel'"),
        (lambda: CRFParams.from_json('{"kernels": [{"weight": 1}]}'), "lacks position_sigma"),
        (lambda: CRFParams.from_json("[]"), "expected an object"),
    ],
)
def test_what_cannot_be_meant_is_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_time_is_one_more_position_of_all_kernels():
    params = CRFParams((PairwiseKernel(2, 4, 30), PairwiseKernel(1, (2, 3))), n_iterations=3, damping=0.2)
    kernels = PairwiseKernel(2, (1.5, 4, 4), 30), PairwiseKernel(1, (1.5, 2, 3))
    assert params.coupled_in_time(1.5) == CRFParams(kernels, n_iterations=3, damping=0.2)
    with pytest.raises(ValueError, match="expected positive"):
        params.coupled_in_time(0)


def test_a_label_bias_goes_through_json():
    params = CRFParams(label_bias=[0, 1.5])
    assert params.label_bias == (0.0, 1.5)
    assert CRFParams.from_json(params.to_json()) == params
    assert CRFParams.from_json(CRFParams().to_json()).label_bias is None


@pytest.mark.parametrize("bias", [[1.0], [0.0, float("nan")], [0.0, float("inf")], 3.0, "12", [0, "a"]])
def test_a_label_bias_that_cannot_be_meant(bias):
    with pytest.raises((ValueError, TypeError), match="label_bias"):
        CRFParams(label_bias=bias)
