"""The vertices of a lattice in a hash table of their keys (Numba), for boxes of keys too large to have a bit each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import kernel, serial_kernel
from napari_densecrf.crf.numba.loops import copy_values
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.watch import checkpoint

from .simplex import GOLDEN

EMPTY = np.int32(-1)
# Vertices that a thread links at once.
BLOCK = 4096
# One thread alone numbers them, in parts of some hundredths of a second, between which it may be stopped.
RUNS_A_PART, VERTICES_A_PART = 16, 2**17
# The first table has 2 to the power of so many places.
SMALLEST_BITS = 13


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


def merge(
    run_keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], int, NDArray[np.uint32]]:
    """Give the vertices of all runs their numbers, run after run.

    The result is ``(keys, table, shift, numbers)``: the keys of all vertices in the order of their numbers, the table
    that finds them, and the number of every run's vertices, one run behind the other.
    """
    slots = np.concatenate([[0], np.cumsum(counts)])
    numbers = np.empty(slots[-1], np.uint32)
    keys = np.empty(slots[-1], np.int64)
    table, shift, n_keys = np.full(1 << SMALLEST_BITS, EMPTY, np.int32), 64 - SMALLEST_BITS, 0
    for first in range(0, counts.size, RUNS_A_PART):
        checkpoint()
        last = min(first + RUNS_A_PART, counts.size)
        table, shift, n_keys = _merge(run_keys, slots, first, last, numbers, keys, n_keys, table, shift)
    return keys[:n_keys].copy(), table, shift, numbers


@serial_kernel()
def _merge(run_keys, slots, first, last, numbers, keys, n_keys, table, shift):
    """Do what `merge` does for some runs, where ``n_keys`` have been found so far; return table, shift and count."""
    for run in range(first, last):
        for k in range(slots[run + 1] - slots[run]):
            if 2 * (n_keys + 1) > table.size:
                table, shift = grown(table, shift, keys, n_keys)
            number = insert(table, shift, keys, n_keys, run_keys[run, k])
            n_keys = max(n_keys, np.int64(number) + 1)
            numbers[slots[run] + k] = number
    return table, shift, n_keys


def add_ring(
    steps: NDArray[np.int64], touched: NDArray[np.int64], table: NDArray[np.int32], shift: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], int, NDArray[Any], NDArray[Any]]:
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
    keys = np.empty(3 * touched.size + 2 * steps.size, np.int64)
    keys[: touched.size] = touched
    up, down = (np.full((steps.size, touched.size), -1, np.int32) for _ in range(2))
    count = touched.size
    for first in range(0, touched.size, VERTICES_A_PART):
        checkpoint()
        last = min(first + VERTICES_A_PART, touched.size)
        keys, table, shift, count = _add_ring(steps, first, last, keys, count, table, shift, up, down, most)
        if count < 0:
            return keys[:0].copy(), table, shift, up, down
    return keys[:count].copy(), table, shift, up, down


@serial_kernel()
def _add_ring(steps, first, last, keys, count, table, shift, up, down, most):
    """Do what `add_ring` does for some of the touched vertices; the count is -1 where there would be too many."""
    n_axes, n_touched = up.shape
    for v in range(first, last):
        if count + 2 * n_axes > most:
            return keys, table, shift, -1
        if count + 2 * n_axes > keys.size:
            longer = np.empty(keys.size + keys.size // 2 + 2 * n_axes, np.int64)
            copy_values(keys[:count], longer)
            keys = longer
        if 2 * (count + 2 * n_axes) > table.size:
            table, shift = grown(table, shift, keys, count)
        for i in range(n_axes):
            if up[i, v] < 0:
                above = insert(table, shift, keys, count, keys[v] + steps[i])
                count = max(count, np.int64(above) + 1)
                up[i, v] = above
                if above < n_touched:
                    down[i, above] = v
            if down[i, v] < 0:
                below = insert(table, shift, keys, count, keys[v] - steps[i])
                count = max(count, np.int64(below) + 1)
                down[i, v] = below
                if below < n_touched:
                    up[i, below] = v
    return keys, table, shift, count


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
