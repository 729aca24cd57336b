"""The signed distance to each object's border, in a band around and inside it (Numba).

An exact Euclidean distance is a product of axes: the square of the distance along a line, then, axis by axis, the
least of it plus the square of the way across (Saito and Toriwaki 1994). As only a band counts, that way is short.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel, serial_kernel
from napari_densecrf.crf.numba.loops import copy_values
from napari_densecrf.crf.numba.memory import sparse_empty
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .source import Source, chunks, half_pixel

# Of no object's pixels.
FAR = np.float32(1e12)
# Boxes are looked at in batches of so many pixels, so that no more memory is asked for at once.
PIXELS_A_BATCH = 2**25
MOST_CHUNKS = 64


class Band(NamedTuple):
    """The pixels in and around each object, object after object, each in the order of the image.

    Parameters
    ----------
    starts : (n_objects + 1,) int64
        Where those of each object begin.
    pixels : (n,) int32
        Their places in the whole image, in C order.
    distances : (n,) float32
        Signed distance to the object's border, in the unit of the spacing: negative inside, and no less than
        minus the reach of the band there.
    boxes : (n_objects, 2, 3) int64
        The box around the band of each object.
    reach : float
    """

    starts: NDArray[np.int64]
    pixels: NDArray[np.int32]
    distances: NDArray[np.float32]
    boxes: NDArray[np.int64]
    reach: float


@inlined()
def _along_lines(mask, wanted, step, squares):
    """Write the squared distance along x to the nearest pixel of the line that is as wanted."""
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(height):
            last = -1
            for x in range(width):
                if mask[z, y, x] == wanted:
                    last = x
                away = np.float32(x - last) * step
                squares[z, y, x] = away * away if last >= 0 else FAR
            last = -1
            for x in range(width - 1, -1, -1):
                if mask[z, y, x] == wanted:
                    last = x
                if last >= 0:
                    away = np.float32(last - x) * step
                    squares[z, y, x] = min(squares[z, y, x], away * away)


@inlined()
def _lower_to(target, source, more):
    for k in range(target.size):
        target[k] = min(target[k], source[k] + more)


@kernel()
def _across(squares, n_steps, step, out):
    """Write the least of ``squares`` plus the squared way along the middle axis, of (outer, middle, inner)."""
    outer, middle, _ = squares.shape
    for o in range(outer):
        for m in range(middle):
            copy_values(squares[o, m], out[o, m])
            for n in range(max(0, m - n_steps), min(middle, m + n_steps + 1)):
                away = np.float32(n - m) * step
                _lower_to(out[o, m, :], squares[o, n, :], away * away)


@kernel()
def _squared_distances(mask, wanted, steps, reach, one, other):
    """Return the squared distance to the nearest pixel that is as wanted: one of the two scratch arrays."""
    depth, height, width = mask.shape
    _along_lines(mask, wanted, steps[2], one)
    _across(one, np.int64(reach / steps[1]) + 1, steps[1], other)
    if depth == 1:
        return other
    flat, out = other.reshape((1, depth, height * width)), one.reshape((1, depth, height * width))
    _across(flat, np.int64(reach / steps[0]) + 1, steps[0], out)
    return one


@inlined()
def _band_of_object(numbers, number, box, steps, half, reach, pixels, distances):
    """Write the pixels of one object's band and their distances; return how many."""
    _, height, width = numbers.shape
    z0, y0, x0 = box[0, 0], box[0, 1], box[0, 2]
    here = numbers[z0 : box[1, 0], y0 : box[1, 1], x0 : box[1, 2]]
    mask = np.empty(here.shape, np.bool_)
    for z in range(here.shape[0]):
        for y in range(here.shape[1]):
            for x in range(here.shape[2]):
                mask[z, y, x] = here[z, y, x] == number
    one, two = np.empty(here.shape, np.float32), np.empty(here.shape, np.float32)
    three, four = np.empty(here.shape, np.float32), np.empty(here.shape, np.float32)
    # Not written as constants: Numba would compile the function for each of them.
    outside = _squared_distances(mask, np.bool_(1), steps, reach, one, two)
    inside = _squared_distances(mask, np.bool_(0), steps, reach, three, four)
    count = 0
    for z in range(here.shape[0]):
        for y in range(here.shape[1]):
            for x in range(here.shape[2]):
                if mask[z, y, x]:
                    distance = max(half - np.sqrt(inside[z, y, x]), -reach)
                else:
                    distance = np.sqrt(outside[z, y, x]) - half
                if distance <= reach:
                    pixels[count] = ((z0 + z) * height + y0 + y) * width + x0 + x
                    distances[count] = distance
                    count += 1
    return count


@parallel_kernel()
def _bands(given, chunk):
    """Write the bands of some objects, each where its room begins."""
    numbers, first, boxes, room, starts, steps, half, reach, pixels, distances, counts = arguments_of(given)
    for k in range(starts[chunk], starts[chunk + 1]):
        here = slice(room[k], room[k + 1])
        counts[k] = _band_of_object(numbers, first + k + 1, boxes[k], steps, half, reach, pixels[here], distances[here])


def band_around(source: Source, spacing: tuple[float, ...], reach: float) -> Band:
    """Return the band of every object up to a distance, in the unit of the spacing.

    Parameters
    ----------
    source : Source
    spacing : tuple of float
        Size of a pixel along each axis of the image.
    reach : float
    """
    steps = np.array((1.0,) * (3 - len(spacing)) + spacing, np.float32)
    half = np.float32(half_pixel(spacing))
    # An axis of one pixel has no room to reach into.
    margins = np.where(np.array(source.numbers.shape) > 1, np.floor((reach + float(half)) / steps) + 1, 0)
    boxes = np.stack(
        [
            np.maximum(source.boxes[:, 0] - margins, 0),
            np.minimum(source.boxes[:, 1] + margins, source.numbers.shape),
        ],
        axis=1,
    ).astype(np.int64)
    boxes[source.areas == 0] = 0
    volumes = (boxes[:, 1] - boxes[:, 0]).prod(axis=1)
    batches = chunks(volumes, max(1, int(volumes.sum() // PIXELS_A_BATCH) + 1))
    all_pixels, all_distances, all_counts = [], [], []
    for first, last in itertools.pairwise(batches):
        room = np.concatenate([[0], np.cumsum(volumes[first:last])]).astype(np.int64)
        pixels, distances = sparse_empty(int(room[-1]), np.int32), sparse_empty(int(room[-1]), np.float32)
        counts = np.zeros(last - first, np.int64)
        starts = chunks(volumes[first:last], MOST_CHUNKS)
        _bands(
            starts.size - 1,
            source.numbers,
            int(first),
            boxes[first:last],
            room,
            starts,
            steps,
            half,
            np.float32(reach),
            pixels,
            distances,
            counts,
        )
        within = np.concatenate([[0], np.cumsum(counts)])
        all_pixels.append(np.empty(int(within[-1]), np.int32))
        all_distances.append(np.empty(int(within[-1]), np.float32))
        all_counts.append(counts)
        _together(room, within, pixels, distances, all_pixels[-1], all_distances[-1])
    starts = np.concatenate([[0], np.cumsum(np.concatenate(all_counts))]).astype(np.int64)
    one = len(all_pixels) == 1
    return Band(
        starts,
        all_pixels[0] if one else np.concatenate(all_pixels),
        all_distances[0] if one else np.concatenate(all_distances),
        boxes,
        reach,
    )


@serial_kernel()
def _together(room, within, pixels, distances, out_pixels, out_distances):
    """Move what was written with room between to arrays without."""
    for k in range(within.size - 1):
        count = within[k + 1] - within[k]
        copy_values(pixels[room[k] : room[k] + count], out_pixels[within[k] :])
        copy_values(distances[room[k] : room[k] + count], out_distances[within[k] :])
