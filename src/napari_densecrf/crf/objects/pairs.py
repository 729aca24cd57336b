r"""Which objects each pixel may belong to, and how likely each is before the image is looked at (Numba).

With d_i(l) the signed distance of pixel i to the border of object l and ``border`` = how far a border may be off:

    candidates of i:  objects with d_i(l) <= 2 border, and the background where no object is deeper than 2 border
    p_i(l) ∝ max(1 / (1 + exp(d_i(l) / (border / 2))), 1e-3)        for an object,
    p_i(0) ∝ max(1 / (1 + exp(-min_l d_i(l) / (border / 2))), 1e-3)  for the background,

times the foreground's probability, or one less it, where a foreground map is given. Everything else is ruled out. A
pixel and one of its candidate objects are a *pair*. Pixels are certain in the core of an object, which is what is
deeper than 2 border, or the deepest part of each of its pieces where these are thin: so no object is ever lost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.compile import kernel, serial_kernel

from .distances import Band
from .source import Source

# So many borders away a pixel is no candidate.
REACH_BORDERS = 2.0
SMALLEST = 1e-3
# Of the depth of a thin piece: what is deeper is its core.
CORE_DEPTH = 0.7
OPEN, CERTAIN_BACKGROUND = 0, -1


class Pairs(NamedTuple):
    """Pixels and their candidate objects, object after object, each in the order of the image.

    Parameters
    ----------
    starts : (n_objects + 1,) int64
        Where the pairs of each object begin.
    pixels : (n_pairs,) int32
        Of each pair, in C order of the whole image.
    log_p : (n_pairs,) float32
        ``log p_i(l)``, not normalised; -inf where the pixel is certain to be something else.
    background : (n_points,) float32
        ``log p_i(0)``; -inf where the background is ruled out.
    certain : (n_points,) int32
        OPEN, CERTAIN_BACKGROUND, or the number of the object that the pixel is certain to be.
    open_pixels : (n_open,) int32
        Pixels with more than one candidate, by how many objects are candidates, and then by their first pairs.
    open_starts : (n_open + 1,) int64
        Where the pairs of each open pixel begin in ``open_pairs``.
    open_pairs : (n,) int32
        The pairs of the open pixels, by ascending object.
    is_open : (n_points,) bool
    """

    starts: NDArray[np.int64]
    pixels: NDArray[np.int32]
    log_p: NDArray[np.float32]
    background: NDArray[np.float32]
    certain: NDArray[np.int32]
    open_pixels: NDArray[np.int32]
    open_starts: NDArray[np.int64]
    open_pairs: NDArray[np.int32]
    is_open: NDArray[np.bool_]


@serial_kernel()
def _deepest(band_starts, band_pixels, band_distances, numbers, pieces, deepest):
    """Write the least distance within each piece of an object."""
    for k in range(band_starts.size - 1):
        for n in range(band_starts[k], band_starts[k + 1]):
            pixel = band_pixels[n]
            if numbers[pixel] == k + 1:
                deepest[pieces[pixel]] = min(deepest[pieces[pixel]], band_distances[n])


@serial_kernel()
def _mark_certain(band_starts, band_pixels, band_distances, numbers, pieces, deepest, reach, core_depth, held, certain):
    """Mark the cores of all objects, and the whole of those that are held."""
    for k in range(band_starts.size - 1):
        for n in range(band_starts[k], band_starts[k + 1]):
            pixel = band_pixels[n]
            if numbers[pixel] == k + 1 and certain[pixel] == 0:
                core = max(-reach, core_depth * deepest[pieces[pixel]])
                if held[k] or band_distances[n] <= core:
                    certain[pixel] = k + 1


@kernel()
def _may_be(number, pixel, distance, reach, numbers, held):
    """Tell whether a pixel is a candidate of an object; one that is held has its own pixels alone."""
    return distance <= reach and (not held or numbers[pixel] == number)


@serial_kernel()
def _nearest(band_starts, band_pixels, band_distances, reach, numbers, held, nearest, counts):
    """Write the least distance of each pixel to any object, and how many pairs each object has."""
    for k in range(counts.size):
        count = 0
        for n in range(band_starts[k], band_starts[k + 1]):
            pixel = band_pixels[n]
            if _may_be(k + 1, pixel, band_distances[n], reach, numbers, held[k]):
                nearest[pixel] = min(nearest[pixel], band_distances[n])
                count += 1
        counts[k] = count


@kernel()
def _log_p(distance, slope, smallest):
    return np.log(max(np.float32(1.0) / (np.float32(1.0) + np.exp(min(distance / slope, np.float32(80.0)))), smallest))


@serial_kernel()
def _background(nearest, certain, slope, reach, smallest, foreground, background):
    """Write ``log p_i(0)``."""
    for pixel in range(nearest.size):
        if certain[pixel] > 0 or nearest[pixel] < -reach:
            background[pixel] = -np.inf
        else:
            background[pixel] = _log_p(-nearest[pixel], slope, smallest)
            if foreground.size:
                background[pixel] += np.log(max(np.float32(1.0) - foreground[pixel], smallest))


@serial_kernel()
def _fill(
    band_starts,
    band_pixels,
    band_distances,
    numbers,
    held,
    certain,
    slope,
    reach,
    smallest,
    foreground,
    pixels,
    log_p,
    several,
):
    """Write the pairs, and how many candidate objects each pixel has."""
    count = 0
    for k in range(band_starts.size - 1):
        for n in range(band_starts[k], band_starts[k + 1]):
            pixel = band_pixels[n]
            if not _may_be(k + 1, pixel, band_distances[n], reach, numbers, held[k]):
                continue
            pixels[count] = pixel
            if certain[pixel] == 0:
                log_p[count] = _log_p(band_distances[n], slope, smallest)
                if foreground.size:
                    log_p[count] += np.log(max(foreground[pixel], smallest))
                several[pixel] = min(several[pixel] + 1, 255)
            else:
                log_p[count] = np.float32(0.0) if certain[pixel] == k + 1 else np.float32(-np.inf)
            count += 1


@serial_kernel()
def _open(pixels, background, several, is_open):
    """Mark the pixels with more than one candidate and list them with their pairs, by pixel."""
    n_open = 0
    n_with = np.zeros(257, np.int64)
    for pixel in range(several.size):
        candidates = several[pixel] + (1 if background[pixel] > -np.inf else 0)
        is_open[pixel] = several[pixel] > 0 and candidates > 1
        if is_open[pixel]:
            n_open += 1
            n_with[several[pixel] + 1] += 1
    # Those of as many candidates together: loops over them have one length. Among these by their first pairs, so that
    # the pairs of pixels that follow each other lie near each other in memory.
    following_with = np.cumsum(n_with)
    place = np.full(several.size, -1, np.int32)
    open_pixels = np.empty(n_open, np.int32)
    starts = np.zeros(n_open + 1, np.int64)
    for n in range(pixels.size):
        pixel = pixels[n]
        if is_open[pixel]:
            if place[pixel] < 0:
                place[pixel] = following_with[several[pixel]]
                open_pixels[place[pixel]] = pixel
                following_with[several[pixel]] += 1
            starts[place[pixel] + 1] += 1
    for k in range(n_open):
        starts[k + 1] += starts[k]
    following = starts[:-1].copy()
    pairs = np.empty(starts[n_open], np.int32)
    for n in range(pixels.size):
        if is_open[pixels[n]]:
            k = place[pixels[n]]
            pairs[following[k]] = n
            following[k] += 1
    return open_pixels, starts, pairs


_NONE = np.empty(0, np.float32)


def make_pairs(
    source: Source,
    band: Band,
    border: float,
    *,
    held: NDArray[np.bool_],
    fixed: NDArray[np.int32] | None = None,
    foreground: NDArray[np.float32] | None = None,
) -> Pairs:
    """Return the pairs of all objects.

    Parameters
    ----------
    source : Source
    band : Band
        Whose reach is 2 ``border`` at least.
    border : float
        How far a border may be off, in the unit of the spacing. Positive.
    held : (n_objects,) bool
        Objects that stay as they are.
    fixed : (n_points,) int32, optional
        As ``certain`` of `Pairs`: what strokes say.
    foreground : (n_points,) float32, optional
        0..1: the probability of any object.
    """
    reach, slope = np.float32(REACH_BORDERS * border), np.float32(border / 2)
    numbers, pieces = source.numbers.ravel(), source.pieces.ravel()
    certain = np.zeros(numbers.size, np.int32) if fixed is None else fixed.copy()
    in_band = (band.starts, band.pixels, band.distances)
    deepest = np.zeros(int(pieces.max(initial=0)) + 1, np.float32)
    _deepest(*in_band, numbers, pieces, deepest)
    _mark_certain(*in_band, numbers, pieces, deepest, reach, np.float32(CORE_DEPTH), held, certain)
    nearest = np.full(numbers.size, 1e9, np.float32)
    counts = np.empty(source.n_objects, np.int64)
    _nearest(*in_band, reach, numbers, held, nearest, counts)
    smallest = np.float32(SMALLEST)
    foreground = _NONE if foreground is None else foreground
    background = np.empty(numbers.size, np.float32)
    _background(nearest, certain, slope, reach, smallest, foreground, background)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pixels, log_p = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    several = np.zeros(numbers.size, np.uint8)
    _fill(*in_band, numbers, held, certain, slope, reach, smallest, foreground, pixels, log_p, several)
    is_open = np.empty(numbers.size, np.bool_)
    open_pixels, open_starts, open_pairs = _open(pixels, background, several, is_open)
    return Pairs(starts, pixels, log_p, background, certain, open_pixels, open_starts, open_pairs, is_open)
