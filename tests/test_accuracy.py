"""The engine against the exact solution, and against the reference implementation."""

import numpy as np
import pytest

import napari_densecrf as ndc
import reference
from cases import all_cases
from napari_densecrf import CRFParams, PairwiseKernel

# Another implementation is compiled and run beside ours.
pytestmark = pytest.mark.slow

CASES = {case.name: case for case in all_cases()}


def pydensecrf_marginals(case):
    """Return what pydensecrf2 makes of a case, from the same unary and features."""
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    n_labels, *spatial = case.probabilities.shape
    coordinates = reference.positions(spatial, case.options.get("spacing"))
    intensities = np.asarray(case.image, dtype=float).reshape(len(coordinates), -1)
    solver = densecrf.DenseCRF(len(coordinates), n_labels)
    unary = -np.log(np.clip(case.probabilities, 1e-6, 1)).reshape(n_labels, -1)
    solver.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    for kernel in case.params.kernels:
        points = reference.features(kernel, coordinates, intensities)
        solver.addPairwiseEnergy(np.ascontiguousarray(points.T, dtype=np.float32), compat=kernel.weight)
    return np.array(solver.inference(case.params.n_iterations)).reshape(case.probabilities.shape)


@pytest.fixture(scope="module")
def errors():
    """Return {case: (ours, pydensecrf2's)}: mean |marginal - exact|."""
    found = {}
    for name, case in CASES.items():
        exact, _ = reference.refine(case.image, case.probabilities, case.params, **case.options)
        ours = ndc.refine(case.image, case.probabilities, case.params, **case.options).marginals
        found[name] = np.abs(ours - exact).mean(), np.abs(pydensecrf_marginals(case) - exact).mean()
    return found


def test_every_case_is_nearer_to_the_exact_solution_than_pydensecrf(errors):
    worse = {name: pair for name, pair in errors.items() if not pair[0] < pair[1]}
    assert not worse


def test_the_total_error_is_at_most_half_of_pydensecrfs(errors):
    ours, theirs = np.sum(list(errors.values()), axis=0)
    assert ours <= 0.5 * theirs


@pytest.mark.parametrize("name", CASES)
def test_free_energy_is_that_of_the_model(name):
    case = CASES[name]
    _, exact = reference.refine(case.image, case.probabilities, case.params, **case.options)
    ours = ndc.refine(case.image, case.probabilities, case.params, **case.options).free_energy
    assert ours.shape == (case.params.n_iterations + 1,)
    assert ours.dtype == np.float64
    # The lattice's error in sums of k~; before the first update it is all that differs.
    np.testing.assert_allclose(ours, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize("name", CASES)
def test_damped_free_energy_never_rises(name):
    case = CASES[name]
    params = CRFParams(case.params.kernels, n_iterations=12, damping=0.5)
    energy = ndc.refine(case.image, case.probabilities, params, **case.options).free_energy
    # Single precision sums over some thousand pixels.
    assert (np.diff(energy) <= 1e-4 * np.abs(energy).max()).all()


def test_smoothness_alone_is_exact():
    case = CASES["gray, 5 labels"]
    params = CRFParams((PairwiseKernel(4.0, 2.5),), n_iterations=8)
    exact, energy = reference.refine(case.image, case.probabilities, params)
    ours = ndc.refine(case.image, case.probabilities, params)
    np.testing.assert_allclose(ours.marginals, exact, atol=2e-3)
    assert np.abs(ours.marginals - exact).mean() < 1e-4
    np.testing.assert_allclose(ours.free_energy, energy, rtol=1e-4, atol=1)


def test_anisotropic_smoothness_in_a_volume_is_exact():
    case = CASES["volume"]
    params = CRFParams((PairwiseKernel(4.0, (4.0, 1.5, 2.0)),))
    exact, _ = reference.refine(case.image, case.probabilities, params, spacing=(2.0, 1.0, 1.0))
    ours = ndc.refine(case.image, case.probabilities, params, spacing=(2.0, 1.0, 1.0))
    assert np.abs(ours.marginals - exact).mean() < 1e-4


def test_a_compatibility_matrix_is_the_models():
    case = CASES["gray, 5 labels"]
    rng = np.random.default_rng(0)
    mu = rng.random((5, 5))
    params = CRFParams(case.params.kernels, compatibility=mu + mu.T, damping=0.3)
    exact, energy = reference.refine(case.image, case.probabilities, params)
    ours = ndc.refine(case.image, case.probabilities, params)
    assert np.abs(ours.marginals - exact).mean() < 2e-3
    np.testing.assert_allclose(ours.free_energy, energy, rtol=0.02)


def test_per_axis_and_per_channel_sigmas_are_the_models():
    case = CASES["rgb, 3 labels"]
    params = CRFParams((PairwiseKernel(5.0, (10.0, 30.0), (8.0, 20.0, 40.0)),))
    exact, _ = reference.refine(case.image, case.probabilities, params, channel_axis=-1)
    ours = ndc.refine(case.image, case.probabilities, params, channel_axis=-1)
    assert np.abs(ours.marginals - exact).mean() < 2e-3


def test_strokes_hold_and_pull_as_in_the_model():
    case = CASES["gray, 5 labels"]
    strokes = np.zeros(case.image.shape, int)
    strokes[5:9, 5:20] = 1
    strokes[30:33, 10:12] = 5
    exact, energy = reference.refine(case.image, case.probabilities, case.params, strokes=strokes)
    ours = ndc.refine(case.image, case.probabilities, case.params, strokes=strokes)
    fixed = strokes > 0
    one_hot = np.eye(5, dtype=np.float32)[strokes[fixed] - 1].T
    np.testing.assert_array_equal(ours.marginals[:, fixed], one_hot)
    assert np.abs(ours.marginals - exact).mean() < 3e-3
    np.testing.assert_allclose(ours.free_energy, energy, rtol=0.02)
    free = ndc.refine(case.image, case.probabilities, case.params)
    assert np.abs(free.marginals - ours.marginals)[:, ~fixed].max() > 0.01


def test_two_lattices_at_once():
    case = CASES["gray, sharp"]
    params = CRFParams((PairwiseKernel(3.0, 20.0, 8.0), PairwiseKernel(2.0, 5.0, 30.0), PairwiseKernel(1.0, 2.0)))
    exact, _ = reference.refine(case.image, case.probabilities, params)
    ours = ndc.refine(case.image, case.probabilities, params)
    assert np.abs(ours.marginals - exact).mean() < 6e-3
