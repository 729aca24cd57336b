"""From an image, objects and parameters to the same objects with better borders, keeping what stays valid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import from_image
from napari_densecrf.crf.probe import Probe
from napari_densecrf.crf.refine import BUILDING, Terms
from napari_densecrf.door.missing import as_array, check_missing
from napari_densecrf.door.values import probabilities_of
from napari_densecrf.params import CRFParams

from .contrast import RING, Contrast, Typical, measure_contrast, to_one_contrast
from .distances import Band, band_around
from .own_field import Beginning, OwnField, Routes, iterate, routes
from .pairs import CERTAIN_BACKGROUND, REACH_BORDERS, Pairs, make_pairs
from .pieces import make_whole
from .report import count_objects, report_of
from .source import Source, as_strokes, number_objects


@dataclass(frozen=True, eq=False)
class ObjectRefinement:
    """Objects with refined borders.

    Parameters
    ----------
    params : CRFParams
    border : float
        How far a border may be off, in the unit of ``spacing``.
    spacing : tuple of float
        Size of a pixel along each spatial axis.
    confidence : (*spatial) float32
        0..1: the probability of the label that won.
    free_energy : (n_iterations,) float64
        F(Q) before each update, of the pixels with more than one candidate.
    largest_change : (n_iterations,) float32
        0..1: the most that each update has changed any probability.
    """

    params: CRFParams
    border: float
    spacing: tuple[float, ...]
    confidence: NDArray[np.float32]
    free_energy: NDArray[np.float64]
    largest_change: NDArray[np.float32]
    _source: Source = field(repr=False)
    _numbers: NDArray[np.int32] = field(repr=False)
    _held: NDArray[np.bool_] = field(repr=False)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """(*spatial), in the type of the objects that came: the id of each pixel, 0 = background."""
        return self._source.with_ids(self._numbers)

    @cached_property
    def report(self) -> NDArray[Any]:
        """(n_objects,) structured array, one row an object.

        ``id``; ``area_before`` and ``area_after`` in pixels; ``border_moved``, 0..1: the share of the pixels on its
        border before that are not on it now; ``held``: the image does not tell the object from what lies around it, so
        it was left as it was.
        """
        return report_of(self.counts())

    def counts(self, inner: tuple[slice, ...] | None = None) -> NDArray[Any]:
        """Return what `report` is made of, of a part of the image alone: (n,) structured array, see report.py."""
        return count_objects(self._source, self._numbers, self._held, inner)

    @property
    def n_objects(self) -> int:
        """How many objects there are."""
        return self._source.n_objects

    @property
    def n_held(self) -> int:
        """How many of them are held as they were."""
        return int(np.count_nonzero(self._held))


@dataclass(frozen=True)
class ObjectStep:
    """A point between two pieces of work: progress, and a place to stop.

    Parameters
    ----------
    stage : str
        What comes next, or "done".
    fraction : float
        0..1, of the whole.
    refinement : ObjectRefinement, optional
        With the last step only.
    """

    stage: str
    fraction: float
    refinement: ObjectRefinement | None = None


class ObjectRefiner:
    """Refines the objects of one image again and again, and builds only what a change makes invalid.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    objects : (*spatial) array_like of int
        0 = background, any other number is an object; they need not be consecutive.
    foreground : (*spatial) array_like, optional
        Probability of any object: floats from 0 to 1, or uint8 or uint16, which are divided by the largest number of
        their type.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis. None = 1.
    channel_axis : int, optional
        Axis of the channels; None = gray.
    strokes : (*spatial) array_like of int, optional
        0 = free, an id = this pixel is of that object (a new id makes a new object), -1 = background; in an unsigned
        type that is its largest value.
    one_contrast : bool
        Bring the image to one contrast first, see contrast.py; so ``intensity_sigma`` is measured at the typical
        object, and holds for dim ones too. False takes the image as it is.
    origin : sequence of int, optional
        Index of the first pixel within the whole image, where ``image`` is a part of one. None = zeros.
    probe : Probe, optional
        Of the whole image, at one contrast where that is wanted; the lattice of each part is then as fine as that of
        the whole. None = from ``image`` itself.
    typical : Typical, optional
        The typical object of the whole image. None = of ``objects`` themselves.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """

    def __init__(
        self,
        image: ArrayLike,
        objects: ArrayLike,
        *,
        foreground: ArrayLike | None = None,
        spacing: Sequence[float] | float | None = None,
        channel_axis: int | None = None,
        strokes: ArrayLike | None = None,
        one_contrast: bool = True,
        origin: Sequence[int] | None = None,
        probe: Probe | None = None,
        typical: Typical | None = None,
    ) -> None:
        array = as_array(image)
        grid, self.intensities, self._valid = from_image(array, spacing, channel_axis, origin)
        if self._valid is not None:
            check_missing(array, channel_axis, "the image has", is_part=origin is not None or probe is not None)
        if grid.n_points >= 2**31:
            raise MemoryError(f"the image has {grid.n_points:,} pixels: expected fewer than 2^31 at once")
        self.grid = grid
        self.source = number_objects(objects, strokes, grid.shape)
        self._fixed = _fixed_by(strokes, self._valid, self.source)
        self._foreground = None if foreground is None else _as_foreground(foreground, grid.shape)
        self._one_contrast, self._probe, self._typical = one_contrast, probe, typical
        self._pairs: tuple[float, Pairs] | None = None
        self._routes: Routes | None = None
        self._beginning: Beginning | None = None

    @property
    def pixel(self) -> float:
        """The size of a pixel along its shortest side, in the unit of the spacing."""
        return min(self.grid.spacing)

    @cached_property
    def near(self) -> Band:
        """The band in which core and ring of each object lie."""
        return band_around(self.source, self.grid.spacing, RING * self.pixel)

    @cached_property
    def contrast(self) -> Contrast:
        """How much each object differs from what lies around it."""
        return measure_contrast(self.source, self.near, self.intensities, self.pixel, self._typical)

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """(n_objects,): those that the image does not tell from what lies around them."""
        return self.contrast.untold

    @cached_property
    def terms(self) -> Terms:
        """The kernels on the image, at one contrast where that is wanted."""
        if not self._one_contrast:
            return Terms(self.grid, self.intensities, self._probe, self._valid)
        equal = to_one_contrast(self.source, self.contrast, self.intensities)
        return Terms(self.grid, equal, self._probe, self._valid)

    @property
    def n_bytes(self) -> int:
        """Bytes of what is kept for the last parameters, without the image and its objects."""
        lattices = [part for lattice in self.terms.lattices for part in (lattice.runs, lattice.neighbours)]
        ways = self._routes
        own = [] if ways is None else [*ways.on_lattices.values(), ways.on_grids]
        pairs = () if self._pairs is None else self._pairs[1]
        arrays = [array for group in (self.near, pairs, *lattices, *own) if group is not None for array in group]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def refine(self, params: CRFParams, border: float) -> ObjectRefinement:
        """Refine the borders.

        Parameters
        ----------
        params : CRFParams
            With Potts costs; ``label_bias`` is (background, objects).
        border : float
            How far a border may be off, in the unit of the spacing. Positive.

        Raises
        ------
        ValueError
            With one sentence that names what came and what is expected.
        MemoryError
            Where the lattice cannot be numbered or would not fit the memory; says the size.
        """
        for step in self.steps(params, border):
            if step.refinement is not None:
                return step.refinement
        raise AssertionError("the last step carries the refinement")

    def steps(self, params: CRFParams, border: float) -> Iterator[ObjectStep]:
        """Refine step by step: each is progress, and a point to stop by not asking for the next."""
        check_object_params(params, border)
        yield ObjectStep("looking at the objects", 0.0)
        pairs = self._pairs_at(border)
        active = [kernel for kernel in params.kernels if kernel.weight > 0]
        n_steps = len(active) + params.n_iterations + 2
        for done, kernel in enumerate(active):
            if not self.terms.has(kernel):
                yield ObjectStep(BUILDING if kernel.intensity_sigma else "smoothing", done / n_steps)
                self.terms.build(kernel)
        self.terms.forget_others(params)
        terms = [(kernel.weight, self.terms[kernel]) for kernel in active]
        shape = self.source.numbers.shape
        self._routes = routes(pairs, [term for _, term in terms], shape, self._routes)
        own = OwnField(pairs, terms, self._routes, shape, bias=object_bias(params), damping=params.damping)
        for state in iterate(own, params.n_iterations, self._beginning):
            self._beginning = own.beginning
            done = len(active) + state.iteration
            if state.iteration < params.n_iterations:
                yield ObjectStep(f"iteration {state.iteration + 1} of {params.n_iterations}", done / n_steps)
        yield ObjectStep("keeping objects whole", (n_steps - 1) / n_steps)
        winners, best = own.winners()
        numbers = make_whole(self.source, own, winners)
        result = ObjectRefinement(
            params,
            border,
            self.grid.spacing,
            best.reshape(self.grid.shape),
            state.free_energy,
            state.largest_change,
            self.source,
            numbers,
            self.held,
        )
        yield ObjectStep("done", 1.0, result)

    def _pairs_at(self, border: float) -> Pairs:
        """Return the pairs at this border, those of the last time where it is the same."""
        if self._pairs is None or self._pairs[0] != border:
            reach = REACH_BORDERS * border
            band = self.near if reach <= self.near.reach else band_around(self.source, self.grid.spacing, reach)
            made = make_pairs(self.source, band, border, held=self.held, fixed=self._fixed, foreground=self._foreground)
            self._pairs, self._routes, self._beginning = (border, made), None, None
        return self._pairs[1]


def check_object_params(params: CRFParams, border: float) -> None:
    """Raise ValueError where these numbers are none for objects."""
    if params.compatibility is not None:
        raise ValueError("compatibility is a matrix of classes: for objects expected None, which is Potts")
    if not (np.isfinite(border) and border > 0):
        raise ValueError(f"border is {border!r}: expected a positive number, how far borders may be off")
    object_bias(params)


def object_bias(params: CRFParams) -> float:
    """Return the log-odds that favour objects against the background."""
    if params.label_bias is None:
        return 0.0
    if len(params.label_bias) != 2:
        raise ValueError(
            f"label_bias has {len(params.label_bias)} numbers: for objects expected 2, for background and objects"
        )
    return params.label_bias[1] - params.label_bias[0]


def with_object_bias(params: CRFParams, bias: float) -> CRFParams:
    """Return parameters that favour objects by these log-odds."""
    return replace(params, label_bias=(0.0, bias) if bias else None)


def _fixed_by(strokes: ArrayLike | None, valid: NDArray[np.bool_] | None, source: Source) -> NDArray[np.int32] | None:
    """Return what is certain of each pixel, as `Pairs` has it: what strokes say; and pixels without a value stay."""
    if strokes is None and valid is None:
        return None
    numbers = source.numbers.ravel()
    fixed = np.zeros(numbers.size, np.int32)
    if strokes is not None:
        marks, background = as_strokes(strokes, source.shape)
        fixed = np.where(marks.ravel() != 0, numbers, fixed)
        fixed[background.ravel()] = CERTAIN_BACKGROUND
    if valid is not None:
        fixed = np.where(valid, fixed, np.where(numbers > 0, numbers, CERTAIN_BACKGROUND))
    return fixed.astype(np.int32)


def _as_foreground(foreground: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (n_points,) probabilities, or say what is wrong with them."""
    array = np.asarray(foreground)
    if array.shape != shape:
        raise ValueError(f"foreground has shape {array.shape}: expected {shape} to match the image")
    if array.dtype.kind not in "uf" or (array.dtype.kind == "u" and array.dtype.itemsize > 2):
        raise ValueError(f"foreground holds {array.dtype} values: expected floats from 0 to 1, uint8 or uint16")
    values = np.ascontiguousarray(probabilities_of(array), np.float32).ravel()
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-3):
        raise ValueError("foreground is no probability everywhere: expected numbers from 0 to 1")
    return values
