"""The vertices of a lattice as bits, one for each key of the box that holds them all (Numba).

The number of a vertex is the count of bits below its own:

    number(key) = ranks[key // 64] + popcount(bits[key // 64] & (2^(key % 64) - 1)).

A step along an axis adds the same to every key (simplex.py), so the neighbours of 64 keys are two words, shifted: no
hashing and no searching; and numbers follow the keys, so that the neighbours of vertices side by side lie side by side.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .kernels import kernel, parallel_kernel

# Words of a page, which a thread takes at once; pages without any vertex near are passed over.
PAGE = 64


@intrinsic
def popcount(typing_context: Any, word: Any) -> Any:
    """Return how many bits of a uint64 are set, as int64."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@kernel()
def _below(bit):
    """Return the word whose bits below number ``bit`` (0..63) are set."""
    return (np.uint64(1) << np.uint64(bit)) - np.uint64(1)


@kernel()
def key_range(tile_keys, counts):
    """Return the lowest and the highest key of all tiles."""
    lowest = tile_keys[0, 0]
    highest = tile_keys[0, 0]
    for tile in range(counts.size):
        for k in range(counts[tile]):
            lowest = min(lowest, tile_keys[tile, k])
            highest = max(highest, tile_keys[tile, k])
    return lowest, highest


@kernel()
def mark(tile_keys, counts, first_key, touched, busy):
    """Set the bit of every key of the tiles, and the mark of its page."""
    for tile in range(counts.size):
        for k in range(counts[tile]):
            place = np.uint64(tile_keys[tile, k] - first_key)
            word = place >> np.uint64(6)
            touched[word] |= np.uint64(1) << (place & np.uint64(63))
            busy[word // np.uint64(PAGE)] = True


@kernel()
def _ring_page(steps, touched, busy, margin, page, bits):
    """Write the words of a page: the touched vertices and all that lie one step up or down any axis from them."""
    first = page * PAGE
    words = bits[first : first + PAGE]
    words[:] = touched[first + margin : first + margin + PAGE]
    for i in range(2 * steps.size):
        step = steps[i // 2] if i % 2 else -steps[i // 2]
        # A vertex is one step from key - step, whose bit lies in this word or the next.
        place = (first + margin) * 64 - step
        source = place >> 6
        if not (busy[source // PAGE] or busy[(source + PAGE) // PAGE]):
            continue
        low = np.uint64(place & 63)
        high = np.uint64(63) - low
        near = touched[source : source + PAGE + 1]
        for w in range(PAGE):
            words[w] |= (near[w] >> low) | ((near[w + 1] << high) << np.uint64(1))


@parallel_kernel()
def add_ring(steps, touched, busy, margin, bits):
    """Write the bits of all vertices: the touched ones and their ring.

    Parameters
    ----------
    steps : (d + 1,) int64
        What a step along each axis adds to a key.
    touched : (n_words + 2 margin,) uint64
        Bits of the vertices that points touch; word w + margin here is word w of ``bits``.
    busy : (n_words / PAGE + ...,) bool
        Whether a page of ``touched`` has any bit.
    margin : int
        Words, enough for a step.
    bits : (n_words,) uint64, out
        n_words is a multiple of PAGE.
    """
    for page in nb.prange(bits.size // PAGE):
        _ring_page(steps, touched, busy, margin, page, bits)


@kernel()
def rank(bits, ranks):
    """Write the number of bits before each word, and return how many there are."""
    count = np.int64(0)
    for w in range(bits.size):
        ranks[w] = count
        count += popcount(bits[w])
    return count


@kernel()
def _number_tile(keys, first_key, bits, ranks, numbers):
    for k in range(keys.size):
        place = np.uint64(keys[k] - first_key)
        word = place >> np.uint64(6)
        numbers[k] = ranks[word] + popcount(bits[word] & _below(place & np.uint64(63)))


@parallel_kernel()
def number(tile_keys, tile_slots, first_key, bits, ranks, slot_vertices):
    """Write the number of the vertex of each slot: (n_slots,) uint32, one tile behind the other."""
    for tile in nb.prange(tile_slots.size - 1):
        first, last = tile_slots[tile], tile_slots[tile + 1]
        _number_tile(tile_keys[tile, : last - first], first_key, bits, ranks, slot_vertices[first:last])


@kernel()
def _link_page(steps, bits, ranks, page, up, down):
    """Link the vertices of a page to those one step up each axis."""
    n_vertices = up.shape[1]
    for word in range(page * PAGE, (page + 1) * PAGE):
        if bits[word] == np.uint64(0):
            continue
        for i in range(steps.size):
            place = word * 64 + steps[i]
            above = place >> 6
            low = np.uint64(place & 63)
            near = np.uint64(0)
            number = np.int64(0)
            if above < bits.size - 1:
                near = (bits[above] >> low) | ((bits[above + 1] << (np.uint64(63) - low)) << np.uint64(1))
                number = ranks[above] + popcount(bits[above] & _below(low))
            v = np.int64(ranks[word])
            left = bits[word]
            while left != np.uint64(0):
                lowest = left & (~left + np.uint64(1))
                if near & lowest:
                    neighbour = number + popcount(near & (lowest - np.uint64(1)))
                    up[i, v] = neighbour
                    down[i, neighbour] = v
                else:
                    up[i, v] = n_vertices
                v += 1
                left ^= lowest


@parallel_kernel()
def link(steps, bits, ranks, up, down):
    """Write the number of the vertex one step up and down each axis: (d + 1, n_vertices) uint32.

    ``down`` comes filled with n_vertices, what names a missing neighbour. A vertex has one neighbour below it, so of
    all threads one alone writes each entry.
    """
    for page in nb.prange(bits.size // PAGE):
        _link_page(steps, bits, ranks, page, up, down)
