"""Splat, blur and slice on a lattice that has been built (Numba).

Points come in runs, fixed stretches of them in their order. A run splats into slots of its own, one for each vertex
that it touches, so that no two threads write to one place. Then each vertex sums its slots in their order, so that the
result does not depend on the number of threads.

All values have their channels innermost, as many as `simd.padded` gives. Kernels get the ``lanes`` for them, of
`simd.lanes_of`: one channel is plain scalar code, more go through vectors. ``len(lanes)`` of an argument is a constant
for Numba, which leaves out the other branch while compiling.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel, serial_kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.simd import lanes_of, load, plus, prefetch, spread, store, times

# Vertices that a thread gathers or blurs at once.
VERTICES_A_RUN = 2048
# Vertices and weights are the most of what an update reads; they are asked for so many points before their turn.
POINTS_AHEAD = 128


class Runs(NamedTuple):
    """The arrays of a lattice that splat and slice read: points in runs, and the vertices that each run touches.

    Parameters
    ----------
    vertices : (n_points, d + 1) uint16
        The corners of each point's simplex, numbered within the run of the point.
    weights : (n_points, d + 1) float32
        The barycentric weight of each corner.
    points_a_run : int
    run_slots : (n_runs + 1,) int64
        The first slot of each run. A run has a slot for each vertex that it touches.
    slot_vertices : (n_slots,) uint32
        The vertex of each slot, numbered within the whole lattice.
    """

    vertices: NDArray[np.uint16]
    weights: NDArray[np.float32]
    points_a_run: int
    run_slots: NDArray[np.int64]
    slot_vertices: NDArray[np.uint32]


# How many corners a simplex has is the length of a tuple, (0, 1, ..., d): so loops over them have a length that is
# known while compiling. Numba hands no tuple inside a tuple to a parallel loop, so it comes beside `Runs`.
class Simplices(NamedTuple):
    """The simplices of some points of one run.

    Parameters
    ----------
    corners : (0, 1, ..., d)
        Only its length counts.
    vertices, weights : (n_points, d + 1)
        As `Runs` has them.
    """

    corners: tuple[int, ...]
    vertices: NDArray[np.uint16]
    weights: NDArray[np.float32]


class SlotLists(NamedTuple):
    """The slots of each vertex: the first, and apart from it the others. See `list_slots`.

    Parameters
    ----------
    first : (n_vertices,) uint32
        n_slots for a vertex of the ring, which has no slot.
    later : (n, 2) uint32
        Vertex and slot of all others, run by run of `VERTICES_A_RUN` vertices, a vertex's slots in their order.
    later_starts : (n_runs + 1,) int64
        Where those of each run of vertices begin.
    """

    first: NDArray[np.uint32]
    later: NDArray[np.uint32]
    later_starts: NDArray[np.int64]


class Neighbours(NamedTuple):
    """The vertex one step up and one step down each axis: (d + 1, n_vertices) uint32, n_vertices for none."""

    up: NDArray[np.uint32]
    down: NDArray[np.uint32]


@kernel()
def simplices_of(corners, runs, first, last):
    """Return the simplices of the points ``first`` to ``last``, which lie in one run."""
    return Simplices(corners, runs.vertices[first:last], runs.weights[first:last])


@kernel()
def _splat_lanes(lanes, simplices, n_channels, values, slots):
    """Do what `splat_points` does, over flat values and slots, by vectors of channels."""
    vertices, weights = simplices.vertices, simplices.weights
    for p in range(len(vertices)):
        for c in range(0, n_channels, len(lanes)):
            value = load(lanes, values, p * n_channels + c)
            for r in range(len(simplices.corners)):
                there = np.int64(vertices[p, r]) * n_channels + c
                store(slots, there, plus(load(lanes, slots, there), times(spread(lanes, weights[p, r]), value)))


@kernel()
def splat_points(lanes, simplices, n_channels, values, slots):
    """Add values (n * n_channels,) to the slots of their run, flat too: slots += S values."""
    if len(lanes) == 1:
        vertices, weights = simplices.vertices, simplices.weights
        for p in range(len(vertices)):
            value = values[p]
            for r in range(len(simplices.corners)):
                slots[vertices[p, r]] += weights[p, r] * value
    else:
        _splat_lanes(lanes, simplices, n_channels, values, slots)


@kernel()
def _ask_for(simplices, p):
    """Prefetch the vertices and weights that are read `POINTS_AHEAD` points later."""
    ahead = (p + POINTS_AHEAD) * len(simplices.corners)
    prefetch(simplices.vertices, ahead)
    prefetch(simplices.weights, ahead)


@kernel()
def _slice_lanes(lanes, simplices, n_channels, slots, values):
    """Do what `slice_points` does, over flat values and slots, by vectors of channels."""
    vertices, weights = simplices.vertices, simplices.weights
    for p in range(len(vertices)):
        _ask_for(simplices, p)
        for c in range(0, n_channels, len(lanes)):
            total = spread(lanes, np.float32(0.0))
            for r in range(len(simplices.corners)):
                there = np.int64(vertices[p, r]) * n_channels + c
                total = plus(total, times(spread(lanes, weights[p, r]), load(lanes, slots, there)))
            store(values, p * n_channels + c, total)


@kernel()
def slice_points(lanes, simplices, n_channels, slots, values):
    """Write values (n * n_channels,) from the slots of their run, flat too: values = S^T slots."""
    if len(lanes) == 1:
        vertices, weights = simplices.vertices, simplices.weights
        for p in range(len(vertices)):
            total = np.float32(0.0)
            _ask_for(simplices, p)
            for r in range(len(simplices.corners)):
                total += weights[p, r] * slots[vertices[p, r]]
            values[p] = total
    else:
        _slice_lanes(lanes, simplices, n_channels, slots, values)


@kernel()
def read_slots(lanes, slot_vertices, n_channels, vertex_values, slots):
    """Copy the values of a run's vertices into its slots, both flat."""
    if len(lanes) == 1:
        for k in range(slot_vertices.size):
            slots[k] = vertex_values[slot_vertices[k]]
    else:
        for k in range(slot_vertices.size):
            there = np.int64(slot_vertices[k]) * n_channels
            for c in range(0, n_channels, len(lanes)):
                store(slots, k * n_channels + c, load(lanes, vertex_values, there + c))


@kernel()
def part_of_run(run, length, size):
    """Return the first of the things, ``size`` in all, in a run of ``length``, and the first behind it."""
    return run * length, min((run + 1) * length, size)


@inlined()
def _splat_run(lanes, corners, runs, run, values, slots):
    first, last = part_of_run(run, runs.points_a_run, len(runs.vertices))
    n_channels = values.shape[1]
    slots[:] = np.float32(0.0)
    here = values[first:last].reshape((last - first) * n_channels)
    splat_points(lanes, simplices_of(corners, runs, first, last), n_channels, here, slots.reshape(slots.size))


@inlined()
def _slice_run(lanes, corners, runs, run, vertex_values, values):
    first, last = part_of_run(run, runs.points_a_run, len(runs.vertices))
    slot_vertices = runs.slot_vertices[runs.run_slots[run] : runs.run_slots[run + 1]]
    n_channels = values.shape[1]
    slots = np.empty(slot_vertices.size * n_channels, np.float32)
    read_slots(lanes, slot_vertices, n_channels, vertex_values.reshape(vertex_values.size), slots)
    here = values[first:last].reshape((last - first) * n_channels)
    slice_points(lanes, simplices_of(corners, runs, first, last), n_channels, slots, here)


@parallel_kernel()
def splat_runs(given, run):
    """Write a run's slots of (n_slots, n_channels) = S values (n_points, n_channels)."""
    lanes, corners, runs, values, slots = arguments_of(given)
    _splat_run(lanes, corners, runs, run, values, slots[runs.run_slots[run] : runs.run_slots[run + 1]])


@parallel_kernel()
def slice_runs(given, run):
    """Write a run's values (n_points, n_channels) = S^T of those of the vertices, (n_vertices + 1, n_channels)."""
    lanes, corners, runs, vertex_values, values = arguments_of(given)
    _slice_run(lanes, corners, runs, run, vertex_values, values)


@inlined()
def _blur_one(up, down, side, source, here, target):
    """Do what `blur_axis` does for one channel and the vertices of ``up``, whose values are ``here``.

    On slices, as Numba checks every index that it does not know to be positive.
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
def blur_axis(lanes, up, down, first, last, side, source, target):
    """Blur vertices ``first`` to ``last`` along one axis: v + side * (v one step up + v one step down)."""
    n_channels = source.shape[1]
    flat_source = source.reshape(source.size)
    flat_target = target.reshape(target.size)
    if len(lanes) == 1:
        _blur_one(up[first:last], down[first:last], side, flat_source, flat_source[first:last], flat_target[first:last])
    else:
        _blur_lanes(lanes, up, down, (first, last), side, n_channels, flat_source, flat_target)


@serial_kernel()
def list_slots(slot_vertices, n_vertices):
    """Return the slots of each vertex as `SlotLists`, for `gather_and_blur_vertices`.

    With the first slot apart from the others a gather has no short loop for each vertex, whose branches the processor
    cannot predict.
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
    return SlotLists(first_slots, later, later_starts)


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


@inlined()
def _gather_run(lanes, first_slots, later, slots, first, values):
    n_channels = values.shape[1]
    flat_slots = slots.reshape(slots.size)
    flat_values = values.reshape(values.size)
    _gather_lanes(lanes, first_slots, later, flat_slots, first, n_channels, flat_values)


@parallel_kernel()
def _gather_and_blur(given, piece):
    """Do one step of `gather_and_blur` for a run of vertices."""
    lanes, slot_lists, neighbours, side, slots, values, scratch = arguments_of(given)
    n_axes, n_vertices = neighbours.up.shape
    n_runs = slot_lists.later_starts.size - 1
    step, run = piece // n_runs, piece % n_runs
    first, last = part_of_run(run, VERTICES_A_RUN, n_vertices)
    if step == 0:
        later = slot_lists.later[slot_lists.later_starts[run] : slot_lists.later_starts[run + 1]]
        _gather_run(lanes, slot_lists.first[first:last], later, slots, first, values)
        return
    source = values if step % 2 else scratch
    target = scratch if step % 2 else values
    axis = (step - 1) % n_axes
    blur_axis(lanes, neighbours.up[axis], neighbours.down[axis], first, last, side, source, target)


def gather_and_blur(
    slot_lists: SlotLists,
    neighbours: Neighbours,
    n_blurs: int,
    side: np.float32,
    slots: NDArray[np.float32],
    values: NDArray[np.float32],
    scratch: NDArray[np.float32],
) -> None:
    """Sum the slots of each vertex, then blur along each axis in turn, back and forth between two arrays.

    ``slots`` is (n_slots + 1, n_channels), ``values`` and ``scratch`` are (n_vertices + 1, n_channels), all float32;
    their last rows, read where a vertex has no slot or a neighbour is missing, are 0. The result is in ``scratch``
    after an odd number of blurs.
    """
    n_runs = slot_lists.later_starts.size - 1
    lanes = lanes_of(values.shape[1])
    _gather_and_blur(n_runs, lanes, slot_lists, neighbours, side, slots, values, scratch, n_steps=1 + n_blurs)
