"""The vertices of a lattice as bits, one for each key of the box that holds them all (Numba).

The number of a vertex is the count of bits below its own:

    number(key) = ranks[key // 64] + popcount(bits[key // 64] & (2^(key % 64) - 1)).

A step along an axis adds the same to every key (simplex.py), so the neighbours of 64 keys are two words, shifted: no
hashing and no searching; and numbers follow the keys, so that the neighbours of vertices side by side lie side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel, serial_kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .filtering import part_of_run

# Words of a page, which a thread takes at once; pages without any vertex near are passed over.
PAGE = 64
# Pages whose vertices a thread links at once.
PAGES_A_RUN = 16


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


@serial_kernel()
def key_range(run_keys, counts):
    """Return the lowest and the highest key of all runs."""
    lowest = run_keys[0, 0]
    highest = run_keys[0, 0]
    for run in range(counts.size):
        for k in range(counts[run]):
            lowest = min(lowest, run_keys[run, k])
            highest = max(highest, run_keys[run, k])
    return lowest, highest


@serial_kernel()
def mark(run_keys, counts, first_key, touched, busy):
    """Set the bit of every key of the runs, and the mark of its page."""
    for run in range(counts.size):
        for k in range(counts[run]):
            place = np.uint64(run_keys[run, k] - first_key)
            word = place >> np.uint64(6)
            touched[word] |= np.uint64(1) << (place & np.uint64(63))
            busy[word // np.uint64(PAGE)] = True


@inlined()
def _ring_page(steps, touched, busy, margin, page, bits):
    """Write the words of a page: the touched vertices and all that lie one step up or down any axis from them.

    Return whether there are any near; a page without is left alone.
    """
    first = page * PAGE
    words = bits[first : first + PAGE]
    filled = busy[(first + margin) // PAGE]
    if filled:
        for w in range(PAGE):
            words[w] = touched[first + margin + w]
    for i in range(2 * steps.size):
        step = steps[i // 2] if i % 2 else -steps[i // 2]
        # A vertex is one step from key - step, whose bit lies in this word or the next.
        place = (first + margin) * 64 - step
        source = place >> 6
        if not (busy[source // PAGE] or busy[(source + PAGE) // PAGE]):
            continue
        filled = True
        low = np.uint64(place & 63)
        high = np.uint64(63) - low
        near = touched[source : source + PAGE + 1]
        for w in range(PAGE):
            words[w] |= (near[w] >> low) | ((near[w + 1] << high) << np.uint64(1))
    return filled


@parallel_kernel()
def add_ring(given, page):
    """Write the bits of all vertices of a page: the touched ones and their ring.

    Parameters
    ----------
    steps : (d + 1,) int64
        What a step along each axis adds to a key.
    touched : (n_words + 2 margin,) uint64
        Bits of the vertices that points touch; word w + margin here is word w of ``bits``.
    busy : (n_pages + 2 margin / PAGE + 1,) bool
        Whether a page of ``touched`` has any bit.
    margin : int
        Words, enough for a step, a multiple of PAGE.
    bits : (n_words,) uint64, in and out
        Comes as zeros, and n_words is a multiple of PAGE.
    filled : (n_pages,) bool, out
        Whether a page of ``bits`` may have any.
    """
    steps, touched, busy, margin, bits, filled = arguments_of(given)
    filled[page] = _ring_page(steps, touched, busy, margin, page, bits)


@serial_kernel()
def rank(bits, filled, ranks):
    """Write the number of bits before each word of the filled pages, and return how many there are."""
    count = np.int64(0)
    for page in range(filled.size):
        if filled[page]:
            for w in range(page * PAGE, (page + 1) * PAGE):
                ranks[w] = count
                count += popcount(bits[w])
    return count


@inlined()
def _number_keys(keys, first_key, bits, ranks, numbers):
    for k in range(keys.size):
        place = np.uint64(keys[k] - first_key)
        word = place >> np.uint64(6)
        numbers[k] = ranks[word] + popcount(bits[word] & _below(place & np.uint64(63)))


@parallel_kernel()
def number(given, run):
    """Write the number of the vertex of each slot of a run: (n_slots,) uint32, one run behind the other."""
    run_keys, run_slots, first_key, bits, ranks, slot_vertices = arguments_of(given)
    first, last = run_slots[run], run_slots[run + 1]
    _number_keys(run_keys[run, : last - first], first_key, bits, ranks, slot_vertices[first:last])


@inlined()
def _list_places(bits, filled, pages, places):
    """Write the places of the vertices of some pages within the box, and return how many there are."""
    count = 0
    for page in range(pages[0], pages[1]):
        if filled[page]:
            for word in range(page * PAGE, (page + 1) * PAGE):
                left = bits[word]
                while left != np.uint64(0):
                    others = left & (left - np.uint64(1))
                    places[count] = word * 64 + popcount((left ^ others) - np.uint64(1))
                    count += 1
                    left = others
    return count


@kernel()
def _find_beside(places, step, bits, ranks, n_vertices, numbers):
    """Write the number of the vertex one step from each of these places, n_vertices where there is none."""
    for k in range(places.size):
        place = np.uint64(places[k] + step)
        word = bits[place >> np.uint64(6)]
        bit = place & np.uint64(63)
        number = ranks[place >> np.uint64(6)] + np.uint32(popcount(word & _below(bit)))
        numbers[k] = number if (word >> bit) & np.uint64(1) else np.uint32(n_vertices)


@inlined()
def _link_pages(steps, bits, filled, ranks, pages, up, down):
    places = np.empty((pages[1] - pages[0]) * PAGE * 64, np.int64)
    count = _list_places(bits, filled, pages, places)
    if count == 0:
        return
    first = np.int64(ranks[places[0] >> 6])
    for i in range(steps.size):
        above = up[i, first : first + count]
        below = down[i, first : first + count]
        _find_beside(places[:count], steps[i], bits, ranks, up.shape[1], above)
        _find_beside(places[:count], -steps[i], bits, ranks, up.shape[1], below)


@parallel_kernel()
def link(given, run):
    """Write the number of the vertex one step up and down each axis, n_vertices where there is none, for some pages.

    Parameters
    ----------
    steps : (d + 1,) int64
        What a step along each axis adds to a key.
    bits, ranks : (n_words,) uint64, uint32
        With room for a step beyond the first and the last vertex.
    filled : (n_pages,) bool
    up, down : (d + 1, n_vertices) uint32, out
    """
    steps, bits, filled, ranks, up, down = arguments_of(given)
    _link_pages(steps, bits, filled, ranks, part_of_run(run, PAGES_A_RUN, filled.size), up, down)
