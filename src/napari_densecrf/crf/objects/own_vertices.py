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
def _vertex_of(runs, pixel, corner):
    """Return the number of a pixel's vertex within the image's lattice."""
    run = pixel // runs.points_a_run
    return np.int64(runs.slot_vertices[runs.run_slots[run] + np.int64(runs.vertices[pixel, corner])])


@kernel()
def _add_ring(neighbours, n_touched, names, own):
    """Name the neighbours of the touched vertices that have no number yet; return how many there are in all."""
    n_axes, n_vertices = neighbours.up.shape
    count = n_touched
    for k in range(n_touched):
        for axis in range(n_axes):
            for beside in (neighbours.up[axis, names[k]], neighbours.down[axis, names[k]]):
                if beside < n_vertices and own[beside] < 0:
                    own[beside] = count
                    names[count] = beside
                    count += 1
    return count


@inlined()
def _number(corners, runs, neighbours, pixels, of_pairs, names, own):
    """Give the vertices of one object numbers, and return how many; ``own`` is -1 everywhere, before and after."""
    count = 0
    for n in range(pixels.size):
        for r in range(len(corners)):
            vertex = _vertex_of(runs, np.int64(pixels[n]), r)
            if own[vertex] < 0:
                own[vertex] = count
                names[count] = vertex
                count += 1
            of_pairs[n, r] = own[vertex]
    count = _add_ring(neighbours, count, names, own)
    for k in range(count):
        own[names[k]] = -1
    return count


@inlined()
def _link(corners, runs, neighbours, pixels, of_pairs, names, own, links):
    """Write the links of one object whose pairs have been numbered; see `OwnVertices`."""
    n_axes, n_vertices = neighbours.up.shape
    count = 0
    for n in range(pixels.size):
        for r in range(len(corners)):
            # Numbers were given in this very order.
            if of_pairs[n, r] == count:
                vertex = _vertex_of(runs, np.int64(pixels[n]), r)
                own[vertex] = count
                names[count] = vertex
                count += 1
    count = _add_ring(neighbours, count, names, own)
    for axis in range(n_axes):
        up, down = axis * count, (n_axes + axis) * count
        for k in range(count):
            above, below = neighbours.up[axis, names[k]], neighbours.down[axis, names[k]]
            links[up + k] = own[above] if above < n_vertices and own[above] >= 0 else count
            links[down + k] = own[below] if below < n_vertices and own[below] >= 0 else count
    for k in range(count):
        own[names[k]] = -1


@parallel_kernel()
def _number_all(given, chunk):
    """Give the vertices of every object numbers, chunk by chunk."""
    corners, runs, neighbours, starts, pixels, split, of_pairs, counts = arguments_of(given)
    n_vertices = neighbours.up.shape[1]
    own, names = np.full(n_vertices, -1, np.int32), np.empty(n_vertices, np.uint32)
    for k in range(split[chunk], split[chunk + 1]):
        first, last = starts[k], starts[k + 1]
        counts[k] = _number(corners, runs, neighbours, pixels[first:last], of_pairs[first:last], names, own)


@parallel_kernel()
def _link_all(given, chunk):
    """Write the links of every object, chunk by chunk."""
    corners, runs, neighbours, starts, pixels, split, of_pairs, own_starts, links = arguments_of(given)
    n_vertices = neighbours.up.shape[1]
    own, names = np.full(n_vertices, -1, np.int32), np.empty(n_vertices, np.uint32)
    for k in range(split[chunk], split[chunk + 1]):
        first, last = starts[k], starts[k + 1]
        here = links[2 * len(corners) * own_starts[k] : 2 * len(corners) * own_starts[k + 1]]
        _link(corners, runs, neighbours, pixels[first:last], of_pairs[first:last], names, own, here)


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
    counts = np.zeros(pairs.starts.size - 1, np.int64)
    split = chunks(np.diff(pairs.starts), _n_chunks(lattice))
    _number_all(split.size - 1, corners, runs, neighbours, pairs.starts, pairs.pixels, split, of_pairs, counts)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    links = np.empty(2 * len(corners) * int(starts[-1]), np.uint32)
    _link_all(split.size - 1, corners, runs, neighbours, pairs.starts, pairs.pixels, split, of_pairs, starts, links)
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
def _send_within(corners, weights, diagonal, of_pairs, links, pixels, is_open, n_vertices, blur, weight, q, messages):
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
        pixel = pixels[n]
        if is_open[pixel]:
            total = np.float32(0.0)
            for r in range(n_axes):
                total += weights[pixel, r] * blurred[of_pairs[n, r]]
            messages[n] += weight * (total - diagonal[pixel] * q[n])


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
    starts, pixels, is_open
        Of `Pairs`.
    split : (n_chunks + 1,) int64
        The objects of each chunk.
    blur : (n_passes, side)
    weight : float32
    q : (n_pairs,) float32
    messages : (n_pairs,) float32, in and out
        Those of pixels that are not open stay as they are.
    """
    corners, weights, diagonal, own, starts, pixels, is_open, split, blur, weight, q, messages = arguments_of(given)
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
            is_open,
            own_last - own_first,
            blur,
            weight,
            q[first:last],
            messages[first:last],
        )
