"""Which pixels pull on one: against the row of the exact matrix, and what must hold always."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from skimage import data

import napari_densecrf as ndc
import reference
from cases import cells, kernels, tissue, volume
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.crf.influence import EXACT_POINTS
from napari_densecrf.crf.numba.parallel import one_at_a_time

# The function of the same name hides the module as an attribute of the package.
influence_module = sys.modules["napari_densecrf.crf.influence"]
GRAY = cells(32)[0]
RGB = tissue(32)[0]
STACK = volume()[0]
CASES = {
    "gray": (GRAY, (5, 20), CRFParams(kernels(10, 20.0, 5.0)), {}),
    "gray, at a corner": (GRAY, (0, 31), CRFParams(kernels(10, 6.0, 15.0)), {}),
    "rgb": (RGB, (17, 9), CRFParams(kernels(10, 80.0, 13.0)), {"channel_axis": -1}),
    "rgb, channels first": (np.moveaxis(RGB, -1, 0), (17, 9), CRFParams(kernels(10, 8.0, 13.0)), {"channel_axis": 0}),
    "per axis and channel": (
        RGB,
        (3, 30),
        CRFParams((PairwiseKernel(5.0, (10.0, 30.0), (8.0, 20.0, 40.0)), PairwiseKernel(2.0, (1.0, 3.0)))),
        {"channel_axis": -1},
    ),
    "volume": (STACK, (4, 7, 8), CRFParams(kernels(5, 6.0, 80.0, 2, 2)), {"spacing": (2.0, 1.0, 1.0)}),
    "two appearance kernels": (
        GRAY,
        (20, 20),
        CRFParams((PairwiseKernel(3.0, 20.0, 8.0), PairwiseKernel(2.0, 5.0, 30.0))),
        {},
    ),
}


def exact_matrix(image, params, spacing=None, channel_axis=None):
    channels = np.asarray(image, dtype=float)
    channels = channels[..., None] if channel_axis is None else np.moveaxis(channels, channel_axis, -1)
    spatial = channels.shape[:-1]
    positions = reference.positions(spatial, spacing)
    return reference.pairwise_matrix(params, positions, channels.reshape(len(positions), -1)), spatial


@pytest.mark.parametrize("name", CASES)
def test_it_is_a_row_of_the_models_matrix(name):
    image, pixel, params, options = CASES[name]
    matrix, spatial = exact_matrix(image, params, **options)
    exact = matrix[np.ravel_multi_index(pixel, spatial)].reshape(spatial)
    ours = ndc.influence(image, params, pixel, **options)
    assert ours.shape == spatial
    assert ours.dtype == np.float32
    assert ours[pixel] == 0
    assert_allclose(ours, exact, rtol=1e-4, atol=1e-6 * exact.max())


def test_it_says_how_many_count_and_how_much_the_pixel_counts_itself():
    matrix, _ = exact_matrix(GRAY, CRFParams((PairwiseKernel(1.0, 20.0, 5.0),)))
    positions = reference.positions(GRAY.shape)
    points = reference.features(PairwiseKernel(1.0, 20.0, 5.0), positions, GRAY.reshape(-1, 1).astype(float))
    row_sum = reference.gaussian_matrix(points)[5 * 32 + 20].sum()
    pull = ndc.Influence(GRAY).at((5, 20), CRFParams((PairwiseKernel(1.0, 20.0, 5.0),)))
    row = matrix[5 * 32 + 20]
    assert pull.pixel == (5, 20)
    assert pull.effective_pixels == pytest.approx(row.sum() / row.max(), rel=1e-4)
    assert pull.self_share == pytest.approx(1 / row_sum, rel=1e-4)


def test_a_hot_pixel_stands_alone_and_its_neighbour_does_not():
    image = np.full((20, 20), 100.0)
    image[10, 10] = 200.0
    params = CRFParams(kernels(10, 20.0, 5.0))
    hot = ndc.Influence(image).at((10, 10), params)
    beside = ndc.Influence(image).at((10, 11), params)
    assert hot.self_share == pytest.approx(1)
    assert hot.stands_alone
    assert beside.self_share < 0.01
    assert not beside.stands_alone


def test_below_the_noise_most_pixels_stand_alone():
    image = np.random.default_rng(0).normal(0, 100, (40, 40))
    sharp = CRFParams((PairwiseKernel(10, 3.0, 1.0),))
    tool = ndc.Influence(image)
    alone = [tool.at((y, x), sharp).stands_alone for y in range(0, 40, 5) for x in range(0, 40, 5)]
    assert np.mean(alone) > 0.7
    wide = replace(sharp, kernels=(PairwiseKernel(10, 3.0, 200.0),))
    assert not tool.at((20, 20), wide).stands_alone


def test_smoothness_alone_has_no_self_share_and_off_is_off():
    pull = ndc.Influence(GRAY).at((5, 20), CRFParams(kernels(0, 20, 5, 3, 2)))
    assert pull.self_share == 0
    assert pull.values[5, 21] > pull.values[5, 22] > pull.values[5, 23] > 0
    nothing = ndc.Influence(GRAY).at((5, 20), CRFParams(()))
    assert_array_equal(nothing.values, 0)
    assert nothing.effective_pixels == 0


@given(seed=st.integers(0, 1000), intensity_sigma=st.floats(0.5, 300), position_sigma=st.floats(0.3, 50))
def test_it_is_symmetric_and_not_negative(seed, intensity_sigma, position_sigma):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (9, 11))
    params = CRFParams(kernels(4.0, position_sigma, intensity_sigma, 2.0, position_sigma / 3))
    one, other = (tuple(rng.integers(0, (9, 11)).tolist()) for _ in range(2))
    tool = ndc.Influence(image)
    there, back = tool.at(one, params).values, tool.at(other, params).values
    assert there.min() >= 0
    assert_allclose(there[other], back[one], rtol=1e-5)


def test_a_sigma_rebuilds_the_row_sums_of_its_kernel_alone(monkeypatch):
    made = []
    build = influence_module._row_sums_of
    monkeypatch.setattr(influence_module, "_row_sums_of", lambda *points: made.append(1) or build(*points))
    first, second = PairwiseKernel(3.0, 20.0, 8.0), PairwiseKernel(2.0, 5.0, 30.0)
    tool = ndc.Influence(GRAY)
    tool.at((5, 5), CRFParams((first, second)))
    assert len(made) == 2
    tool.at((6, 5), CRFParams((replace(first, weight=9.0), second)))
    assert len(made) == 2
    changed = tool.at((6, 5), CRFParams((first, replace(second, intensity_sigma=31.0))))
    assert len(made) == 3
    assert_array_equal(
        changed.values, ndc.influence(GRAY, CRFParams((first, replace(second, intensity_sigma=31.0))), (6, 5))
    )


@pytest.mark.parametrize("sigmas", [(80.0, 13.0), (20.0, 5.0), (5.0, 3.0)])
@pytest.mark.parametrize("name", ["rgb", "gray"])
def test_row_sums_carried_from_anchors_are_near_the_exact_ones(name, sigmas):
    image = data.immunohistochemistry()[100:196, 100:196] if name == "rgb" else data.cell()[230:326, 230:326]
    options = {"channel_axis": -1} if name == "rgb" else {}
    params = CRFParams((PairwiseKernel(10.0, *sigmas),))
    assert EXACT_POINTS < 96 * 96
    quick = ndc.Influence(image, **options)
    slow = ndc.Influence(image, **options, exact_points=image.size)
    worst, sums = [], []
    for pixel in np.random.default_rng(0).integers(0, 96, (12, 2)):
        carried, exact = quick.at(pixel, params), slow.at(pixel, params)
        errors = np.abs(carried.values - exact.values)
        worst.append(errors.max() / exact.values.max())
        sums.append(errors.sum() / exact.values.sum())
        assert carried.self_share == pytest.approx(exact.self_share, rel=1e-5)
        assert carried.effective_pixels == pytest.approx(exact.effective_pixels, rel=0.08)
    assert max(worst) < 0.06
    assert np.mean(sums) < 0.025


def test_a_large_image_is_cut_where_nothing_counts():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 10, (150, 160)).astype(np.float32)
    params = CRFParams(kernels(10, 4.0, 20.0, 3.0, 2.0))
    whole = ndc.Influence(image, exact_points=image.size).at((60, 70), params).values
    cut = ndc.Influence(image).at((60, 70), params).values
    assert_allclose(cut, whole, atol=0.03 * whole.max())
    assert not cut[:, :30].any()
    assert whole[:, :30].max() < 1e-6 * whole.max()


def test_many_anchors_fit_a_stack():
    stack = np.random.default_rng(0).normal(100, 10, (12, 40, 40))
    params = CRFParams(kernels(10, (4.0, 8.0, 8.0), 15.0))
    options = {"spacing": (2.0, 1.0, 1.0)}
    carried = ndc.influence(stack, params, (6, 20, 21), **options)
    exact = ndc.influence(stack, params, (6, 20, 21), **options, exact_points=stack.size)
    assert np.abs(carried - exact).max() < 0.03 * exact.max()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 5, 5)])
def test_the_smallest_images_work(shape):
    values = ndc.influence(np.zeros(shape), CRFParams(), (0,) * len(shape))
    assert values.shape == shape
    assert np.isfinite(values).all()


@pytest.mark.parametrize("exact_points", [0, EXACT_POINTS])
@pytest.mark.parametrize("sigma", [1e-300, 1e-20, 1e300])
def test_the_smallest_and_largest_sigmas_are_finite(sigma, exact_points):
    image = np.random.default_rng(0).normal(0, 10, (20, 20))
    values = ndc.influence(image, CRFParams(kernels(10, sigma, sigma, 3, sigma)), (4, 5), exact_points=exact_points)
    assert np.isfinite(values).all()
    assert values.max() == 0 if sigma < 1 else values.max() == pytest.approx(13 / 400, rel=1e-3)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"\(32, 0\) lies outside the image, of shape \(32, 32\)"):
        ndc.influence(GRAY, CRFParams(), (32, 0))
    with pytest.raises(ValueError, match="lies outside"):
        ndc.influence(GRAY, CRFParams(), (0, -1))
    with pytest.raises(ValueError, match="3 coordinates: expected 2, one per spatial axis"):
        ndc.influence(GRAY, CRFParams(), (0, 1, 2))
    with pytest.raises(ValueError, match="intensity_sigma has 2 numbers"):
        ndc.influence(GRAY, CRFParams((PairwiseKernel(1.0, 3.0, (1.0, 2.0)),)), (0, 1))
    with pytest.raises(TypeError):
        ndc.influence(GRAY, CRFParams(), (0.5, 1))


def test_the_same_bits_every_time_and_while_the_engine_is_busy():
    params = CRFParams(kernels(10, 20.0, 10.0))
    image = data.immunohistochemistry()[:128, :128]
    tool = ndc.Influence(image, channel_axis=-1)
    first = tool.at((50, 60), params)
    tool.at((3, 4), CRFParams(kernels(10, 30.0, 20.0)))
    with ThreadPoolExecutor(1) as threads, one_at_a_time:
        again = threads.submit(tool.at, (50, 60), params).result(timeout=60)
    assert_array_equal(again.values, first.values)
    assert again.self_share == first.self_share
