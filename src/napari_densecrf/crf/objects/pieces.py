"""One object, one piece, no new holes: what the mean field cut off goes to the next candidate (Numba).

Each object is looked at by itself, in the box around its pixels: a flood from its cores finds what is connected to
them, a flood from the ends of the box what lies outside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel, serial_kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .distances import MOST_CHUNKS
from .own_field import OwnField, best_of
from .source import Source, chunks

# What is cut off may be cut off from the next candidate as well; then it is tried again.
MOST_ROUNDS = 4
# What a flood has made of a pixel of a box.
OTHER, OWN, REACHED = 0, 1, 2


@inlined()
def _box_of(pixels, labels, number, height, width):
    """Return the box of an object's pixels among its pairs: first and last z, y, x; empty where it has none."""
    z0, y0, x0 = np.int64(2**31), np.int64(2**31), np.int64(2**31)
    z1, y1, x1 = np.int64(-1), np.int64(-1), np.int64(-1)
    for n in range(pixels.size):
        pixel = np.int64(pixels[n])
        if labels[pixel] == number:
            x = pixel % width
            y = (pixel // width) % height
            z = pixel // (width * height)
            z0, y0, x0 = min(z0, z), min(y0, y), min(x0, x)
            z1, y1, x1 = max(z1, z), max(y1, y), max(x1, x)
    return z0, y0, x0, z1, y1, x1


@kernel()
def _flood(marks, shape, wanted, corners, stack, n_waiting):
    """Mark as reached all that is wanted and connected to what waits on the stack, which is marked already."""
    depth, height, width = shape
    while n_waiting > 0:
        n_waiting -= 1
        here = stack[n_waiting]
        x = here % width
        y = (here // width) % height
        z = here // (width * height)
        for dz in range(-1, 2):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    n_steps = abs(dz) + abs(dy) + abs(dx)
                    if n_steps == 0 or (n_steps > 1 and not corners):
                        continue
                    zz, yy, xx = z + dz, y + dy, x + dx
                    if 0 <= zz < depth and 0 <= yy < height and 0 <= xx < width:
                        there = (zz * height + yy) * width + xx
                        if marks[there] == wanted:
                            marks[there] = REACHED
                            stack[n_waiting] = there
                            n_waiting += 1


@inlined()
def _look_at(number, pixels, labels, certain, before, height, width, for_holes, lost, filled):
    """Mark an object's new holes, or what is not connected to a core of it; return how many pieces have a core.

    ``before`` are the labels as they came.
    """
    z0, y0, x0, z1, y1, x1 = _box_of(pixels, labels, number, height, width)
    if z1 < 0:
        return 0
    # One pixel more on each side, through which the outside is connected; not along the one pixel of a plane.
    flat = z0 == z1 and labels.size == height * width
    shape = (z1 - z0 + (1 if flat else 3), y1 - y0 + 3, x1 - x0 + 3)
    base_z = z0 if flat else z0 - 1
    size = shape[0] * shape[1] * shape[2]
    marks, stack = np.zeros(size, np.uint8), np.empty(size, np.int64)
    for n in range(pixels.size):
        pixel = np.int64(pixels[n])
        if labels[pixel] == number:
            x, y, z = pixel % width, (pixel // width) % height, pixel // (width * height)
            marks[((z - base_z) * shape[1] + y - y0 + 1) * shape[2] + x - x0 + 1] = OWN
    if for_holes:
        _find_holes(number, labels, before, (base_z, y0 - 1, x0 - 1), shape, height, width, marks, stack, filled)
        return 0
    n_pieces = 0
    for n in range(pixels.size):
        pixel = np.int64(pixels[n])
        if labels[pixel] == number and certain[pixel] == number:
            x, y, z = pixel % width, (pixel // width) % height, pixel // (width * height)
            here = ((z - base_z) * shape[1] + y - y0 + 1) * shape[2] + x - x0 + 1
            if marks[here] == OWN:
                marks[here] = REACHED
                stack[0] = here
                _flood(marks, shape, OWN, True, stack, 1)
                n_pieces += 1
    for n in range(pixels.size):
        pixel = np.int64(pixels[n])
        if labels[pixel] == number:
            x, y, z = pixel % width, (pixel // width) % height, pixel // (width * height)
            if marks[((z - base_z) * shape[1] + y - y0 + 1) * shape[2] + x - x0 + 1] == OWN:
                lost[pixel] = True
    return n_pieces


@inlined()
def _find_holes(number, labels, before, base, shape, height, width, marks, stack, filled):
    """Mark background within one object that was no background before."""
    depth = labels.size // (height * width)
    # The corner of the box, which has a margin, lies outside; of a plane too.
    marks[0] = REACHED
    stack[0] = 0
    _flood(marks, shape, OTHER, False, stack, 1)
    for start in range(marks.size):
        if marks[start] != OTHER:
            continue
        # What is enclosed, as far as it is connected, is one hole: the stack holds it from behind.
        marks[start] = REACHED
        first, count = 0, 1
        stack[0] = start
        is_new = True
        while first < count:
            here = stack[first]
            first += 1
            x, y, z = here % shape[2], (here // shape[2]) % shape[1], here // (shape[1] * shape[2])
            zz, yy, xx = z + base[0], y + base[1], x + base[2]
            inside = 0 <= zz < depth and 0 <= yy < height and 0 <= xx < width
            pixel = (zz * height + yy) * width + xx
            if not inside or labels[pixel] != 0 or before[pixel] == 0:
                is_new = False
            for axis in range(3):
                for step in (-1, 1):
                    a = z + step if axis == 0 else z
                    b = y + step if axis == 1 else y
                    c = x + step if axis == 2 else x
                    if 0 <= a < shape[0] and 0 <= b < shape[1] and 0 <= c < shape[2]:
                        there = (a * shape[1] + b) * shape[2] + c
                        if marks[there] == OTHER:
                            marks[there] = REACHED
                            stack[count] = there
                            count += 1
        if is_new:
            for k in range(count):
                here = stack[k]
                x, y, z = here % shape[2], (here // shape[2]) % shape[1], here // (shape[1] * shape[2])
                filled[((z + base[0]) * height + y + base[1]) * width + x + base[2]] = number


@parallel_kernel()
def _look_at_all(given, chunk):
    """Look at every object that is wanted, chunk by chunk; write how many pieces each has."""
    starts, pixels, labels, certain, before, height, width, split, wanted, for_holes, lost, filled, found = (
        arguments_of(given)
    )
    for k in range(split[chunk], split[chunk + 1]):
        if wanted[k]:
            own = pixels[starts[k] : starts[k + 1]]
            found[k] = _look_at(k + 1, own, labels, certain, before, height, width, for_holes, lost, filled)


@serial_kernel()
def _objects_at(starts, pixels, changed, found):
    """Tell of each object whether one of its pixels, or of those that it might have, has changed."""
    for k in range(starts.size - 1):
        found[k] = False
        for n in range(starts[k], starts[k + 1]):
            if changed[pixels[n]]:
                found[k] = True
                break


@serial_kernel()
def _pass_on(lost, places, starts, open_starts, open_pairs, q, background_q, labels):
    """Give lost pixels to their next candidates; what they are given up by is ruled out in ``q``."""
    for k in range(lost.size):
        pixel, n = lost[k], places[k]
        if n < 0:
            labels[pixel] = 0
            continue
        for e in range(open_starts[n], open_starts[n + 1]):
            pair = np.int64(open_pairs[e])
            if starts[labels[pixel] - 1] <= pair < starts[labels[pixel]]:
                q[pair] = np.float32(-1.0)
        # The background, even where it is ruled out, before a label that was given up.
        background = max(background_q[pixel], np.float32(0.0))
        labels[pixel], _ = best_of(starts, open_starts, open_pairs, n, q, background)


def make_whole(source: Source, field: OwnField, winners: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return labels in which every piece of an object is connected to its core and has no hole that it had not.

    Parameters
    ----------
    source : Source
    field : OwnField
    winners : (n_points,) int32
        The most probable label of each pixel, 0 = background.

    Returns
    -------
    (depth, height, width) int32
    """
    pairs, numbers = field.pairs, source.numbers.ravel()
    _, height, width = source.numbers.shape
    labels = winners.copy()
    split = chunks(np.diff(pairs.starts), MOST_CHUNKS)
    lost, filled = np.zeros(labels.size, np.bool_), np.zeros(labels.size, np.int32)
    n_pieces = np.zeros(source.n_objects, np.int64)
    wanted = np.ones(source.n_objects, np.bool_)
    in_pairs = (pairs.starts, pairs.pixels, labels, pairs.certain, numbers)
    q: NDArray[np.float32] | None = None
    for turn in range(MOST_ROUNDS + 1):
        lost[:] = False
        _look_at_all(split.size - 1, *in_pairs, height, width, split, wanted, False, lost, filled, n_pieces)
        given = np.flatnonzero(lost)
        broken = np.flatnonzero(n_pieces > source.n_pieces)
        if not given.size and not broken.size:
            break
        if turn == MOST_ROUNDS:
            labels[given] = 0
            break
        before = labels.copy()
        if given.size:
            q = field.q.copy() if q is None else q
            candidates = (pairs.starts, pairs.open_starts, pairs.open_pairs)
            places = _places(pairs.open_pixels, lost, given)
            _pass_on(given, places, *candidates, q, field.background.ravel(), labels)
        for k in broken:
            own = pairs.pixels[pairs.starts[k] : pairs.starts[k + 1]]
            labels[own[numbers[own] == k + 1]] = k + 1
        _objects_at(pairs.starts, pairs.pixels, labels != before, wanted)
    wanted[:] = True
    _look_at_all(split.size - 1, *in_pairs, height, width, split, wanted, True, lost, filled, n_pieces)
    holes = np.flatnonzero(filled)
    labels[holes] = filled[holes]
    return labels.reshape(source.numbers.shape)


def _places(open_pixels: NDArray[np.int32], lost: NDArray[np.bool_], given: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each given pixel, in ascending order, stands among the open ones; -1 where it does not."""
    among = np.flatnonzero(lost[open_pixels])
    places = np.full(given.size, -1, np.intp)
    places[np.searchsorted(given, open_pixels[among])] = among
    return places
