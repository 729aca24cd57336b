"""The vertices of a lattice in a hash table of their keys (Numba), for boxes of keys too large to have a bit each."""

from __future__ import annotations

import numpy as np

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import kernel, serial_kernel
from napari_densecrf.crf.numba.loops import copy_values
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .simplex import GOLDEN

EMPTY = np.int32(-1)
# Vertices that a thread links at once.
BLOCK = 4096


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


@serial_kernel()
def merge(run_keys, counts):
    """Give the vertices of all runs their numbers, run after run.

    The result is ``(keys, table, shift, numbers)``: the keys of all vertices in the order of their numbers, the table
    that finds them, and the number of every run's vertices, one run behind the other.
    """
    n_slots = counts.sum()
    numbers = np.empty(n_slots, np.uint32)
    keys = np.empty(n_slots, np.int64)
    table = np.full(8192, EMPTY, np.int32)
    shift = 64 - 13
    n_keys = 0
    slot = 0
    for run in range(counts.size):
        for k in range(counts[run]):
            if 2 * (n_keys + 1) > table.size:
                table, shift = grown(table, shift, keys, n_keys)
            number = insert(table, shift, keys, n_keys, run_keys[run, k])
            n_keys = max(n_keys, number + 1)
            numbers[slot] = number
            slot += 1
    return keys[:n_keys].copy(), table, shift, numbers


@serial_kernel()
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
    copy_values(touched, keys)
    up = np.full((n_axes, n_touched), -1, np.int32)
    down = np.full((n_axes, n_touched), -1, np.int32)
    count = n_touched
    for v in range(n_touched):
        if count + 2 * n_axes > most:
            return keys[:0].copy(), table, shift, up, down
        if count + 2 * n_axes > keys.size:
            longer = np.empty(keys.size + keys.size // 2 + 2 * n_axes, np.int64)
            copy_values(keys[:count], longer)
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
def link(given, piece):
    """Write ``up`` and ``down`` of touched and ring vertices together, a block of them: two steps.

    Where there is no neighbour they name vertex ``n_vertices``, whose value is always 0, as they come.
    """
    steps, keys, table, shift, of_touched, neighbours = arguments_of(given)
    up, down = neighbours.up, neighbours.down
    n_axes, n_touched = of_touched.up.shape
    n_vertices = keys.size
    n_blocks = (n_vertices + BLOCK - 1) // BLOCK
    first, last = (piece % n_blocks) * BLOCK, min((piece % n_blocks + 1) * BLOCK, n_vertices)
    if piece < n_blocks:
        # A vertex has one neighbour below it, so of all threads one alone writes each entry.
        for v in range(first, min(last, n_touched)):
            for i in range(n_axes):
                above, below = of_touched.up[i, v], of_touched.down[i, v]
                up[i, v] = above
                down[i, v] = below
                if above >= n_touched:
                    down[i, above] = v
                if below >= n_touched:
                    up[i, below] = v
        return
    for v in range(max(first, n_touched), last):
        for i in range(n_axes):
            if up[i, v] == n_vertices:
                above = find(table, shift, keys, keys[v] + steps[i])
                if above >= 0:
                    up[i, v] = above
                    down[i, above] = v
