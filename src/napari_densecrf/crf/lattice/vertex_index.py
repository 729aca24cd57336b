"""The vertices of a lattice: numbered over all runs, with a ring of neighbours around those that points touch, linked.

The box of keys reaches from the lowest to the highest. Mostly it is small against the number of points, and each key
has a bit (vertex_bitmap.py). With many dimensions or tiny sigmas it is large, and keys are in a hash table
(vertex_hash.py).
"""

from __future__ import annotations

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_densecrf.crf.numba.memory import sparse_empty, sparse_zeros, whole_empty

from . import vertex_bitmap, vertex_hash
from .filtering import Neighbours
from .vertex_bitmap import PAGE

# Vertices are bits while their box has no more keys than this, or than so many a point.
SMALL_BOX = 2**27
BOX_KEYS_A_POINT = 256


def number_and_link(
    strides: tuple[int, ...], run_keys: NDArray[np.int64], counts: NDArray[np.int64], n_points: int
) -> tuple[NDArray[np.uint32], Neighbours]:
    """Give numbers to the vertices that the runs touch and to the ring around them, and find the neighbours of all.

    Parameters
    ----------
    strides : tuple of d + 1 int
        Of the vertex keys.
    run_keys : (n_runs, ...) int64
        Keys of the vertices of each run.
    counts : (n_runs,) int64
        How many there are.
    n_points : int

    Returns
    -------
    slot_vertices : (n_slots,) uint32
        Numbers of the runs' vertices, one run behind the other.
    neighbours : Neighbours

    Raises
    ------
    MemoryError
        Where they would not fit the memory; says the size.
    """
    steps = np.array([len(strides) * stride - sum(strides) for stride in strides])
    lowest, highest = vertex_bitmap.key_range(run_keys, counts)
    if highest - lowest < max(SMALL_BOX, BOX_KEYS_A_POINT * n_points):
        return _in_bitmap(steps, run_keys, counts, lowest, highest)
    return _in_hash(steps, run_keys, counts)


def _in_bitmap(
    steps: NDArray[np.int64], run_keys: NDArray[np.int64], counts: NDArray[np.int64], lowest: int, highest: int
) -> tuple[NDArray[np.uint32], Neighbours]:
    """Do what `number_and_link` does with a bit for each key, for the ring, and for some room around it."""
    reach = int(abs(steps).max())
    # The ring lies a step beyond the keys, and is asked for what lies another step beyond.
    first = lowest - 2 * reach - 64
    n_pages = -(-(highest + 2 * reach + 64 - first) // (64 * PAGE))
    margin_pages = reach // (64 * PAGE) + 2
    margin = margin_pages * PAGE
    touched = sparse_zeros(n_pages * PAGE + 2 * margin, np.uint64)
    busy = np.zeros(n_pages + 2 * margin_pages + 1, np.bool_)
    vertex_bitmap.mark(run_keys, counts, first - 64 * margin, touched, busy)
    bits = sparse_zeros(n_pages * PAGE, np.uint64)
    filled = np.empty(n_pages, np.bool_)
    vertex_bitmap.add_ring(n_pages, steps, touched, busy, margin, bits, filled)
    del touched
    ranks = sparse_empty(n_pages * PAGE, np.uint32)
    n_vertices = vertex_bitmap.rank(bits, filled, ranks)
    if n_vertices > _most_vertices(steps.size):
        raise _too_many(n_vertices, steps.size)
    slot_vertices = whole_empty(int(counts.sum()), np.uint32)
    run_slots = np.concatenate([[0], np.cumsum(counts)])
    vertex_bitmap.number(counts.size, run_keys, run_slots, first, bits, ranks, slot_vertices)
    up = whole_empty((steps.size, n_vertices), np.uint32)
    down = whole_empty((steps.size, n_vertices), np.uint32)
    vertex_bitmap.link(-(-n_pages // vertex_bitmap.PAGES_A_RUN), steps, bits, filled, ranks, up, down)
    return slot_vertices, Neighbours(up, down)


def _in_hash(
    steps: NDArray[np.int64], run_keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], Neighbours]:
    """Do what `number_and_link` does with a hash table."""
    touched, table, shift, slot_vertices = vertex_hash.merge(run_keys, counts)
    keys, table, shift, up, down = vertex_hash.add_ring(steps, touched, table, shift, _most_vertices(steps.size))
    if not len(keys):
        raise _too_many(len(touched) * (2 * steps.size + 1), steps.size)
    neighbours = Neighbours(*(np.full((steps.size, len(keys)), len(keys), np.uint32) for _ in range(2)))
    n_blocks = -(-len(keys) // vertex_hash.BLOCK)
    vertex_hash.link(n_blocks, steps, keys, table, shift, Neighbours(up, down), neighbours, n_steps=2)
    return slot_vertices, neighbours


def _bytes_a_vertex(n_axes: int) -> int:
    # Key, its place in the table, two links an axis, two values.
    return 8 + 16 + 8 * n_axes + 8


def _most_vertices(n_axes: int) -> int:
    return int(min(2**31 - 2, psutil.virtual_memory().available // _bytes_a_vertex(n_axes)))


def _too_many(n_vertices: int, n_axes: int) -> MemoryError:
    return MemoryError(
        f"the lattice has up to {n_vertices:,} vertices in {n_axes - 1} dimensions and would need "
        f"{n_vertices * _bytes_a_vertex(n_axes) / 2**30:.1f} GiB: take larger sigmas or a smaller image"
    )
