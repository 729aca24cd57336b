"""The objects as they came: their ids, which pixels are whose, and the box around each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import find_objects
from skimage.measure import label

# A background stroke, which in an unsigned type is its largest value.
BACKGROUND_STROKE = -1
# Ids in a range of so many times the pixels are numbered by a table, wider ones by sorting.
TABLE_A_PIXEL = 4


@dataclass(frozen=True, eq=False)
class Source:
    """The objects of an image, numbered from 1 on in the order of their ids.

    Parameters
    ----------
    ids : (n_objects,) integer
        In ascending order, in the type they came in; 0 is none of them.
    numbers : (depth, height, width) int32
        0 = background, k = object ``ids[k - 1]``.
    shape : tuple of int
        Of the image, without the axes of one pixel that ``numbers`` has more.
    """

    ids: NDArray[Any]
    numbers: NDArray[np.int32]
    shape: tuple[int, ...]

    @property
    def n_objects(self) -> int:
        """How many there are."""
        return len(self.ids)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """(n_objects, 2, 3): the first pixel of each box along each axis, and the first behind it; 0 for no pixels."""
        boxes = np.zeros((self.n_objects, 2, 3), np.int64)
        for k, box in enumerate(find_objects(self.numbers, self.n_objects)):
            if box is not None:
                boxes[k] = [[part.start for part in box], [part.stop for part in box]]
        return boxes

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """(n_objects,): pixels of each."""
        return np.bincount(self.numbers.ravel(), minlength=self.n_objects + 1)[1:]

    @cached_property
    def pieces(self) -> NDArray[np.int32]:
        """(depth, height, width): the connected parts of the objects, numbered from 1 on; corners connect."""
        return connected(self.numbers)

    @cached_property
    def n_pieces(self) -> NDArray[np.int64]:
        """(n_objects,): connected parts of each."""
        owners = np.zeros(int(self.pieces.max(initial=0)) + 1, np.int64)
        owners[self.pieces.ravel()] = self.numbers.ravel()
        return np.bincount(owners[1:], minlength=self.n_objects + 1)[1:]

    def with_ids(self, numbers: NDArray[np.int32]) -> NDArray[Any]:
        """Return (*spatial): ids in place of numbers, in the type the objects came in."""
        table = np.concatenate([np.zeros(1, self.ids.dtype), self.ids])
        taken: NDArray[Any] = np.take(table, numbers.reshape(self.shape))
        return taken


def connected(numbers: NDArray[Any]) -> NDArray[np.int32]:
    """Return the connected regions of equal, non-zero values, numbered from 1 on; corners connect."""
    plane = numbers[0] if len(numbers) == 1 else numbers
    found = label(plane, background=0, connectivity=plane.ndim)
    regions: NDArray[np.int32] = np.ascontiguousarray(found, np.int32).reshape(numbers.shape)
    return regions


def as_objects(objects: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return objects as an array, or say what is wrong with them.

    Raises
    ------
    ValueError
        Where they have not the image's shape, are no integers, or none is there.
    """
    array = np.asarray(np.ma.filled(objects, 0))
    if array.shape != shape:
        raise ValueError(f"objects have shape {array.shape}: expected {shape} to match the image")
    if array.dtype.kind == "b":
        raise ValueError(
            "objects hold True and False, one mask for all: expected a number for each object, as "
            "skimage.measure.label gives"
        )
    if array.dtype.kind not in "iu":
        raise ValueError(f"objects hold {array.dtype} values: expected integers, 0 = background, one id an object")
    return array


def number_objects(objects: ArrayLike, strokes: ArrayLike | None, shape: tuple[int, ...]) -> Source:
    """Give the objects numbers, with what strokes add to them and take from them.

    Parameters
    ----------
    objects : (*spatial) array_like of int
        0 = background, any other number is an object.
    strokes : (*spatial) array_like of int, optional
        0 = free, an id = this pixel is of that object, which may be new, `BACKGROUND_STROKE` = background.
    shape : tuple of int
        Of the image.

    Raises
    ------
    ValueError
        See `as_objects`; or where strokes have another shape or are no integers.
    """
    array = as_objects(objects, shape)
    dtype = array.dtype
    if strokes is not None:
        marks, background = as_strokes(strokes, shape)
        array = np.where(marks != 0, marks, array)
        array[background] = 0
    ids, numbers = _numbered(array)
    if not len(ids):
        raise ValueError("objects hold no number but 0, the background: expected at least one object")
    if _fit(ids, dtype):
        ids = ids.astype(dtype)
    in_three = (1,) * (3 - len(shape)) + shape
    return Source(ids, numbers.reshape(in_three), shape)


def as_strokes(strokes: ArrayLike, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return strokes and where they say background, or say what is wrong with them."""
    marks = np.asarray(np.ma.filled(strokes, 0))
    if marks.shape != shape:
        raise ValueError(f"strokes have shape {marks.shape}: expected {shape} to match the image")
    if marks.dtype.kind not in "iu":
        raise ValueError(f"strokes hold {marks.dtype} values: expected integers, 0 = free, an id = this object")
    return marks, marks == background_stroke(marks.dtype)


def background_stroke(dtype: np.dtype[Any]) -> int:
    """Return what says background in strokes of a type."""
    return int(np.array(BACKGROUND_STROKE).astype(dtype))


def _fit(ids: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return int(ids.min()) >= info.min and int(ids.max()) <= info.max


def _numbered(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the ids but 0, ascending, and each pixel's number: 0, or one more than the place of its id."""
    low, high = int(array.min()), int(array.max())
    span = high - low + 1
    if span <= max(65536, TABLE_A_PIXEL * array.size):
        offsets = (array - array.dtype.type(low)).astype(np.int64).ravel() if low else array.astype(np.int64).ravel()
        present = np.zeros(span, bool)
        present[offsets] = True
        if low <= 0 <= high:
            present[-low] = False
        table = np.where(present, np.cumsum(present), 0).astype(np.int32)
        ids = (np.flatnonzero(present) + low).astype(array.dtype)
        return ids, table[offsets]
    values, places = np.unique(array.ravel(), return_inverse=True)
    is_object = values != 0
    table = np.where(is_object, np.cumsum(is_object), 0).astype(np.int32)
    return values[is_object], table[places.ravel()]


def chunks(work: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Split things in a row into at most so many chunks of about equal work; return where each begins, and the end."""
    total = np.concatenate([[0], np.cumsum(work)])
    bounds = np.searchsorted(total, np.linspace(0, total[-1], min(most, max(1, len(work))) + 1))
    bounds[0], bounds[-1] = 0, len(work)
    return np.unique(bounds).astype(np.int64)


def half_pixel(spacing: tuple[float, ...]) -> float:
    """Return how far the border of an object lies beyond the middle of its outermost pixels."""
    return 0.5 * min(spacing)
