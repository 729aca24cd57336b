"""Points to lattice simplices (Numba): embed, round, sort, barycentric weights, vertex keys, numbers within a run.

A vertex of the permutohedral lattice in d dimensions has d + 1 integer coordinates c_0..c_d that sum to 0 and are all
congruent to its remainder r modulo d + 1 (Adams, Baek, Davis 2010, section 3). One int64 names it:

    key = sum_i stride_i c_i,   stride_d = 0,   stride_0 = 1,   every other stride a multiple of d + 1,

mixed radix over the bounding box of the points, wide enough that every neighbour has a key of its own. As the
strides sum to 1 modulo d + 1, the key modulo d + 1 is r. The key is linear, so a step to the neighbour along axis i,
c + (d + 1) e_i - 1, adds the same number everywhere:

    step_i = (d + 1) stride_i - sum_j stride_j,   sum_i step_i = 0.

The vertices of a simplex are a walk of such steps, all d + 1 of them once, so no coordinate is ever stored. The walk
is a circle: it may start anywhere. Rounding each coordinate to the nearest multiple (d + 1) q_i leaves offsets, and an
excess h = sum_i q_i that need not be 0. The walk from there, always against the axis with the smallest offset left,
shifted by -h sum_j stride_j, is the simplex, which begins at the vertex whose remainder is -h modulo d + 1. So no
ranks are counted, and none corrected where h is not 0.

The number of dimensions is the length of the tuple ``strides`` less one: a constant while compiling.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

# Points that go through the arithmetic together, so that each line of it is one vector loop. Its length is known while
# compiling, so behind the last points of a run come some that nobody reads.
BLOCK = 256
# Never a key: all keys lie nearer to 0.
EMPTY = np.int64(-(2**63))
SMALLEST_TABLE_BITS = 12
# 2^64 / golden ratio: multiplicative hashing (Knuth, TAOCP 3, 6.4) spreads the regular keys of neighbouring vertices.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Features(NamedTuple):
    """The parts of the features of all points: positions on a regular grid, and then intensities.

    Parameters
    ----------
    shape, origin : (n_axes,) int64
        Of the grid; n_axes may be 0.
    steps : (n_axes,) float64
        Position features are ``(origin + index) * step``.
    intensities : (n_points, n_channels) float32
    channel_steps : (n_channels,) float64
        Intensity features are ``intensity * step``.
    """

    shape: NDArray[np.int64]
    origin: NDArray[np.int64]
    steps: NDArray[np.float64]
    intensities: NDArray[np.float32]
    channel_steps: NDArray[np.float64]


class Found(NamedTuple):
    """The arrays that `index_points` writes.

    Parameters
    ----------
    vertices : (n_points, d + 1) uint16
        Number of each vertex within its run, in the order of the walk.
    weights : (n_points, d + 1) float32
        Barycentric weights, in the same order.
    diagonal : (n_points,) float32
        The diagonal of slice, blur and splat.
    run_keys : (n_runs, points_a_run * (d + 1)) int64
        Keys of the vertices of each run, in the order in which the points touch them.
    """

    vertices: NDArray[np.uint16]
    weights: NDArray[np.float32]
    diagonal: NDArray[np.float32]
    run_keys: NDArray[np.int64]


class RunTable(NamedTuple):
    """The hash table of a run: its vertices by their keys.

    Parameters
    ----------
    keys : (2^k,) int64
        Or EMPTY.
    numbers : (2^k,) uint16
        Of the vertices within the run.
    shift : int
        64 - k.
    """

    keys: NDArray[np.int64]
    numbers: NDArray[np.uint16]
    shift: int


@kernel()
def _write_positions(row, first, count, axis, shape, origin, step):
    """Write ``(origin + index along axis) * step`` for ``count`` points of a C-ordered grid from point ``first`` on."""
    inner = 1
    for later in range(axis + 1, shape.size):
        inner *= shape[later]
    point = first
    end = first + count
    while point < end:
        index = (point // inner) % shape[axis]
        if inner == 1:
            length = min(shape[axis] - index, end - point)
            for k in range(length):
                row[point - first + k] = np.float32((origin + index + k) * step)
        else:
            length = min(inner - point % inner, end - point)
            value = np.float32((origin + index) * step)
            for k in range(length):
                row[point - first + k] = value
        point += length


@kernel()
def _elevate(feature, dim, sums, coordinate):
    """Add one scaled feature to the elevated coordinates of a block: E of Adams et al., column by column.

    Features arrive from the last to the first: coordinate dim + 1 is the sum so far less (dim + 1) times this one,
    and coordinate 0 is the sum in the end.
    """
    factor = np.float32(dim + 1)
    for p in range(BLOCK):
        coordinate[p] = sums[p] - factor * feature[p]
        sums[p] += feature[p]


@kernel()
def _copy(source, target):
    for p in range(BLOCK):
        target[p] = source[p]


@kernel()
def _round(strides, offset, start):
    """Turn coordinates (d + 1, BLOCK) into offsets from the nearest multiples of d + 1, and start the walk there.

    The lowest bits of an offset name its axis, so that both are sorted together. ``start`` (BLOCK,) is the key.
    """
    n_vertices = len(strides)
    width = np.float32(n_vertices)
    inverse = np.float32(1.0 / n_vertices)
    axis_bits = np.int32(_axis_bits(n_vertices))
    stride_sum = np.int64(0)
    for i in range(n_vertices):
        stride_sum += strides[i]
    for p in range(BLOCK):
        excess = np.int32(0)
        key = np.int64(0)
        for i in range(n_vertices):
            nearest = np.floor(offset[i * BLOCK + p] * inverse + np.float32(0.5))
            bits = np.float32(offset[i * BLOCK + p] - nearest * width).view(np.int32)
            offset[i * BLOCK + p] = np.int32((bits & ~axis_bits) | np.int32(i)).view(np.float32)
            excess += np.int32(nearest)
            key += strides[i] * np.int64(np.int32(nearest))
        start[p] = key * n_vertices - np.int64(excess) * stride_sum


@kernel()
def _axis_bits(n_vertices):
    """Return the mask of as many low bits as name an axis."""
    mask = 1
    while mask < n_vertices - 1:
        mask = 2 * mask + 1
    return mask


@kernel()
def _sort_descending(strides, offset):
    """Sort the d + 1 offsets of each point, the largest first: odd-even transposition, all points side by side."""
    n_vertices = len(strides)
    for turn in range(n_vertices):
        for i in range(turn % 2, n_vertices - 1, 2):
            for p in range(BLOCK):
                a = offset[i * BLOCK + p]
                b = offset[i * BLOCK + BLOCK + p]
                offset[i * BLOCK + p] = max(a, b)
                offset[i * BLOCK + BLOCK + p] = min(a, b)


@kernel()
def _weigh(strides, offset, weight):
    """Write barycentric weights (d + 1, BLOCK), in the order of the walk, from the sorted offsets.

    Vertex r has the weight (offset of rank d - r, less that of rank d + 1 - r) / (d + 1); vertex 0 gets what is left.
    """
    n_vertices = len(strides)
    d = n_vertices - 1
    inverse = np.float32(1.0 / n_vertices)
    for p in range(BLOCK):
        weight[p] = np.float32(1.0) + (offset[d * BLOCK + p] - offset[p]) * inverse
    for r in range(1, n_vertices):
        for p in range(BLOCK):
            weight[r * BLOCK + p] = (offset[(d - r) * BLOCK + p] - offset[(d - r + 1) * BLOCK + p]) * inverse


@kernel()
def _write_weights(strides, weight, weights, first, count):
    """Write the weights of a block point by point: (n_points, d + 1)."""
    for p in range(count):
        for r in range(len(strides)):
            weights[first + p, r] = weight[r * BLOCK + p]


@kernel()
def _write_diagonal(strides, diagonal_terms, weight, sums, diagonal):
    """Write ``sum_{r, s} b_r b_s B_|r-s|`` of a block of points: the diagonal of slice, blur and splat.

    b are barycentric weights, B the `Blur.diagonal_terms`: docs/model.md derives it.
    """
    n_vertices = len(strides)
    sums[:] = np.float32(0.0)
    for r in range(n_vertices):
        for s in range(r, n_vertices):
            term = diagonal_terms[s - r] if s == r else np.float32(2.0) * diagonal_terms[s - r]
            for p in range(BLOCK):
                sums[p] += term * weight[r * BLOCK + p] * weight[s * BLOCK + p]
    for p in range(diagonal.size):
        diagonal[p] = sums[p]


@kernel()
def _walk(strides, steps_back, offset, start, keys):
    """Write the keys (d + 1, BLOCK) of the vertices of each simplex."""
    n_vertices = len(strides)
    d = n_vertices - 1
    axis_bits = np.int32(_axis_bits(n_vertices))
    for p in range(BLOCK):
        key = start[p]
        keys[p] = key
        for r in range(1, n_vertices):
            key += steps_back[np.float32(offset[(d - r + 1) * BLOCK + p]).view(np.int32) & axis_bits]
            keys[r * BLOCK + p] = key


@kernel()
def _number_vertices(strides, keys, table, vertices, run_keys, n_keys):
    """Write the number of each vertex of a block within its run, and return how many the run has so far.

    The keys of new vertices are added to ``run_keys``, which holds ``n_keys``, and to the table.
    """
    table_keys, table_numbers, shift = table.keys, table.numbers, table.shift
    mask = np.uint64(table_keys.size - 1)
    for p in range(len(vertices)):
        for r in range(len(strides)):
            key = keys[r * BLOCK + p]
            place = (np.uint64(key) * GOLDEN) >> np.uint64(shift)
            while table_keys[place] != key:
                if table_keys[place] == EMPTY:
                    table_keys[place] = key
                    table_numbers[place] = n_keys
                    run_keys[n_keys] = key
                    n_keys += 1
                    break
                place = (place + np.uint64(1)) & mask
            vertices[p, r] = table_numbers[place]
    return n_keys


@kernel()
def _table_of_run(size_bits, run_keys, n_keys):
    """Return a hash table of 2^size_bits places that holds the first vertices of a run."""
    shift = 64 - size_bits
    table_keys = np.full(1 << size_bits, EMPTY, np.int64)
    table_numbers = np.empty(1 << size_bits, np.uint16)
    mask = np.uint64(table_keys.size - 1)
    for number in range(n_keys):
        place = (np.uint64(run_keys[number]) * GOLDEN) >> np.uint64(shift)
        while table_keys[place] != EMPTY:
            place = (place + np.uint64(1)) & mask
        table_keys[place] = run_keys[number]
        table_numbers[place] = number
    return RunTable(table_keys, table_numbers, shift)


@kernel()
def _steps_back(strides):
    """Return what a step against each axis adds to a key, and zeros up to the largest number of so many bits."""
    n_vertices = len(strides)
    steps = np.zeros(_axis_bits(n_vertices) + 1, np.int64)
    for i in range(n_vertices):
        for j in range(n_vertices):
            steps[i] += strides[j]
        steps[i] -= n_vertices * strides[i]
    return steps


@kernel()
def _write_feature(scales, features, first, count, dim, feature):
    """Write one feature of ``count`` points, times the scale of its dimension."""
    n_axes = features.shape.size
    if dim < n_axes:
        step = features.steps[dim] * scales[dim]
        _write_positions(feature, first, count, dim, features.shape, features.origin[dim], step)
    else:
        step = np.float32(features.channel_steps[dim - n_axes] * scales[dim])
        channel = features.intensities[first : first + count, dim - n_axes]
        for p in range(count):
            feature[p] = channel[p] * step


@inlined()
def _index_run(strides, scales, features, diagonal_terms, points, found, keys):
    """Find the simplices of a run of points, from the first to the last; return how many vertices they touch together.

    ``keys`` (points_a_run * (d + 1),) is written.
    """
    first, last = points
    n_vertices = len(strides)
    d = n_vertices - 1
    # Elevated coordinates, then offsets.
    offset = np.empty(n_vertices * BLOCK, np.float32)
    feature = np.zeros(BLOCK, np.float32)
    sums = np.empty(BLOCK, np.float32)
    start = np.empty(BLOCK, np.int64)
    block_keys = np.empty(n_vertices * BLOCK, np.int64)
    weight = np.empty(n_vertices * BLOCK, np.float32)
    steps_back = _steps_back(strides)
    # As int64: Numba compiles kernels anew for the constants themselves.
    size_bits, n_keys = np.int64(SMALLEST_TABLE_BITS), np.int64(0)
    table = _table_of_run(size_bits, keys, n_keys)
    for block in range(first, last, BLOCK):
        count = min(BLOCK, last - block)
        sums[:] = 0.0
        for dim in range(d - 1, -1, -1):
            _write_feature(scales, features, block, count, dim, feature)
            _elevate(feature, dim, sums, offset[(dim + 1) * BLOCK : (dim + 2) * BLOCK])
        _copy(sums, offset[:BLOCK])
        _round(strides, offset, start)
        _sort_descending(strides, offset)
        _weigh(strides, offset, weight)
        _write_weights(strides, weight, found.weights, block, count)
        _write_diagonal(strides, diagonal_terms, weight, sums, found.diagonal[block : block + count])
        _walk(strides, steps_back, offset, start, block_keys)
        # A table an eighth full has few collisions; and a block in which all vertices are new must fit.
        while max(8 * n_keys, n_keys + 2 * n_vertices * BLOCK) > 1 << size_bits:
            size_bits += 1
            table = _table_of_run(size_bits, keys, n_keys)
        vertices = found.vertices[block : block + count]
        n_keys = _number_vertices(strides, block_keys, table, vertices, keys, n_keys)
    return n_keys


@parallel_kernel()
def _index_points(given, run):
    strides, scales, features, diagonal_terms, points_a_run, found, counts = arguments_of(given)
    points = (run * points_a_run, min((run + 1) * points_a_run, len(found.vertices)))
    counts[run] = _index_run(strides, scales, features, diagonal_terms, points, found, found.run_keys[run])


def index_points(
    strides: tuple[int, ...],
    scales: tuple[float, ...],
    features: Features,
    diagonal_terms: NDArray[np.float32],
    points_a_run: int,
    found: Found,
) -> NDArray[np.int64]:
    """Find the simplex of every point, run by run.

    Parameters
    ----------
    strides : tuple of d + 1 int
        Of the vertex keys, the last 0.
    scales : tuple of d float
        The scale of each feature dimension before elevation.
    features : Features
    diagonal_terms : (d + 1,) float32
        `Blur.diagonal_terms`.
    points_a_run : int
    found : Found
        Written.

    Returns
    -------
    (n_runs,) int64
        How many vertices each run touches.
    """
    n_runs = len(found.run_keys)
    counts = np.empty(n_runs, np.int64)
    _index_points(n_runs, strides, scales, features, diagonal_terms, points_a_run, found, counts)
    return counts
