"""What a map's layers hold: looked at once, and kept as long as they hold the same data."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray
from skimage.measure import label

from napari_densecrf.door.values import Values, look_at

from .axes import levels_of

# Larger arrays are looked at in steps along their last two axes.
LOOKED_AT = 1 << 22

_Key = tuple[tuple[int, ...], int | None]
_seen: weakref.WeakKeyDictionary[Layer, dict[_Key, Values]] = weakref.WeakKeyDictionary()


def look(layers: Sequence[Layer], class_axis: int | None) -> Values | None:
    """Tell what the numbers of a map are, one class a layer where there are several.

    Of data that are not in memory, only what `remember` was told; else None.
    """
    known = _seen.setdefault(layers[0], {})
    key = _key(layers, class_axis)
    if key not in known:
        data = [levels_of(layer)[-1] for layer in layers]
        if not all(isinstance(one, np.ndarray) for one in data):
            return None
        known[key] = _look(data, class_axis)
    return known[key]


def remember(layers: Sequence[Layer], class_axis: int | None, parts: Sequence[NDArray[Any]]) -> None:
    """Take down what a part of data that are not in memory holds; in a part the classes come first."""
    first = None if class_axis is None else 0
    _seen.setdefault(layers[0], {})[_key(layers, class_axis)] = _look(parts, first)


def _look(data: Sequence[NDArray[Any]], class_axis: int | None) -> Values:
    if len(data) > 1:
        return look_at(np.stack([_thinned(one, None) for one in data]), 0)
    thinned = _thinned(data[0], class_axis)
    return look_at(thinned, class_axis)


def _thinned(array: NDArray[Any], class_axis: int | None) -> NDArray[Any]:
    """Return every so many pixels along all axes but the classes."""
    step = max(1, round((array.size / LOOKED_AT) ** 0.5))
    spatial = [axis for axis in range(array.ndim) if axis != class_axis][-2:]
    return array[tuple(slice(None, None, step) if axis in spatial else slice(None) for axis in range(array.ndim))]


def _key(layers: Sequence[Layer], class_axis: int | None) -> _Key:
    return tuple(id(layer.data) for layer in layers), class_axis


@dataclass(frozen=True)
class LabelsSeen:
    """What a Labels layer holds, as far as it was looked at.

    Parameters
    ----------
    n_labels : int
        Labels but 0.
    n_whole : int
        Those of one connected piece.
    largest : int
        The largest label.
    """

    n_labels: int
    n_whole: int
    largest: int


_labels_seen: weakref.WeakKeyDictionary[Layer, tuple[int, LabelsSeen]] = weakref.WeakKeyDictionary()


def labels_of(layer: Labels) -> LabelsSeen | None:
    """Return what `remember_labels` was told of the data that a layer has now."""
    known = _labels_seen.get(layer)
    return known[1] if known is not None and known[0] == id(layer.data) else None


def remember_labels(layer: Labels, part: NDArray[Any]) -> None:
    """Take down what a part of a Labels layer holds."""
    pieces, n_pieces = label(part, background=0, return_num=True, connectivity=part.ndim)
    owners = np.zeros(n_pieces + 1, part.dtype)
    owners[pieces.ravel()] = part.ravel()
    _, counts = np.unique(owners[1:], return_counts=True)
    seen = LabelsSeen(len(counts), int(np.count_nonzero(counts == 1)), int(part.max(initial=0)))
    _labels_seen[layer] = id(layer.data), seen
