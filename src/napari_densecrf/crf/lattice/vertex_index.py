"""The vertices of a lattice: merged from its tiles, with a ring of neighbours around those that points touch, linked.

Where the box of all keys is small against the points, as it mostly is, vertices are bits (keybox.py); where it is
large, by many dimensions or tiny sigmas, they are in a hash table (keytable.py).
"""

from __future__ import annotations

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_densecrf.crf.numba.memory import sparse_empty, sparse_zeros, whole_empty

from . import vertex_bitmap as keybox
from . import vertex_hash as keytable
from .vertex_bitmap import PAGE

# Vertices are bits while their box has no more keys than this, or than so many a point.
SMALL_BOX = 2**27
BOX_KEYS_A_POINT = 256


def number_and_link(
    strides: tuple[int, ...], tile_keys: NDArray[np.int64], counts: NDArray[np.int64], n_points: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Give the vertices that the tiles touch, and the ring around them, numbers; and find their neighbours.

    Parameters
    ----------
    strides : tuple of d + 1 int
        Of the vertex keys.
    tile_keys : (n_tiles, ...) int64
        Keys of the vertices of each tile.
    counts : (n_tiles,) int64
        How many there are.
    n_points : int

    Returns
    -------
    slot_vertices : (n_slots,) uint32
        Numbers of the tiles' vertices, one tile behind the other.
    up, down : (d + 1, n_vertices) uint32
        The vertex one step along each axis, and one step back; n_vertices where there is none.

    Raises
    ------
    MemoryError
        Where they would not fit the memory; says the size.
    """
    steps = np.array([len(strides) * stride - sum(strides) for stride in strides])
    lowest, highest = keybox.key_range(tile_keys, counts)
    if highest - lowest < max(SMALL_BOX, BOX_KEYS_A_POINT * n_points):
        return _in_box(steps, tile_keys, counts, lowest, highest)
    return _in_table(steps, tile_keys, counts)


def _in_box(
    steps: NDArray[np.int64], tile_keys: NDArray[np.int64], counts: NDArray[np.int64], lowest: int, highest: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Do so with a bit for each key from the lowest to the highest, the ring and some room around it."""
    reach = int(abs(steps).max())
    # The ring lies a step beyond the keys, and is asked for what lies another step beyond.
    first = lowest - 2 * reach - 64
    n_pages = -(-(highest + 2 * reach + 64 - first) // (64 * PAGE))
    margin_pages = reach // (64 * PAGE) + 2
    margin = margin_pages * PAGE
    touched = sparse_zeros(n_pages * PAGE + 2 * margin, np.uint64)
    busy = np.zeros(n_pages + 2 * margin_pages + 1, np.bool_)
    keybox.mark(tile_keys, counts, first - 64 * margin, touched, busy)
    bits = sparse_zeros(n_pages * PAGE, np.uint64)
    filled = np.empty(n_pages, np.bool_)
    keybox.add_ring(steps, touched, busy, margin, bits, filled)
    del touched
    ranks = sparse_empty(n_pages * PAGE, np.uint32)
    n_vertices = keybox.rank(bits, filled, ranks)
    if n_vertices > _most_vertices(steps.size):
        raise _too_many(n_vertices, steps.size)
    slot_vertices = whole_empty(int(counts.sum()), np.uint32)
    keybox.number(tile_keys, np.concatenate([[0], np.cumsum(counts)]), first, bits, ranks, slot_vertices)
    up = whole_empty((steps.size, n_vertices), np.uint32)
    down = whole_empty((steps.size, n_vertices), np.uint32)
    keybox.link(steps, bits, filled, ranks, up, down)
    return slot_vertices, up, down


def _in_table(
    steps: NDArray[np.int64], tile_keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Do so with a hash table."""
    touched, table, shift, slot_vertices = keytable.merge(tile_keys, counts)
    keys, table, shift, up, down = keytable.add_ring(steps, touched, table, shift, _most_vertices(steps.size))
    if not len(keys):
        raise _too_many(len(touched) * (2 * steps.size + 1), steps.size)
    up, down = keytable.link(steps, keys, table, shift, up, down)
    return slot_vertices, up, down


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
