"""What the numbers of a map are: told from their type, their range, and what they sum to along the classes.

A map of probabilities is floats from 0 to 1, or integers of which the largest of their type is 1. All else that people
save as a map is recognised and named, with what to do: nothing is scaled in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many values are looked at, spread over the array.
SAMPLE = 1 << 16
# Integers of fewer different values than this are classes, not probabilities.
FEW_VALUES = 16
# Probabilities that were saved as integers reach at least this part of their type's range somewhere.
REACHED = 0.5
# Sums along the classes count as one number where so many pixels are this near to it.
SAME_SUM, MOST_PIXELS = 0.03, 0.9
# Rounding of floats that should lie from 0 to 1.
SLACK = 1e-3
# What 1 may be in maps that were scaled: percent, per mille, and the ranges of cameras and file types.
SCALES = (100, 255, 1000, 1023, 4095, 16383, 65535)
# Of neighbours that differ from 0 and from the largest value, so many are equal in images of ids.
ALIKE_NEIGHBOURS = 0.6


class Kind(Enum):
    """What the numbers of a map mean."""

    PROBABILITIES = "probabilities"
    MASK = "a mask"
    CLASSES = "classes, one number each"
    OBJECTS = "objects, one number each"
    ONE_HOT = "classes, one plane of 0 and 1 each"
    SCALED = "probabilities of another scale"
    LOGITS = "logits"


@dataclass(frozen=True)
class Values:
    """What a map's numbers were taken for.

    Parameters
    ----------
    kind : Kind
    sure : bool
        Whether nothing else is likely.
    why : str
        Part of a sentence after "the map": what was seen.
    scale : float
        What 1 is in it, for probabilities.
    """

    kind: Kind
    sure: bool
    why: str
    scale: float = 1.0

    @property
    def remedy(self) -> str:
        """What to do with a map that is no map of probabilities; empty for one that is."""
        return {
            Kind.PROBABILITIES: "",
            Kind.MASK: "take it as a rough segmentation",
            Kind.CLASSES: "take it as a rough segmentation",
            Kind.OBJECTS: "take it as a rough segmentation",
            Kind.ONE_HOT: "take the number of the plane as the class of a rough segmentation",
            Kind.SCALED: f"divide it by {self.scale:g}",
            Kind.LOGITS: "apply softmax over the classes first, or the sigmoid function to a foreground map",
        }[self.kind]


def look_at(array: NDArray[Any], class_axis: int | None) -> Values:
    """Tell what the numbers of a map are.

    Parameters
    ----------
    array : array of bool, int or float
        The map, or a part of it that has what the whole has. NaN is left out.
    class_axis : int, optional
        Axis of the classes; None for the foreground alone.

    Returns
    -------
    Values
    """
    planes = array[None] if class_axis is None else np.moveaxis(array, class_axis, 0)
    sample = _sample(planes)
    if array.dtype.kind == "b":
        return Values(Kind.MASK, True, "holds only true and false")
    if array.dtype.kind == "f":
        finite = sample[:, np.isfinite(sample).all(axis=0)]
        return _floats(finite, class_axis is not None) if finite.size else _unknown(sample)
    return _integers(planes, sample, class_axis is not None)


def _sample(planes: NDArray[Any]) -> NDArray[Any]:
    """Return (n_planes, n) values, spread over the pixels."""
    flat = planes.reshape(len(planes), -1)
    # An odd step does not fall on the same columns again and again.
    step = max(1, flat.size // SAMPLE) | 1
    return flat[:, ::step]


def _unknown(sample: NDArray[Any]) -> Values:
    return Values(Kind.PROBABILITIES, False, "holds no finite numbers where it was looked at")


def _floats(sample: NDArray[Any], has_classes: bool) -> Values:
    low, high = float(sample.min()), float(sample.max())
    total = _common_sum(sample) if has_classes and len(sample) > 1 else None
    if low >= -SLACK and high <= 1 + SLACK:
        if total is None:
            sums = sample.sum(axis=0)
            said = (
                f"sums to {sums.min():.3g} to {sums.max():.3g} along the classes" if has_classes else "lies in 0 to 1"
            )
            return Values(Kind.PROBABILITIES, not has_classes, said)
        return Values(Kind.PROBABILITIES, True, "sums to 1 along the classes")
    if low >= 0 and total is not None:
        return Values(Kind.SCALED, True, f"sums to {total:g} along the classes", total)
    if low >= 0 and _whole_numbers(sample):
        return _labels(sample, high, "floats")
    if low >= 0 and high <= SCALES[-1] and _next_scale(high) / 2 < high:
        scale = _next_scale(high)
        return Values(Kind.SCALED, False, f"goes up to {high:.4g}", scale)
    end = f"goes down to {low:.3g}" if low < 0 else f"goes up to {high:.3g}"
    return Values(Kind.LOGITS, True, f"{end}, where probabilities lie from 0 to 1: negative numbers are logits")


def _integers(planes: NDArray[Any], sample: NDArray[Any], has_classes: bool) -> Values:
    top = int(np.iinfo(planes.dtype).max)
    low, high = int(planes.min()), int(planes.max())
    if low < 0:
        return Values(Kind.OBJECTS, True, f"goes down to {low}, as {planes.dtype}")
    if has_classes and len(planes) > 1:
        return _planes_of_integers(sample, high, top, planes.dtype)
    return _one_plane_of_integers(planes, sample, high, top)


def _planes_of_integers(sample: NDArray[Any], high: int, top: int, dtype: np.dtype[Any]) -> Values:
    total = _common_sum(sample)
    if total is not None and len(np.unique(sample)) == 2:
        return Values(Kind.ONE_HOT, True, f"holds one {high} a pixel along the classes, and 0 otherwise")
    if total is not None and abs(total - top) <= SAME_SUM * top and _is_unsigned(dtype):
        return Values(Kind.PROBABILITIES, True, f"sums to {top} along the classes, the largest {dtype}", top)
    if total is not None:
        return Values(Kind.SCALED, True, f"sums to {total:g} along the classes, of {dtype} up to {top}", total)
    if high >= REACHED * top and _is_unsigned(dtype):
        return Values(Kind.PROBABILITIES, False, _sums(sample / top), top)
    return Values(Kind.SCALED, False, f"goes up to {high} of {top}, and sums to nothing in common", _next_scale(high))


def _one_plane_of_integers(planes: NDArray[Any], sample: NDArray[Any], high: int, top: int) -> Values:
    dtype = planes.dtype
    values = np.unique(sample)
    if len(values) <= FEW_VALUES or high == 1:
        return _labels(sample, high, str(dtype))
    if _neighbours_alike(planes, high) > ALIKE_NEIGHBOURS:
        return Values(Kind.OBJECTS, True, f"holds patches of one number each, up to {high}, as {dtype}")
    if not _is_unsigned(dtype) or high < REACHED * top:
        said = f"goes up to {high}, and {dtype} to {top}"
        return Values(Kind.SCALED, False, said, _next_scale(high))
    return Values(Kind.PROBABILITIES, False, f"goes up to {high} of {top}", top)


def _is_unsigned(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type of integers is one that probabilities are saved in, of whatever byte order."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def _labels(sample: NDArray[Any], high: float, words: str) -> Values:
    values = np.unique(sample)
    shown = ", ".join(f"{value:g}" for value in values[:4]) + (" …" if len(values) > 4 else "")
    if len(values) <= 2:
        return Values(Kind.MASK, True, f"holds only {shown.replace(', ', ' and ')} as {words}")
    if len(values) <= FEW_VALUES:
        return Values(Kind.CLASSES, True, f"holds only the values {shown} as {words}")
    return Values(Kind.OBJECTS, False, f"holds whole numbers up to {high:g} as {words}")


def _sums(sample: NDArray[Any]) -> str:
    sums = sample.sum(axis=0, dtype=np.float64)
    return f"sums to {sums.min():.3g} to {sums.max():.3g} along the classes"


def _common_sum(sample: NDArray[Any]) -> float | None:
    """Return what the planes sum to at most pixels, or None; 1, or a known scale, exactly."""
    sums = sample.sum(axis=0, dtype=np.float64)
    middle = float(np.median(sums))
    # Integers are rounded, each of the planes by a half at most.
    slack = SAME_SUM * abs(middle) + (0.5 * len(sample) if sample.dtype.kind in "iu" and middle > 10 else 0.0)
    if middle <= 0 or (np.abs(sums - middle) <= slack).mean() < MOST_PIXELS:
        return None
    return next((float(scale) for scale in (1, *SCALES) if abs(middle - scale) <= SAME_SUM * scale), middle)


def _whole_numbers(sample: NDArray[Any]) -> bool:
    return bool((sample == np.round(sample)).all())


def _next_scale(high: float) -> float:
    """Return the scale that numbers up to ``high`` most likely have."""
    return float(next((scale for scale in SCALES if high <= scale), high))


def _neighbours_alike(planes: NDArray[Any], high: int) -> float:
    """Return how many of the neighbours along the last axis are equal, where neither is 0 nor the largest value."""
    rows = planes.reshape(-1, planes.shape[-1])
    rows = rows[:: max(1, rows.size // (4 * SAMPLE))]
    left, right = rows[:, :-1], rows[:, 1:]
    inside = (left > 0) & (left < high)
    return float((left == right)[inside].mean()) if inside.any() else 0.0
