"""The permutohedral lattice: splat, blur, slice (Adams, Baek and Davis 2010), kept between calls, on all cores.

Points are cut into tiles, fixed runs in their order. Each tile splats into its own slots, one for each vertex it
touches; then each vertex sums its slots in their fixed order. So no two threads write to one place, and the result
does not depend on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import Probe
from napari_densecrf.crf.numba.compile import kernel, parallel_kernel
from napari_densecrf.crf.numba.memory import sparse_empty, whole_empty
from napari_densecrf.crf.numba.simd import padded

from .filtering import (
    gather_and_blur_vertices,
    list_slots,
    read_slots,
    slice_points,
    slice_tiles,
    splat_points,
    splat_tiles,
    tile_range,
)
from .simplex import index_points
from .vertex_index import number_and_link

# A tile's vertices are numbered in 16 bits: tile_points * (d + 1) must not pass 2^16.
MAX_TILE_POINTS = 16384
MAX_KEY_BITS = 62
POINTS_ABREAST = 1024
BLOCK = 512
ONES = np.ones(BLOCK, np.float32)


@kernel()
def _fold(row_sums, folds, self_share):
    """Write ``1 / sqrt(n_i)`` and ``k~(i, i)`` of some points, from their row sums and ``k(i, i)``."""
    for p in range(folds.size):
        # The weights of one point cannot all vanish, so its row sum is at least its own term.
        folds[p] = np.float32(1.0) / np.sqrt(row_sums[p])
        # The closed form counts ways around over vertices that may be missing; no share passes the whole.
        self_share[p] = min(self_share[p] / row_sums[p], np.float32(1.0))


@kernel()
def _normalise_tile(corners, vertices, weights, slot_vertices, vertex_sums, slots, self_share):
    """Fold 1 / sqrt(n_i) into the weights of a tile; splat ones with the folded weights into its slots."""
    sums = np.empty(slot_vertices.size, np.float32)
    read_slots(slot_vertices, 1, vertex_sums, sums)
    row_sums, folds = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    slots[:] = np.float32(0.0)
    for first in range(0, len(vertices), BLOCK):
        last = min(first + BLOCK, len(vertices))
        slice_points(corners, vertices[first:last], weights[first:last], 1, sums, row_sums)
        _fold(row_sums, folds[: last - first], self_share[first:last])
        for p in range(first, last):
            for r in range(len(corners)):
                weights[p, r] *= folds[p - first]
        splat_points(corners, vertices[first:last], weights[first:last], 1, ONES, slots)


@parallel_kernel()
def _normalise(corners, vertices, weights, tile_points, tile_slots, slot_vertices, vertex_sums, slots, self_share):
    """Normalise tile by tile; ``self_share`` comes as ``k(i, i)``, ``vertex_sums`` as ones, splatted and blurred."""
    for tile in nb.prange(tile_slots.size - 1):
        begin, end = tile_range(tile, tile_points, len(vertices))
        first, last = tile_slots[tile], tile_slots[tile + 1]
        _normalise_tile(
            corners,
            vertices[begin:end],
            weights[begin:end],
            slot_vertices[first:last],
            vertex_sums,
            slots[first:last],
            self_share[begin:end],
        )


@dataclass(frozen=True)
class Blur:
    """How a lattice approximates a Gaussian.

    Parameters
    ----------
    n_passes : int
        Sweeps over all axes.
    side : float
        The taps are [side, 1, side].
    fineness : float
        Scale of the lattice, 1 where its unit is ``sqrt(2/3) (d + 1)`` to a sigma (Adams et al., section 3.1).

    Notes
    -----
    A blur has the variance ``v = 2 side / (1 + 2 side)`` along each axis, splat and slice together 1/6; so one pass
    of [1/2, 1, 1/2] has 2/3 at fineness 1, and others have the same at ``sqrt(1.5 (n_passes v + 1/6))``.
    """

    n_passes: int
    side: float
    fineness: float

    def scales(self, n_dims: int) -> tuple[float, ...]:
        """Return the scale of each feature dimension before elevation."""
        unit = self.fineness * math.sqrt(2 / 3) * (n_dims + 1)
        return tuple(unit / math.sqrt((i + 1) * (i + 2)) for i in range(n_dims))

    def self_terms(self, n_dims: int) -> NDArray[np.float64]:
        """Return B_0..B_d: the blur from a vertex to one whose remainder differs by k, on a lattice without gaps.

        The vertices of a simplex whose remainders differ by k lie one step apart along k axes and none along the
        others, or, as a step along every axis leads back, m + 1 steps along k axes and m along the others, any m.
        """
        taps = np.array([1.0])
        for _ in range(self.n_passes):
            taps = np.convolve(taps, [self.side, 1.0, self.side])
        padded = np.pad(taps, 1)
        k = np.arange(n_dims + 1)[:, None]
        terms: NDArray[np.float64] = (padded[1:] ** k * padded[:-1] ** (n_dims + 1 - k)).sum(axis=1)
        return terms


# Measured against exact solutions (benchmarks/accuracy.py): marginals are nearest where short taps on a slightly finer
# lattice make two passes; the best fineness is within 2 % of the rule above. With one pass the taps matter more: either
# blur alone is nearer than the reference implementation on every case, 0.23 and 0.43 of its error.
FINE = Blur(n_passes=2, side=0.3, fineness=1.175)
COARSE = Blur(n_passes=1, side=0.46, fineness=1.0)
# The fine lattice is worth its time while it is small: by itself, or against the points. And where points are scattered
# so thinly that they have no common vertices, it only loses more of what leaves its one ring.
FEW_VERTICES = 32768
MOST_VERTICES_A_POINT = 2.0
WORTHWHILE_VERTICES_A_POINT = 0.125


def suited_blur(probe: Probe, steps: NDArray[np.float64], channel_steps: NDArray[np.float64]) -> Blur:
    """Tell from a probe whether an image is worth the fine lattice: the same for all its parts.

    Parameters
    ----------
    probe : Probe
    steps : (n_axes,) float64
        Spacing over position sigma.
    channel_steps : (n_channels,) float64
        One over intensity sigma.
    """
    n_points = math.prod(probe.shape)
    n_touched = _estimate_touched(probe, steps, channel_steps)
    small = n_touched <= max(FEW_VERTICES, WORTHWHILE_VERTICES_A_POINT * n_points)
    return FINE if small and n_touched <= MOST_VERTICES_A_POINT * n_points else COARSE


def _estimate_touched(probe: Probe, steps: NDArray[np.float64], channel_steps: NDArray[np.float64]) -> float:
    """Return about how many vertices of the fine lattice the whole image touches.

    A window touches vertices up to about a sigma beyond its pixels, and so does the whole image, which has the
    windows' density of vertices. Gray images come out within a quarter of their count, RGB ones down to half of it.
    """
    n_dims = len(steps) + len(channel_steps)
    n_points = math.prod(probe.window)
    nowhere = np.zeros(len(steps), np.int64)
    whole = (np.array(probe.shape, np.int64), nowhere, steps)
    scales = FINE.scales(n_dims)
    strides = _strides(_bounds(whole, probe.intensities.reshape(-1, len(channel_steps)), channel_steps), scales)
    vertices = np.empty((n_points, n_dims + 1), np.uint16)
    weights = np.empty((n_points, n_dims + 1), np.float32)
    own = np.empty(n_points, np.float32)
    keys = np.empty((1, n_points * (n_dims + 1)), np.int64)
    self_terms = FINE.self_terms(n_dims).astype(np.float32)
    count = 0
    for origin, window in zip(probe.origins, probe.intensities, strict=True):
        grid = (np.array(probe.window, np.int64), np.array(origin, np.int64), steps)
        found = (vertices, weights, own, keys)
        count += int(index_points(strides, scales, grid, window, channel_steps, self_terms, n_points, *found)[0])
    growth = (np.array(probe.shape) + 1 / steps) / (np.array(probe.window) + 1 / steps)
    return float(count / len(probe.origins) * growth.prod())


def _strides(bounds: tuple[NDArray[np.float64], NDArray[np.float64]], scales: tuple[float, ...]) -> tuple[int, ...]:
    """Return the strides of the vertex keys for features within the bounds.

    Raises
    ------
    MemoryError
        Where the keys would not fit their bits.
    """
    d = len(scales)
    lowest, highest = (bound * np.array(scales) for bound in bounds)
    extents = []
    for i in range(d):
        # Coordinate i is the sum of the features from i on, less i times feature i - 1. Rounding, the simplex and
        # a ring reach less than 3 (d + 1) beyond it on either side.
        span = (highest[i:] - lowest[i:]).sum() + (i * (highest[i - 1] - lowest[i - 1]) if i else 0.0)
        extents.append(math.ceil(span / (d + 1)) + 6)
    bits = sum(math.log2(extent) for extent in extents) + 2 * math.log2(d + 1) + 1
    if bits > MAX_KEY_BITS:
        raise MemoryError(
            f"the lattice spans {' x '.join(map(str, extents))} cells in {d} dimensions, {bits:.0f} bits to number "
            f"them where {MAX_KEY_BITS} are at hand: take larger sigmas, fewer channels or a smaller image"
        )
    strides = [1]
    for i, extent in enumerate(extents[:-1]):
        # Coordinates run in steps of d + 1; every stride but the first is a multiple of d + 1.
        strides.append(strides[-1] * (-(-extent // (d + 1)) * (d + 1) if i == 0 else extent))
    return (*strides, 0)


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
        features = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(features).all():
            raise ValueError("points hold NaN or infinite numbers: expected finite ones")
        nothing = np.empty(0)
        self._build((nothing.astype(int), nothing.astype(int), nothing), features, np.ones(features.shape[1]), blur)

    @classmethod
    def on_grid(
        cls,
        shape: tuple[int, ...],
        origin: tuple[int, ...],
        steps: NDArray[np.float64],
        intensities: NDArray[np.float32],
        channel_steps: NDArray[np.float64],
        blur: Blur = FINE,
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
        """
        lattice = cls.__new__(cls)
        grid = (np.array(shape, np.int64), np.array(origin, np.int64), np.asarray(steps, np.float64))
        lattice._build(grid, intensities, channel_steps, blur)
        return lattice

    def _build(
        self,
        grid: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
        intensities: NDArray[np.float32],
        channel_steps: NDArray[np.float64],
        blur: Blur,
    ) -> None:
        self.blur = blur
        self.n_points = len(intensities)
        self.n_dims = len(grid[0]) + len(channel_steps)
        self.corners = tuple(range(self.n_dims + 1))
        self.tile_points = min(MAX_TILE_POINTS, 1 << ((65536 // (self.n_dims + 1)).bit_length() - 1))
        strides, tile_keys, counts = self._index(grid, intensities, channel_steps)
        self.slot_vertices, self.up, self.down = number_and_link(strides, tile_keys, counts, self.n_points)
        self.gathered = list_slots(self.slot_vertices, self.n_vertices)

    def _index(
        self,
        grid: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
        intensities: NDArray[np.float32],
        channel_steps: NDArray[np.float64],
    ) -> tuple[tuple[int, ...], NDArray[np.int64], NDArray[np.int64]]:
        """Find the simplices of the points; return the strides, and the keys of each tile's vertices."""
        scales = self.blur.scales(self.n_dims)
        strides = _strides(_bounds(grid, intensities, channel_steps), scales)
        n_tiles = -(-self.n_points // self.tile_points)
        self.vertices = whole_empty((self.n_points, self.n_dims + 1), np.uint16)
        self.weights = whole_empty((self.n_points, self.n_dims + 1), np.float32)
        self._diagonal = whole_empty(self.n_points, np.float32)
        # Room for the worst case, of which little is written.
        worst = (n_tiles, min(self.n_points, self.tile_points) * (self.n_dims + 1))
        tile_keys = sparse_empty(worst, np.int64)
        counts = index_points(
            strides,
            scales,
            grid,
            intensities,
            channel_steps,
            self.blur.self_terms(self.n_dims).astype(np.float32),
            self.tile_points,
            self.vertices,
            self.weights,
            self._diagonal,
            tile_keys,
        )
        self.tile_slots = np.concatenate([[0], np.cumsum(counts)])
        return strides, tile_keys, counts

    @property
    def n_vertices(self) -> int:
        """Number of lattice vertices, the ring included."""
        return int(self.up.shape[1])

    @property
    def alpha(self) -> float:
        """What gives the filter the mass of the Gaussian, ``(2 pi)^(d/2)`` per unit of evenly spread points.

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
        slots = whole_empty((int(self.tile_slots[-1]) + 1, n_channels), np.float32)
        slots[-1] = 0.0
        return slots

    def splat(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_slots + 1, n_channels): S values, tile by tile, and a 0."""
        slots = self.empty_slots(values.shape[1])
        splat_tiles(self.corners, self.vertices, self.weights, self.tile_points, self.tile_slots, values, slots)
        return slots

    def empty_values(self, n_channels: int) -> NDArray[np.float32]:
        """Return (2, n_vertices + 1, n_channels) for `gather_and_blur`, whose last rows are 0: no neighbour."""
        values = whole_empty((2, self.n_vertices + 1, n_channels), np.float32)
        values[:, -1] = 0.0
        return values

    def gather_and_blur(
        self, slots: NDArray[np.float32], room: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return (n_vertices + 1, n_channels): the blurred values of the vertices, and a 0; in ``room`` if given."""
        room = self.empty_values(slots.shape[1]) if room is None else room
        gather_and_blur_vertices(
            *self.gathered,
            slots,
            self.up,
            self.down,
            self.blur.n_passes,
            np.float32(self.blur.side),
            room[0],
            room[1],
        )
        blurred: NDArray[np.float32] = room[self.blur.n_passes * (self.n_dims + 1) % 2]
        return blurred

    def slice(self, vertex_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_points, n_channels): S^T of the vertices' values."""
        values = whole_empty((self.n_points, vertex_values.shape[1]), np.float32)
        slice_tiles(
            self.corners,
            self.vertices,
            self.weights,
            self.tile_points,
            self.tile_slots,
            self.slot_vertices,
            vertex_values,
            values,
        )
        return values

    def normalise(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fold 1 / sqrt(n_i) into the weights, so that the filter is k~ from now on, and measure the new filter.

        Returns
        -------
        self_share : (n_points,) float32
            ``k~(i, i)``, the closed form of DESIGN section 2.
        total : (n_points,) float32
            ``sum_{j != i} k~(i, j)``.

        Notes
        -----
        With ``n_i = sum_j k(i, j)`` the weights become ``b / sqrt(n_i / alpha)``: alpha cancels in k~.
        """
        slots, self_share = self.splat(np.ones((self.n_points, 1), np.float32)), self._diagonal
        row_sums = self.gather_and_blur(slots)
        _normalise(
            self.corners,
            self.vertices,
            self.weights,
            self.tile_points,
            self.tile_slots,
            self.slot_vertices,
            row_sums.ravel(),
            slots.ravel(),
            self_share,
        )
        total = self.slice(self.gather_and_blur(slots))[:, 0]
        total -= self_share
        return self_share, total


def _bounds(
    grid: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    intensities: NDArray[np.float32],
    channel_steps: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest of each feature, before the lattice's scale."""
    shape, _, steps = grid
    least, most = _extremes(intensities)
    lowest = [*(0.0 * steps), *(least * channel_steps)]
    highest = [*((shape - 1) * steps), *(most * channel_steps)]
    return np.array(lowest, float), np.array(highest, float)


def _extremes(intensities: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the most of each channel, many points abreast, as a few channels are no work for numpy."""
    n_points, n_channels = intensities.shape
    n_rows = n_points // POINTS_ABREAST
    abreast = intensities[: n_rows * POINTS_ABREAST].reshape(n_rows, POINTS_ABREAST * n_channels)
    rest = intensities[n_rows * POINTS_ABREAST :]
    found = []
    for reduce in (np.minimum.reduce, np.maximum.reduce):
        rows = reduce(abreast, axis=0).reshape(-1, n_channels) if n_rows else rest
        found.append(reduce(np.concatenate([rows, rest]), axis=0))
    return found[0], found[1]
