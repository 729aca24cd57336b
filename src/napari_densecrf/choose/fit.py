"""Parameters from strokes: those that strokes, image and map together say are better than the map as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import Grid
from napari_densecrf.crf.unary import stroke_classes
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams, PairwiseKernel, Sigma

from .doubt import N_BINS, Doubt, bins_of, doubt_of
from .start import first_params, safe_params
from .suggest import (
    BALANCES,
    N_BALANCED,
    SETTINGS,
    Effect,
    effect_of,
    look_of,
    spread_boxes,
    suggest_steps,
    with_balances,
)
from .trials import Box, Part, Subject, affordable, box_around, box_shape, units_of, whole

# Log-odds that favour one of two classes without any kernel: the map at another threshold.
THRESHOLDS = (-0.3, 0.3, -0.6, 0.6, -0.9, 0.9, -1.2, 1.2, -1.6, 1.6, -2.0, 2.0)
# Pixels of a gray slice with two labels, which bound the time; see `affordable`. An image of up to the first number is
# looked at whole; of a larger one parts of the second together, and as many again in boxes around strokes.
LARGEST_WHOLE, LARGEST = 1 << 18, 1 << 16
N_BOXES = 8
# Two more witnesses judge the pixels that change: the map's own probabilities, and what the pixels look like. Each
# counts as this many strokes.
MAP_STROKES, LOOKS_STROKES = 5.0, 5.0
# Standard deviations below the mean gain that must still be a gain, in mean IoU, over what the image alone supports.
N_SIGMAS, SMALLEST_GAIN = 1.5, 0.005


@dataclass(frozen=True)
class Fit:
    """What a search for parameters that suit strokes has found.

    Parameters
    ----------
    params : CRFParams
        What is proposed; without weights and without a bias where the map is better unrefined.
    agreement_before, agreement_after : float or None
        0..1: share of stroke pixels that get their class, with the start and with what is proposed, where no stroke is
        given to the refinement; the mean over strokes, then over classes. None where there are too few strokes.
    n_evaluations : int
        Parameter sets that were tried, the start included.
    reason : str
        One sentence for the user.
    """

    params: CRFParams
    agreement_before: float | None
    agreement_after: float | None
    n_evaluations: int
    reason: str

    @property
    def better_unrefined(self) -> bool:
        """Whether the map is best left as it is: `params` have no weight, and favour no class."""
        return _is_unrefined(self.params)


@dataclass(frozen=True)
class FitStep:
    """A point between two evaluations: progress, and a place to stop.

    Parameters
    ----------
    fraction : float
        0..1, of the whole.
    stage : str
        What comes next, or "done".
    best : Fit
        The best so far, to keep where the search is stopped here.
    fit : Fit, optional
        With the last step only.
    """

    fraction: float
    stage: str
    best: Fit
    fit: Fit | None = None


def fit(
    image: ArrayLike,
    probabilities: ArrayLike,
    strokes: ArrayLike,
    start: CRFParams | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
) -> Fit:
    """Search for parameters that suit strokes and harm nothing else; the same input gives the same answer.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    probabilities : array_like
        (n_labels, *spatial), or (*spatial): the foreground of two classes.
    strokes : (*spatial) array_like of int
        0 = free, k = this pixel is class k - 1.
    start : CRFParams, optional
        One of the sets that are tried; its kernels, compatibility, damping and number of iterations are kept, with
        other numbers. None = those that `refine` begins with, or where strokes are too few to tell anything, those
        that `suggest` proposes.
    spacing, channel_axis
        As `refine` takes them.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError, MemoryError
        With one sentence that names what came and what is expected.

    Notes
    -----
    Strokes are put where the map is wrong, as that is where one looks. They are no fair sample of the image: any
    setting that changes much does well on them, and what it breaks elsewhere no stroke sees. So each of some seventy
    settings is tried without strokes, and three things are weighed.

    - The image, as `suggest` does. Where strokes do not contradict, the setting that the image supports most is the
      one to beat, or the map as it is.
    - The map: where in their class the strokes lie tells how far its probabilities are shifted or stretched, and so how
      many pixels of each class it has wrong, with how much doubt. `choose/doubt.py: doubt_of` has the likelihood,
      which concludes nothing from how many strokes are at errors.
    - The strokes: which share of the pixels that the map has wrong a setting puts right. What else it changes counts
      as broken.

    Together they give the mean IoU that a setting would gain, at each way in which the map may be wrong. Another
    setting is taken only where its gain over the one to beat is one even 1.5 standard deviations below the mean, where
    no more strokes of any class are wrong than in the map, and where it does not empty a thin class. A balance between
    two classes is part of some settings: no kernel mends a map that draws a class too wide. With more than two classes
    strokes can only speak against what the image supports. A large image is looked at in parts, and around strokes.
    """
    for step in fit_steps(image, probabilities, strokes, start, spacing=spacing, channel_axis=channel_axis):
        if step.fit is not None:
            return step.fit
    raise AssertionError("the last step carries the fit")


def fit_steps(
    image: ArrayLike,
    probabilities: ArrayLike,
    strokes: ArrayLike,
    start: CRFParams | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    is_part: bool = False,
) -> Iterator[FitStep]:
    """Search step by step: each `FitStep` is progress, and a place to stop and keep the best so far.

    Parameters and errors are those of `fit`; only the last step has a fit. With ``is_part`` these are a part of an
    image and of its map, and the map's numbers are taken as they are: a part does not tell what the whole holds.
    """
    if start is not None and not start.kernels:
        raise ValueError("start has no kernels: expected at least one, whose numbers are searched")
    subject = Subject(image, probabilities, spacing, channel_axis, is_part=is_part)
    drawn = _drawn(strokes, subject)
    places: dict[str, Any] = {"spacing": spacing, "channel_axis": channel_axis, "is_part": is_part}
    if drawn.reason_against is not None:
        if start is None:
            nothing = _of_image_alone(image, probabilities, drawn.reason_against, **places)
        else:
            nothing = Fit(start, None, None, 0, drawn.reason_against)
        yield FitStep(1.0, "done", nothing, nothing)
        return
    if start is None:
        start = first_params(image, probabilities, **places)
    nothing = Fit(start, None, None, 0, "Nothing was tried yet.")
    yield FitStep(0.0, "measuring the map as it is", nothing)
    exam = _Exam(subject, drawn)
    unrefined = exam.trial(_unrefined(start))
    judge = _Judge(exam, unrefined)
    yield FitStep(0.01, "measuring the present values", nothing)
    first = exam.trial(start)
    judge.add(first)
    settings = _settings(start, exam)
    n_balanced = N_BALANCED * len(BALANCES) if exam.is_of_two else 0
    n_trials = 2 + len(settings) + n_balanced
    for params in settings:
        yield FitStep(*judge.progress(n_trials), _found(judge, first))
        judge.add(exam.trial(params))
    if exam.is_of_two:
        for params in with_balances(judge.plain_effects()):
            yield FitStep(*judge.progress(n_trials), _found(judge, first))
            judge.add(exam.trial(params))
    result = _found(judge, first)
    yield FitStep(1.0, "done", result, result)


def _of_image_alone(image: ArrayLike, probabilities: ArrayLike, reason: str, **places: Any) -> Fit:
    """Return what `suggest` proposes, where strokes tell nothing and there are no numbers to keep."""
    *_, last = suggest_steps(image, probabilities, **places)
    params = last.best
    if params is None:
        params = _unrefined(safe_params(image, spacing=places["spacing"], channel_axis=places["channel_axis"]))
    return Fit(params, None, None, 0, f"{reason} Until then this is what Auto proposes.")


def _settings(start: CRFParams, exam: _Exam) -> list[CRFParams]:
    """Return what is tried first: those of `suggest` in the form of the start, and other thresholds of the map."""
    settings = [_with_numbers(start, setting.in_units(exam.units)) for setting in SETTINGS]
    if exam.is_of_two:
        settings += [replace(_unrefined(start), label_bias=(0.0, balance)) for balance in THRESHOLDS]
    return list(dict.fromkeys(params for params in settings if params != start))


@dataclass(frozen=True)
class _Drawn:
    """Strokes apart: which pixels belong to which.

    numbers : (*spatial) int32, 0 = free, s = stroke s - 1
    classes : (n_strokes,) int
    centres : (n_strokes, n_axes) int
    reason_against : why they tell nothing, or None
    """

    numbers: NDArray[np.int32]
    classes: NDArray[np.intp]
    centres: NDArray[np.intp]
    reason_against: str | None


def _drawn(strokes: ArrayLike, subject: Subject) -> _Drawn:
    """Return the strokes apart, class by class."""
    from scipy import ndimage

    grid = Grid(subject.shape, (1.0,) * len(subject.shape), (0,) * len(subject.shape))
    given = stroke_classes(strokes, grid, subject.n_labels).reshape(subject.shape)
    numbers = np.zeros(subject.shape, np.int32)
    classes: list[int] = []
    for label in np.unique(given[given > 0]).tolist():
        apart, count = ndimage.label(given == label, np.ones((3,) * given.ndim))
        numbers[apart > 0] = apart[apart > 0] + len(classes)
        classes += [label - 1] * count
    return _Drawn(numbers, np.array(classes, np.intp), _centres(numbers), _too_few(classes))


def _centres(numbers: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the pixel of each stroke that is nearest to its middle: a ring's middle is not on it."""
    pixels, of_stroke = np.argwhere(numbers > 0), numbers[numbers > 0]
    order = np.argsort(of_stroke, kind="stable")
    strokes = np.split(pixels[order], np.flatnonzero(np.diff(of_stroke[order])) + 1)
    return np.array([own[((own - own.mean(axis=0)) ** 2).sum(axis=1).argmin()] for own in strokes if len(own)], np.intp)


def _too_few(classes: list[int]) -> str | None:
    if len(classes) < 2:
        there = "there is one" if classes else "there are none"
        return f"Too few strokes, {there}: draw at least two that do not touch, on two classes."
    if len(set(classes)) < 2:
        return f"All {len(classes)} strokes are on one class: draw some on another, too."
    return None


def _boxes_around(subject: Subject, drawn: _Drawn) -> list[Box]:
    """Return boxes around strokes that are not in one yet, the classes in turn."""
    size = box_shape(subject.shape, max(1, affordable(subject, LARGEST) // N_BOXES))
    rank_in_class = np.array([np.sum(drawn.classes[:s] == label) for s, label in enumerate(drawn.classes)])
    turns = np.lexsort((drawn.classes, rank_in_class))
    boxes: list[Box] = []
    for stroke in turns:
        centre = drawn.centres[stroke]
        inside = any(
            all(along.start <= at < along.stop for at, along in zip(centre, box, strict=True)) for box in boxes
        )
        if not inside and len(boxes) < N_BOXES:
            boxes.append(box_around(centre, size, subject.shape))
    return boxes


@dataclass(frozen=True, eq=False)
class _Trial:
    """What one parameter set does.

    effect : to the map, as the image sees it
    hits : (n_strokes,) 0..1, share of their pixels that get their class; NaN where a stroke was not looked at
    turnover : (n_labels, n_labels) share of the pixels that go from one class to another
    moved : (n_bins,) share of the pixels that change, by log-odds of the map
    """

    params: CRFParams
    effect: Effect
    hits: NDArray[np.float64]
    turnover: NDArray[np.float64]
    moved: NDArray[np.float64]


class _Exam:
    """Refines an image without strokes, and looks at what becomes of it and of the pixels below strokes."""

    def __init__(self, subject: Subject, drawn: _Drawn) -> None:
        is_small = subject.n_points <= affordable(subject, LARGEST_WHOLE)
        boxes = spread_boxes(subject, LARGEST_WHOLE if is_small else LARGEST)
        around = [] if boxes == [whole(subject.shape)] else _boxes_around(subject, drawn)
        self.parts = [subject.cut(box) for box in boxes]
        self._around = [subject.cut(box) for box in around]
        self.units = units_of(self.parts)
        self.classes = drawn.classes
        self.n_labels = subject.n_labels
        self.is_of_two = subject.n_labels == 2
        self._looks = [look_of(part, self.units) for part in self.parts]
        self._bins = [self._bins_of(part) for part in self.parts]
        # Of each part with strokes: flat pixels, and the stroke of each, from 0.
        with_strokes = self._around or self.parts
        numbers = [drawn.numbers[part.box].ravel() for part in with_strokes]
        self._below = [np.flatnonzero(of_part) for of_part in numbers]
        self._strokes = [of_part[below] - 1 for of_part, below in zip(numbers, self._below, strict=True)]
        self.n_below = self._by_stroke([np.ones(len(strokes)) for strokes in self._strokes])
        self.pixels, self.strokes = self._histograms(with_strokes)

    def trial(self, params: CRFParams) -> _Trial:
        """Refine with a parameter set."""
        refined = [part.labels_of(part.refine(params)) for part in self.parts]
        around = [part.labels_of(part.refine(params)) for part in self._around] or refined
        right = [
            labels.ravel()[below] == self.classes[strokes]
            for labels, below, strokes in zip(around, self._below, self._strokes, strict=True)
        ]
        with np.errstate(invalid="ignore"):
            hits = self._by_stroke(right) / self.n_below
        turnover, moved = np.zeros(self.n_labels**2), np.zeros(N_BINS)
        for part, labels, bins in zip(self.parts, refined, self._bins, strict=True):
            pairs = part.labels * self.n_labels + labels.astype(np.intp)
            turnover += np.bincount(pairs[part.valid], minlength=len(turnover))
            moved += np.bincount(bins[labels != part.labels], minlength=N_BINS)
        n_points = max(1.0, turnover.sum())
        effect = effect_of(self.parts, self._looks, params, refined)
        by_class = turnover.reshape(self.n_labels, self.n_labels) / n_points
        return _Trial(params, effect, hits, by_class, moved / n_points)

    def _by_stroke(self, values: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Sum values of the pixels below strokes."""
        sums = np.zeros(len(self.classes))
        for strokes, of_part in zip(self._strokes, values, strict=True):
            sums += np.bincount(strokes, of_part, minlength=len(sums))
        return sums

    def _bins_of(self, part: Part) -> NDArray[np.intp]:
        return bins_of(part.probabilities, part.labels) if self.is_of_two else np.zeros(part.labels.shape, np.intp)

    def _histograms(self, with_strokes: Sequence[Part]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of the pixels in each bin, (n_bins,), and of each stroke's pixels, (n_strokes, n_bins)."""
        pixels = np.zeros(N_BINS)
        for part, bins in zip(self.parts, self._bins, strict=True):
            pixels += np.bincount(bins[part.valid], minlength=N_BINS)
        of_strokes = np.zeros((len(self.classes), N_BINS))
        for part, below, strokes in zip(with_strokes, self._below, self._strokes, strict=True):
            np.add.at(of_strokes, (strokes, self._bins_of(part).ravel()[below]), 1)
        return pixels / max(1.0, pixels.sum()), of_strokes / np.maximum(self.n_below, 1)[:, None]


class _Judge:
    """Chooses between trials by image, map and strokes together."""

    def __init__(self, exam: _Exam, unrefined: _Trial) -> None:
        self.trials = [unrefined]
        self.classes = exam.classes
        self._exam = exam
        self._unrefined = unrefined
        self._seen = exam.n_below > 0
        self._emptying: set[tuple[PairwiseKernel, ...]] = set()
        self._gains: dict[int, NDArray[np.float64]] = {}

    def add(self, trial: _Trial) -> None:
        """Take in one more."""
        self.trials.append(trial)
        if trial.params.label_bias is None and trial.effect.empties_thin:
            self._emptying.add(trial.params.kernels)

    def plain_effects(self) -> list[Effect]:
        """Return what the kernels do that were tried without a balance."""
        return [trial.effect for trial in self.trials if _has_weight(trial.params) and trial.params.label_bias is None]

    def progress(self, n_trials: int) -> tuple[float, str]:
        """Return fraction and stage of the next trial."""
        done = len(self.trials)
        return done / (n_trials + 1), f"setting {done + 1} of {n_trials}"

    def agreement(self, trial: _Trial) -> float:
        """Return the share of stroke pixels that get their class: the mean of strokes, then of classes."""
        hits, classes = trial.hits[self._seen], self.classes[self._seen]
        return float(np.mean([hits[classes == label].mean() for label in np.unique(classes)]))

    def best(self) -> _Trial:
        """Return the trial to propose."""
        allowed = [trial for trial in self.trials[1:] if self._misses_no_more(trial)]
        passing = [trial for trial in allowed if trial.effect.objection is None and _has_weight(trial.params)]
        to_beat = max(passing, key=lambda trial: trial.effect.support, default=self._unrefined)
        if not self._exam.is_of_two:
            return to_beat
        harmless = [trial for trial in (self._unrefined, *allowed) if not self._empties_thin(trial)]
        bounds = [self.lower_bound(trial, to_beat) for trial in harmless]
        best = int(np.argmax(bounds))
        return harmless[best] if bounds[best] > SMALLEST_GAIN else to_beat

    def lower_bound(self, trial: _Trial, other: _Trial) -> float:
        """Return the gain in mean IoU over another trial, of two classes, that is still likely."""
        return self._doubt.lower_bound(self._gain(trial) - self._gain(other), N_SIGMAS)

    def _misses_no_more(self, trial: _Trial) -> bool:
        """Whether no more strokes of any class are mostly wrong than in the map."""
        lost, was_lost = trial.hits < 0.5, self._unrefined.hits < 0.5
        labels = range(self._exam.n_labels)
        return all(lost[self.classes == label].sum() <= was_lost[self.classes == label].sum() for label in labels)

    def _empties_thin(self, trial: _Trial) -> bool:
        """Whether its kernels do, whatever the balance."""
        alone = trial.params.kernels in self._emptying
        return _has_weight(trial.params) and (alone or (trial.params.label_bias is None and trial.effect.empties_thin))

    @cached_property
    def _doubt(self) -> Doubt:
        """How the map is wrong. Where it has most strokes wrong, they were drawn at errors: chance does better."""
        at_errors = self.agreement(self._unrefined) < 0.5
        return doubt_of(self._exam.pixels, self._exam.strokes, self.classes, at_errors=at_errors)

    def _gain(self, trial: _Trial) -> NDArray[np.float64]:
        """Return the gain in mean IoU over the map, at each way in which that may be wrong."""
        key = id(trial)
        if key not in self._gains:
            self._gains[key] = self._mean_iou(trial) - self._mean_iou(self._unrefined)
        return self._gains[key]

    def _mean_iou(self, trial: _Trial) -> NDArray[np.float64]:
        missed, added = self._doubt.wrong(self._exam.pixels)
        to_second, to_first = trial.turnover[0, 1], trial.turnover[1, 0]
        mended_second, mended_first = self._mended(trial, missed, added)
        before, after = trial.turnover.sum(axis=1), trial.turnover.sum(axis=0)
        # Right pixels of a class: those of before, less what is lost, and what is mended.
        right_second = before[1] - added - (to_first - mended_first) + mended_second
        right_first = before[0] - missed - (to_second - mended_second) + mended_first
        is_second = np.clip(before[1] + missed - added, 1e-3, 1 - 1e-3)
        iou_second = right_second / (is_second + after[1] - right_second)
        iou_first = right_first / (1 - is_second + after[0] - right_first)
        mean: NDArray[np.float64] = 0.5 * (iou_second + iou_first)
        return mean

    def _mended(
        self, trial: _Trial, missed: NDArray[np.float64], added: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return which share of the pixels rightly becomes the second class, and the first: (n_points,) each."""
        looks_right = 1 - float(np.clip(trial.effect.likeness, 0, 1))
        by_map = self._doubt.wrong(trial.moved)
        mended = []
        for label, wrong, changed, of_map in (
            (1, missed, trial.turnover[0, 1], by_map[0]),
            (0, added, trial.turnover[1, 0], by_map[1]),
        ):
            put_right = self._put_right(trial, label)
            by_looks = np.minimum(changed * looks_right, wrong)
            by_strokes = np.minimum(wrong * put_right.mean(), changed) if len(put_right) else 0.0
            total = MAP_STROKES * of_map + LOOKS_STROKES * by_looks + len(put_right) * by_strokes
            mended.append(total / (MAP_STROKES + LOOKS_STROKES + len(put_right)))
        return mended[0], mended[1]

    def _put_right(self, trial: _Trial, label: int) -> NDArray[np.float64]:
        """Return, of each stroke of a class that the map has mostly wrong, which share of that is put right."""
        was = self._unrefined.hits
        wrong = (self.classes == label) & (was < 0.5)
        share: NDArray[np.float64] = np.clip((trial.hits[wrong] - was[wrong]) / (1 - was[wrong]), 0, 1)
        return share


def _has_weight(params: CRFParams) -> bool:
    """Whether any kernel has a weight."""
    return any(kernel.weight for kernel in params.kernels)


def _with_numbers(start: CRFParams, numbers: Numbers) -> CRFParams:
    """Return the start with other numbers in its kernels; several of one kind share the weight."""
    smooth = [kernel.intensity_sigma is None for kernel in start.kernels]
    kernels = []
    for kernel, is_smooth in zip(start.kernels, smooth, strict=True):
        if is_smooth or kernel.intensity_sigma is None:
            weight, position, intensity = numbers.smoothness_weight, numbers.smoothness_position_sigma, None
        else:
            weight, position = numbers.appearance_weight, numbers.appearance_position_sigma
            intensity = _scaled(kernel.intensity_sigma, numbers.appearance_intensity_sigma)
        share = weight / smooth.count(is_smooth)
        kernels.append(PairwiseKernel(share, _scaled(kernel.position_sigma, position), intensity))
    return replace(start, kernels=tuple(kernels), label_bias=None)


def _scaled(sigma: Sigma, mean: float) -> Sigma:
    """Return a sigma of another size; several keep their ratios."""
    if not isinstance(sigma, tuple):
        return mean
    size = float(np.exp(np.mean(np.log(sigma))))
    return tuple(value * mean / size for value in sigma)


def _unrefined(params: CRFParams) -> CRFParams:
    """Return parameters that leave the map as it is, but for strokes."""
    kernels = tuple(replace(kernel, weight=0.0) for kernel in params.kernels)
    return replace(params, kernels=kernels, label_bias=None)


def _is_unrefined(params: CRFParams) -> bool:
    return params.label_bias is None and not _has_weight(params)


def _found(judge: _Judge, first: _Trial) -> Fit:
    best, unrefined = judge.best(), judge.trials[0]
    before, after, alone = (judge.agreement(trial) for trial in (first, best, unrefined))
    n_trials = len(judge.trials)
    if _is_unrefined(best.params):
        reason = (
            f"Strokes are predicted to {after:.1%} by the map alone, and no other of {n_trials} settings is sure to "
            "put more right than it breaks."
        )
    elif best.params == first.params:
        reason = (
            f"None of {n_trials - 1} other settings is likely to do better than the present values, which predict "
            f"held-out strokes to {after:.1%}."
        )
    else:
        same = f"{after:.1%}" == f"{alone:.1%}"
        beside = "as by the map alone; the image supports what changes" if same else f"by the map alone to {alone:.1%}"
        reason = f"Strokes that it was not shown are predicted to {after:.1%}, {beside}{_favoured(best.params)}."
    return Fit(best.params, before, after, n_trials, reason)


def _favoured(params: CRFParams) -> str:
    """Say which class the balance favours."""
    if params.label_bias is None:
        return ""
    return f"; the balance favours class {1 + int(np.argmax(params.label_bias))}"
