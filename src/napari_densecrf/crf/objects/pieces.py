"""One object, one piece, no new holes: what the mean field cut off goes to the next candidate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_densecrf.crf.numba.compile import kernel

from .own_field import OwnField, best_of
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
    regions = _give_away(field, labels)
    _mend_broken(source, labels, regions)
    _fill_holes(source, labels)
    return labels


@kernel()
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


def _give_away(field: OwnField, labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give parts without a core to their pixels' next candidates; return the connected regions that are left."""
    pairs = field.pairs
    certain = pairs.certain.reshape(labels.shape)
    regions = connected(labels, corners=True)
    q: NDArray[np.float32] | None = None
    for _ in range(MOST_ROUNDS):
        has_core = np.zeros(int(regions.max(initial=0)) + 1, bool)
        has_core[regions[certain > 0]] = True
        has_core[0] = True
        if has_core.all():
            break
        lost = np.flatnonzero(~has_core[regions.ravel()])
        q = field.q.copy() if q is None else q
        places = _places(pairs.open_pixels, lost)
        candidates = (pairs.starts, pairs.open_starts, pairs.open_pairs)
        _pass_on(lost, places, *candidates, q, field.background.ravel(), labels.reshape(-1))
        regions = connected(labels, corners=True)
    return regions


def _places(open_pixels: NDArray[np.int32], lost: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each lost pixel, in ascending order, stands among the open ones; -1 where it does not."""
    is_lost = np.isin(open_pixels, lost)
    places = np.full(lost.size, -1, np.intp)
    places[np.searchsorted(lost, open_pixels[is_lost])] = np.flatnonzero(is_lost)
    return places


def _mend_broken(source: Source, labels: NDArray[np.int32], regions: NDArray[np.int32]) -> None:
    """Give back their own pixels to objects that fell into more pieces than they had."""
    pieces_before = _count_pieces(source.numbers, source.pieces, source.n_objects)
    for _ in range(MOST_ROUNDS):
        broken = np.flatnonzero(_count_pieces(labels, regions, source.n_objects) > pieces_before)
        if not broken.size:
            return
        for k in broken:
            first, last = source.boxes[k]
            box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
            labels[box][source.numbers[box] == k + 1] = k + 1
        regions = connected(labels, corners=True)


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
