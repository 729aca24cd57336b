"""Smoothness within each object: the Gaussian of positions on the lines that its pairs lie on (Numba).

The same separable convolution as grid_gaussian.py has for whole images, on arrays of the object's size: for each line
of its box, from the first of its pairs to the last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.grid_gaussian import add_scaled
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel, serial_kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .pairs import Pairs


class OwnLines(NamedTuple):
    """The lines of each object.

    Parameters
    ----------
    starts : (n_objects + 1,) int64
        Where the lines of each object begin.
    boxes : (n_objects, 4) int32
        First z and y, how many z and y; an object has a line for each of them, y innermost.
    spans : (n_lines, 2) int32
        x of the first pair on the line, and the first behind the last; both 0 on an empty line.
    offsets : (n_lines + n_objects,) int64
        Where the values of each line begin within those of its object, and how many it has in all.
    """

    starts: NDArray[np.int64]
    boxes: NDArray[np.int32]
    spans: NDArray[np.int32]
    offsets: NDArray[np.int64]


class Taps(NamedTuple):
    """A normalised Gaussian along the three axes: what `GridGaussian` has, z, y, x.

    Parameters
    ----------
    z, y, x : float32
        The Gaussian from its centre on.
    root_z, root_y, root_x : float32
        1 / sqrt of the row sums along each axis, whose product is 1 / sqrt(n_i).
    roots : (n_points,) float32, or empty
        In place of that product, where some pixels have no value.
    """

    z: NDArray[np.float32]
    y: NDArray[np.float32]
    x: NDArray[np.float32]
    root_z: NDArray[np.float32]
    root_y: NDArray[np.float32]
    root_x: NDArray[np.float32]
    roots: NDArray[np.float32]


@serial_kernel()
def _boxes(starts, pixels, height, width, boxes):
    """Write the lines that hold all pairs of each object."""
    for k in range(starts.size - 1):
        z0 = y0 = np.int64(2**31 - 1)
        z1 = y1 = np.int64(-1)
        # The pixels come line by line: divisions are for the first of each.
        line_end = np.int64(0)
        for n in range(starts[k], starts[k + 1]):
            if pixels[n] >= line_end:
                line = np.int64(pixels[n]) // width
                line_end = (line + 1) * width
                z, y = line // height, line % height
                z0, z1, y0, y1 = min(z0, z), max(z1, z), min(y0, y), max(y1, y)
        if z1 < 0:
            z0, z1, y0, y1 = np.int64(0), np.int64(-1), np.int64(0), np.int64(-1)
        boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = z0, y0, z1 - z0 + 1, y1 - y0 + 1


@serial_kernel()
def _spans(starts, pixels, height, width, boxes, line_starts, spans, offsets):
    """Write the spans of all lines, and where their values begin."""
    spans[:] = 0
    for k in range(starts.size - 1):
        first, line_end = line_starts[k], np.int64(0)
        for n in range(starts[k], starts[k + 1]):
            if pixels[n] >= line_end:
                line = np.int64(pixels[n]) // width
                line_start, line_end = line * width, (line + 1) * width
                here = first + (line // height - boxes[k, 0]) * boxes[k, 3] + line % height - boxes[k, 1]
                spans[here, 0] = pixels[n] - line_start
            spans[here, 1] = pixels[n] - line_start + 1
        total = 0
        for line in range(first, line_starts[k + 1]):
            offsets[line + k] = total
            total += spans[line, 1] - spans[line, 0]
        offsets[line_starts[k + 1] + k] = total


def own_lines(pairs: Pairs, shape: tuple[int, int, int]) -> OwnLines:
    """Return the lines of each object; ``shape`` is (depth, height, width) of the image."""
    _, height, width = shape
    n_objects = pairs.starts.size - 1
    boxes = np.empty((n_objects, 4), np.int32)
    _boxes(pairs.starts, pairs.pixels, height, width, boxes)
    starts = np.concatenate([[0], np.cumsum(boxes[:, 2].astype(np.int64) * boxes[:, 3])]).astype(np.int64)
    spans = np.empty((int(starts[-1]), 2), np.int32)
    offsets = np.empty(int(starts[-1]) + n_objects, np.int64)
    _spans(pairs.starts, pairs.pixels, height, width, boxes, starts, spans, offsets)
    return OwnLines(starts, boxes, spans, offsets)


@inlined()
def _along_x(taps, values, out):
    """Convolve one line."""
    size = values.size
    for k in range(size):
        out[k] = taps[0] * values[k]
    for t in range(1, min(taps.size, size)):
        add_scaled(out[t:], values[: size - t], taps[t])
        add_scaled(out[: size - t], values[t:], taps[t])


@inlined()
def _add_line(spans, offsets, here, there, factor, values, out):
    """Add one line to another where both have values."""
    left, right = max(spans[here, 0], spans[there, 0]), min(spans[here, 1], spans[there, 1])
    if left < right:
        a = offsets[here] - spans[here, 0]
        b = offsets[there] - spans[there, 0]
        add_scaled(out[a + left : a + right], values[b + left : b + right], factor)


@kernel()
def _across(taps, n_outer, n_middle, n_inner, step, spans, offsets, values, out):
    """Convolve across lines: those that lie ``step`` apart, ``n_middle`` of them."""
    out[:] = np.float32(0.0)
    for o in range(n_outer):
        for m in range(n_middle):
            for i in range(n_inner):
                here = o * n_middle * step + m * step + i
                for other in range(max(0, m - taps.size + 1), min(n_middle, m + taps.size)):
                    there = o * n_middle * step + other * step + i
                    _add_line(spans, offsets, here, there, taps[abs(other - m)], values, out)


@inlined()
def _send_within(taps, box, spans, offsets, height, width, pixels, weight, q, messages):
    """Add what the pairs of one object send: ``w sum_{j != i} k~(i, j) Q_j(l)``."""
    n_lines = len(spans)
    values, out = np.zeros(offsets[n_lines], np.float32), np.empty(offsets[n_lines], np.float32)
    roots, places = np.empty(pixels.size, np.float32), np.empty(pixels.size, np.int32)
    line_end = np.int64(0)
    for n in range(pixels.size):
        pixel = np.int64(pixels[n])
        if pixel >= line_end:
            line = pixel // width
            line_start, line_end = line * width, (line + 1) * width
            z, y = line // height, line % height
            own = (z - box[0]) * box[3] + y - box[1]
            first, root = offsets[own] - spans[own, 0], taps.root_z[z] * taps.root_y[y]
        x = pixel - line_start
        places[n] = first + x
        roots[n] = taps.roots[pixel] if taps.roots.size else root * taps.root_x[x]
        values[places[n]] = roots[n] * q[n]
    for line in range(n_lines):
        here = slice(offsets[line], offsets[line + 1])
        _along_x(taps.x, values[here], out[here])
    # As many bits in both calls: Numba compiles a function for each type.
    n_z, n_y, one = np.int64(box[2]), np.int64(box[3]), np.int64(1)
    _across(taps.y, n_z, n_y, one, one, spans, offsets, out, values)
    result = values
    if n_z > 1:
        _across(taps.z, one, n_z, n_y, n_y, spans, offsets, values, out)
        result = out
    for n in range(pixels.size):
        messages[n] += weight * roots[n] * (result[places[n]] - roots[n] * q[n])


@parallel_kernel()
def send_on_lines(given, chunk):
    """Add the messages that all pairs send within their objects, on the grid.

    Parameters
    ----------
    taps : Taps
    lines : OwnLines
    height, width : int
        Of the image.
    starts, pixels, split, weight, q, messages
        As `send_on_lattice` has them.
    """
    taps, lines, height, width, starts, pixels, split, weight, q, messages = arguments_of(given)
    for k in range(split[chunk], split[chunk + 1]):
        first, last = starts[k], starts[k + 1]
        first_line, last_line = lines.starts[k], lines.starts[k + 1]
        _send_within(
            taps,
            lines.boxes[k],
            lines.spans[first_line:last_line],
            lines.offsets[first_line + k : last_line + k + 1],
            height,
            width,
            pixels[first:last],
            weight,
            q[first:last],
            messages[first:last],
        )
