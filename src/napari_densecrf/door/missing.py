"""Pixels without a value: which they are, and whether they may be what a background has, or are faults.

A stitched image has NaN where there is no tile, a masked array says it with its mask, and a map may not cover its
image. Such pixels take no part: they send no messages, get no label, and are not counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# NaN inside the picture counts as a region without a value from so many connected pixels on.
REGION_PIXELS = 64


def as_array(array: ArrayLike) -> NDArray[Any]:
    """Return a plain array, or a masked one."""
    return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)


def without_mask(array: Any) -> NDArray[Any]:
    """Return a plain array, with NaN where it was masked."""
    if not np.ma.is_masked(array):
        return np.asarray(array)
    filled: NDArray[Any] = array.astype(np.result_type(array.dtype, np.float32)).filled(np.nan)
    return filled


def check_missing(array: Any, vector_axis: int | None, what: str, *, is_part: bool = False) -> None:
    """Raise ValueError where NaN is scattered inside a picture, or no pixel of a whole one has a value.

    A region without a value touches the border of the array, or has at least `REGION_PIXELS` connected pixels
    (neighbours along diagonals count). NaN in fewer pixels than that, inside the picture, is more likely a fault: 0 / 0
    in a ratio of images, log of 0, a dead pixel. What touches the border is not judged, so that a part of an image is
    never refused for what is right in the whole. Masked pixels are not judged either: a mask is meant.

    Parameters
    ----------
    array : array of float, or masked array
    vector_axis : int, optional
        Axis of channels or classes: a pixel has no value where any of them has none.
    what : str
        As the sentence names it, with its verb.
    is_part : bool
        Whether it is a part of a picture, in which no pixel need have a value.
    """
    missing, masked = _missing(array, vector_axis)
    if missing.all() and not is_part:
        raise ValueError(f"{what} no value at any pixel: all are NaN or masked")
    n_scattered = int(np.count_nonzero(_scattered(missing) & ~masked)) if missing.any() else 0
    if n_scattered:
        raise ValueError(
            f"{what} NaN at {n_scattered:,} of {missing.size:,} pixels that lie scattered inside the picture: expected "
            f"NaN only in regions at the border or of {REGION_PIXELS} pixels or more; fill these, or mask them with "
            "numpy.ma"
        )


def _missing(array: Any, vector_axis: int | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels have no value, and which of them are masked."""
    data = np.ma.getdata(array)
    masked: NDArray[np.bool_] = np.ma.getmaskarray(array)
    missing: NDArray[np.bool_] = np.logical_or(masked, np.isnan(data)) if data.dtype.kind == "f" else masked
    if vector_axis is None:
        return missing, masked
    return np.logical_or.reduce(missing, axis=vector_axis), np.logical_or.reduce(masked, axis=vector_axis)


def _scattered(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of small patches that do not touch the border."""
    from scipy import ndimage

    patches, count = ndimage.label(missing, np.ones((3,) * missing.ndim))
    is_small = np.bincount(patches.ravel(), minlength=count + 1) < REGION_PIXELS
    is_small[0] = False
    for axis in range(missing.ndim):
        for end in (0, -1):
            is_small[np.take(patches, end, axis=axis)] = False
    scattered: NDArray[np.bool_] = is_small[patches]
    return scattered


def same_pixels(array: NDArray[Any], other: NDArray[Any]) -> bool:
    """Tell whether two arrays hold the same, where pixels without a value are equal too."""
    if np.array_equal(array, other):
        return True
    return array.dtype.kind == "f" and np.array_equal(array, other, equal_nan=True)


def share_words(share: float) -> str:
    """Return a share in percent, as a sentence has it: of few, not 0."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"
