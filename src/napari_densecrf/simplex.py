"""Points to lattice simplices (Numba): embed, round, rank, barycentric weights, vertex keys and the tables of vertices.

A vertex of the permutohedral lattice in d dimensions has d + 1 integer coordinates c_0..c_d that sum to 0 and are all
congruent to its remainder r modulo d + 1 (Adams, Baek, Davis 2010, section 3). One int64 names it:

    key = sum_i stride_i c_i,   stride_d = 0,   stride_0 = 1,   every other stride a multiple of d + 1,

mixed radix over the bounding box of the points, wide enough that every neighbour has a key of its own. As the
strides sum to 1 modulo d + 1, the key modulo d + 1 is r. The key is linear, so a step to the neighbour along axis i,
c + (d + 1) e_i - 1, adds the same number everywhere:

    step_i = (d + 1) stride_i - sum_j stride_j,   sum_i step_i = 0.

The vertices of a simplex are a walk of such steps, so no coordinate is ever stored.

The number of dimensions is the length of the tuple ``strides`` less one: a constant while compiling.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .kernels import kernel, parallel_kernel

# Points that go through the arithmetic together, so that each line of it is one vector loop.
BLOCK = 256
# The (rank_0, ..., rank_d) of a simplex are packed four bits each; past 16 vertices simplices are not compared.
MAX_PACKED = 16
EMPTY = np.int32(-1)
# 2^64 / golden ratio: multiplicative hashing (Knuth, TAOCP 3, 6.4) spreads the regular keys of neighbouring vertices.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel()
def _home(key, shift):
    return np.int64((np.uint64(key) * GOLDEN) >> np.uint64(shift))


@kernel()
def find(table, shift, keys, key):
    """Return the number of the vertex ``key``, or -1. ``table`` (2**k,) int32 holds numbers, ``keys`` their keys."""
    mask = table.size - 1
    slot = _home(key, shift)
    while True:
        number = table[slot]
        if number == EMPTY or keys[number] == key:
            return number
        slot = (slot + 1) & mask


@kernel()
def insert(table, shift, keys, count, key):
    """Return the number of the vertex ``key``, which is ``count`` where it is new (``keys`` then holds it)."""
    mask = table.size - 1
    slot = _home(key, shift)
    while True:
        number = table[slot]
        if number == EMPTY:
            table[slot] = count
            keys[count] = key
            return np.int32(count)
        if keys[number] == key:
            return number
        slot = (slot + 1) & mask


@kernel()
def grown(table, shift, keys, count):
    """Return a table of four times the size with the same vertices, and its shift."""
    larger = np.full(4 * table.size, EMPTY, np.int32)
    shift -= 2
    mask = larger.size - 1
    for number in range(count):
        slot = _home(keys[number], shift)
        while larger[slot] != EMPTY:
            slot = (slot + 1) & mask
        larger[slot] = number
    return larger, shift


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
            run = min(shape[axis] - index, end - point)
            for k in range(run):
                row[point - first + k] = np.float32((origin + index + k) * step)
        else:
            run = min(inner - point % inner, end - point)
            value = np.float32((origin + index) * step)
            for k in range(run):
                row[point - first + k] = value
        point += run


@kernel()
def _elevate(strides, elevated, feature, dim, count):
    """Add one scaled feature to the elevated coordinates (d + 1, BLOCK): E of Adams et al., column by column.

    Features arrive from the last to the first: coordinate dim + 1 is the sum so far less (dim + 1) times this one,
    and coordinate 0 keeps the sum.
    """
    row = (dim + 1) * BLOCK
    factor = np.float32(dim + 1)
    for p in range(count):
        elevated[row + p] = elevated[p] - factor * feature[p]
        elevated[p] += feature[p]


@kernel()
def _round_to_remainder_0(strides, elevated, quotient, rank, count):
    """Turn coordinates into offsets from the nearest remainder-0 vertex, its quotients and the ranks of the offsets.

    All (d + 1, BLOCK) flat. ``elevated`` becomes the offset, ``quotient`` c_i / (d + 1) of that vertex, ``rank`` 0 for
    the largest offset to d for the smallest.
    """
    n_vertices = len(strides)
    width = np.float32(n_vertices)
    inverse = np.float32(1.0 / n_vertices)
    for p in range(count):
        excess = np.int32(0)
        for i in range(n_vertices):
            nearest = np.floor(elevated[i * BLOCK + p] * inverse + np.float32(0.5))
            elevated[i * BLOCK + p] -= nearest * width
            quotient[i * BLOCK + p] = np.int32(nearest)
            excess += np.int32(nearest)
        for i in range(n_vertices):
            rank[i * BLOCK + p] = excess
    for i in range(n_vertices):
        for j in range(i + 1, n_vertices):
            for p in range(count):
                below = np.int32(elevated[i * BLOCK + p] < elevated[j * BLOCK + p])
                rank[i * BLOCK + p] += below
                rank[j * BLOCK + p] += np.int32(1) - below
    # Where the quotients do not sum to 0, the coordinates with the extreme offsets move on by one.
    for i in range(n_vertices):
        for p in range(count):
            here = i * BLOCK + p
            shift = np.int32(rank[here] >= n_vertices) - np.int32(rank[here] < 0)
            rank[here] -= shift * np.int32(n_vertices)
            quotient[here] -= shift
            elevated[here] += np.float32(shift) * width


@kernel()
def _sort_descending(strides, offset, count):
    """Sort the d + 1 offsets of each point, the largest first: odd-even transposition, all points abreast."""
    n_vertices = len(strides)
    for turn in range(n_vertices):
        for i in range(turn % 2, n_vertices - 1, 2):
            for p in range(count):
                a = offset[i * BLOCK + p]
                b = offset[i * BLOCK + BLOCK + p]
                offset[i * BLOCK + p] = max(a, b)
                offset[i * BLOCK + BLOCK + p] = min(a, b)


@kernel()
def _name_simplices(strides, quotient, rank, vertex, order, count):
    """Write the key of each point's remainder-0 vertex and its ranks packed in one int64: together, its simplex."""
    n_vertices = len(strides)
    for p in range(count):
        key = np.int64(0)
        packed = np.int64(0)
        for i in range(n_vertices):
            key += strides[i] * np.int64(quotient[i * BLOCK + p])
            if n_vertices <= MAX_PACKED:
                packed |= np.int64(rank[i * BLOCK + p]) << np.int64(4 * i)
        vertex[p] = key * n_vertices
        order[p] = packed


@kernel()
def _write_weights(strides, offset, weights, first, count):
    """Write barycentric weights (n_points, d + 1), by remainder, from the sorted offsets.

    Vertex r has the weight (offset of rank d - r, less that of rank d + 1 - r) / (d + 1); vertex 0 gets what is left.
    """
    n_vertices = len(strides)
    d = n_vertices - 1
    inverse = np.float32(1.0 / n_vertices)
    for p in range(count):
        weights[first + p, 0] = np.float32(1.0) + (offset[d * BLOCK + p] - offset[p]) * inverse
        for r in range(1, n_vertices):
            weights[first + p, r] = (offset[(d - r) * BLOCK + p] - offset[(d - r + 1) * BLOCK + p]) * inverse


@kernel()
def _index_tile(strides, scales, grid, intensities, channel_steps, first, last, vertices, weights, keys):
    """Find the simplex of the points ``first`` to ``last``; return how many vertices they touch together."""
    n_vertices = len(strides)
    d = n_vertices - 1
    shape, origin, position_steps = grid
    n_axes = shape.size
    elevated = np.empty(n_vertices * BLOCK, np.float32)
    quotient = np.empty(n_vertices * BLOCK, np.int32)
    rank = np.empty(n_vertices * BLOCK, np.int32)
    feature = np.empty(BLOCK, np.float32)
    vertex = np.empty(BLOCK, np.int64)
    order = np.empty(BLOCK, np.int64)
    axis_of_rank = np.empty(n_vertices, np.int64)
    # No key of a vertex of remainder r is r + 1 modulo d + 1.
    previous_keys = np.arange(1, n_vertices + 1)
    stride_sum = np.int64(0)
    for i in range(n_vertices):
        stride_sum += strides[i]

    table = np.full(4096, EMPTY, np.int32)
    shift = 64 - 12
    n_keys = 0
    previous_vertex = np.int64(0)
    previous_order = np.int64(-1)
    for start in range(first, last, BLOCK):
        count = min(BLOCK, last - start)
        elevated[:BLOCK] = 0.0
        for dim in range(d - 1, -1, -1):
            if dim < n_axes:
                _write_positions(feature, start, count, dim, shape, origin[dim], position_steps[dim] * scales[dim])
            else:
                step = np.float32(channel_steps[dim - n_axes] * scales[dim])
                for p in range(count):
                    feature[p] = intensities[start + p, dim - n_axes] * step
            _elevate(strides, elevated, feature, dim, count)
        _round_to_remainder_0(strides, elevated, quotient, rank, count)
        _name_simplices(strides, quotient, rank, vertex, order, count)
        _sort_descending(strides, elevated, count)
        _write_weights(strides, elevated, weights, start, count)
        for p in range(count):
            if n_vertices <= MAX_PACKED and vertex[p] == previous_vertex and order[p] == previous_order:
                for r in range(n_vertices):
                    vertices[start + p, r] = vertices[start + p - 1, r]
                continue
            previous_vertex = vertex[p]
            previous_order = order[p]
            for i in range(n_vertices):
                axis_of_rank[rank[i * BLOCK + p]] = i
            if 2 * (n_keys + n_vertices) > table.size:
                table, shift = grown(table, shift, keys, n_keys)
            key = vertex[p]
            for r in range(n_vertices):
                # Simplices side by side share most of their vertices.
                if key == previous_keys[r]:
                    vertices[start + p, r] = vertices[start + p - 1, r]
                else:
                    number = insert(table, shift, keys, n_keys, key)
                    n_keys = max(n_keys, number + 1)
                    vertices[start + p, r] = number
                    previous_keys[r] = key
                key += stride_sum - n_vertices * strides[axis_of_rank[d - r]]
    return n_keys


@parallel_kernel()
def index_points(strides, scales, grid, intensities, channel_steps, tile_points, vertices, weights, keys):
    """Find the simplex of every point, tile by tile.

    Parameters
    ----------
    strides : tuple of d + 1 int
        Of the vertex keys, the last 0.
    scales : tuple of d float
        The scale of each feature dimension before elevation.
    grid : (shape, origin, steps), each (n_axes,) int64, int64, float64
        Position features are ``(origin + index) * step``; n_axes may be 0.
    intensities : (n_points, d - n_axes) float32
    channel_steps : (d - n_axes,) float64
        Intensity features are ``intensity * step``.
    tile_points : int
        Points of a tile.
    vertices : (n_points, d + 1) uint16, out
        Number of each vertex within its tile, by remainder.
    weights : (n_points, d + 1) float32, out
        Barycentric weights, by remainder.
    keys : (n_tiles, tile_points * (d + 1)) int64, out
        Keys of the vertices of each tile, in the order in which the points touch them.

    Returns
    -------
    (n_tiles,) int64
        How many vertices each tile touches.
    """
    n_points = len(vertices)
    counts = np.empty(len(keys), np.int64)
    for tile in nb.prange(len(keys)):
        first = tile * tile_points
        last = min(first + tile_points, n_points)
        counts[tile] = _index_tile(
            strides, scales, grid, intensities, channel_steps, first, last, vertices, weights, keys[tile]
        )
    return counts


@kernel()
def merge_tiles(tile_keys, counts):
    """Give the vertices of all tiles their numbers, tile after tile.

    The result is ``(keys, table, shift, numbers)``: the keys of all vertices in the order of their numbers, the table
    that finds them, and the number of every tile's vertices, one tile behind the other.
    """
    n_slots = counts.sum()
    numbers = np.empty(n_slots, np.uint32)
    keys = np.empty(n_slots, np.int64)
    table = np.full(8192, EMPTY, np.int32)
    shift = 64 - 13
    n_keys = 0
    slot = 0
    for tile in range(counts.size):
        for k in range(counts[tile]):
            if 2 * (n_keys + 1) > table.size:
                table, shift = grown(table, shift, keys, n_keys)
            number = insert(table, shift, keys, n_keys, tile_keys[tile, k])
            n_keys = max(n_keys, number + 1)
            numbers[slot] = number
            slot += 1
    return keys[:n_keys].copy(), table, shift, numbers


@kernel()
def add_ring(steps, touched, table, shift, most):
    """Add the neighbours that the touched vertices lack.

    Parameters
    ----------
    steps : (d + 1,) int64
        What a step along each axis adds to a key.
    touched : (n_touched,) int64
        Keys of the vertices that points touch; ``table`` and ``shift`` find them.
    most : int
        Stop where touched and ring vertices together would pass this number.

    Returns
    -------
    keys : (n_vertices,) int64
        The touched vertices, then the ring; empty where there would be more than ``most``.
    table, shift
        Find them all.
    up, down : (d + 1, n_touched) int32
        The vertex one step along each axis from each touched vertex, and one step back.
    """
    n_axes = steps.size
    n_touched = touched.size
    keys = np.empty(3 * n_touched + 2 * n_axes, np.int64)
    keys[:n_touched] = touched
    up = np.full((n_axes, n_touched), -1, np.int32)
    down = np.full((n_axes, n_touched), -1, np.int32)
    count = n_touched
    for v in range(n_touched):
        if count + 2 * n_axes > most:
            return keys[:0].copy(), table, shift, up, down
        if count + 2 * n_axes > keys.size:
            longer = np.empty(keys.size + keys.size // 2 + 2 * n_axes, np.int64)
            longer[:count] = keys[:count]
            keys = longer
        if 2 * (count + 2 * n_axes) > table.size:
            table, shift = grown(table, shift, keys, count)
        for i in range(n_axes):
            if up[i, v] < 0:
                above = insert(table, shift, keys, count, keys[v] + steps[i])
                count = max(count, above + 1)
                up[i, v] = above
                if above < n_touched:
                    down[i, above] = v
            if down[i, v] < 0:
                below = insert(table, shift, keys, count, keys[v] - steps[i])
                count = max(count, below + 1)
                down[i, v] = below
                if below < n_touched:
                    up[i, below] = v
    return keys[:count].copy(), table, shift, up, down


@parallel_kernel()
def link_vertices(steps, keys, table, shift, touched_up, touched_down):
    """Return ``up`` and ``down`` (d + 1, n_vertices) uint32 for touched and ring vertices together.

    Where there is no neighbour they name vertex ``n_vertices``, whose value is always 0.
    """
    n_axes, n_touched = touched_up.shape
    n_vertices = keys.size
    up = np.full((n_axes, n_vertices), n_vertices, np.uint32)
    down = np.full((n_axes, n_vertices), n_vertices, np.uint32)
    # A vertex has one neighbour below it, so of all threads one alone writes each entry.
    for v in nb.prange(n_touched):
        for i in range(n_axes):
            up[i, v] = touched_up[i, v]
            down[i, v] = touched_down[i, v]
            if touched_up[i, v] >= n_touched:
                down[i, touched_up[i, v]] = v
            if touched_down[i, v] >= n_touched:
                up[i, touched_down[i, v]] = v
    for v in nb.prange(n_touched, n_vertices):
        for i in range(n_axes):
            if up[i, v] == n_vertices:
                above = find(table, shift, keys, keys[v] + steps[i])
                if above >= 0:
                    up[i, v] = above
                    down[i, above] = v
    return up, down
