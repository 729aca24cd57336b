"""Pixels of a label image that have no label: those without a value, and slices that nobody has refined.

They hold the largest number of the image's type that is no class: 0 is one, and the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def label_type(n_labels: int) -> np.dtype[np.unsignedinteger]:
    """Return the type for the indices of so many classes and for `no_label`: uint8, or uint16 past 255 classes."""
    return np.dtype(np.uint8 if n_labels <= 255 else np.uint16)


def no_label(dtype: DTypeLike, values: Iterable[int] = ()) -> int:
    """Return the number for pixels that have no label: those without a value take no part in a refinement.

    Parameters
    ----------
    dtype : numpy integer type
        Of the labels: 255 for uint8, 65535 for uint16.
    values : iterable of int
        The labels of the classes, where these are others than 0, 1, 2, ...: it is the largest number of the type that
        is none of them.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Where the type has no number left.
    """
    taken, limits = {int(value) for value in values}, np.iinfo(np.dtype(dtype))
    free = int(limits.max)
    while free in taken:
        free -= 1
    if free < limits.min:
        raise ValueError(f"all numbers of {np.dtype(dtype)} are classes: none is left for pixels without a value")
    return free


def without(number: int, labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels, masked where they equal the number for no label, which their type may be too small for."""
    masked: NDArray[Any] = np.ma.masked_where(labels == number, labels)
    return masked


def named(classes: NDArray[np.unsignedinteger], values: NDArray[Any]) -> NDArray[Any]:
    """Return labels for indices of classes, `no_label` of their own type where they have none.

    Parameters
    ----------
    classes : (*spatial) uint8 or uint16
    values : (n_labels,) array of int
        The label of each class.

    Returns
    -------
    (*spatial) array of the type of ``values``
    """
    none = classes == no_label(classes.dtype)
    if not none.any():
        labels: NDArray[Any] = values[classes]
        return labels
    labels = values[np.where(none, 0, classes)]
    labels[none] = no_label(values.dtype, values.tolist())
    return labels
