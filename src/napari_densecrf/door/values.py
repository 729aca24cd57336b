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

from .missing import without_mask

# So many values are looked at, spread over the array; of ids, a square of so many pixels.
SAMPLE, PATCH = 1 << 16, 1024
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
# Of neighbours that differ from 0 and from the largest value, so many are equal in images of ids; and of an id there is
# one patch, or hardly more.
ALIKE_NEIGHBOURS, PATCHES_EACH = 0.6, 1.5
# What is said of what is all NaN or masked.
NO_NUMBER = "has no value where it was looked at"
# Interpolation overshoots by as much; sums along the classes that are off by such a factor are only said.
OVERSHOOT, MOST_OFF = 0.3, 2.0
# Of integers, which a picture is made of as well, sums may be off by so much.
MOST_OFF_AS_INTEGERS = 0.2


class Kind(Enum):
    """What the numbers of a map mean."""

    PROBABILITIES = "probabilities"
    MASK = "a mask"
    CLASSES = "classes, one number each"
    OBJECTS = "objects, one number each"
    ONE_HOT = "classes, one plane of 0 and 1 each"
    SCALED = "probabilities of another scale"
    OVERSHOT = "probabilities that were interpolated"
    PICTURE = "a picture"
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
            Kind.OVERSHOT: "clip it to 0 to 1",
            Kind.PICTURE: "take one of its planes",
            Kind.LOGITS: "apply softmax over the classes first, or the sigmoid function to a foreground map",
        }[self.kind]


@dataclass(frozen=True)
class Look:
    """What was seen of a map.

    Parameters
    ----------
    dtype : numpy.dtype
    has_classes : bool
        Whether an axis holds classes; else it is the foreground alone.
    sample : (n_planes, n) array
        Values of pixels spread over the map.
    low, high : float
        Of all values that were seen, NaN left out.
    patch : (height, width) array
        A piece of the first plane, with all its pixels.
    values : (n_values,) array
        The different numbers of the sample, if they are whole; where these are few, of all that was seen.
    """

    dtype: np.dtype[Any]
    has_classes: bool
    sample: NDArray[Any]
    low: float
    high: float
    patch: NDArray[Any]
    values: NDArray[Any]

    @property
    def top(self) -> int:
        """The largest number of a type of integers."""
        return int(np.iinfo(self.dtype).max)


def look_at(array: NDArray[Any], class_axis: int | None) -> Values:
    """Tell what the numbers of a map are.

    Parameters
    ----------
    array : array of bool, int or float
        The map, or a part of it that has what the whole has. NaN and masked pixels are left out.
    class_axis : int, optional
        Axis of the classes; None for the foreground alone.

    Returns
    -------
    Values
    """
    planes = array[None] if class_axis is None else np.moveaxis(array, class_axis, 0)
    return judge(look(planes, has_classes=class_axis is not None))


def judge(seen: Look) -> Values:
    """Tell what numbers are, from what was seen of them."""
    if seen.dtype.kind == "b":
        return Values(Kind.MASK, True, "holds only true and false")
    if seen.dtype.kind == "f":
        return _floats(seen) if seen.sample.size else _unknown()
    return _integers(seen) if seen.sample.size else _unknown()


def look(planes: NDArray[Any], *, has_classes: bool) -> Look:
    """Look at a map in memory, (n_planes, *spatial)."""
    sample = _sample(planes)
    low, high = _extremes(planes, sample)
    patch = planes[0]
    while patch.ndim > 2:
        patch = patch[len(patch) // 2]
    # Of floats, only whole numbers may be labels.
    values = np.unique(sample) if planes.dtype.kind != "f" or _whole_numbers(sample) else sample[:0].ravel()
    if 0 < len(values) <= FEW_VALUES and not np.ma.isMaskedArray(planes):
        values = np.unique(known(planes.reshape(len(planes), -1)))
    return Look(planes.dtype, has_classes, sample, low, high, np.asarray(np.atleast_2d(patch)[:PATCH, :PATCH]), values)


def _sample(planes: NDArray[Any]) -> NDArray[Any]:
    """Return (n_planes, n) values, spread over the pixels; without a copy of all of them, whatever their order."""
    step = max(1, planes.size // SAMPLE)
    if planes.flags.c_contiguous:
        # An odd step does not fall on the same columns again and again.
        sample = planes.reshape(len(planes), -1)[:, :: step | 1]
    else:
        steps = [1] * planes.ndim
        # Every so many rows and columns.
        for axis in sorted(range(1, planes.ndim), key=lambda one: -planes.shape[one])[:2]:
            steps[axis] = max(1, min(planes.shape[axis] // 16, round(step**0.5))) | 1
        sample = planes[tuple(slice(None, None, one) for one in steps)].reshape(len(planes), -1)
    return known(sample)


def known(sample: NDArray[Any]) -> NDArray[Any]:
    """Return (n_planes, n) values without the pixels that are masked or no numbers in any plane."""
    if isinstance(sample, np.ma.MaskedArray):
        sample = sample.data[:, ~np.ma.getmaskarray(sample).any(axis=0)]
    return sample[:, np.isfinite(sample).all(axis=0)] if sample.dtype.kind == "f" else sample


def _extremes(planes: NDArray[Any], sample: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and the highest number, exact also for large integers; of all pixels where that is quick."""
    if not sample.size:
        return 0.0, 0.0
    if planes.dtype.kind == "b" or np.ma.isMaskedArray(planes):
        return sample.min(), sample.max()
    low, high = np.fmin.reduce(planes, axis=None), np.fmax.reduce(planes, axis=None)
    if planes.dtype.kind == "f":
        return (float(low), float(high)) if np.isfinite([low, high]).all() else (sample.min(), sample.max())
    return int(low), int(high)


def _unknown() -> Values:
    return Values(Kind.PROBABILITIES, False, NO_NUMBER)


def _floats(seen: Look) -> Values:
    sample, low, high = seen.sample, float(seen.low), float(seen.high)
    total = _common_sum(sample) if seen.has_classes and len(sample) > 1 else None
    if seen.values.tolist() == [0, 1] and not (seen.has_classes and len(sample) > 1):
        # Refining would change nothing: all pixels are certain.
        return _labels(seen, name_of(seen.dtype))
    if seen.values.tolist() == [0, 1] and total == 1 and np.isin((sample > 0).sum(axis=0), (0, 1)).all():
        return Values(Kind.ONE_HOT, True, "holds one 1 a pixel along the classes, and 0 otherwise")
    if low >= -SLACK and high <= 1 + SLACK:
        if total != 1:
            said = _sums(sample) if seen.has_classes else "lies in 0 to 1"
            return Values(Kind.PROBABILITIES, not seen.has_classes, said)
        return Values(Kind.PROBABILITIES, True, "sums to 1 along the classes")
    if low >= -SLACK and total is not None and 1 / MOST_OFF <= total <= MOST_OFF:
        return Values(Kind.PROBABILITIES, total == 1, f"sums to {total:g} along the classes")
    if low < 0 and _is_marked(sample, low):
        return Values(Kind.PROBABILITIES, False, f"holds {low:g} at some pixels, which is negative, and else 0 to 1")
    if low >= 0 and total not in (None, 1):
        return Values(Kind.SCALED, True, f"sums to {total:g} along the classes", total)
    if low >= 0 and _whole_numbers(sample):
        return _labels(seen, "floats")
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT and (seen.has_classes is False or total == 1):
        return Values(Kind.OVERSHOT, False, f"goes from {low:.3g} to {high:.3g}")
    if low >= 0 and high <= SCALES[-1] and _next_scale(high) / 2 < high:
        return Values(Kind.SCALED, False, f"goes up to {high:.4g}", _next_scale(high))
    if low < 0:
        return Values(Kind.LOGITS, True, f"goes down to {low:.3g}, and no probability is negative")
    return Values(Kind.LOGITS, True, f"goes up to {high:.3g}, and sums to nothing in common")


def _is_marked(sample: NDArray[Any], low: float) -> bool:
    """Tell whether one negative number stands for pixels without a value, and all others are probabilities."""
    others = sample[sample >= 0]
    return bool(others.size and (sample[sample < 0] == low).all() and others.max() <= 1 + SLACK)


def _integers(seen: Look) -> Values:
    if seen.low < 0:
        return Values(Kind.OBJECTS, True, f"goes down to {seen.low}, as {name_of(seen.dtype)}")
    if seen.has_classes and len(seen.sample) > 1:
        return _planes_of_integers(seen)
    return _one_plane_of_integers(seen)


def _planes_of_integers(seen: Look) -> Values:
    sample, high, top, dtype = seen.sample, int(seen.high), seen.top, name_of(seen.dtype)
    if len(seen.values) > 1 and (sample == sample[0]).all():
        return Values(Kind.PICTURE, True, f"has {len(sample)} equal planes")
    if len(seen.values) > 1 and high == top and (sample == top).all(axis=1).any():
        return Values(Kind.PICTURE, True, f"has a plane of {top} everywhere, as opacity is")
    total = _common_sum(sample)
    if seen.low == 0 and len(seen.values) == 2 and np.isin((sample > 0).sum(axis=0), (0, 1)).all():
        return Values(Kind.ONE_HOT, True, f"holds one {high} a pixel along the classes, and 0 otherwise")
    if total is not None and abs(total - top) <= SAME_SUM * top and _is_unsigned(seen.dtype):
        return Values(Kind.PROBABILITIES, True, f"sums to {top} along the classes, the largest {dtype}", top)
    if total is not None:
        return Values(Kind.SCALED, True, f"sums to {total:g} along the classes, of {dtype} up to {top}", total)
    if high >= REACHED * top and _is_unsigned(seen.dtype):
        # Rounding and neglect move the sums a little; the planes of a picture have nothing to do with one another.
        off = np.abs(sample.sum(axis=0, dtype=np.float64) / top - 1) > MOST_OFF_AS_INTEGERS
        kind = Kind.PICTURE if off.mean() > 1 - MOST_PIXELS else Kind.PROBABILITIES
        return Values(kind, False, _sums(sample / top), top)
    return Values(Kind.SCALED, False, f"goes up to {high} of {top}, and sums to nothing in common", _next_scale(high))


def _one_plane_of_integers(seen: Look) -> Values:
    high, top, dtype = int(seen.high), seen.top, name_of(seen.dtype)
    fits = _is_unsigned(seen.dtype) and high >= REACHED * top
    if high == 0:
        # All of it is background, whatever kind it is.
        return Values(Kind.PROBABILITIES, False, "holds only 0", top)
    # A few numbers are probabilities only where none of them is 0 or 1: of labels that were spread, the last is.
    if len(seen.values) <= FEW_VALUES and not (fits and 0 < seen.low < high < top):
        return _labels(seen, dtype, top if fits else 1)
    if _holds_ids(seen.patch, high):
        return Values(Kind.OBJECTS, True, f"holds patches of one number each, up to {high}, as {dtype}")
    if not fits:
        return Values(Kind.SCALED, False, f"goes up to {high}, and {dtype} to {top}", _next_scale(high))
    return Values(Kind.PROBABILITIES, False, f"goes up to {high} of {top}", top)


def probabilities_of(array: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return floats from 0 to 1: integers divided by the largest number of their type, NaN where they are masked."""
    if array.dtype.kind != "f":
        array = array * np.float32(1 / np.iinfo(array.dtype).max)
    return without_mask(array)


def name_of(dtype: np.dtype[Any]) -> str:
    """Return the name of a type, without its byte order."""
    return dtype.newbyteorder("=").name


def _is_unsigned(dtype: np.dtype[Any]) -> bool:
    """Tell whether a type of integers is one that probabilities are saved in, of whatever byte order."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def _labels(seen: Look, words: str, scale: float = 1.0) -> Values:
    values = seen.values
    shown = ", ".join(f"{value:g}" for value in values[:4]) + (" …" if len(values) > 4 else "")
    if len(values) <= 2:
        return Values(Kind.MASK, True, f"holds only {shown.replace(', ', ' and ')} as {words}")
    if len(values) <= FEW_VALUES:
        return Values(Kind.CLASSES, True, f"holds only the values {shown} as {words}", scale)
    return Values(Kind.OBJECTS, False, f"holds whole numbers up to {seen.high:g} as {words}")


def _sums(sample: NDArray[Any]) -> str:
    sums = sample.sum(axis=0, dtype=np.float64)
    return f"sums to {sums.min():.3g} to {sums.max():.3g} along the classes"


def _common_sum(sample: NDArray[Any]) -> float | None:
    """Return what the planes sum to at most pixels, or None; 1, or a known scale, exactly."""
    sums = sample.sum(axis=0, dtype=np.float64)
    # Pixels without a value have 0 in all planes.
    sums = sums[sums != 0]
    middle = float(np.median(sums)) if sums.size else 0.0
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


def _holds_ids(patch: NDArray[Any], high: int) -> bool:
    """Tell whether a piece of an image holds ids: neighbours are alike, and each number makes one patch."""
    left, right = patch[:, :-1], patch[:, 1:]
    inside = (left > 0) & (left < high)
    if not inside.any() or (left == right)[inside].mean() <= ALIKE_NEIGHBOURS:
        return False
    from skimage.measure import label

    n_patches = int(label(patch.astype(np.int64), background=0, connectivity=1).max())
    return n_patches <= PATCHES_EACH * int(np.count_nonzero(np.unique(patch)))
