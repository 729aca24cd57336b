"""What happened to each object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import Source

ROW = [("id", None), ("area_before", np.int64), ("area_after", np.int64), ("border_moved", np.float32), ("held", bool)]


def border_of(numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels of objects that share a side with another label."""
    border = np.zeros(numbers.shape, bool)
    for axis in range(numbers.ndim):
        ahead, behind = [slice(None)] * numbers.ndim, [slice(None)] * numbers.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        differs = numbers[tuple(ahead)] != numbers[tuple(behind)]
        border[tuple(ahead)] |= differs
        border[tuple(behind)] |= differs
    return border & (numbers > 0)


def make_report(source: Source, labels: NDArray[np.int32], held: NDArray[np.bool_]) -> NDArray[Any]:
    """Return one row an object.

    Parameters
    ----------
    source : Source
    labels : (depth, height, width) int32
        Numbers after the refinement.
    held : (n_objects,) bool

    Returns
    -------
    (n_objects,) structured array
        ``id``; ``area_before`` and ``area_after`` in pixels; ``border_moved``, 0..1: the share of the pixels on its
        border before that are not on it now; ``held``: the image could not tell the object from what lies around it,
        so it was left as it was.
    """
    before = border_of(source.numbers)
    after = border_of(labels)
    stays = before & after & (labels == source.numbers)
    n = source.n_objects + 1
    of_border = np.bincount(source.numbers[before], minlength=n)[1:]
    staying = np.bincount(source.numbers[stays], minlength=n)[1:]
    report = np.empty(source.n_objects, [(name, source.ids.dtype if kind is None else kind) for name, kind in ROW])
    report["id"] = source.ids
    report["area_before"] = source.areas
    report["area_after"] = np.bincount(labels.ravel(), minlength=n)[1:]
    report["border_moved"] = 1 - staying / np.maximum(of_border, 1)
    report["held"] = held
    return report
