"""Parameters from image and map alone: of a few settings the one whose changes the image supports most, or none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.numbers import Numbers, Units
from napari_densecrf.params import CRFParams

from .trials import Box, Part, Subject, affordable, box_around, box_shape, units_of, whole

# Pixels of a gray slice with two labels, in all parts together, which bounds the time; see `affordable`.
LARGEST = 1 << 18
N_PARTS = 4
# Sigmas, in pixels, of the window in which a class has one look, and of the blur that calms a pixel's own.
NEIGHBOURHOOD = 12.0
CALMING = 0.7
# Where no sure pixel of a class is near, the look of the class in the whole image counts, with this weight; a window
# full of sure pixels has weight 1.
EVERYWHERE = 1e-4
# Looks that are nearer than this, in robust ranges, count as alike.
INDISTINCT = 0.01
# Difference between the looks of two classes, in spreads of sure pixels around their own class's, below which the image
# does not tell them apart; and pixels then follow their own noise.
LIMIT_CONTRAST = 0.25
# Mean likeness of the pixels that change, from which on the image does not support the change: see `Effect`.
LIMIT_LIKENESS = 0.5
# Length of all borders after, divided by before. Above this, the labels have begun to follow the noise of the image.
LIMIT_ROUGHNESS = 1.0
# A pixel is lost in doubt where its likeness is above this; the largest share of a class that may be lost so. Where the
# mean likeness is above it, too, less may be lost, and half as much where that reaches LIMIT_LIKENESS.
DOUBTFUL_LIKENESS = 0.4
LIMIT_DOUBTFUL_LOSS = 0.1
# In pixels: the mean thickness, twice a class's area over the length of its borders, below which a class is thin. It
# must keep its area within the next number, a share, unless borders clearly move to edges of the image: see
# `Effect.edges`. Specks of fewer pixels than the last number are no part of it.
THIN, LIMIT_THIN_CHANGE, CLEAR_EDGES, SPECK = 8.0, 0.04, 0.17, 30
# Sigma, in pixels, of the image's gradient.
EDGE_SIGMA = 1.0
# Of two classes one may be favoured, in log-odds, with so many of the settings that do best without. A balance moves
# all borders one way, right or wrong, so they must move clearly to edges, and what changes must look clearly like its
# new class: its mean likeness is below the last number.
BALANCES, N_BALANCED, LIMIT_LIKENESS_BALANCED = (-0.6, 0.6, -1.2, 1.2), 8, 0.3


# Reaches are short. Over a short reach a membrane or a vessel holds its own against the few pixels around it, where a
# long reach gathers a whole background against it; specks are mended and borders found all the same. Weak settings
# change little: they are for maps of which no strong setting may be let loose. Those of one lattice follow each other.
# Position sigmas in pixels, intensity sigmas in 255ths of the robust range.
SETTINGS = (
    Numbers(3.0, 3.0, 5.0, 1.0, 1.0),
    Numbers(3.0, 3.0, 8.0, 1.0, 1.0),
    Numbers(1.5, 3.0, 8.0, 0.5, 1.0),
    Numbers(3.0, 3.0, 12.0, 1.0, 1.0),
    Numbers(3.0, 3.0, 20.0, 1.0, 1.0),
    Numbers(1.5, 3.0, 20.0, 0.5, 1.0),
    Numbers(3.0, 6.0, 5.0, 1.0, 1.0),
    Numbers(8.0, 6.0, 5.0, 1.0, 1.0),
    Numbers(3.0, 6.0, 8.0, 1.0, 1.0),
    Numbers(8.0, 6.0, 8.0, 1.0, 1.0),
    Numbers(3.0, 6.0, 12.0, 1.0, 1.0),
    Numbers(8.0, 6.0, 12.0, 1.0, 1.0),
    Numbers(4.0, 6.0, 12.0, 0.0, 1.0),
    Numbers(3.0, 6.0, 20.0, 1.0, 1.0),
    Numbers(8.0, 6.0, 20.0, 1.0, 1.0),
    Numbers(16.0, 6.0, 20.0, 1.0, 1.0),
    Numbers(8.0, 10.0, 20.0, 1.0, 1.0),
    Numbers(3.0, 15.0, 8.0, 1.0, 1.0),
    Numbers(3.0, 15.0, 12.0, 1.0, 1.0),
    Numbers(1.5, 15.0, 12.0, 0.0, 1.0),
    Numbers(1.0, 45.0, 12.0, 1.5, 1.1),
    Numbers(0.7, 60.0, 20.0, 0.3, 1.5),
    Numbers(1.0, 3.0, 8.0, 0.3, 1.0),
    Numbers(1.0, 6.0, 8.0, 0.3, 1.0),
)
# Where there is no time for all: from the weakest, which is safe for most, to the strongest; on fewer pixels.
WEAKEST = Numbers(1.0, 3.0, 8.0, 0.3, 1.0)
WEAK = Numbers(1.5, 3.0, 8.0, 0.5, 1.0)
FEW_SETTINGS = (
    WEAKEST,
    WEAK,
    Numbers(3.0, 3.0, 5.0, 1.0, 1.0),
    Numbers(4.0, 6.0, 12.0, 0.0, 1.0),
    Numbers(1.5, 15.0, 12.0, 0.0, 1.0),
    Numbers(16.0, 6.0, 20.0, 1.0, 1.0),
)
LARGEST_QUICK = 1 << 16


@dataclass(frozen=True)
class Suggestion:
    """Parameters that suit an image and its map, or none.

    Parameters
    ----------
    params : CRFParams or None
        None = leave the map as it is.
    reason : str
        One sentence for the user.
    """

    params: CRFParams | None
    reason: str


@dataclass(frozen=True)
class SuggestStep:
    """A point between two trials: progress, and a place to stop.

    Parameters
    ----------
    fraction : float
        0..1, of the whole.
    stage : str
        What comes next, or "done".
    best : CRFParams, optional
        The best so far, None = nothing better than the map as it is.
    suggestion : Suggestion, optional
        With the last step only.
    """

    fraction: float
    stage: str
    best: CRFParams | None
    suggestion: Suggestion | None = None


def suggest(
    image: ArrayLike,
    probabilities: ArrayLike,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
) -> Suggestion:
    """Propose parameters from an image and its map alone; the same input gives the same answer.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    probabilities : array_like
        (n_labels, *spatial), or (*spatial): the foreground of two classes.
    spacing, channel_axis
        As `refine` takes them.

    Returns
    -------
    Suggestion

    Raises
    ------
    ValueError, MemoryError
        With one sentence that names what came and what is expected.

    Notes
    -----
    Each of twenty-four settings is tried on the image, or on parts of a large one, and judged by what it changes. Where
    a pixel's label changes, its intensity I is compared with the mean looks of the old class and of the new one around
    it, as the map's sure pixels tell them: the likeness ``(I - new) . (old - new) / |old - new|^2`` is 0 where the
    pixel looks like the class it gets and 1 where it looks like the one it had. A setting passes where the mean
    likeness is below one half, where borders do not get longer, as they do when noise is printed into the labels, and
    where no class loses much that still looks like it; the less clear the changes, the less it may lose. A thin class,
    as vessels and membranes are, must keep its area, specks apart, unless borders clearly move to edges. Of those that
    pass the one is proposed with the most and clearest changes: the share of changed pixels, times how far their
    likeness lies below one half. Some settings are weak, so that a map that must not change much gains a little. The
    eight that do best are tried with either of two classes favoured, too: a map that draws a class too wide or too
    narrow is mended by no kernel. Such a balance passes where the mean likeness is below 0.3, and where borders clearly
    move to edges.

    Masked prediction, which hides pixels of the map and asks for their labels, is as safe a gate where it has to beat
    the best blur of the map, but it refuses six of seven images, most of which gain.
    """
    for step in suggest_steps(image, probabilities, spacing=spacing, channel_axis=channel_axis):
        if step.suggestion is not None:
            return step.suggestion
    raise AssertionError("the last step carries the suggestion")


def suggest_steps(
    image: ArrayLike,
    probabilities: ArrayLike,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    is_part: bool = False,
    quick: bool = False,
) -> Iterator[SuggestStep]:
    """Propose step by step: each `SuggestStep` is progress, and a place to stop.

    Parameters and errors are those of `suggest`; only the last step has a suggestion. With ``is_part`` these are a part
    of an image and of its map, and the map's numbers are taken as they are: a part does not tell what the whole holds.
    ``quick`` tries a few settings on fewer pixels, for where a first result is waited for.
    """
    settings, largest = (FEW_SETTINGS, LARGEST_QUICK) if quick else (SETTINGS, LARGEST)
    subject = Subject(image, probabilities, spacing, channel_axis, is_part=is_part)
    yield SuggestStep(0.0, "how the classes look", None)
    parts = [subject.cut(box) for box in spread_boxes(subject, largest)]
    units = units_of(parts)
    looks = [look_of(part, units) for part in parts]
    effects: list[Effect] = []
    n_balanced = 0 if quick or subject.n_labels > 2 else N_BALANCED * len(BALANCES)
    n_trials = len(settings) + n_balanced
    for done in range(1, n_trials + 1):
        stage = f"setting {done} of {n_trials}"
        yield SuggestStep(done / (n_trials + 1), stage, best_of(effects).params if effects else None)
        if done <= len(settings):
            params = settings[done - 1].in_units(units).params
        elif done == len(settings) + 1:
            balanced = with_balances(effects)
            params = balanced[0]
        else:
            params = balanced[done - len(settings) - 1]
        effects.append(effect_of(parts, looks, params))
    suggestion = best_of(effects)
    yield SuggestStep(1.0, "done", suggestion.params, suggestion)


def with_balances(effects: Sequence[Effect]) -> list[CRFParams]:
    """Return what to try with one of two classes favoured: of those that pass, and then of the others, the best."""
    ranked = sorted(effects, key=lambda effect: (effect.objection is not None, -effect.support))
    return [replace(effect.params, label_bias=(0.0, balance)) for effect in ranked[:N_BALANCED] for balance in BALANCES]


def spread_boxes(subject: Subject, largest: int) -> list[Box]:
    """Return the whole image, or boxes spread over it."""
    n_points = affordable(subject, largest)
    if subject.n_points <= n_points:
        return [whole(subject.shape)]
    size = box_shape(subject.shape, n_points // N_PARTS)
    # Every second axis runs at twice the pace, so that the boxes do not lie in one row.
    paces = [(part + 0.5) / N_PARTS for part in range(N_PARTS)]
    centres = [[(pace * (1 + axis % 2)) % 1 * extent for axis, extent in enumerate(subject.shape)] for pace in paces]
    boxes = [box_around(centre, size, subject.shape) for centre in centres]
    return [box for number, box in enumerate(boxes) if box not in boxes[:number]]


@dataclass(frozen=True)
class Look:
    """How pixels look, and how the classes look around them.

    intensities : (n_channels, n_points) float32, calmed
    classes : (n_labels, n_channels, n_points) float32, mean of the class's sure pixels
    spread : mean square of how far sure pixels look from their own class, summed over channels
    indistinct : square of a difference of looks that counts as none
    gradient : (*spatial), of all channels together
    shapes : what the map says, without specks
    """

    intensities: NDArray[np.float32]
    classes: NDArray[np.float32]
    spread: float
    indistinct: float
    gradient: NDArray[np.float32]
    shapes: NDArray[np.intp]


def look_of(part: Part, units: Units) -> Look:
    """Return how the pixels of a part look, and how its classes look around them."""
    from scipy import ndimage

    pixels = units.pixel / np.array(part.refiner.grid.spacing)
    channels = part.channels()
    classes = np.empty((len(part.probabilities), *channels.shape), np.float32)
    for label, probability in enumerate(part.probabilities):
        sure = probability * part.margin * (part.labels == label)
        around = ndimage.gaussian_filter(sure, NEIGHBOURHOOD * pixels) + np.float32(EVERYWHERE)
        for channel, values in enumerate(channels):
            weighted = sure * values
            everywhere = weighted.sum(dtype=float) / max(sure.sum(dtype=float), 1e-9)
            near = ndimage.gaussian_filter(weighted, NEIGHBOURHOOD * pixels)
            classes[label, channel] = (near + np.float32(EVERYWHERE * everywhere)) / around
    calm = np.stack([ndimage.gaussian_filter(values, CALMING * pixels) for values in channels])
    own = np.take_along_axis(classes, part.labels[None, None], axis=0)[0]
    spread = np.average(((calm - own) ** 2).sum(axis=0, dtype=float), weights=part.margin + np.float32(EVERYWHERE))
    n_labels, n_channels = classes.shape[:2]
    slopes = [ndimage.gaussian_gradient_magnitude(values, EDGE_SIGMA * pixels) for values in channels]
    return Look(
        calm.reshape(n_channels, -1),
        classes.reshape(n_labels, n_channels, -1),
        float(spread),
        (INDISTINCT * 255 * units.intensity) ** 2,
        np.sqrt(np.sum(np.square(slopes), axis=0)),
        _without_specks(part.labels),
    )


def _without_specks(labels: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return labels in which what is smaller than `SPECK` has the label of what is nearest."""
    from scipy import ndimage
    from skimage.measure import label

    regions = label(labels + 1, background=0, connectivity=1)
    small = np.bincount(regions.ravel())[regions] < SPECK
    if small.all() or not small.any():
        return labels.astype(np.intp)
    nearest = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
    whole_shapes: NDArray[np.intp] = labels[tuple(nearest)].astype(np.intp)
    return whole_shapes


@dataclass(frozen=True)
class Effect:
    """What a setting does to the map.

    changed : 0..1, share of the pixels that get another label
    contrast : difference between the looks of their old and new classes, in spreads of a class's own pixels
    likeness : mean over these, 0 = they look like the class they get, 1 = like the one they had
    roughness : length of the borders after, over that before
    doubtful_loss : 0..1, the largest share of a class that is lost without looking clearly like what it becomes
    thin_change : 0..1, the largest share by which the area of a thin class changes, specks apart
    edges : -1..1, the image's gradient under borders that are new, less that under borders that are given up, over both
    """

    params: CRFParams
    changed: float
    contrast: float
    likeness: float
    roughness: float
    doubtful_loss: float
    thin_change: float
    edges: float

    @property
    def empties_thin(self) -> bool:
        """Whether a thin class gains or loses area, and the image does not clearly ask for it."""
        return self.thin_change > LIMIT_THIN_CHANGE and self.edges < CLEAR_EDGES

    @property
    def support(self) -> float:
        """Return how much the image asks for: the share of pixels that change, times how clearly they should."""
        return self.changed * (LIMIT_LIKENESS - self.likeness)

    @property
    def limit_doubtful_loss(self) -> float:
        """Return the largest share of a class that may be lost in doubt: less where the changes are less clear."""
        beyond = max(0.0, self.likeness - DOUBTFUL_LIKENESS) / (LIMIT_LIKENESS - DOUBTFUL_LIKENESS)
        return LIMIT_DOUBTFUL_LOSS * (1 - beyond / 2)

    @property
    def objection(self) -> str | None:
        """Return why it must not be proposed, or None."""
        if self.changed == 0:
            return "Leave it as it is: the map and the image agree, and no pixel would change."
        if self.contrast < LIMIT_CONTRAST:
            return "Leave it as it is: the image hardly tells apart the classes whose borders would move."
        balanced = self.params.label_bias is not None
        if self.likeness >= (LIMIT_LIKENESS_BALANCED if balanced else LIMIT_LIKENESS):
            return "Leave it as it is: pixels that would change look no more like the class that they would get."
        if self.roughness > LIMIT_ROUGHNESS:
            return "Leave it as it is: borders would get rougher, as the image's noise would show in the labels."
        if self.doubtful_loss > self.limit_doubtful_loss:
            return "Leave it as it is: a class would lose thin or faint parts that still look like it."
        if self.edges <= 0 or (balanced and self.edges < CLEAR_EDGES):
            return "Leave it as it is: borders would move away from the edges in the image."
        if self.empties_thin:
            return "Leave it as it is: a thin class would gain or lose area, and the image does not clearly ask for it."
        return None


def effect_of(
    parts: Sequence[Part],
    looks: Sequence[Look],
    params: CRFParams,
    refined: Sequence[NDArray[np.integer]] | None = None,
) -> Effect:
    """Refine all parts, or take the labels that they got, and sum up what changes."""
    if refined is None:
        refined = [part.labels_of(part.refine(params)) for part in parts]
    areas, doubtful = np.zeros((2, len(parts[0].probabilities)))
    likeness = contrast = spread = 0.0
    borders_before = borders_after = changed = n_points = 0
    shapes = _Shapes(len(areas))
    for part, look, labels in zip(parts, looks, refined, strict=True):
        pixels = np.flatnonzero(labels != part.labels)
        old, new = part.labels.ravel()[pixels], labels.ravel()[pixels]
        alike, apart = _likeness(look, pixels, old, new)
        likeness += float(alike.sum())
        contrast += float(apart.sum())
        spread += look.spread * len(pixels)
        areas += np.bincount(part.labels.ravel(), minlength=len(areas))
        doubtful += np.bincount(old[alike > DOUBTFUL_LIKENESS], minlength=len(areas))
        borders_before += _border_length(part.labels)
        borders_after += _border_length(labels)
        shapes.add(look, _without_specks(labels))
        changed += len(pixels)
        n_points += int(np.count_nonzero(part.valid))
    return Effect(
        params,
        changed / max(1, n_points),
        math.sqrt(contrast / max(spread, 1e-30)),
        likeness / max(1, changed),
        borders_after / max(1, borders_before),
        float((doubtful / np.maximum(areas, 1)).max()),
        shapes.thin_change,
        shapes.edges,
    )


class _Shapes:
    """Sums up how areas and borders change, specks apart."""

    def __init__(self, n_labels: int) -> None:
        self._before, self._after, self._lengths = np.zeros((3, n_labels))
        # Sums of the gradient, and how many borders: new ones, and those given up.
        self._new, self._old = np.zeros(2), np.zeros(2)

    def add(self, look: Look, after: NDArray[np.intp]) -> None:
        """Take in what becomes of a part."""
        before, n_labels = look.shapes, len(self._before)
        self._before += np.bincount(before.ravel(), minlength=n_labels)
        self._after += np.bincount(after.ravel(), minlength=n_labels)
        for axis in range(before.ndim):
            was, now, slope = (np.moveaxis(array, axis, 0) for array in (before, after, look.gradient))
            was_border, is_border = was[1:] != was[:-1], now[1:] != now[:-1]
            for side in (was[1:], was[:-1]):
                self._lengths += np.bincount(side[was_border], minlength=n_labels)
            between = 0.5 * (slope[1:] + slope[:-1])
            for sums, chosen in ((self._new, is_border & ~was_border), (self._old, was_border & ~is_border)):
                sums += between[chosen].sum(dtype=float), np.count_nonzero(chosen)

    @property
    def thin_change(self) -> float:
        """Return the largest share by which a thin class changes."""
        thickness = 2 * self._before / np.maximum(self._lengths, 1)
        change = np.abs(self._after - self._before) / np.maximum(self._before, 1)
        return float(change.max(where=thickness < THIN, initial=0.0))

    @property
    def edges(self) -> float:
        """Return how much more the image changes under new borders; 1 where none is given up."""
        new, old = (sums[0] / sums[1] if sums[1] else 0.0 for sums in (self._new, self._old))
        return float((new - old) / (new + old)) if new + old > 0 else 0.0


def _likeness(
    look: Look, pixels: NDArray[np.intp], old: NDArray[np.integer], new: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for pixels that change, how much they look like their old class, and how far apart the classes look.

    Both (n_pixels,): 0 where the pixel looks like the new class to 1 where it looks like the old, within -1 to 2; and
    the square of the difference between the two.
    """
    looks_new = look.classes[new, :, pixels].astype(float)
    difference = look.classes[old, :, pixels] - looks_new
    off = look.intensities[:, pixels].T - looks_new
    apart: NDArray[np.float64] = (difference**2).sum(axis=1)
    alike: NDArray[np.float64] = (off * difference).sum(axis=1) / (apart + look.indistinct)
    return np.clip(alike, -1, 2), apart


def _border_length(labels: NDArray[np.integer]) -> int:
    """Return how many pairs of neighbours along the axes have different labels."""
    later = [np.moveaxis(labels, axis, 0)[1:] for axis in range(labels.ndim)]
    earlier = [np.moveaxis(labels, axis, 0)[:-1] for axis in range(labels.ndim)]
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(later, earlier, strict=True))


def best_of(effects: Sequence[Effect]) -> Suggestion:
    """Return the setting that the image supports most, or why there is none."""
    passing = [effect for effect in effects if effect.objection is None]
    if not passing:
        gentlest = min(effects, key=lambda effect: (effect.params.label_bias is not None, effect.changed))
        return Suggestion(None, str(gentlest.objection))
    best = max(passing, key=lambda effect: effect.support)
    bias = best.params.label_bias
    favoured = "" if bias is None else f"; the balance favours class {1 + int(np.argmax(bias))}"
    return Suggestion(
        best.params,
        f"{best.changed:.1%} of the pixels would change, most to the class that they look like, with borders no "
        f"rougher than before{favoured}.",
    )
