"""The lattice against direct Gaussian sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_densecrf as ndc
import reference
from napari_densecrf import lattice as lattice_module
from napari_densecrf.lattice import COARSE, FINE


def clustered(n_points, n_dims, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_points, n_dims)) * spread


@pytest.mark.parametrize("n_dims", [1, 2, 3, 5])
def test_filter_is_the_gaussian_sum(n_dims):
    points = clustered(800, n_dims, 0)
    values = np.random.default_rng(1).random((800, 2))
    exact = reference.gaussian_matrix(points) @ values
    ours = ndc.Lattice(points).filter(values)
    assert ours.dtype == np.float32
    assert np.abs(ours - exact).mean() < 0.06 * exact.mean()


@given(seed=st.integers(0, 1000), spread=st.floats(0.05, 30))
def test_filter_is_linear_and_keeps_its_sign(seed, spread):
    lattice = ndc.Lattice(clustered(60, 3, seed, spread))
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 60, 1)).astype(np.float32)
    both = lattice.filter(2 * a + b)
    np.testing.assert_allclose(both, 2 * lattice.filter(a) + lattice.filter(b), rtol=1e-4, atol=1e-4)
    assert (both > 0).all()


def test_kernel_is_symmetric_where_points_fill_their_lattice():
    grid = np.stack(np.indices((12, 12, 6)), axis=-1).reshape(-1, 3) / 4.0
    kernel = ndc.Lattice(grid).filter(np.eye(len(grid)))
    np.testing.assert_allclose(kernel, kernel.T, atol=0.03)
    assert np.abs(kernel - kernel.T).mean() < 1e-3


@pytest.mark.parametrize("blur", [FINE, COARSE])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_self_terms_are_the_diagonal(monkeypatch, blur, n_dims):
    monkeypatch.setattr(lattice_module, "FINE", blur)
    points = np.stack(np.indices((9,) * n_dims), axis=-1).reshape(-1, n_dims) * 0.37
    lattice = ndc.Lattice(points)
    diagonal = np.diag(lattice.filter(np.eye(len(points))))
    terms = lattice.blur.self_terms(n_dims)
    closed = np.zeros(len(points))
    for r in range(n_dims + 1):
        for s in range(n_dims + 1):
            closed += lattice.weights[:, r] * lattice.weights[:, s] * terms[abs(r - s)]
    assert np.abs(lattice.alpha * closed - diagonal).mean() < 0.01 * diagonal.mean()


def test_the_ring_is_the_neighbours_of_what_points_touch():
    lattice = ndc.Lattice(clustered(300, 3, 2))
    n_touched = len(lattice.vertex_slots) - 1
    # Every touched vertex has all its neighbours, and there is no other vertex.
    assert (lattice.up[:, :n_touched] < lattice.n_vertices).all()
    assert (lattice.down[:, :n_touched] < lattice.n_vertices).all()
    beside = np.concatenate([lattice.up[:, :n_touched].ravel(), lattice.down[:, :n_touched].ravel()])
    assert set(range(n_touched, lattice.n_vertices)) <= set(beside.tolist())
    # Up and down are each other's inverse.
    for axis in range(4):
        above = lattice.up[axis]
        here = np.flatnonzero(above < lattice.n_vertices)
        np.testing.assert_array_equal(lattice.down[axis][above[here]], here)


def test_weights_are_barycentric():
    lattice = ndc.Lattice(clustered(500, 4, 3))
    np.testing.assert_allclose(lattice.weights.sum(axis=1), 1, atol=1e-5)
    assert lattice.weights.min() > -1e-5


def test_many_dimensions_work():
    points = clustered(50, 12, 4, 0.3)
    exact = reference.gaussian_matrix(points).sum(axis=1)
    assert np.corrcoef(ndc.Lattice(points).filter(np.ones((50, 1)))[:, 0], exact)[0, 1] > 0.5


def test_bad_points_are_named():
    with pytest.raises(ValueError, match=r"shape \(5,\)"):
        ndc.Lattice(np.zeros(5))
    with pytest.raises(ValueError, match="NaN"):
        ndc.Lattice(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match=r"expected \(5, n_channels\)"):
        ndc.Lattice(np.zeros((5, 2))).filter(np.zeros((4, 1)))


def test_a_lattice_past_its_keys_says_so():
    points = np.random.default_rng(0).random((10, 6)) * 1e5
    with pytest.raises(MemoryError, match="bits"):
        ndc.Lattice(points)


def test_a_lattice_past_the_memory_says_its_size(monkeypatch):
    class Little:
        available = 10_000

    monkeypatch.setattr(lattice_module.psutil, "virtual_memory", lambda: Little)
    with pytest.raises(MemoryError, match="GiB"):
        ndc.Lattice(clustered(2000, 3, 5, 20))
