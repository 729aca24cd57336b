"""Probabilities, labels and strokes to unary energies.

The energies of a pixel matter up to a constant, so they are kept as differences from the last label's,
``psi_L - psi_l = log p_l - log p_L``: one number a pixel for two labels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.memory import whole_empty
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.simd import padded
from napari_densecrf.crf.numba.vectormath import logf
from napari_densecrf.door.axes import MAX_CLASSES
from napari_densecrf.door.missing import as_array, check_missing
from napari_densecrf.door.refusals import PYTHON, refusal
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import probabilities_of

from .grid import Grid

# Probabilities are clipped from below, so that no label is ever ruled out but by a stroke.
SMALLEST_PROBABILITY = 1e-6
# Sums of probabilities this far from 1 are rounding and pass in silence.
SUM_TOLERANCE = 0.02
# The energy of the labels that a stroke rules out, above all others; the free energy leaves such differences out.
RULED_OUT = 1e9
# How probable the classes of a rough segmentation are, where nobody says it.
CONFIDENCE = 0.9

# Labels above this are class indices only where not too many of them are missing.
FEW_INDICES, MOST_INDICES_EACH = 32, 4
_RANKS = "; the inverse that np.unique(labels, return_inverse=True) returns has them"

BLOCK = 512
BAD, ZERO_SUM, OFF_SUM = range(3)


class InputWarning(UserWarning):
    """The input was accepted, but not all of it as it came."""


@dataclass(frozen=True)
class Unary:
    """Unary energies of all pixels, relative to the last label's.

    Parameters
    ----------
    differences : (n_points, n_channels) float32
        ``psi_L - psi_l``, L the last label. Channels past n_labels - 1 fill vectors, and are ruled out everywhere;
        so are all of a pixel without a value, which then sends nothing: no marginal but the last label's is above 0.
    last_energy : float
        Sum of ``psi_L`` over the pixels that have a value, which makes the free energy absolute.
    n_labels : int
    valid : (n_points,) bool, optional
        Pixels that have a value; None = all.
    mended : bool
        Whether the map was no map of probabilities everywhere, of which a warning has told.
    """

    differences: NDArray[np.float32]
    last_energy: float
    n_labels: int
    valid: NDArray[np.bool_] | None = None
    mended: bool = False

    def copied(self) -> Unary:
        """Return the same energies in an array of their own."""
        return replace(self, differences=self.differences.copy())


def probabilities_from_labels(
    labels: ArrayLike, confidence: float = CONFIDENCE, n_labels: int | None = None
) -> NDArray[np.float32]:
    """Make a probability map from a rough segmentation.

    Parameters
    ----------
    labels : (*spatial) array_like of bool or int
        Class indices from 0 on; masked where there is none. Of other labels, as ids,
        ``np.unique(labels, return_inverse=True)`` makes indices.
    confidence : float
        Probability of the given class, above ``1 / n_labels`` and below 1; the others share the rest.
    n_labels : int, optional
        Number of classes; None = the largest index + 1, at least 2.

    Returns
    -------
    (n_labels, *spatial) float32
        NaN where labels are masked: these pixels take no part.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    if isinstance(labels, np.ma.MaskedArray) and np.ma.is_masked(labels):
        known = ~np.ma.getmaskarray(labels)
        if n_labels is None and not known.any():
            raise ValueError("labels are masked at all pixels: expected a class at one or more")
        some_class = labels[known].min() if known.any() else 0
        planes = probabilities_from_labels(labels.filled(some_class), confidence, n_labels)
        return np.where(known, planes, np.float32(np.nan))
    array = np.asarray(labels)
    if array.dtype.kind not in "biu":
        raise ValueError(f"labels hold {array.dtype} values: expected integers, the index of the class")
    if array.size == 0:
        raise ValueError(f"labels are empty, of shape {array.shape}: expected at least one pixel")
    if array.dtype.kind == "i" and array.min() < 0:
        raise ValueError(f"labels go down to {array.min()}: expected class indices from 0 on{_RANKS}")
    count = max(2, int(array.max()) + 1) if n_labels is None else n_labels
    if n_labels is None and count > FEW_INDICES:
        _refuse_ids(array, count)
    if count < 2 or array.max() >= count:
        raise ValueError(f"labels go up to {array.max()} with {count} classes: expected indices from 0 to {count - 1}")
    if not 1 / count < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}: expected more than 1 / {count} and less than 1")
    probabilities = np.full((count, *array.shape), (1 - confidence) / (count - 1), np.float32)
    np.put_along_axis(probabilities, array[None].astype(np.intp), np.float32(confidence), axis=0)
    return probabilities


def probabilities_from_masks(masks: ArrayLike, confidence: float = CONFIDENCE) -> NDArray[np.float32]:
    """Make a probability map from one mask for each class.

    Parameters
    ----------
    masks : (n_masks, *spatial) array_like of bool or int
        Not 0 where a pixel has the class. Masked pixels, in any of them, have no value.
    confidence : float
        Probability of the given class, above ``1 / n_labels`` and below 1; where several are given they share it.

    Returns
    -------
    (n_masks + 1, *spatial) float32
        The first class is that of the pixels in no mask. NaN where masked.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    array = as_array(masks)
    if array.ndim < 2 or not len(array) or array.dtype.kind not in "biu":
        raise ValueError(
            f"masks are {array.dtype} of shape {array.shape}: expected (n_masks, *spatial), bool or integers"
        )
    given = np.concatenate([np.zeros((1, *array.shape[1:]), bool), np.ma.getdata(array) != 0])
    given[0] = ~given[1:].any(axis=0)
    count = len(given)
    if not 1 / count < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}: expected more than 1 / {count} and less than 1")
    n_given = given.sum(axis=0)
    rest = np.maximum(count - n_given, 1)
    # Where a pixel is in all of them, only the first class is left for the rest.
    shares: NDArray[np.float64] = np.where(given, confidence / n_given, (1 - confidence) / rest)
    probabilities = shares.astype(np.float32)
    probabilities[:, np.ma.getmaskarray(array).any(axis=0)] = np.nan
    return probabilities


def _refuse_ids(labels: NDArray[np.integer], count: int) -> None:
    """Raise ValueError where most indices up to the largest belong to no pixel, or to too many for classes."""
    values = np.unique(labels)
    if len(values) * MOST_INDICES_EACH < count or count > MAX_CLASSES:
        named = [str(value) for value in values]
        shown = ", ".join(named if len(named) < 5 else [*named[:3], "…", named[-1]])
        raise ValueError(
            f"labels hold {len(values):,} different values, {shown}: expected class indices from 0 on, at most "
            f"{MAX_CLASSES} classes{_RANKS}"
        )


def unary_energies(
    probabilities: ArrayLike,
    grid: Grid,
    strokes: ArrayLike | None = None,
    valid: NDArray[np.bool_] | None = None,
    *,
    is_part: bool = True,
) -> Unary:
    """Return the unary energies of a probability map and hard constraints.

    Parameters
    ----------
    probabilities : array_like
        (n_labels, *spatial), or (*spatial): the foreground of two classes. Floats from 0 to 1, or uint8 or uint16,
        which are divided by the largest number of their type. Pixels that are NaN or masked have no value.
    grid : Grid
        Whose shape is (*spatial).
    strokes : (*spatial) array_like of int, optional
        0 = free, k = this pixel is class k - 1.
    valid : (n_points,) bool, optional
        Pixels of the image that have a value; None = all.
    is_part : bool
        Whether this is a part of a map, where NaN is not judged; see `check_missing`.

    Returns
    -------
    Unary
        Of ``psi(l) = -log p(l)``, p clipped to [1e-6, 1] and renormalised.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.

    Warns
    -----
    InputWarning
        Where probabilities sum to 0 (the pixel becomes uniform), or to something else than 1 (renormalised).
    """
    planes = _planes(probabilities, grid)
    n_labels = max(2, len(planes))
    if valid is not None:
        # What the map says there does not matter.
        planes = np.where(valid, planes, np.float32(1 / n_labels))
    differences = whole_empty((grid.n_points, padded(n_labels - 1)), np.float32)
    n_blocks = -(-grid.n_points // BLOCK)
    last_energies = np.empty(n_blocks)
    counts = np.empty((n_blocks, 3), np.int64)
    _differences(n_blocks, planes, np.float32(SMALLEST_PROBABILITY), differences, last_energies, counts)
    bad, zero_sum, off_sum = counts.sum(axis=0).tolist()
    if bad:
        known: NDArray[np.bool_] = np.logical_not(np.isnan(planes).any(axis=0))
        n_wrong = bad - np.count_nonzero(~known)
        if n_wrong:
            raise ValueError(
                f"probabilities are infinite or negative at {n_wrong:,} of {grid.n_points:,} pixels: expected numbers "
                "from 0 to 1, or NaN where a region has no value"
            )
        if not is_part:
            check_missing(probabilities, None if len(planes) == 1 else 0, "the probabilities have")
        planes = np.where(known, planes, np.float32(1 / n_labels))
        _differences(n_blocks, planes, np.float32(SMALLEST_PROBABILITY), differences, last_energies, counts)
        valid = known if valid is None else np.logical_and(valid, known)
    _complain(planes, zero_sum, off_sum)
    unary = Unary(differences, float(last_energies.sum()), n_labels, valid, bool(bad or zero_sum or off_sum))
    given = None if strokes is None else stroke_classes(strokes, grid, n_labels)
    if valid is not None:
        # Of the last label for good: no message is sent for it, as those of the others tell all.
        given = np.where(valid, 0 if given is None else given, n_labels)
    return unary if given is None else _constrain(unary, given)


def is_foreground(shape: tuple[int, ...], grid: Grid) -> bool:
    """Tell whether a map of this shape is the foreground of two classes; raises where it does not fit the grid."""
    foreground = grid.matches(shape)
    if not foreground and not (len(shape) == len(grid.shape) + 1 and grid.matches(shape[1:])):
        raise ValueError(
            f"probabilities have shape {shape}: expected (n_labels, {grid}) to match the image, or ({grid}) for "
            "the foreground of two classes" + _axis_hint(shape, grid)
        )
    if not foreground and shape[0] < 2:
        raise ValueError(
            f"probabilities have {shape[0]} class along their first axis: expected at least 2, or ({grid}) for the "
            "foreground of two classes"
        )
    return foreground


def count_labels(shape: tuple[int, ...], dtype: np.dtype[Any], grid: Grid) -> int:
    """Return the number of labels of a map, whose values need not be at hand.

    Raises
    ------
    ValueError
        Where its shape or type is not that of a map on the grid.
    """
    foreground = is_foreground(shape, grid)
    if dtype.kind == "b" or (dtype.kind in "iu" and (dtype.kind == "i" or dtype.itemsize > 2)):
        raise ValueError(
            f"probabilities hold {dtype} values: expected floats from 0 to 1, uint8 or uint16; a rough "
            "segmentation goes through probabilities_from_labels"
        )
    if dtype.kind not in "uf":
        raise ValueError(f"probabilities hold {dtype} values: expected floats from 0 to 1, uint8 or uint16")
    return 2 if foreground else shape[0]


def check_values(probabilities: Any, grid: Grid) -> None:
    """Raise ValueError where the numbers of a whole map are no probabilities; of a lazy one, a few parts are read.

    A part of a map does not tell: that of a background holds no number but 0.
    """
    foreground = is_foreground(tuple(probabilities.shape), grid)
    if probabilities.dtype.kind not in "biuf":
        # `count_labels` names what is wrong.
        return
    refused = refusal(look_through(probabilities, None if foreground else 0), PYTHON)
    if refused is not None:
        raise ValueError(refused)


def _planes(probabilities: ArrayLike, grid: Grid) -> NDArray[np.float32]:
    """Return (n_labels, n_points) probabilities, or (1, n_points) of the foreground."""
    array = as_array(probabilities)
    count_labels(array.shape, array.dtype, grid)
    planes = probabilities_of(array).reshape(1 if is_foreground(array.shape, grid) else len(array), -1)
    return np.ascontiguousarray(planes, dtype=np.float32)


def _axis_hint(shape: tuple[int, ...], grid: Grid) -> str:
    if grid.matches(shape[:-1]):
        return f"; the class axis is the last one here ({shape[-1]}): move it to the front"
    if len(grid.shape) == 3 and (shape[1:] == grid.shape[:2] or shape == grid.shape[:2]):
        return "; where the image's last axis holds channels, say channel_axis=-1"
    return ""


@inlined()
def _add_plane(plane, sums, wrong):
    """Add one label's probabilities to the sums, and note where they are none."""
    for k in range(plane.size):
        value = plane[k]
        sums[k] += value
        # Written so that NaN is wrong too.
        wrong[k] |= np.int32(not (value >= np.float32(0.0))) | np.int32(not (value < np.float32(np.inf)))


@inlined()
def _check_block(planes, first, last, sums, counts):
    """Count the pixels whose probabilities are no numbers or negative, sum to 0, or far from 1; keep the sums."""
    wrong = np.zeros(BLOCK, np.int32)
    sums[:] = np.float32(0.0)
    for label in range(len(planes)):
        _add_plane(planes[label, first:last], sums, wrong)
    lowest = np.float32(-1.0) if len(planes) == 1 else np.float32(1.0 - SUM_TOLERANCE)
    highest = np.float32(1.0 + 1e-3) if len(planes) == 1 else np.float32(1.0 + SUM_TOLERANCE)
    n_wrong = n_zero = n_off = np.int32(0)
    for k in range(last - first):
        fine = np.int32(1) - wrong[k]
        zero = np.int32(sums[k] == np.float32(0.0)) * np.int32(len(planes) > 1)
        off = np.int32(sums[k] < lowest) | np.int32(sums[k] > highest)
        n_wrong += wrong[k]
        n_zero += fine * zero
        n_off += fine * off * (np.int32(1) - zero)
    counts[BAD] = n_wrong
    counts[ZERO_SUM] = n_zero
    counts[OFF_SUM] = n_off


@inlined()
def _foreground_block(planes, smallest, first, last, differences, last_logs, normalisers):
    """Write what `_block` does, from the probabilities of the second of two labels."""
    one = np.float32(1.0)
    for k in range(last - first):
        foreground = planes[0, first + k]
        kept = min(max(foreground, smallest), one)
        rest = min(max(one - foreground, smallest), one)
        last_logs[k] = logf(kept)
        normalisers[k] = kept + rest
        differences[first + k, 0] = logf(rest) - last_logs[k]


@kernel()
def _clipped_logs(plane, inverse_sums, smallest, normalisers, logs):
    """Write the logs of one label's probabilities, and add what was kept of them to the normalisers."""
    for k in range(plane.size):
        kept = max(plane[k] * inverse_sums[k], smallest)
        normalisers[k] += kept
        logs[k] = logf(kept)


@inlined()
def _classes_block(planes, smallest, first, last, sums, differences, last_logs, normalisers):
    n_channels = len(planes) - 1
    for k in range(last - first):
        # Where all are 0, all are clipped to the same: uniform.
        sums[k] = np.float32(1.0) / sums[k] if sums[k] > np.float32(0.0) else np.float32(1.0)
    normalisers[:] = np.float32(0.0)
    logs = np.empty(BLOCK, np.float32)
    _clipped_logs(planes[n_channels, first:last], sums, smallest, normalisers, last_logs)
    for c in range(n_channels):
        _clipped_logs(planes[c, first:last], sums, smallest, normalisers, logs)
        for k in range(last - first):
            differences[first + k, c] = logs[k] - last_logs[k]
    differences[first:last, n_channels:] = np.float32(-RULED_OUT)


@inlined()
def _block(planes, smallest, first, last, differences, counts):
    """Write ``log p_l - log p_L`` of a block, count what is wrong, and return its sum of ``-log p_L``."""
    sums = np.empty(BLOCK, np.float32)
    last_logs = np.empty(BLOCK, np.float32)
    normalisers = np.empty(BLOCK, np.float32)
    _check_block(planes, first, last, sums, counts)
    if len(planes) == 1:
        _foreground_block(planes, smallest, first, last, differences, last_logs, normalisers)
    else:
        _classes_block(planes, smallest, first, last, sums, differences, last_logs, normalisers)
    energy = np.float32(0.0)
    for k in range(last - first):
        energy += logf(normalisers[k]) - last_logs[k]
    return np.float64(energy)


@parallel_kernel()
def _differences(given, block):
    """Write ``log p_l - log p_L`` and the sum of ``-log p_L`` of a block; count what is wrong with them.

    planes : (n_labels, n_points) float32, or (1, n_points) of the second of two labels.
    """
    planes, smallest, differences, last_energies, counts = arguments_of(given)
    first, last = block * BLOCK, min((block + 1) * BLOCK, len(differences))
    last_energies[block] = _block(planes, smallest, first, last, differences, counts[block])


def _complain(planes: NDArray[np.float32], zero_sum: int, off_sum: int) -> None:
    """Refuse what is no probability, and say what was mended."""
    n_points = planes.shape[1]
    if len(planes) == 1 and off_sum:
        raise ValueError(
            f"the foreground probabilities go up to {planes.max():g}: expected floats from 0 to 1, uint8 or uint16"
        )
    if zero_sum:
        warnings.warn(
            f"probabilities sum to 0 at {zero_sum:,} of {n_points:,} pixels, which become uniform", InputWarning, 4
        )
    if off_sum:
        sums = planes.sum(axis=0)
        warnings.warn(
            f"probabilities sum to {sums.min():.3g} to {sums.max():.3g}, not to 1, at {off_sum:,} of {n_points:,} "
            "pixels, which were renormalised",
            InputWarning,
            4,
        )


def check_strokes(shape: tuple[int, ...], dtype: np.dtype[Any], grid: Grid) -> None:
    """Raise ValueError where strokes have not the grid's shape, or are no integers."""
    if not grid.matches(shape):
        raise ValueError(f"strokes have shape {shape}: expected ({grid}) to match the image")
    if dtype.kind not in "iu":
        raise ValueError(f"strokes hold {dtype} values: expected integers, 0 = free, k = class k - 1")


def stroke_classes(strokes: ArrayLike, grid: Grid, n_labels: int) -> NDArray[np.integer]:
    """Return (n_points,) integers, 0 = free, k = class k - 1, or say what is wrong with them."""
    array = np.asarray(np.ma.filled(strokes, 0))
    check_strokes(array.shape, array.dtype, grid)
    if array.min() < 0 or array.max() > n_labels:
        wrong = int(array.min() if array.min() < 0 else array.max())
        raise ValueError(f"strokes hold {wrong}: expected 0 (free) to {n_labels}, the number of classes")
    return array.ravel()


def _constrain(unary: Unary, strokes: NDArray[np.integer]) -> Unary:
    """Rule out every label but the stroke's, in place of what the map said there."""
    fixed = np.flatnonzero(strokes)
    classes = strokes[fixed].astype(np.intp) - 1
    differences = unary.differences[:, : unary.n_labels - 1]
    # As probabilities sum to 1, psi_L = log sum_l exp(psi_L - psi_l). A stroke's own label costs nothing.
    forgotten = np.log1p(np.exp(differences[fixed].astype(np.float64)).sum(axis=1)).sum()
    is_last = classes == differences.shape[1]
    differences[fixed] = np.where(is_last, -RULED_OUT, 0.0)[:, None]
    differences[fixed[~is_last], classes[~is_last]] = RULED_OUT
    return replace(unary, last_energy=unary.last_energy - float(forgotten))


def favoured(unary: Unary, label_bias: tuple[float, ...] | None) -> Unary:
    """Return the energies ``psi_i(l) - b_l``, made in place.

    Raises
    ------
    ValueError
        Where there is not one number a class.
    """
    if label_bias is None:
        return unary
    if len(label_bias) != unary.n_labels:
        raise ValueError(f"label_bias has {len(label_bias)} numbers: expected {unary.n_labels}, one for each class")
    bias = np.array(label_bias, np.float32)
    differences = unary.differences[:, : unary.n_labels - 1]
    differences += bias[:-1] - bias[-1]
    # As if the favoured probabilities summed to one again, which changes no marginal: then psi_L is as in `_constrain`.
    most = np.maximum(differences.max(axis=1), 0)
    sums = np.exp(-most) + np.exp(differences - most[:, None]).sum(axis=1)
    energies = most + np.log(sums)
    counted = np.abs(differences).max(axis=1) < 0.5 * RULED_OUT
    if unary.valid is not None:
        counted &= unary.valid
    return replace(unary, last_energy=float(energies.sum(where=counted, dtype=np.float64)))
