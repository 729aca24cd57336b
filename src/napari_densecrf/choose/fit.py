"""Parameters from strokes: those that predict best the strokes they have not been shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import Grid
from napari_densecrf.crf.unary import stroke_classes
from napari_densecrf.numbers import Units
from napari_densecrf.params import CRFParams, PairwiseKernel, Sigma

from .trials import Box, Part, Subject, affordable, box_around, box_shape, units_of, whole

N_EVALUATIONS = 60
# The first ones look everywhere, the rest around the best.
N_SPREAD = 24
N_FOLDS = 3
# Pixels of a gray slice with two labels, in all parts together, which bounds the time; see `affordable`.
LARGEST = 100_000
N_PARTS = 8
# The result is measured on the whole image up to this size.
LARGEST_WHOLE = 1 << 20
# What a confident pixel costs that changes, against a stroke that is predicted: see `_Trial.score`.
CHANGE_COST = 1.0
# Less than this is chance where strokes are few.
SMALLEST_GAIN = 0.01
SEED = 0

# Ranges of the search: weights, position sigmas in pixels, intensity sigmas in 255ths of the robust range.
WEIGHTS = (0.1, 10.0)
APPEARANCE_POSITIONS = (3.0, 80.0)
SMOOTHNESS_POSITIONS = (0.5, 4.0)
INTENSITIES = (3.0, 50.0)


@dataclass(frozen=True)
class Fit:
    """What a search for parameters that suit strokes has found.

    Parameters
    ----------
    params : CRFParams
        The best, never worse than the start. Without weights where the map is better unrefined.
    agreement_before, agreement_after : float or None
        0..1: share of held-out stroke pixels that get their class, with the start and with the best; the mean over
        strokes, then over classes. None where there are too few strokes to hold any out.
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
        """Whether strokes are predicted best by the map as it is: `params` have no weight."""
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
    """Search for the parameters that suit strokes best; the same input gives the same answer.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    probabilities : array_like
        (n_labels, *spatial), or (*spatial): the foreground of two classes.
    strokes : (*spatial) array_like of int
        0 = free, k = this pixel is class k - 1.
    start : CRFParams, optional
        Where the search starts; its compatibility, damping and number of iterations are kept. None = the defaults.
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
    Strokes (connected pixels of one class) are dealt to up to three folds. Each parameter set is tried with the strokes
    of the other folds as hard constraints, and measured by those of the fold that was held out: by how many of their
    pixels get their class, and how probable that class is, the mean over strokes, then over classes; less the share of
    the map's margin (how much more probable it calls its first label than its second) on pixels that change, which
    keeps a few strokes from overruling a map that is sure. One of the sets has no weights, which leaves the map as it
    is; what does not predict strokes better than that is not proposed. A large image is tried around the strokes, and
    the best is measured on the whole where that is not too large. A set is given up as soon as it can no longer beat
    the best, which changes no result and saves most of the time.
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
    start = CRFParams() if start is None else start
    if not start.kernels:
        raise ValueError("start has no kernels: expected at least one, whose numbers are searched")
    subject = Subject(image, probabilities, spacing, channel_axis, is_part=is_part)
    drawn = _drawn(strokes, subject)
    if drawn.reason_against is not None:
        nothing = Fit(start, None, None, 0, drawn.reason_against)
        yield FitStep(1.0, "done", nothing, nothing)
        return
    yield FitStep(0.0, "measuring the present values", Fit(start, None, None, 0, "Nothing was tried yet."))
    exam = _Exam(subject, drawn, _boxes(subject, drawn))
    first = best = exam.trial(start)
    search = _Search(start, units_of(exam.parts))
    for done in range(1, N_EVALUATIONS):
        stage = f"setting {done + 1} of {N_EVALUATIONS}"
        yield FitStep(done / (N_EVALUATIONS + 1), stage, _found(first, best, done))
        # The first is the map as it is: what follows must be better than that, too.
        trial = exam.trial(_unrefined(start) if done == 1 else search.propose(best.params, done), best)
        better = _better(trial, best)
        search.learn(improved=better)
        best = trial if better else best
    if best is not first and not exam.is_whole and subject.n_points <= LARGEST_WHOLE:
        yield FitStep(N_EVALUATIONS / (N_EVALUATIONS + 1), "the whole image", _found(first, best, N_EVALUATIONS))
        final = _Exam(subject, drawn, [whole(subject.shape)])
        first = last = final.trial(start)
        for params in dict.fromkeys((_unrefined(start), best.params)):
            trial = final.trial(params, last)
            last = trial if _better(trial, last) else last
        best = last
    result = _found(first, best, N_EVALUATIONS)
    yield FitStep(1.0, "done", result, result)


@dataclass(frozen=True)
class _Drawn:
    """Strokes apart: which pixels belong to which.

    numbers : (*spatial) int32, 0 = free, s = stroke s - 1
    classes, folds : (n_strokes,) int
    centres : (n_strokes, n_axes) int
    reason_against : why nothing can be held out, or None
    """

    numbers: NDArray[np.int32]
    classes: NDArray[np.intp]
    folds: NDArray[np.intp]
    centres: NDArray[np.intp]
    reason_against: str | None


def _drawn(strokes: ArrayLike, subject: Subject) -> _Drawn:
    """Return the strokes apart, class by class, dealt to folds in turn."""
    from scipy import ndimage

    grid = Grid(subject.shape, (1.0,) * len(subject.shape), (0,) * len(subject.shape))
    given = stroke_classes(strokes, grid, subject.n_labels).reshape(subject.shape)
    numbers = np.zeros(subject.shape, np.int32)
    classes: list[int] = []
    for label in np.unique(given[given > 0]).tolist():
        apart, count = ndimage.label(given == label, np.ones((3,) * given.ndim))
        numbers[apart > 0] = apart[apart > 0] + len(classes)
        classes += [label - 1] * count
    folds = np.arange(len(classes)) % N_FOLDS
    return _Drawn(numbers, np.array(classes, np.intp), folds, _centres(numbers), _too_few(classes))


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


def _boxes(subject: Subject, drawn: _Drawn) -> list[Box]:
    """Return the whole image, or boxes around strokes that are not in one yet, the classes in turn."""
    n_points = affordable(subject, LARGEST)
    if subject.n_points <= n_points:
        return [whole(subject.shape)]
    size = box_shape(subject.shape, n_points // N_PARTS)
    rank_in_class = np.array([np.sum(drawn.classes[:s] == label) for s, label in enumerate(drawn.classes)])
    turns = np.lexsort((drawn.classes, rank_in_class))
    boxes: list[Box] = []
    for stroke in turns:
        centre = drawn.centres[stroke]
        inside = any(
            all(along.start <= at < along.stop for at, along in zip(centre, box, strict=True)) for box in boxes
        )
        if not inside and len(boxes) < N_PARTS:
            boxes.append(box_around(centre, size, subject.shape))
    return boxes


@dataclass(frozen=True)
class _Trial:
    """How one parameter set did; where it was given up, how it would do at best.

    agreement : 0..1, share of held-out pixels that got their class
    certainty : 0..1, mean probability of that class
    changed : 0..1, share of the map's margin on pixels that changed
    """

    params: CRFParams
    agreement: float
    certainty: float
    changed: float

    @property
    def score(self) -> float:
        return 0.5 * (self.agreement + self.certainty) - CHANGE_COST * self.changed


def _better(trial: _Trial, other: _Trial) -> bool:
    return trial.agreement >= other.agreement and trial.score > other.score + SMALLEST_GAIN


@dataclass(frozen=True)
class _Fold:
    """Strokes that are given on a part, and those that are held out.

    given : (*spatial), 0 = free, k = this pixel is class k - 1
    pixels, strokes : (n,) pixels held out, flat, and the numbers of their strokes, from 0
    margin : of the map, summed over the pixels that are not given
    """

    part: Part
    given: NDArray[np.int32]
    pixels: NDArray[np.intp]
    strokes: NDArray[np.intp]
    margin: float


class _Exam:
    """Measures parameters by strokes that they have not been shown."""

    def __init__(self, subject: Subject, drawn: _Drawn, boxes: Sequence[Box]) -> None:
        self.parts = [subject.cut(box) for box in boxes]
        self.is_whole = list(boxes) == [whole(subject.shape)]
        self._classes = drawn.classes
        self._folds = [fold for part in self.parts for fold in _folds(drawn, part)]
        self._count = np.bincount(np.concatenate([fold.strokes for fold in self._folds]), minlength=len(self._classes))
        self._margin = max(sum(fold.margin for fold in self._folds), 1e-9)

    def trial(self, params: CRFParams, to_beat: _Trial | None = None) -> _Trial:
        """Refine every part once a fold, compare with what was held out, and give up where another cannot be beaten.

        Until measured, a fold counts as predicted right, surely, and without a change.
        """
        missed, doubt = np.zeros((2, len(self._classes)))
        changed = 0.0
        scores = [1.0]
        for fold in self._folds:
            part = fold.part
            result = part.refine(params, strokes=fold.given)
            labels, marginals = part.labels_of(result), part.marginals_of(result)
            truth = self._classes[fold.strokes]
            missed += self._by_stroke(fold, labels.ravel()[fold.pixels] != truth)
            doubt += self._by_stroke(fold, 1 - marginals.reshape(len(marginals), -1)[truth, fold.pixels])
            moved = (labels != part.labels) & (fold.given == 0)
            changed += float(part.margin[moved].sum(dtype=float))
            trial = _Trial(params, 1 - self._mean(missed), 1 - self._mean(doubt), changed / self._margin)
            scores.append(trial.score)
            if to_beat is not None and not _better(trial, to_beat):
                break
        if to_beat is None:
            # Most is lost in the same folds by all sets: with these first, a set that cannot win is soon known.
            self._folds = [self._folds[k] for k in np.argsort(np.diff(scores), kind="stable")]
        return trial

    def _by_stroke(self, fold: _Fold, values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(fold.strokes, values, minlength=len(self._classes)).astype(float)

    def _mean(self, sums: NDArray[np.float64]) -> float:
        """Return the mean of strokes, then of classes."""
        seen = self._count > 0
        of_strokes, classes = sums[seen] / self._count[seen], self._classes[seen]
        return float(np.mean([of_strokes[classes == label].mean() for label in np.unique(classes)]))


def _folds(drawn: _Drawn, part: Part) -> Iterator[_Fold]:
    numbers = drawn.numbers[part.box]
    strokes = np.unique(numbers[numbers > 0]) - 1
    all_given = np.where(numbers > 0, drawn.classes[numbers - 1] + 1, 0).astype(np.int32)
    for fold in np.unique(drawn.folds[strokes]):
        held_out = (numbers > 0) & (drawn.folds[numbers - 1] == fold)
        given = np.where(held_out, 0, all_given)
        pixels = np.flatnonzero(held_out)
        margin = float(part.margin[given == 0].sum(dtype=float))
        yield _Fold(part, given, pixels, numbers.ravel()[pixels].astype(np.intp) - 1, margin)


class _Search:
    """Proposes parameters: first spread over all ranges, then ever nearer to the best; logarithms throughout.

    With this few evaluations of steps and plateaus a low-discrepancy sequence and a shrinking box do as well as
    anything, and proposing one at a time leaves the loop, and the place to stop, with the caller.
    """

    def __init__(self, start: CRFParams, units: Units) -> None:
        from scipy.stats import qmc

        self._start = start
        self._ranges = np.log([bounds for kernel in start.kernels for bounds in _ranges(kernel, units)])
        sobol = qmc.Sobol(len(self._ranges), rng=np.random.default_rng(SEED))
        self._draws = sobol.random_base2(N_EVALUATIONS.bit_length())
        self._is_weight = np.array([of == 0 for kernel in start.kernels for of in range(len(_ranges(kernel, units)))])
        self._last = self._draws[0]
        self._radius = 0.25
        self._failures = 0

    def propose(self, best: CRFParams, number: int) -> CRFParams:
        """Return the next parameters to try."""
        low, high = self._ranges.T
        draw = self._draws[number]
        if number < N_SPREAD:
            return self._params(low + draw * (high - low))
        centre = np.log([value for kernel in best.kernels for value in _numbers(kernel)])
        logs = centre + self._radius * (2 * draw - 1) * (high - low)
        if number % 2:
            # Other weights need no other lattice, and half of the time goes into lattices.
            logs = np.where(self._is_weight, logs, self._last)
        self._last = logs
        return self._params(logs)

    def learn(self, *, improved: bool) -> None:
        """Narrow the box where it brings nothing."""
        self._failures = 0 if improved else self._failures + 1
        if self._failures % 8 == 7:
            self._radius *= 0.6

    def _params(self, logs: NDArray[np.float64]) -> CRFParams:
        numbers = iter(float(f"{value:.3g}") for value in np.exp(logs))
        return replace(self._start, kernels=tuple(_with_numbers(kernel, numbers) for kernel in self._start.kernels))


def _ranges(kernel: PairwiseKernel, units: Units) -> list[tuple[float, float]]:
    """Return (low, high) of each number of a kernel."""
    smooth = kernel.intensity_sigma is None
    low, high = SMOOTHNESS_POSITIONS if smooth else APPEARANCE_POSITIONS
    ranges = [WEIGHTS, (low * units.pixel, high * units.pixel)]
    if not smooth:
        ranges.append((INTENSITIES[0] * units.intensity, INTENSITIES[1] * units.intensity))
    return ranges


def _numbers(kernel: PairwiseKernel) -> list[float]:
    """Return weight, position sigma and, where there is one, intensity sigma; of several the geometric mean."""
    sigmas = [kernel.position_sigma] + ([] if kernel.intensity_sigma is None else [kernel.intensity_sigma])
    return [max(kernel.weight, WEIGHTS[0]), *(_mean_sigma(sigma) for sigma in sigmas)]


def _with_numbers(kernel: PairwiseKernel, numbers: Iterator[float]) -> PairwiseKernel:
    weight = next(numbers)
    position_sigma = _scaled(kernel.position_sigma, next(numbers))
    intensity_sigma = None if kernel.intensity_sigma is None else _scaled(kernel.intensity_sigma, next(numbers))
    return PairwiseKernel(weight, position_sigma, intensity_sigma)


def _mean_sigma(sigma: Sigma) -> float:
    return float(np.exp(np.mean(np.log(sigma))))


def _scaled(sigma: Sigma, mean: float) -> Sigma:
    """Return a sigma of another size; several keep their ratios."""
    return tuple(value * mean / _mean_sigma(sigma) for value in sigma) if isinstance(sigma, tuple) else mean


def _unrefined(params: CRFParams) -> CRFParams:
    """Return parameters that leave the map as it is, but for strokes."""
    kernels = tuple(replace(kernel, weight=0.0) for kernel in params.kernels)
    return replace(params, kernels=kernels, label_bias=None)


def _is_unrefined(params: CRFParams) -> bool:
    return params.label_bias is None and not any(kernel.weight for kernel in params.kernels)


def _found(first: _Trial, best: _Trial, n_evaluations: int) -> Fit:
    if best is first:
        reason = f"None of {n_evaluations - 1} other settings predicts held-out strokes better than the present values."
    elif _is_unrefined(best.params):
        reason = (
            f"Strokes that it was not shown are predicted to {best.agreement:.1%} by the map alone, the present values "
            f"do {first.agreement:.1%}, and no other setting does better."
        )
    elif best.agreement > first.agreement:
        reason = (
            f"Strokes that it was not shown are predicted to {best.agreement:.1%}, the present values do "
            f"{first.agreement:.1%}."
        )
    else:
        reason = (
            f"Strokes that it was not shown are predicted to {best.agreement:.1%} as before, more surely or with fewer "
            "confident pixels changed."
        )
    return Fit(best.params, first.agreement, best.agreement, n_evaluations, reason)
