"""The permutohedral lattice: splat, blur, slice (Adams, Baek and Davis 2010), kept between calls, on all cores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined
from napari_densecrf.crf.numba.memory import sparse_empty, whole_empty
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.simd import ONE, lanes_of, padded

from .blur import FINE, Blur
from .features import grid_features, key_strides
from .filtering import (
    Runs,
    gather_and_blur,
    list_slots,
    part_of_run,
    read_slots,
    simplices_of,
    slice_points,
    slice_runs,
    splat_points,
    splat_runs,
)
from .simplex import Features, Found, index_points
from .vertex_index import number_and_link

# A run's vertices are numbered in 16 bits: points_a_run * (d + 1) must not pass 2^16.
MAX_POINTS_A_RUN = 16384
BLOCK = 512
# Below all row sums.
NO_SUM = np.float32(1e-30)


@inlined()
def _measure_points(row_sums, inverse_roots, diagonal):
    """Write ``1 / sqrt(n_i)`` and ``k~(i, i)`` of some points, from their row sums and ``k(i, i)``."""
    for p in range(inverse_roots.size):
        # The weights of one point cannot all vanish, so its row sum is at least its own term; but all of a point that
        # takes no part are 0.
        row_sum = max(row_sums[p], NO_SUM)
        inverse_roots[p] = np.float32(1.0) / np.sqrt(row_sum)
        # The closed form also counts ways over vertices that are missing here, but no share is more than the whole.
        diagonal[p] = min(diagonal[p] / row_sum, np.float32(1.0))


@inlined()
def _normalise_run(corners, runs, run, vertex_sums, slots, diagonal):
    """Multiply the weights of a run by 1 / sqrt(n_i), and splat ones with the new weights into its slots."""
    begin, end = part_of_run(run, runs.points_a_run, len(runs.vertices))
    slot_vertices = runs.slot_vertices[runs.run_slots[run] : runs.run_slots[run + 1]]
    sums = np.empty(slot_vertices.size, np.float32)
    # As int64: Numba compiles kernels anew for the constants themselves.
    n_channels, ones = np.int64(1), np.ones(BLOCK, np.float32)
    read_slots(ONE, slot_vertices, n_channels, vertex_sums, sums)
    row_sums, inverse_roots = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    slots[:] = np.float32(0.0)
    for first in range(begin, end, BLOCK):
        last = min(first + BLOCK, end)
        simplices = simplices_of(corners, runs, first, last)
        slice_points(ONE, simplices, n_channels, sums, row_sums)
        _measure_points(row_sums, inverse_roots[: last - first], diagonal[first:last])
        for p in range(last - first):
            for r in range(len(corners)):
                simplices.weights[p, r] *= inverse_roots[p]
        splat_points(ONE, simplices, n_channels, ones, slots)


@parallel_kernel()
def _normalise(given, run):
    """Normalise a run; ``diagonal`` comes as ``k(i, i)``, ``vertex_sums`` as ones, splatted and blurred."""
    corners, runs, vertex_sums, slots, diagonal = arguments_of(given)
    here = slots[runs.run_slots[run] : runs.run_slots[run + 1]]
    _normalise_run(corners, runs, run, vertex_sums, here, diagonal)


class Lattice:
    r"""A Gaussian filter over scattered points, fast for any positions.

    Parameters
    ----------
    points : (n_points, n_dims) array_like of float
        Finite positions in feature space, already divided by sigma.
    blur : Blur
        FINE, or COARSE where time matters more than accuracy.

    Raises
    ------
    ValueError
        For points that are not finite or not (n_points, n_dims) with at least one of each.
    MemoryError
        Where the vertices cannot be numbered or would not fit the memory; says the size.

    Notes
    -----
    ``filter(v)_i = alpha sum_j (S^T B S)_ij v_j``, which approximates ``sum_j exp(-|f_i - f_j|^2 / 2) v_j``: splat S
    by barycentric weights, blur B by [side, 1, side] along each of the d + 1 lattice axes, slice S^T (Adams, Baek and
    Davis, "Fast high-dimensional filtering using the permutohedral lattice", 2010). A ring of neighbours around the
    vertices that points touch keeps what the blur carries there.
    """

    def __init__(self, points: ArrayLike, *, blur: Blur = FINE) -> None:
        array = np.asarray(points)
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"points have shape {array.shape}: expected (n_points, n_dims), at least one of each")
        positions = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(positions).all():
            raise ValueError("points hold NaN or infinite numbers: expected finite ones")
        # As the intensities of a grid without axes.
        self._build(grid_features((), (), np.empty(0), positions, np.ones(positions.shape[1])), blur)

    @classmethod
    def on_grid(
        cls,
        shape: tuple[int, ...],
        origin: tuple[int, ...],
        steps: NDArray[np.float64],
        intensities: NDArray[np.float32],
        channel_steps: NDArray[np.float64],
        blur: Blur = FINE,
        valid: NDArray[np.bool_] | None = None,
    ) -> Lattice:
        """Make the lattice of a regular grid of pixels, whose positions are never stored.

        Parameters
        ----------
        shape, origin : tuple of int
            Of the grid; a pixel lies at ``(origin + index) * steps``.
        steps : (n_axes,) float64
            Spacing over position sigma.
        intensities : (n_points, n_channels) float32
        channel_steps : (n_channels,) float64
            One over intensity sigma.
        blur : Blur
        valid : (n_points,) bool, optional
            Points that take part: the others send and receive nothing. None = all.
        """
        lattice = cls.__new__(cls)
        lattice._build(grid_features(shape, origin, steps, intensities, channel_steps), blur)
        if valid is not None:
            lattice.runs.weights[~valid] = 0.0
            lattice._diagonal[~valid] = 0.0
        return lattice

    def _build(self, features: Features, blur: Blur) -> None:
        self.blur = blur
        self.n_points, n_channels = features.intensities.shape
        self.n_dims = len(features.shape) + n_channels
        self.corners = tuple(range(self.n_dims + 1))
        points_a_run = min(MAX_POINTS_A_RUN, 1 << ((65536 // (self.n_dims + 1)).bit_length() - 1))
        strides, found, counts = self._index(features, points_a_run)
        self._diagonal = found.diagonal
        slot_vertices, self.neighbours = number_and_link(strides, found.run_keys, counts, self.n_points)
        run_slots = np.concatenate([[0], np.cumsum(counts)])
        self.runs = Runs(found.vertices, found.weights, points_a_run, run_slots, slot_vertices)
        self.slot_lists = list_slots(slot_vertices, self.n_vertices)

    def _index(self, features: Features, points_a_run: int) -> tuple[tuple[int, ...], Found, NDArray[np.int64]]:
        """Find the simplices of the points; return the strides too, and how many vertices each run touches."""
        scales = self.blur.scales(self.n_dims)
        strides = key_strides(features, scales)
        n_corners = self.n_dims + 1
        # Room for the worst case, of which little is written.
        worst = (-(-self.n_points // points_a_run), min(self.n_points, points_a_run) * n_corners)
        found = Found(
            vertices=whole_empty((self.n_points, n_corners), np.uint16),
            weights=whole_empty((self.n_points, n_corners), np.float32),
            diagonal=whole_empty(self.n_points, np.float32),
            run_keys=sparse_empty(worst, np.int64),
        )
        diagonal_terms = self.blur.diagonal_terms(self.n_dims).astype(np.float32)
        return strides, found, index_points(strides, scales, features, diagonal_terms, points_a_run, found)

    @property
    def n_vertices(self) -> int:
        """Number of lattice vertices, the ring included."""
        return int(self.neighbours.up.shape[1])

    @property
    def n_runs(self) -> int:
        """Number of runs of points."""
        return len(self.runs.run_slots) - 1

    @property
    def alpha(self) -> float:
        """The factor that gives the filter the mass of the Gaussian, ``(2 pi)^(d/2)`` per unit of evenly spread points.

        Splat and slice keep sums, a blur multiplies them by 1 + 2 side along each axis, and the lattice has
        ``sqrt(d + 1) (fineness sqrt(2/3))^d`` vertices per unit of feature space.
        """
        d = self.n_dims
        density = math.sqrt(d + 1) * (self.blur.fineness * math.sqrt(2 / 3)) ** d
        return float((2 * math.pi) ** (d / 2) * density / (1 + 2 * self.blur.side) ** ((d + 1) * self.blur.n_passes))

    def filter(self, values: ArrayLike) -> NDArray[np.float32]:
        """Return the unnormalised Gaussian sum of the values at every point, its own included.

        Parameters
        ----------
        values : (n_points, n_channels) array_like of float

        Returns
        -------
        (n_points, n_channels) float32
        """
        array = np.ascontiguousarray(values, dtype=np.float32)
        if array.ndim != 2 or len(array) != self.n_points:
            raise ValueError(f"values have shape {array.shape}: expected ({self.n_points}, n_channels)")
        n_channels = array.shape[1]
        array = np.pad(array, ((0, 0), (0, padded(n_channels) - n_channels)))
        filtered = self.slice(self.gather_and_blur(self.splat(array)))
        return np.float32(self.alpha) * filtered[:, :n_channels]

    def empty_slots(self, n_channels: int) -> NDArray[np.float32]:
        """Return (n_slots + 1, n_channels) for `splat`, whose last row is 0: the slot of vertices that have none."""
        slots = whole_empty((int(self.runs.run_slots[-1]) + 1, n_channels), np.float32)
        slots[-1] = 0.0
        return slots

    def splat(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_slots + 1, n_channels): S values, run by run, and a 0."""
        slots = self.empty_slots(values.shape[1])
        splat_runs(self.n_runs, lanes_of(values.shape[1]), self.corners, self.runs, values, slots)
        return slots

    def empty_values(self, n_channels: int) -> NDArray[np.float32]:
        """Return (2, n_vertices + 1, n_channels) for `gather_and_blur`, whose last rows are 0: no neighbour."""
        values = whole_empty((2, self.n_vertices + 1, n_channels), np.float32)
        values[:, -1] = 0.0
        return values

    def gather_and_blur(
        self, slots: NDArray[np.float32], both: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return (n_vertices + 1, n_channels): the blurred values of the vertices, and a 0.

        The result is one of ``both`` arrays, (2, n_vertices + 1, n_channels), which are made where they are not given.
        """
        values, scratch = self.empty_values(slots.shape[1]) if both is None else both
        side = np.float32(self.blur.side)
        n_blurs = self.blur.n_passes * (self.n_dims + 1)
        gather_and_blur(self.slot_lists, self.neighbours, n_blurs, side, slots, values, scratch)
        blurred: NDArray[np.float32] = scratch if n_blurs % 2 else values
        return blurred

    def slice(self, vertex_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_points, n_channels): S^T of the vertices' values."""
        values = whole_empty((self.n_points, vertex_values.shape[1]), np.float32)
        slice_runs(self.n_runs, lanes_of(values.shape[1]), self.corners, self.runs, vertex_values, values)
        return values

    def normalise(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Multiply the weights by 1 / sqrt(n_i), so that the filter is k~ from now on, and measure the new filter.

        Returns
        -------
        diagonal : (n_points,) float32
            ``k~(i, i)``, from the closed form in docs/model.md.
        total : (n_points,) float32
            ``sum_{j != i} k~(i, j)``.

        Notes
        -----
        With ``n_i = sum_j k(i, j)`` the weights become ``b / sqrt(n_i / alpha)``: alpha cancels in k~.
        """
        slots, diagonal = self.splat(np.ones((self.n_points, 1), np.float32)), self._diagonal
        row_sums = self.gather_and_blur(slots)
        _normalise(self.n_runs, self.corners, self.runs, row_sums.ravel(), slots.ravel(), diagonal)
        total = self.slice(self.gather_and_blur(slots))[:, 0]
        total -= diagonal
        return diagonal, total
