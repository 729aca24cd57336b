"""Numbers for objects, from the image and the objects alone: how far borders may be off, and a balance that keeps size.

The image tells how far borders are off. On lines across a border, the image's edge is where it changes most. The
*support* of the borders is how much the image changes at their usual distance from the edge, compared with the edges
themselves: near 1 where borders follow the edges, about 0.8 where they are off by a pixel, 0.65 by two.

Annotators and tools differ in where they draw a border along a blurred edge. What they mean is kept: the balance
between objects and background is such that the median border moves neither out nor in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from napari_densecrf.crf.objects.refine import ObjectRefinement, ObjectRefiner, with_object_bias
from napari_densecrf.crf.objects.report import border_of
from napari_densecrf.params import CRFParams, PairwiseKernel

# All lengths are in pixels of the shortest side.
APPEARANCE_WEIGHT, POSITION_SIGMA = 3.0, 6.0
# Of the contrast of the typical object; and of the noise around it, where that is more.
INTENSITY_SIGMA, NOISE_SIGMA = 0.12, 0.6
SMOOTHNESS_WEIGHT, SMOOTHNESS_SIGMA = 0.5, 1.0
# A contrast of fewer standard deviations than the first number needs more smoothness, in proportion. Below the second
# number it does not grow further.
CLEAR_SEPARATION, LEAST_SEPARATION = 6.0, 0.5
# How far across a border the edge is looked for, and in what steps.
LOOK, STEP = 6.0, 0.5
# The image is smoothed by so much before.
EDGE_SIGMA = 1.0
# The way across a border is that of the object's mask, smoothed by so much.
NORMAL_SIGMA, NORMAL_REACH = 2.0, 5
MOST_SAMPLES = 20_000
# Profiles are averaged along the border over so much.
ALONG_SIGMA = 1.5
# border = SLOPE (1 - support) - OFFSET, within these.
SLOPE, OFFSET = 10.6, 0.4
SMALLEST_BORDER, LARGEST_BORDER = 0.5, 4.0
UNKNOWN_BORDER = 1.0
# Borders that scatter less around one level of the image, within so much of them, were made by a threshold. They are as
# rough as the image, and say nothing of their own.
LEVEL_LOOK, MADE_BY_THRESHOLD, BORDER_OF_THRESHOLD = 3.0, 0.32, 3.0
FEWEST_SAMPLES = 50
# The median border may move by so much of a pixel before the balance is changed; the balance is found this near.
NEITHER_OUT_NOR_IN = 0.02
FIRST_BIAS = 0.5
MOST_BIAS = 4.0
MOST_TRIALS = 7
PIXELS_TO_TRY, PLACES_A_PART = 2**18, 128


@dataclass(frozen=True)
class ObjectNumbers:
    """What `suggest_for_objects` found.

    Parameters
    ----------
    params : CRFParams
    border : float
        How far borders may be off, in the unit of the spacing.
    why : str
        One sentence on how ``border`` came about.
    """

    params: CRFParams
    border: float
    why: str


@dataclass(frozen=True, eq=False)
class Profiles:
    """How much the image changes along lines across borders.

    Parameters
    ----------
    offsets : (n_offsets,) float64
        Outwards from the border, in pixels.
    changes : (n_samples, n_offsets) float32
        Of all channels together; NaN behind another object or the end of the image.
    levels : (n_samples, n_offsets) float32
        0..1, from the intensity of the object's ring to that of its core; NaN likewise.
    objects : (n_samples,) int32
        The number of each sample's object.
    """

    offsets: NDArray[np.float64]
    changes: NDArray[np.float32]
    levels: NDArray[np.float32]
    objects: NDArray[np.int32]

    @property
    def scatter(self) -> float:
        """How far the place where the image changes from core to ring scatters along one border, in pixels.

        Near 0 where a threshold of the image made the objects.
        """
        near = np.abs(self.offsets) <= LEVEL_LOOK
        levels = self.levels[:, near]
        whole = ~np.isnan(levels).any(axis=1)
        if np.count_nonzero(whole) < FEWEST_SAMPLES:
            return float("nan")
        places = levels[whole].sum(axis=1) * STEP
        objects = self.objects[whole]
        means = np.bincount(objects, places) / np.maximum(np.bincount(objects), 1)
        return float(np.std(places - means[objects]))

    @property
    def support(self) -> float:
        """How much the image changes at the usual distance of the border from the edge, compared with the edges."""
        if not len(self.changes):
            return float("nan")
        known = np.where(np.isnan(self.changes), -1, self.changes)
        most = known.max(axis=1)
        usual = np.median(self.offsets[known.argmax(axis=1)])
        here = self.changes[:, int(np.abs(self.offsets - usual).argmin())]
        return float(np.nanmean(here) / most.mean()) if most.mean() > 0 else float("nan")


def profiles_across(refiner: ObjectRefiner) -> Profiles:
    """Look at the image along lines across the borders of all objects, `MOST_SAMPLES` of them at most."""
    source, grid = refiner.source, refiner.grid
    numbers = source.numbers.reshape(grid.shape)
    at = _some_borders(numbers, source.n_objects)
    size = np.array(grid.spacing) / refiner.pixel
    outwards = _outwards(numbers, at, size)
    offsets = np.arange(-LOOK, LOOK + STEP / 2, STEP)
    # The border lies half a pixel beyond the middle of its pixel.
    ways = offsets[None, :, None] + 0.5
    places = at[:, None, :] + ways * (outwards / size)[:, None, :]
    own = numbers[tuple(at.T)]
    clear = _clear(numbers, own, places, offsets)
    contrast = refiner.contrast
    towards_core = contrast.core - contrast.ring
    towards_core /= np.maximum((towards_core**2).sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    squares, levels = np.zeros(places.shape[:2], np.float32), np.zeros(places.shape[:2], np.float32)
    for c in range(refiner.intensities.shape[1]):
        channel = gaussian_filter(refiner.intensities[:, c].reshape(grid.shape), EDGE_SIGMA / size)
        values = map_coordinates(channel, places.reshape(-1, at.shape[1]).T, order=1, mode="nearest")
        values = values.reshape(squares.shape)
        squares += np.gradient(values, STEP, axis=1) ** 2
        levels += (values - contrast.ring[own - 1, c][:, None]) * towards_core[own - 1, c][:, None]

    def along(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _averaged_along(numbers, at, np.where(clear, values, np.float32(np.nan)), size)

    return Profiles(offsets, along(np.sqrt(squares)), along(np.clip(levels, 0, 1)), own)


def _some_borders(numbers: NDArray[np.int32], n_objects: int) -> NDArray[np.intp]:
    """Return (n_samples, n_axes): the border pixels of all objects, or of every so many where these are too many."""
    border = border_of(numbers)
    n_samples = int(np.count_nonzero(border))
    if n_samples > MOST_SAMPLES:
        every = -(-n_samples // MOST_SAMPLES)
        border &= numbers % every == min(1, n_objects % every)
    return np.argwhere(border)[: 4 * MOST_SAMPLES]


def _averaged_along(
    numbers: NDArray[np.int32], at: NDArray[np.intp], changes: NDArray[np.float32], size: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average the profiles with those beside them on the same border, as an edge goes on and noise does not."""
    own = numbers[tuple(at.T)]
    place = np.full(numbers.shape, -1, np.int32)
    place[tuple(at.T)] = np.arange(len(at))
    known = ~np.isnan(changes)
    values = np.where(known, changes, 0)
    sums, weights = np.zeros_like(values), np.zeros_like(values)
    for step in _steps_within(2 * ALONG_SIGMA, size):
        away = np.array(step) * size
        weight = np.float32(np.exp(-0.5 * (away @ away) / ALONG_SIGMA**2))
        there = at + np.array(step)
        inside = ((there >= 0) & (there < np.array(numbers.shape))).all(axis=1)
        other = place[tuple(np.where(inside[:, None], there, 0).T)]
        pairs = np.flatnonzero(inside & (other >= 0) & (own[other] == own))
        sums[pairs] += weight * values[other[pairs]]
        weights[pairs] += weight * known[other[pairs]]
    return np.where(known, sums / np.maximum(weights, np.float32(1e-6)), np.float32(np.nan))


def _steps_within(reach: float, size: NDArray[np.float64]) -> Iterator[tuple[int, ...]]:
    """Yield all steps from a pixel of up to so many pixels along each axis."""
    return itertools.product(*(range(-int(reach / step), int(reach / step) + 1) for step in size))


def _outwards(numbers: NDArray[np.int32], at: NDArray[np.intp], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n_samples, n_axes) unit vectors out of the objects, in physical axes: down the smoothed mask's slope."""
    slopes = np.zeros((len(at), at.shape[1]))
    own = numbers[tuple(at.T)]
    for step in _steps_within(NORMAL_REACH, size):
        away = np.array(step) * size
        weight = np.exp(-0.5 * (away @ away) / NORMAL_SIGMA**2)
        there = np.clip(at + np.array(step), 0, np.array(numbers.shape) - 1)
        slopes -= np.where(numbers[tuple(there.T)] == own, weight, 0.0)[:, None] * away
    lengths = np.linalg.norm(slopes, axis=1, keepdims=True)
    unit: NDArray[np.float64] = slopes / np.maximum(lengths, 1e-9)
    return unit


def _clear(
    numbers: NDArray[np.int32], own: NDArray[np.int32], places: NDArray[np.float64], offsets: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which places are reached from the border without crossing another object or leaving the image."""
    nearest = np.rint(places).astype(np.intp)
    inside = ((nearest >= 0) & (nearest < np.array(numbers.shape))).all(axis=2)
    there = np.clip(nearest, 0, np.array(numbers.shape) - 1)
    label = numbers[tuple(np.moveaxis(there, 2, 0))]
    free: NDArray[np.bool_] = inside & ((label == own[:, None]) | (label == 0))
    middle = int(np.abs(offsets).argmin())
    clear = np.empty_like(free)
    clear[:, middle:] = np.logical_and.accumulate(free[:, middle:], axis=1)
    clear[:, middle::-1] = np.logical_and.accumulate(free[:, middle::-1], axis=1)
    return clear


def suggest_border(refiner: ObjectRefiner) -> tuple[float, str]:
    """Return how far borders may be off, in the unit of the spacing, and one sentence on how that came about."""
    profiles = profiles_across(refiner)
    support = profiles.support
    if profiles.scatter < MADE_BY_THRESHOLD:
        pixels, why = BORDER_OF_THRESHOLD, "the borders follow one intensity, as a threshold makes them"
    elif np.isnan(support):
        pixels, why = UNKNOWN_BORDER, "no border could be compared with the image"
    else:
        pixels = float(np.clip(SLOPE * (1 - support) - OFFSET, SMALLEST_BORDER, LARGEST_BORDER))
        why = f"the image changes at the borders {support:.0%} as much as at the edges beside them"
    return pixels * refiner.pixel, why


def standard_params(refiner: ObjectRefiner) -> CRFParams:
    """Return the kernels that suit objects of any image, in the unit of the spacing and of the image."""
    pixel, contrast = refiner.pixel, refiner.contrast
    told = contrast.separation[np.isfinite(contrast.separation)]
    separation = max(float(np.median(told)), LEAST_SEPARATION) if told.size else CLEAR_SEPARATION
    intensity = contrast.typical * max(INTENSITY_SIGMA, NOISE_SIGMA / separation)
    smoothness = SMOOTHNESS_WEIGHT * max(1.0, CLEAR_SEPARATION / separation)
    return CRFParams(
        kernels=(
            PairwiseKernel(APPEARANCE_WEIGHT, POSITION_SIGMA * pixel, intensity),
            PairwiseKernel(smoothness, SMOOTHNESS_SIGMA * pixel),
        )
    )


def balanced(refiner: ObjectRefiner, params: CRFParams, border: float) -> CRFParams:
    """Return the parameters with the label bias at which the median border moves neither out nor in.

    Found by false position between no bias and `MOST_BIAS`, on the part of a large image with the most borders. A point
    that stays at one end twice counts half, so that the other end moves too (the Illinois rule).
    """
    part = _busiest_part(refiner)
    numbers = part.source.numbers
    perimeters = np.bincount(numbers[border_of(numbers)], minlength=part.source.n_objects + 1)[1:]
    counted = (perimeters > 0) & ~part.held
    if not counted.any():
        return params

    def median_move(bias: float) -> float:
        """Return by how many pixels the median border moves outwards."""
        report = part.refine(with_object_bias(params, bias), border).report
        moved = (report["area_after"] - report["area_before"])[counted] / perimeters[counted]
        return float(np.median(moved))

    other, at_other = 0.0, median_move(0.0)
    if abs(at_other) <= NEITHER_OUT_NOR_IN:
        return params
    bias = math.copysign(FIRST_BIAS, -at_other)
    move = median_move(bias)
    tried = {other: abs(at_other), bias: abs(move)}
    while len(tried) < MOST_TRIALS and abs(move) > NEITHER_OUT_NOR_IN and abs(bias) < MOST_BIAS:
        if move * at_other > 0:
            # What is sought lies beyond.
            other, at_other, bias = bias, move, 2 * bias
            move = median_move(bias)
        else:
            between = bias - move * (bias - other) / (move - at_other)
            new = median_move(between)
            other, at_other = (bias, move) if new * move < 0 else (other, at_other / 2)
            bias, move = between, new
        tried[bias] = abs(move)
    return with_object_bias(params, min(tried, key=lambda bias: tried[bias]))


def _busiest_part(refiner: ObjectRefiner) -> ObjectRefiner:
    """Return a refiner of the part with the most borders, of `PIXELS_TO_TRY` at most; of all, where that is no more."""
    grid = refiner.grid
    if grid.n_points <= PIXELS_TO_TRY:
        return refiner
    side = (PIXELS_TO_TRY / grid.n_points) ** (1 / len(grid.shape))
    size = [max(1, int(n * side)) for n in grid.shape]
    # Every so many pixels are enough to tell where there are many borders.
    steps = [max(1, n // PLACES_A_PART) for n in size]
    borders = border_of(refiner.source.numbers).reshape(grid.shape)[tuple(slice(None, None, step) for step in steps)]
    few = [n // step for n, step in zip(size, steps, strict=True)]
    busy = uniform_filter(borders.astype(np.float32), few, mode="constant")
    middle = np.array(np.unravel_index(int(busy.argmax()), busy.shape)) * steps
    starts = [min(max(int(m) - n // 2, 0), whole - n) for m, n, whole in zip(middle, size, grid.shape, strict=True)]
    part = tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))
    return ObjectRefiner(
        refiner.terms.intensities.reshape(*grid.shape, -1)[part],
        refiner.source.numbers.reshape(grid.shape)[part],
        spacing=grid.spacing,
        channel_axis=-1,
        one_contrast=False,
    )


def suggest_for(refiner: ObjectRefiner) -> ObjectNumbers:
    """Do what `suggest_for_objects` does, with a refiner that is at hand."""
    border, why = suggest_border(refiner)
    return ObjectNumbers(balanced(refiner, standard_params(refiner), border), border, why)


def suggest_for_objects(
    image: ArrayLike,
    objects: ArrayLike,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
) -> ObjectNumbers:
    """Choose numbers for `refine_objects` from the image and the objects.

    Parameters
    ----------
    image, objects, spacing, channel_axis
        As `refine_objects` takes them.

    Returns
    -------
    ObjectNumbers
        ``params`` and ``border``.

    Raises
    ------
    ValueError, MemoryError
        With one sentence that names what came and what is expected.
    """
    return suggest_for(ObjectRefiner(image, objects, spacing=spacing, channel_axis=channel_axis))


def refine_objects(
    image: ArrayLike,
    objects: ArrayLike,
    params: CRFParams | None = None,
    *,
    border: float | None = None,
    foreground: ArrayLike | None = None,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    strokes: ArrayLike | None = None,
    one_contrast: bool | None = None,
) -> ObjectRefinement:
    """Refine the borders of objects with a fully connected CRF whose labels are the objects themselves.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    objects : (*spatial) array_like of int
        0 = background, any other number is an object, of one piece or several.
    params : CRFParams, optional
        Kernels, iterations, damping, and a ``label_bias`` of (background, objects). None = chosen from image and
        objects, as `suggest_for_objects` does.
    border : float, optional
        How far a border may be off, in the unit of ``spacing``. None = chosen from image and objects.
    foreground : (*spatial) array_like, optional
        Probability of any object: floats from 0 to 1, or uint8 or uint16.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis. None = 1.
    channel_axis : int, optional
        Axis of the channels; None = gray.
    strokes : (*spatial) array_like of int, optional
        0 = free, an id = this pixel is of that object (a new id makes a new object), -1 = background; in an unsigned
        type that is its largest value.
    one_contrast : bool, optional
        Bring the image to the contrast of the typical object everywhere before kernels look at it. None = True where
        ``params`` are chosen, else False.

    Returns
    -------
    ObjectRefinement
        ``labels``, ``confidence`` and ``report``.

    Raises
    ------
    ValueError, MemoryError
        With one sentence that names what came and what is expected.

    Notes
    -----
    The model is that of Arnab and Torr, "Pixelwise instance segmentation with a dynamically instantiated network"
    (CVPR 2017), with candidates near the objects alone: docs/objects.md.
    """
    refiner = ObjectRefiner(
        image,
        objects,
        foreground=foreground,
        spacing=spacing,
        channel_axis=channel_axis,
        strokes=strokes,
        one_contrast=params is None if one_contrast is None else one_contrast,
    )
    if border is None:
        border, _ = suggest_border(refiner)
    if params is None:
        params = balanced(refiner, standard_params(refiner), border)
    return refiner.refine(params, border)
