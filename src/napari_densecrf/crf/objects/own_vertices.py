"""Each object's own share of the image's lattice: filtering by object, in arrays of the object's size (Numba).

Points of different objects must not meet in the lattice. The lattice of the image is built once; an object then has a
copy of only those vertices that its pairs touch, with the ring around them, numbered from 0 on. All it sends is splat,
blurred and sliced in there, by one thread, with the weights of its pixels, which are those of the image's lattice. So
1 / sqrt(n_i) and k~(i, i) are those of the image too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.lattice.lattice import Lattice
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .distances import MOST_CHUNKS
from .pairs import Pairs
from .source import chunks

# Most pairs share their vertices and the ring around these with others: there is room for so many vertices a pair, and
# where that does not do, for more. As many more are left free in each chunk as one pair can ever need.
VERTICES_A_PAIR = (2, 8)


class OwnVertices(NamedTuple):
    """The vertices that each object has of a lattice.

    Parameters
    ----------
    of_pairs : (n_pairs, d + 1) uint32
        The vertices of each pair, numbered within its object.
    starts : (n_objects + 1,) int64
        Sums of how many vertices the objects have.
    links : (2 * n_vertices * (d + 1),) uint32
        For each object its (d + 1, n) vertices one step up, then its (d + 1, n) one step down; n = none.
    """

    of_pairs: NDArray[np.uint32]
    starts: NDArray[np.int64]
    links: NDArray[np.uint32]


@kernel()
def _add_ring(neighbours, n_touched, names, own):
    """Name the neighbours of the touched vertices that have no number yet.

    Returns how many there are in all, or -1 where ``names`` has no room for them.
    """
    n_axes, n_vertices = neighbours.up.shape
    count = n_touched
    for k in range(n_touched):
        if count + 2 * n_axes > names.size:
            return -1
        for axis in range(n_axes):
            for beside in (neighbours.up[axis, names[k]], neighbours.down[axis, names[k]]):
                if beside < n_vertices and own[beside] < 0:
                    own[beside] = count
                    names[count] = beside
                    count += 1
    return count


@inlined()
def _number(corners, runs, pixels, of_pairs, names, own):
    """Name the vertices that one object touches, and number them; return how many, or -1 where there is no room."""
    count = 0
    # The pixels come run by run: divisions are for the first of each.
    run_end = np.int64(0)
    for n in range(pixels.size):
        if count + len(corners) > names.size:
            return -1
        pixel = np.int64(pixels[n])
        if pixel >= run_end:
            run = pixel // runs.points_a_run
            run_end, first_slot = (run + 1) * runs.points_a_run, runs.run_slots[run]
        for r in range(len(corners)):
            vertex = runs.slot_vertices[first_slot + np.int64(runs.vertices[pixel, r])]
            if own[vertex] < 0:
                own[vertex] = count
                names[count] = vertex
                count += 1
            of_pairs[n, r] = own[vertex]
    return count


@parallel_kernel()
def _number_all(given, chunk):
    """Name and number the vertices of every object, chunk by chunk; a count of -1 tells that a chunk has no room."""
    corners, runs, neighbours, starts, pixels, split, of_pairs, room, names, counts = arguments_of(given)
    own = np.full(neighbours.up.shape[1], -1, np.int32)
    free = names[room[chunk] : room[chunk + 1]]
    for k in range(split[chunk], split[chunk + 1]):
        first, last = starts[k], starts[k + 1]
        counts[k] = _number(corners, runs, pixels[first:last], of_pairs[first:last], free, own)
        if counts[k] >= 0:
            counts[k] = _add_ring(neighbours, counts[k], free, own)
        if counts[k] < 0:
            return
        for name in free[: counts[k]]:
            own[name] = -1
        free = free[counts[k] :]


@inlined()
def _link(neighbours, names, own, links):
    """Write the links of one object whose vertices have these names; see `OwnVertices`. ``own`` stays -1 everywhere."""
    n_axes, n_vertices = neighbours.up.shape
    for k in range(names.size):
        own[names[k]] = k
    links[:] = names.size
    for axis in range(n_axes):
        up, down = axis * names.size, (n_axes + axis) * names.size
        for k in range(names.size):
            above = neighbours.up[axis, names[k]]
            if above < n_vertices and own[above] >= 0:
                links[up + k] = own[above]
                links[down + own[above]] = k
    for name in names:
        own[name] = -1


@parallel_kernel()
def _link_all(given, chunk):
    """Write the links of every object, chunk by chunk."""
    neighbours, split, room, names, own_starts, links = arguments_of(given)
    n_axes, n_vertices = neighbours.up.shape
    own = np.full(n_vertices, -1, np.int32)
    for k in range(split[chunk], split[chunk + 1]):
        first, last = own_starts[k], own_starts[k + 1]
        begin = room[chunk] + first - own_starts[split[chunk]]
        here = links[2 * n_axes * first : 2 * n_axes * last]
        _link(neighbours, names[begin : begin + last - first], own, here)


def own_vertices(lattice: Lattice, pairs: Pairs) -> OwnVertices:
    """Return the vertices that each object has of the image's lattice.

    Parameters
    ----------
    lattice : Lattice
        Of the image.
    pairs : Pairs
    """
    corners, runs, neighbours = lattice.corners, lattice.runs, lattice.neighbours
    of_pairs = np.empty((pairs.pixels.size, len(corners)), np.uint32)
    split = chunks(np.diff(pairs.starts), _n_chunks(lattice))
    # A vertex has two neighbours along each of d + 1 axes.
    most = len(corners) * (1 + 2 * len(corners))
    for each in (*VERTICES_A_PAIR, most):
        room = each * pairs.starts[split] + most * np.arange(split.size)
        names, counts = np.empty(int(room[-1]), np.uint32), np.zeros(pairs.starts.size - 1, np.int64)
        at = (pairs.starts, pairs.pixels, split)
        _number_all(split.size - 1, corners, runs, neighbours, *at, of_pairs, room, names, counts)
        if counts.min(initial=0) >= 0:
            break
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    links = np.empty(2 * len(corners) * int(starts[-1]), np.uint32)
    _link_all(split.size - 1, neighbours, split, room, names, starts, links)
    return OwnVertices(of_pairs, starts, links)


def _n_chunks(lattice: Lattice) -> int:
    """Return how many chunks share the work: each has scratch of the size of the lattice, so not too many."""
    return 8 if lattice.n_vertices > 2**16 else MOST_CHUNKS


@kernel()
def _blur(links, axis, n_axes, side, source, target):
    """Blur the vertices of an object along one axis; the last value, of no vertex, stays 0."""
    count = target.size - 1
    up = links[axis * count : (axis + 1) * count]
    down = links[(n_axes + axis) * count : (n_axes + axis + 1) * count]
    here, out = source[:count], target[:count]
    for k in range(count):
        out[k] = here[k] + side * (source[up[k]] + source[down[k]])


@inlined()
def _send_within(corners, weights, diagonal, of_pairs, links, pixels, n_vertices, blur, weight, q, messages):
    """Add to the messages of one object what its own pairs send: ``w sum_{j != i} k~(i, j) Q_j(l)``."""
    n_passes, side = blur
    n_axes = len(corners)
    values, scratch = np.zeros(n_vertices + 1, np.float32), np.zeros(n_vertices + 1, np.float32)
    for n in range(pixels.size):
        if q[n] > np.float32(0.0):
            for r in range(n_axes):
                values[of_pairs[n, r]] += weights[pixels[n], r] * q[n]
    for turn in range(n_passes * n_axes):
        if turn % 2 == 0:
            _blur(links, turn % n_axes, n_axes, side, values, scratch)
        else:
            _blur(links, turn % n_axes, n_axes, side, scratch, values)
    blurred = scratch if (n_passes * n_axes) % 2 else values
    for n in range(pixels.size):
        total = np.float32(0.0)
        for r in range(n_axes):
            total += weights[pixels[n], r] * blurred[of_pairs[n, r]]
        messages[n] += weight * (total - diagonal[pixels[n]] * q[n])


@parallel_kernel()
def send_on_lattice(given, chunk):
    """Add the messages that all pairs send within their objects, on the lattice.

    Parameters
    ----------
    corners : (0, 1, ..., d)
    weights : (n_points, d + 1) float32
        Of the image's normalised lattice.
    diagonal : (n_points,) float32
        ``k~(i, i)``.
    own : OwnVertices
    starts, pixels
        Of `Pairs`.
    split : (n_chunks + 1,) int64
        The objects of each chunk.
    blur : (n_passes, side)
    weight : float32
    q : (n_pairs,) float32
    messages : (n_pairs,) float32, in and out
    """
    corners, weights, diagonal, own, starts, pixels, split, blur, weight, q, messages = arguments_of(given)
    for k in range(split[chunk], split[chunk + 1]):
        first, last = starts[k], starts[k + 1]
        own_first, own_last = own.starts[k], own.starts[k + 1]
        _send_within(
            corners,
            weights,
            diagonal,
            own.of_pairs[first:last],
            own.links[2 * len(corners) * own_first : 2 * len(corners) * own_last],
            pixels[first:last],
            own_last - own_first,
            blur,
            weight,
            q[first:last],
            messages[first:last],
        )
