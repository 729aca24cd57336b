"""Channels side by side in vectors against one channel at a time; the grid's convolution against its matrix."""

import numpy as np
import pytest

import napari_densecrf as ndc
import reference
from napari_densecrf.crf.grid_gaussian import GridGaussian
from napari_densecrf.crf.numba.simd import padded


@pytest.mark.parametrize("n_channels", [2, 3, 4, 7, 20])
def test_channels_are_filtered_as_one_by_one(n_channels):
    rng = np.random.default_rng(0)
    lattice = ndc.Lattice(rng.normal(size=(3000, 3)))
    values = rng.random((3000, n_channels)).astype(np.float32)
    together = lattice.filter(values)
    for c in range(n_channels):
        np.testing.assert_allclose(together[:, c : c + 1], lattice.filter(values[:, c : c + 1]), rtol=1e-5, atol=1e-5)


def test_channels_fill_vectors():
    assert [padded(n) for n in (1, 2, 3, 4, 5, 20, 21)] == [1, 2, 4, 4, 8, 20, 24]


@pytest.mark.parametrize("n_channels", [1, 4])
@pytest.mark.parametrize(
    ("shape", "sigmas"),
    [((5, 130), (2.0, 3.0)), ((40, 3), (5.0, 0.4)), ((6, 9, 11), (1.0, 2.0, 1.5)), ((1, 50), (1, 1))],
)
def test_the_grids_messages_are_those_of_its_matrix(shape, sigmas, n_channels):
    grid = GridGaussian(shape, np.array(sigmas, float))
    points = reference.positions(shape) / np.array(sigmas)
    kernel = reference.gaussian_matrix(points)
    row_sums = kernel.sum(axis=1)
    kernel /= np.sqrt(row_sums[:, None] * row_sums)
    np.fill_diagonal(kernel, 0.0)
    values = np.random.default_rng(1).random((len(points), n_channels)).astype(np.float32)
    messages = np.ones_like(values)
    grid.add_messages(values, 2.0, messages)
    np.testing.assert_allclose(messages, 1.0 + 2.0 * kernel @ values, atol=2e-3)
    np.testing.assert_allclose(grid.total(), kernel.sum(axis=1), atol=2e-3)


def test_lines_longer_than_a_block_have_no_seams():
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.ones(3), (2, 700)).transpose(2, 0, 1).astype(np.float32)
    image = rng.integers(0, 255, (2, 700)).astype(np.uint8)
    params = ndc.CRFParams((ndc.PairwiseKernel(3.0, 4.0),), n_iterations=4)
    exact, energy = reference.refine(image, probabilities, params)
    ours = ndc.refine(image, probabilities, params)
    np.testing.assert_allclose(ours.marginals, exact, atol=2e-3)
    np.testing.assert_allclose(ours.free_energy, energy, rtol=1e-3)
