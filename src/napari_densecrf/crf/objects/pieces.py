"""One object, one piece, no new holes: what the mean field cut off goes to the next candidate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from .own_field import OwnField
from .source import Source, connected

# What is cut off may be cut off from the next candidate as well; then it is tried again.
MOST_ROUNDS = 4


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
    labels = winners.reshape(source.numbers.shape).copy()
    _give_away(field, labels)
    _mend_broken(source, labels)
    _fill_holes(source, labels)
    return labels


def _give_away(field: OwnField, labels: NDArray[np.int32]) -> None:
    """Give parts without a core to their pixels' next candidates, and what is left of them to what is beside."""
    pairs = field.pairs
    certain = pairs.certain.reshape(labels.shape)
    given: dict[int, set[int]] = {}
    for _ in range(MOST_ROUNDS):
        regions = connected(labels, corners=True)
        n_regions = int(regions.max(initial=0))
        has_core = np.zeros(n_regions + 1, bool)
        has_core[regions[certain > 0]] = True
        has_core[0] = True
        if has_core.all():
            return
        lost = np.flatnonzero(~has_core[regions.ravel()])
        flat = labels.ravel()
        for pixel in lost.tolist():
            given.setdefault(pixel, set()).add(int(flat[pixel]))
            flat[pixel] = _next_candidate(field, pixel, given[pixel])


def _next_candidate(field: OwnField, pixel: int, given: set[int]) -> int:
    """Return the most probable label of an open pixel but those that were given up, 0 if none is left."""
    pairs = field.pairs
    place = int(np.searchsorted(pairs.open_pixels, pixel))
    best, most = 0, float(field.background[pixel, 0]) if 0 not in given else -1.0
    if place < pairs.open_pixels.size and pairs.open_pixels[place] == pixel:
        for pair in pairs.open_pairs[pairs.open_starts[place] : pairs.open_starts[place + 1]]:
            number = int(np.searchsorted(pairs.starts, pair, side="right"))
            if number not in given and field.q[pair] > most:
                best, most = number, float(field.q[pair])
    return best


def _mend_broken(source: Source, labels: NDArray[np.int32]) -> None:
    """Give back their own pixels to objects that fell into more pieces than they had."""
    regions = connected(labels, corners=True)
    pieces_now = _count_pieces(labels, regions, source.n_objects)
    pieces_before = _count_pieces(source.numbers, source.pieces, source.n_objects)
    for k in np.flatnonzero(pieces_now > pieces_before):
        first, last = source.boxes[k]
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        labels[box][source.numbers[box] == k + 1] = k + 1


def _count_pieces(numbers: NDArray[np.int32], regions: NDArray[np.int32], n_objects: int) -> NDArray[np.int64]:
    """Return how many connected parts each object has."""
    owner = np.zeros(int(regions.max(initial=0)) + 1, np.int64)
    owner[regions.ravel()] = numbers.ravel()
    return np.bincount(owner[1:], minlength=n_objects + 1)[1:]


def _fill_holes(source: Source, labels: NDArray[np.int32]) -> None:
    """Fill background that lies within one object and was no background before."""
    regions = connected((labels == 0).astype(np.int32), corners=False)
    had_background = np.zeros(int(regions.max(initial=0)) + 1, bool)
    had_background[regions[source.numbers == 0]] = True
    for k, box in enumerate(find_objects(regions), 1):
        if box is None or had_background[k]:
            continue
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        hole = regions[around] == k
        beside = np.unique(labels[around][_next_to(hole) & ~hole])
        if beside.size == 1 and beside[0] > 0:
            labels[around][hole] = beside[0]


def _next_to(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that share a side with those of the mask."""
    near = np.zeros_like(mask)
    for axis in range(mask.ndim):
        ahead, behind = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        near[tuple(ahead)] |= mask[tuple(behind)]
        near[tuple(behind)] |= mask[tuple(ahead)]
    return near
