"""What happened to each object: counts, which add up over the parts of an image, and the report made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import Source

ROW = [("id", None), ("area_before", np.int64), ("area_after", np.int64), ("border_moved", np.float32), ("held", bool)]
# Pixels: those of the border before, and those of them that are on it still.
COUNTED = ("area_before", "area_after", "border_before", "border_stays")


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


def counts_type(ids: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of a row of counts."""
    return np.dtype([("id", ids), *((name, np.int64) for name in COUNTED), ("held", bool)])


def count_objects(
    source: Source, labels: NDArray[np.int32], held: NDArray[np.bool_], inner: tuple[slice, ...] | None = None
) -> NDArray[Any]:
    """Return one row of counts an object.

    Parameters
    ----------
    source : Source
    labels : (depth, height, width) int32
        Numbers after the refinement.
    held : (n_objects,) bool
    inner : tuple of slice, optional
        The part of the image in which pixels count; objects that have none there get no row. None = all.

    Returns
    -------
    (n,) structured array
        ``id``, ``held``, and `COUNTED`.
    """
    before, after = border_of(source.numbers), border_of(labels)
    stays = before & after & (labels == source.numbers)
    part = (slice(None),) * 3 if inner is None else (slice(None),) * (3 - len(inner)) + inner
    numbers, n = source.numbers[part], source.n_objects + 1
    rows = np.empty(source.n_objects, counts_type(source.ids.dtype))
    rows["id"], rows["held"] = source.ids, held
    rows["area_before"] = np.bincount(numbers.ravel(), minlength=n)[1:]
    rows["area_after"] = np.bincount(labels[part].ravel(), minlength=n)[1:]
    rows["border_before"] = np.bincount(numbers[before[part]], minlength=n)[1:]
    rows["border_stays"] = np.bincount(numbers[stays[part]], minlength=n)[1:]
    return rows if inner is None else rows[(rows["area_before"] > 0) | (rows["area_after"] > 0)]


def together(counts: Sequence[NDArray[Any]], ids: np.dtype[Any]) -> NDArray[Any]:
    """Return one row of counts an object, by ascending id, from those of the parts of an image."""
    rows = np.concatenate([np.empty(0, counts_type(ids)), *counts])
    values, places = np.unique(rows["id"], return_inverse=True)
    merged = np.zeros(len(values), counts_type(ids))
    merged["id"] = values
    for name in COUNTED:
        np.add.at(merged[name], places, rows[name])
    # In its own surroundings it is held; where a part shows little of it, that says nothing.
    most = np.zeros(len(values), np.int64)
    np.maximum.at(most, places, rows["area_before"])
    merged["held"][places[rows["held"] & (rows["area_before"] == most[places])]] = True
    return merged


def report_of(counts: NDArray[Any]) -> NDArray[Any]:
    """Return the report that counts make.

    Returns
    -------
    (n_objects,) structured array
        ``id``; ``area_before`` and ``area_after`` in pixels; ``border_moved``, 0..1: the share of the pixels on its
        border before that are not on it now; ``held``: the image could not tell the object from what lies around it,
        so it was left as it was.
    """
    kinds = [(name, counts.dtype["id"] if kind is None else kind) for name, kind in ROW]
    report = np.empty(len(counts), kinds)
    for name in ("id", "area_before", "area_after", "held"):
        report[name] = counts[name]
    report["border_moved"] = 1 - counts["border_stays"] / np.maximum(counts["border_before"], 1)
    return report
