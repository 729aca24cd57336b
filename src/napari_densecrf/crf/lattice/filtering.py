"""Splat, blur and slice on a lattice that has been built (Numba).

All values have their channels innermost, as many as `simd.padded` gives: one channel is plain scalar code, two are a
vector, more go through vectors of sixteen where that divides them, else of four.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from napari_densecrf.crf.numba.compile import kernel, parallel_kernel
from napari_densecrf.crf.numba.simd import FOUR, ONE, SIXTEEN, TWO, load, plus, prefetch, spread, store, times

# What a thread takes at once of gathering and blurring.
VERTICES_A_RUN = 2048
# Vertices and weights are the most of what an update reads; they are asked for so many points before their turn.
POINTS_AHEAD = 128


@kernel()
def _splat_lanes(lanes, corners, vertices, weights, n_channels, values, slots):
    """Do what `splat_points` does, over flat values and slots, by vectors of channels."""
    for p in range(len(vertices)):
        for c in range(0, n_channels, len(lanes)):
            value = load(lanes, values, p * n_channels + c)
            for r in range(len(corners)):
                there = np.int64(vertices[p, r]) * n_channels + c
                store(slots, there, plus(load(lanes, slots, there), times(spread(lanes, weights[p, r]), value)))


@kernel()
def splat_points(corners, vertices, weights, n_channels, values, slots):
    """Add values (n * n_channels,) to the slots of their tile, flat too: slots += S values."""
    if n_channels == 1:
        for p in range(len(vertices)):
            value = values[p]
            for r in range(len(corners)):
                slots[vertices[p, r]] += weights[p, r] * value
    elif n_channels == 2:
        _splat_lanes(TWO, corners, vertices, weights, n_channels, values, slots)
    elif n_channels % 16 == 0:
        _splat_lanes(SIXTEEN, corners, vertices, weights, n_channels, values, slots)
    else:
        _splat_lanes(FOUR, corners, vertices, weights, n_channels, values, slots)


@kernel()
def _ask_for(corners, vertices, weights, p):
    ahead = (p + POINTS_AHEAD) * len(corners)
    prefetch(vertices, ahead)
    prefetch(weights, ahead)


@kernel()
def _slice_lanes(lanes, corners, vertices, weights, n_channels, slots, values):
    """Do what `slice_points` does, over flat values and slots, by vectors of channels."""
    for p in range(len(vertices)):
        _ask_for(corners, vertices, weights, p)
        for c in range(0, n_channels, len(lanes)):
            total = spread(lanes, np.float32(0.0))
            for r in range(len(corners)):
                there = np.int64(vertices[p, r]) * n_channels + c
                total = plus(total, times(spread(lanes, weights[p, r]), load(lanes, slots, there)))
            store(values, p * n_channels + c, total)


@kernel()
def slice_points(corners, vertices, weights, n_channels, slots, values):
    """Write values (n * n_channels,) from the slots of their tile, flat too: values = S^T slots."""
    if n_channels == 1:
        for p in range(len(vertices)):
            total = np.float32(0.0)
            _ask_for(corners, vertices, weights, p)
            for r in range(len(corners)):
                total += weights[p, r] * slots[vertices[p, r]]
            values[p] = total
    elif n_channels == 2:
        _slice_lanes(TWO, corners, vertices, weights, n_channels, slots, values)
    elif n_channels % 16 == 0:
        _slice_lanes(SIXTEEN, corners, vertices, weights, n_channels, slots, values)
    else:
        _slice_lanes(FOUR, corners, vertices, weights, n_channels, slots, values)


@kernel()
def read_slots(slot_vertices, n_channels, vertex_values, slots):
    """Copy the values of a tile's vertices into its slots, both flat."""
    if n_channels == 1:
        for k in range(slot_vertices.size):
            slots[k] = vertex_values[slot_vertices[k]]
    elif n_channels % 4 == 0:
        for k in range(slot_vertices.size):
            there = np.int64(slot_vertices[k]) * n_channels
            for c in range(0, n_channels, 4):
                store(slots, k * n_channels + c, load(FOUR, vertex_values, there + c))
    else:
        for k in range(slot_vertices.size):
            there = np.int64(slot_vertices[k]) * n_channels
            for c in range(n_channels):
                slots[k * n_channels + c] = vertex_values[there + c]


@kernel()
def _splat_tile(corners, vertices, weights, points, values, slots):
    first, last = points
    n_channels = values.shape[1]
    slots[:] = np.float32(0.0)
    here = values[first:last].reshape((last - first) * n_channels)
    splat_points(corners, vertices[first:last], weights[first:last], n_channels, here, slots.reshape(slots.size))


@kernel()
def _slice_tile(corners, vertices, weights, points, slot_vertices, vertex_values, values):
    first, last = points
    n_channels = values.shape[1]
    slots = np.empty(slot_vertices.size * n_channels, np.float32)
    read_slots(slot_vertices, n_channels, vertex_values.reshape(vertex_values.size), slots)
    here = values[first:last].reshape((last - first) * n_channels)
    slice_points(corners, vertices[first:last], weights[first:last], n_channels, slots, here)


@kernel()
def tile_range(tile, tile_points, n_points):
    """Return the first point of a tile, and the first behind it."""
    return tile * tile_points, min((tile + 1) * tile_points, n_points)


# A parallel kernel does nothing but hand its tiles out: Numba's transformations for parallel code are slow to compile.
@parallel_kernel()
def splat_tiles(corners, vertices, weights, tile_points, tile_slots, values, slots):
    """Write slots (n_slots, n_channels) = S values (n_points, n_channels), each tile its own."""
    for tile in nb.prange(tile_slots.size - 1):
        points = tile_range(tile, tile_points, len(vertices))
        _splat_tile(corners, vertices, weights, points, values, slots[tile_slots[tile] : tile_slots[tile + 1]])


@parallel_kernel()
def slice_tiles(corners, vertices, weights, tile_points, tile_slots, slot_vertices, vertex_values, values):
    """Write values (n_points, n_channels) = S^T of those of the vertices, (n_vertices + 1, n_channels)."""
    for tile in nb.prange(tile_slots.size - 1):
        points = tile_range(tile, tile_points, len(vertices))
        here = slot_vertices[tile_slots[tile] : tile_slots[tile + 1]]
        _slice_tile(corners, vertices, weights, points, here, vertex_values, values)


@kernel()
def _blur_one(up, down, side, source, here, target):
    """Do what `blur_axis` does for one channel and the vertices of ``up``, whose values are ``here``.

    On slices, as Numba asks of every index it does not know whether it is negative.
    """
    for k in range(up.size):
        target[k] = here[k] + side * (source[up[k]] + source[down[k]])


@kernel()
def _blur_lanes(lanes, up, down, vertices, side, n_channels, source, target):
    """Do what `blur_axis` does, over flat values, by vectors of channels."""
    sides = spread(lanes, side)
    for v in range(vertices[0], vertices[1]):
        here = v * n_channels
        above = np.int64(up[v]) * n_channels
        below = np.int64(down[v]) * n_channels
        for c in range(0, n_channels, len(lanes)):
            beside = plus(load(lanes, source, above + c), load(lanes, source, below + c))
            store(target, here + c, plus(load(lanes, source, here + c), times(sides, beside)))


@kernel()
def blur_axis(up, down, first, last, side, source, target):
    """Blur vertices ``first`` to ``last`` along one axis: v + side * (v one step up + v one step down)."""
    n_channels = source.shape[1]
    flat_source = source.reshape(source.size)
    flat_target = target.reshape(target.size)
    if n_channels == 1:
        _blur_one(up[first:last], down[first:last], side, flat_source, flat_source[first:last], flat_target[first:last])
    elif n_channels == 2:
        _blur_lanes(TWO, up, down, (first, last), side, n_channels, flat_source, flat_target)
    elif n_channels % 16 == 0:
        _blur_lanes(SIXTEEN, up, down, (first, last), side, n_channels, flat_source, flat_target)
    else:
        _blur_lanes(FOUR, up, down, (first, last), side, n_channels, flat_source, flat_target)


@kernel()
def list_slots(slot_vertices, n_vertices):
    """List the slots of each vertex, for `gather_and_blur_vertices`: the first, and apart from it the others.

    So a gather has no loops of a few turns, whose lengths no processor foresees.

    Returns
    -------
    first_slots : (n_vertices,) uint32
        n_slots for a vertex of the ring, which has none.
    later : (n, 2) uint32
        Vertex and slot of all others, run by run of vertices, a vertex's slots in their order.
    later_starts : (n_runs + 1,) int64
        Where those of each run begin.
    """
    n_slots = slot_vertices.size
    first_slots = np.full(n_vertices, n_slots, np.uint32)
    later_starts = np.zeros(-(-n_vertices // VERTICES_A_RUN) + 1, np.int64)
    for k in range(n_slots):
        vertex = slot_vertices[k]
        if first_slots[vertex] == n_slots:
            first_slots[vertex] = k
        else:
            later_starts[vertex // VERTICES_A_RUN + 1] += 1
    for run in range(later_starts.size - 1):
        later_starts[run + 1] += later_starts[run]
    later = np.empty((later_starts[-1], 2), np.uint32)
    following = later_starts.copy()
    for k in range(n_slots):
        vertex = slot_vertices[k]
        if first_slots[vertex] != k:
            place = following[vertex // VERTICES_A_RUN]
            later[place, 0] = vertex
            later[place, 1] = k
            following[vertex // VERTICES_A_RUN] = place + 1
    return first_slots, later, later_starts


@kernel()
def _gather_lanes(lanes, first_slots, later, slots, first, n_channels, values):
    """Sum the slots of a run of vertices, over flat values, by vectors of channels."""
    for k in range(first_slots.size):
        here, there = (first + k) * n_channels, np.int64(first_slots[k]) * n_channels
        for c in range(0, n_channels, len(lanes)):
            store(values, here + c, load(lanes, slots, there + c))
    for k in range(len(later)):
        here, there = np.int64(later[k, 0]) * n_channels, np.int64(later[k, 1]) * n_channels
        for c in range(0, n_channels, len(lanes)):
            store(values, here + c, plus(load(lanes, values, here + c), load(lanes, slots, there + c)))


@kernel()
def _gather_run(first_slots, later, slots, first, values):
    n_channels = values.shape[1]
    flat_slots = slots.reshape(slots.size)
    flat_values = values.reshape(values.size)
    if n_channels % 4 == 0:
        _gather_lanes(FOUR, first_slots, later, flat_slots, first, n_channels, flat_values)
    else:
        _gather_lanes(ONE, first_slots, later, flat_slots, first, n_channels, flat_values)


@parallel_kernel()
def gather_and_blur_vertices(first_slots, later, later_starts, slots, up, down, n_passes, side, values, scratch):
    """Sum the slots of each vertex, then blur along each axis in turn, back and forth between two arrays.

    ``slots`` is (n_slots + 1, n_channels), ``values`` and ``scratch`` are (n_vertices + 1, n_channels), all float32;
    their last rows, read where a vertex has no slot or a neighbour is missing, are 0. The result is in ``scratch``
    after an odd number of blurs.
    """
    n_axes, n_vertices = up.shape
    n_runs = later_starts.size - 1
    for run in nb.prange(n_runs):
        first = run * VERTICES_A_RUN
        last = min(first + VERTICES_A_RUN, n_vertices)
        _gather_run(first_slots[first:last], later[later_starts[run] : later_starts[run + 1]], slots, first, values)
    for turn in range(n_passes * n_axes):
        source = values if turn % 2 == 0 else scratch
        target = scratch if turn % 2 == 0 else values
        axis = turn % n_axes
        for run in nb.prange(n_runs):
            first = run * VERTICES_A_RUN
            blur_axis(up[axis], down[axis], first, min(first + VERTICES_A_RUN, n_vertices), side, source, target)
