"""What the layers of a map hold: looked at once, and known as long as they have the same data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
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

# Gives the data that were looked at, as long as they exist. Their id would not do: the next data may have it again.
_Reference = Callable[[], Any]


@dataclass(frozen=True)
class _Looked:
    """What was found in the data of layers."""

    data: tuple[_Reference, ...]
    class_axis: int | None
    values: Values

    def is_of(self, layers: Sequence[Layer], class_axis: int | None) -> bool:
        """Tell whether these layers have the data that were looked at."""
        same = len(self.data) == len(layers) and class_axis == self.class_axis
        return same and all(data() is layer.data for data, layer in zip(self.data, layers, strict=True))


# By the first of the layers.
_seen: weakref.WeakKeyDictionary[Layer, list[_Looked]] = weakref.WeakKeyDictionary()


def look(layers: Sequence[Layer], class_axis: int | None) -> Values | None:
    """Tell what the numbers of a map are, one class a layer where there are several.

    Of data that are not in memory, only what `remember` was told; else None.
    """
    for looked in _seen.get(layers[0], []):
        if looked.is_of(layers, class_axis):
            return looked.values
    data = [levels_of(layer)[-1] for layer in layers]
    if not all(isinstance(one, np.ndarray) for one in data):
        return None
    return _keep(layers, class_axis, _look(data, class_axis))


def remember(layers: Sequence[Layer], class_axis: int | None, parts: Sequence[NDArray[Any]]) -> None:
    """Look at a part of data that are not in memory, for those of all of it; in a part the classes come first."""
    _keep(layers, class_axis, _look(parts, None if class_axis is None else 0))


def _keep(layers: Sequence[Layer], class_axis: int | None, values: Values) -> Values:
    """Keep what was found in place of what was known of the same data, or of data that are gone."""
    others = [looked for looked in _seen.get(layers[0], []) if all(data() is not None for data in looked.data)]
    looked = _Looked(tuple(_reference(layer.data) for layer in layers), class_axis, values)
    _seen[layers[0]] = [looked, *(other for other in others if not other.is_of(layers, class_axis))]
    return values


def _reference(data: Any) -> _Reference:
    try:
        return weakref.ref(data)
    except TypeError:
        return lambda: data


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


_classes: weakref.WeakKeyDictionary[Layer, tuple[_Reference, NDArray[np.int64]]] = weakref.WeakKeyDictionary()


def classes_seen(layer: Labels) -> NDArray[np.int64] | None:
    """Return the values of a whole Labels layer that `remember_classes` was told of the data that it has now."""
    known = _classes.get(layer)
    return known[1] if known is not None and known[0]() is layer.data else None


def remember_classes(layer: Labels, values: NDArray[np.int64]) -> None:
    """Keep the values of a whole Labels layer, which are its classes, in ascending order."""
    _classes[layer] = _reference(layer.data), values


_labels_seen: weakref.WeakKeyDictionary[Layer, tuple[_Reference, LabelsSeen]] = weakref.WeakKeyDictionary()


def labels_of(layer: Labels) -> LabelsSeen | None:
    """Return what `remember_labels` was told of the data that a layer has now."""
    known = _labels_seen.get(layer)
    return known[1] if known is not None and known[0]() is layer.data else None


def remember_labels(layer: Labels, part: NDArray[Any]) -> None:
    """Look at a part of a Labels layer, for all of it."""
    pieces, n_pieces = label(part, background=0, return_num=True, connectivity=part.ndim)
    owners = np.zeros(n_pieces + 1, part.dtype)
    owners[pieces.ravel()] = part.ravel()
    _, counts = np.unique(owners[1:], return_counts=True)
    seen = LabelsSeen(len(counts), int(np.count_nonzero(counts == 1)), int(part.max(initial=0)))
    _labels_seen[layer] = _reference(layer.data), seen
