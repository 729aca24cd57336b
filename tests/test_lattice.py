"""The lattice against direct Gaussian sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_densecrf as ndc
import reference
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.crf.grid import from_image
from napari_densecrf.crf.lattice import vertex_index
from napari_densecrf.crf.lattice.blur import COARSE, FINE, _estimate_touched, suited_blur
from napari_densecrf.crf.lattice.lattice import Lattice
from napari_densecrf.crf.probe import take_probe


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
def test_diagonal_terms_are_the_diagonal(blur, n_dims):
    points = np.stack(np.indices((9,) * n_dims), axis=-1).reshape(-1, n_dims) * 0.37
    lattice = ndc.Lattice(points, blur=blur)
    diagonal = np.diag(lattice.filter(np.eye(len(points))))
    terms = lattice.blur.diagonal_terms(n_dims)
    closed = np.zeros(len(points))
    for r in range(n_dims + 1):
        for s in range(n_dims + 1):
            closed += lattice.runs.weights[:, r] * lattice.runs.weights[:, s] * terms[abs(r - s)]
    assert np.abs(lattice.alpha * closed - diagonal).mean() < 0.01 * diagonal.mean()


def test_the_ring_is_the_neighbours_of_what_points_touch():
    lattice = ndc.Lattice(clustered(300, 3, 2))
    touched = np.isin(np.arange(lattice.n_vertices), lattice.runs.slot_vertices)
    # Every touched vertex has all its neighbours, and there is no other vertex.
    assert (lattice.neighbours.up[:, touched] < lattice.n_vertices).all()
    assert (lattice.neighbours.down[:, touched] < lattice.n_vertices).all()
    beside = np.concatenate([lattice.neighbours.up[:, touched].ravel(), lattice.neighbours.down[:, touched].ravel()])
    assert set(np.flatnonzero(~touched)) <= set(beside.tolist())
    # Up and down are each other's inverse.
    for axis in range(4):
        above = lattice.neighbours.up[axis]
        here = np.flatnonzero(above < lattice.n_vertices)
        np.testing.assert_array_equal(lattice.neighbours.down[axis][above[here]], here)


def test_weights_are_barycentric():
    lattice = ndc.Lattice(clustered(500, 4, 3))
    np.testing.assert_allclose(lattice.runs.weights.sum(axis=1), 1, atol=1e-5)
    assert lattice.runs.weights.min() > -1e-5


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

    monkeypatch.setattr(vertex_index.psutil, "virtual_memory", lambda: Little)
    with pytest.raises(MemoryError, match="GiB"):
        ndc.Lattice(clustered(2000, 3, 5, 20))


@pytest.mark.parametrize(("n_dims", "spread"), [(1, 3.0), (2, 40.0), (3, 5.0), (5, 1.0), (6, 0.5)])
def test_bits_and_hash_table_make_the_same_lattice(monkeypatch, n_dims, spread):
    points = clustered(40000, n_dims, 6, spread)
    values = np.random.default_rng(7).random((len(points), 2))
    in_bitmap = ndc.Lattice(points)
    monkeypatch.setattr(vertex_index, "SMALL_BOX", 0)
    monkeypatch.setattr(vertex_index, "BOX_KEYS_A_POINT", 0)
    in_hash = ndc.Lattice(points)
    assert in_bitmap.n_vertices == in_hash.n_vertices
    # The same vertices under other numbers: those of the hash table, in the order of those of the bitmap.
    assert not np.array_equal(in_bitmap.runs.slot_vertices, in_hash.runs.slot_vertices) or n_dims == 1
    touched = np.zeros(in_bitmap.n_vertices, np.int64)
    touched[in_bitmap.runs.slot_vertices] = in_hash.runs.slot_vertices
    for ours, theirs in zip(in_bitmap.neighbours, in_hash.neighbours, strict=True):
        for axis in range(n_dims + 1):
            beside = ours[axis, in_bitmap.runs.slot_vertices]
            known = np.isin(beside, in_bitmap.runs.slot_vertices)
            np.testing.assert_array_equal(touched[beside[known]], theirs[axis, in_hash.runs.slot_vertices][known])
    np.testing.assert_allclose(in_bitmap.filter(values), in_hash.filter(values), rtol=1e-4)


def test_a_vertex_has_a_slot_for_each_run_that_touches_it():
    points = clustered(40000, 3, 8, 2.0)
    lattice = ndc.Lattice(points)
    assert len(lattice.runs.run_slots) > 3

    def vertex_numbers(runs):
        run = np.arange(len(points)) // runs.points_a_run
        return runs.slot_vertices[runs.run_slots[run][:, None] + runs.vertices]

    # Points in one simplex have the same vertices, whatever their runs.
    numbers = vertex_numbers(lattice.runs)
    reversed_numbers = vertex_numbers(ndc.Lattice(points[::-1]).runs)[::-1]
    np.testing.assert_array_equal(numbers, reversed_numbers)
    for vertex in (0, lattice.n_vertices // 2, lattice.n_vertices - 1):
        first, later = lattice.slot_lists.first, lattice.slot_lists.later
        slots = [first[vertex], *later[later[:, 0] == vertex, 1]]
        expected = np.flatnonzero(lattice.runs.slot_vertices == vertex)
        np.testing.assert_array_equal(slots, expected if len(expected) else [len(lattice.runs.slot_vertices)])


def textured(shape, n_channels, noise, seed=0):
    """Return an image whose left half is smooth and whose right half is noise."""
    rng = np.random.default_rng(seed)
    image = np.broadcast_to(np.linspace(0, 200, shape[-1])[:, None], (*shape, n_channels)).copy()
    image[..., shape[-1] // 2 :, :] += rng.normal(0, noise, (*shape[:-1], shape[-1] - shape[-1] // 2, n_channels))
    return image.astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "n_channels", "position_sigma", "intensity_sigma"),
    [((300, 300), 1, 20.0, 5.0), ((300, 300), 1, 5.0, 3.0), ((200, 300), 3, 40.0, 20.0), ((20, 80, 90), 1, 8.0, 10.0)],
)
def test_the_probe_tells_how_many_vertices_an_image_touches(shape, n_channels, position_sigma, intensity_sigma):
    image = textured(shape, n_channels, 10.0)
    grid, intensities, _ = from_image(image, channel_axis=-1)
    steps, channel_steps = np.full(len(shape), 1 / position_sigma), np.full(n_channels, 1 / intensity_sigma)
    lattice = Lattice.on_grid(shape, grid.origin, steps, intensities, channel_steps, FINE)
    n_touched = len(np.unique(lattice.runs.slot_vertices))
    estimate = _estimate_touched(take_probe(image, -1), steps, channel_steps)
    assert 0.4 * n_touched < estimate < 1.5 * n_touched


def test_all_parts_of_an_image_take_the_lattice_of_the_whole():
    image = textured((700, 700), 1, 40.0)
    steps, channel_steps = np.full(2, 0.2), np.full(1, 1 / 3)
    whole = take_probe(image, -1)
    assert suited_blur(whole, steps, channel_steps) == COARSE
    # By themselves parts may choose another one.
    smooth = image[:, :300]
    assert suited_blur(take_probe(smooth, -1), steps, channel_steps) == FINE
    params = CRFParams((PairwiseKernel(3.0, 5.0, 3.0),))
    for part, options in ((image, {}), (smooth, {"probe": whole}), (image[500:, 600:], {"probe": whole})):
        refiner = ndc.Refiner(part, channel_axis=-1, **options)
        assert refiner.terms._build(params.kernels[0]).lattice.blur == COARSE


class Sliced:
    """An array that counts the pixels read from it, and can do nothing but be sliced."""

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, 0

    def __getitem__(self, index):
        """Return a part, and count it."""
        part = self.array[index]
        self.read += part.size
        return part


@pytest.mark.parametrize(("shape", "channel_axis"), [((900,), None), ((3, 200, 300), 0), ((40, 50, 60), None)])
def test_a_probe_reads_a_few_pixels(shape, channel_axis):
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    lazy = Sliced(array)
    probe = take_probe(lazy, channel_axis)
    assert lazy.read == probe.intensities.size <= 20_000 * (1 if channel_axis is None else 3)
    assert len(probe.intensities) == len(probe.origins) >= 16
    start = probe.origins[-1]
    picks = [slice(k, k + n) for k, n in zip(start, probe.window, strict=True)]
    if channel_axis is not None:
        picks.insert(channel_axis, slice(None))
    expected = array[tuple(picks)]
    expected = expected[..., None] if channel_axis is None else np.moveaxis(expected, channel_axis, -1)
    np.testing.assert_array_equal(probe.intensities[-1], expected.reshape(-1, expected.shape[-1]))
