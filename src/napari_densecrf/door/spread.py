"""What the numbers of a map are that may be larger than memory: a few windows of it tell, or more where they do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .values import NO_NUMBER, SAMPLE, Kind, Look, Values, judge, look, look_at

# An array of so many values is read whole.
SMALL = 1 << 22
# Windows that are read of a larger one, and the pixels along their sides.
N_WINDOWS, SIDE = 12, 128
# Where these do not tell, blocks of this side are read until they do, or so many values have been read.
MORE_SIDE, MOST_VALUES = 1024, 1 << 26
# Multiples of these, without their whole part, are spread evenly over each axis.
PACES = (0.8191725, 0.6710436, 0.5497005)


def look_through(array: Any, class_axis: int | None) -> Values:
    """Tell what the numbers of a map are; parameters are those of `look_at`, of anything that can be sliced.

    Of a large one only windows are read. Numbers that are high at few places decide whether integers fill the range of
    their type: before such a map is refused, more of it is read.
    """
    if array.dtype.kind == "b":
        return look_at(np.zeros((1, 1), bool), None)
    if math.prod(array.shape) <= SMALL:
        return look_at(_read(array, (slice(None),) * array.ndim), class_axis)
    seen = _together([_look(array, class_axis, window) for window in _windows(array.shape, class_axis)])
    values, n_read = judge(seen), 0
    for block in _blocks(array.shape, class_axis):
        if _settled(values) or n_read >= MOST_VALUES:
            break
        seen = _together([seen, _look(array, class_axis, block)])
        values = judge(seen)
        n_read += math.prod(part.stop - part.start for part in block)
    return values


def _settled(values: Values) -> bool:
    """Tell whether more numbers of a map would not change what it is taken for."""
    if values.kind is Kind.PROBABILITIES:
        return values.why not in ("holds only 0", NO_NUMBER)
    return values.sure and values.kind not in (Kind.MASK, Kind.CLASSES)


def _pixel_axes(shape: tuple[int, ...], class_axis: int | None) -> list[int]:
    return [axis for axis in range(len(shape)) if class_axis is None or axis != class_axis % len(shape)]


def _windows(shape: tuple[int, ...], class_axis: int | None) -> Iterator[tuple[slice, ...]]:
    """Yield windows spread over the pixels: all classes, a side of the last two other axes, one of each further."""
    axes = _pixel_axes(shape, class_axis)
    for number in range(N_WINDOWS):
        window = [slice(0, size) for size in shape]
        for pace, axis in zip(itertools.cycle(PACES), reversed(axes)):
            width = min(SIDE if axis in axes[-2:] else 1, shape[axis])
            start = int((number + 0.5) * pace % 1 * (shape[axis] - width + 1))
            window[axis] = slice(start, start + width)
        yield tuple(window)


def _blocks(shape: tuple[int, ...], class_axis: int | None) -> Iterator[tuple[slice, ...]]:
    """Yield all of an array in larger parts, each far from the one before."""
    axes = _pixel_axes(shape, class_axis)
    sides = [MORE_SIDE if axis in axes[-2:] else 1 for axis in axes]
    counts = [-(-shape[axis] // side) for axis, side in zip(axes, sides, strict=True)]
    n_blocks = math.prod(counts)
    stride = max(1, int(n_blocks * PACES[1]))
    while math.gcd(stride, n_blocks) > 1:
        stride += 1
    for number in range(n_blocks):
        window = [slice(0, size) for size in shape]
        rest = number * stride % n_blocks
        for axis, side, count in zip(axes, sides, counts, strict=True):
            rest, at = divmod(rest, count)
            window[axis] = slice(at * side, min((at + 1) * side, shape[axis]))
        yield tuple(window)


def _look(array: Any, class_axis: int | None, window: tuple[slice, ...]) -> Look:
    part = _read(array, window)
    planes = part[None] if class_axis is None else np.moveaxis(part, class_axis, 0)
    return look(planes, has_classes=class_axis is not None)


def _together(looks: list[Look]) -> Look:
    """Return what was seen in several windows."""
    sample = np.concatenate([one.sample for one in looks], axis=1)
    # The patch with most numbers tells best whether these are ids.
    patch = max((one.patch for one in looks), key=lambda one: len(np.unique(one)))
    low, high = min(one.low for one in looks), max(one.high for one in looks)
    thinned = sample[:, :: max(1, sample.shape[1] // SAMPLE)]
    # None, as soon as some numbers are not whole.
    whole = all(one.values.size or not one.sample.size for one in looks)
    values = np.unique(np.concatenate([one.values for one in looks])) if whole else looks[0].values[:0]
    return Look(looks[0].dtype, looks[0].has_classes, thinned, low, high, patch, values)


def _read(array: Any, where: tuple[slice, ...]) -> NDArray[Any]:
    part = array[where]
    # In threads of this process, whatever the scheduler of the rest of the work.
    part = part.compute(scheduler="threads") if hasattr(part, "compute") else part
    return part if isinstance(part, np.ma.MaskedArray) else np.asarray(part)
