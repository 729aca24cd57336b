"""The numbers of the sliders: to parameters and back, to another image and back, and what settings may hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.numbers import NAMES, Numbers, Units

POSITIVE = st.floats(0.01, 500)
NUMBERS = st.builds(
    Numbers,
    appearance_weight=POSITIVE,
    appearance_position_sigma=POSITIVE,
    appearance_intensity_sigma=POSITIVE,
    smoothness_weight=POSITIVE,
    smoothness_position_sigma=POSITIVE,
    n_iterations=st.integers(0, 30),
    damping=st.floats(0, 0.95),
    balance=st.floats(-4, 4),
)


@given(NUMBERS)
def test_parameters_give_the_numbers_back(numbers):
    back = Numbers.of_params(numbers.balanced_params, like=numbers)
    assert back == numbers
    assert back.balanced_params == numbers.balanced_params


def test_what_parameters_lack_is_weight_0_and_the_rest_like_others():
    like = Numbers(appearance_position_sigma=7.0, border=3.0)
    numbers = Numbers.of_params(CRFParams(kernels=(PairwiseKernel(2.0, 4.0),)), like=like)
    assert (numbers.appearance_weight, numbers.smoothness_weight, numbers.smoothness_position_sigma) == (0.0, 2.0, 4.0)
    assert (numbers.appearance_position_sigma, numbers.border) == (7.0, 3.0)
    assert numbers.reach == 4.0
    assert numbers.changed(smoothness_weight=0.0).reach == 0.0


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (CRFParams(kernels=(PairwiseKernel(1.0, 2.0), PairwiseKernel(1.0, 3.0))), "one smoothness kernel"),
        (CRFParams(kernels=(PairwiseKernel(1.0, (2.0, 3.0)),)), "one number a sigma"),
        (CRFParams(kernels=(PairwiseKernel(1.0, 2.0),), n_iterations=31), "up to 30 iterations"),
        (CRFParams(kernels=(PairwiseKernel(1.0, 2.0),), damping=0.96), "damping of 0.95"),
        (CRFParams(kernels=(PairwiseKernel(1.0, 2.0),), compatibility=((0, 2), (2, 0))), "no compatibility"),
    ],
)
def test_what_no_slider_shows_is_refused(params, words):
    with pytest.raises(ValueError, match=words):
        Numbers.of_params(params)


def test_the_balance_belongs_to_two_classes_and_favours_to_as_many_as_they_are():
    numbers = Numbers(balance=0.5, favours=(0.0, 1.0, 0.0))
    assert numbers.params_for(0).label_bias is None
    assert numbers.params_for(2).label_bias == (0.0, 0.5)
    assert numbers.params_for(3).label_bias == (0.0, 1.0, 0.0)
    assert numbers.params_for(4).label_bias is None
    assert Numbers.of_params(numbers.params_for(3)).favours == (0.0, 1.0, 0.0)


def test_a_class_is_favoured_step_by_step_and_no_longer():
    numbers = Numbers().favouring(0, 2, 0.25)
    assert numbers.balance == -0.25
    assert numbers.favouring(1, 2, 0.25).balance == 0
    three = Numbers().favouring(2, 3, 0.25).favouring(2, 3, 0.25)
    assert three.favours == (0.0, 0.0, 0.5)
    assert three.favouring(2, 3, -0.5).favours == ()
    # Those of another map are forgotten.
    assert three.favouring(0, 4, 0.25).favours == (0.25, 0.0, 0.0, 0.0)


@given(NUMBERS, st.floats(1e-3, 1e3), st.floats(1e-2, 1e3))
def test_relative_numbers_are_those_of_an_image_and_back(numbers, pixel, intensity):
    units = Units(pixel, intensity)
    own = numbers.in_units(units, digits=15)
    assert math.isclose(own.border, numbers.border * pixel, rel_tol=1e-12)
    assert math.isclose(own.appearance_intensity_sigma, numbers.appearance_intensity_sigma * intensity, rel_tol=1e-12)
    assert own.appearance_weight == numbers.appearance_weight
    back = own.relative_to(units)
    np.testing.assert_allclose(list(back.as_dict().values()), list(numbers.as_dict().values()), rtol=1e-12)


def test_numbers_are_shortened_as_people_type_them():
    assert (
        Numbers(border=1.23456, n_iterations=12).shortened().as_dict()
        == Numbers(border=1.23, n_iterations=12).as_dict()
    )


@pytest.mark.parametrize(
    "value", ["3", None, True, float("nan"), float("inf"), -1.0, 1e7, [1.0]], ids=lambda value: repr(value)
)
def test_settings_that_make_no_sense_are_left_out(value):
    start = Numbers()
    for name in NAMES:
        if name == "balance" and value == -1.0:
            continue
        assert start.updated({name: value}) == start


def test_settings_that_make_sense_are_taken():
    taken = Numbers().updated({"border": 4, "balance": -1.0, "n_iterations": 7.0, "favours": [0, 1.0], "unknown": 3})
    assert (taken.border, taken.balance, taken.n_iterations, taken.favours) == (4, -1.0, 7, (0, 1.0))
    assert isinstance(taken.n_iterations, int)
    # A sigma of 0 is no kernel.
    assert Numbers().updated({"border": 0}) == Numbers()
    assert Numbers().updated({"favours": ["a"]}).favours == ()
