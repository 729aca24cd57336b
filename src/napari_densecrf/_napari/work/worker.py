"""What the worker thread does for a request: read the layers, keep the refiners, refine, cut the region out."""

from __future__ import annotations

import math
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.axes import levels_of
from napari_densecrf._napari.problem.problem import FromStrokes, Misfit, Problem, layers_of, layers_of_map
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.problem.seen import remember, remember_labels
from napari_densecrf.blank import named, no_label
from napari_densecrf.choose.objects import (
    APPEARANCE_WEIGHT,
    POSITION_SIGMA,
    SMOOTHNESS_SIGMA,
    SMOOTHNESS_WEIGHT,
    suggest_for_objects,
)
from napari_densecrf.choose.start import first_params
from napari_densecrf.choose.suggest import WEAK
from napari_densecrf.crf.grid import robust_range
from napari_densecrf.crf.numba.watch import checkpoint, seconds_compiling
from napari_densecrf.crf.objects.refine import ObjectRefinement, ObjectRefiner
from napari_densecrf.crf.refine import Refinement, Refiner
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.crf.windowed_gaussian import WindowedGaussian
from napari_densecrf.door.missing import check_missing, same_pixels
from napari_densecrf.numbers import DIGITS, Numbers, Units
from napari_densecrf.params import CRFParams

from .objects import ObjectWork
from .outlines import border_lengths
from .reading import Inputs, PlacedMaps, inputs_of, probe, read, read_image, read_map_layers
from .runner import Done, Stage, Steps
from .smoothed import smoothed_labels
from .source import Source
from .stroke_maps import StrokeMaps

# Slices that stay ready to be refined again, until their pixels together pass the second number.
MAX_KEPT = 4
CONFIDENCE, CHANGES = "confidence", "changes"
MAX_KEPT_PIXELS = 6_000_000
# Images alike enough for the numbers of one to be kept for the other: their ranges within this factor.
ALIKE = 4.0
# Of a larger slice, the middle tells what labels are, and what numbers suit objects.
LARGEST_LOOK = 1536
# Where a slice holds no label, so many of the stack are looked at.
MOST_SLICES = 16


@dataclass(frozen=True, eq=False)
class Result:
    """What goes back to the window; arrays are those of the wanted region.

    Parameters
    ----------
    request : Request
    inputs : Inputs
        Of the read region.
    refinement : Refinement or ObjectRefinement
        Of the read region.
    labels : (height, width) array
        The values of the result layer; `no_label` where a pixel has no value.
    said : (height, width) array
        The values that the map alone says.
    counts : (n_classes, n_classes) int64
        Pixels of the class that the map says (rows) and that the result says (columns); without those without a value.
    elapsed_ms : float
    confidence : (height, width) float16, optional
        1 - entropy, in percent; NaN where a pixel has no value.
    changes : (height, width) array, optional
        Which class became which: 0 where none did, else 1 + was * n_classes + is, both indices of classes. Of objects
        the classes are background and objects; from one object to another is from objects to objects.
    borders : (2, n_classes) int64, optional
        How long the border of each class is in the map and in the result, as `border_lengths` counts it.
    drawn : Drawn, optional
        With a preview alone.
    """

    request: Request
    inputs: Inputs
    refinement: Refinement | ObjectRefinement
    labels: NDArray[Any]
    said: NDArray[Any]
    counts: NDArray[np.int64]
    elapsed_ms: float
    confidence: NDArray[np.float16] | None = None
    changes: NDArray[Any] | None = None
    borders: NDArray[np.int64] | None = None
    drawn: Drawn | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """How the labels of a preview are drawn: on the pixels of the exact result.

    Parameters
    ----------
    region : Region
    labels : (height, width) array
        The values of the result layer.
    """

    region: Region
    labels: NDArray[Any]


@dataclass(frozen=True)
class Measured:
    """The robust range of an image, from a few pixels of one slice: what 255 is to an 8-bit image.

    Of objects, the ``numbers`` that suit them too, and in ``why`` how they came about. Of a map, those of the ``first``
    result: the best of a few settings, tried on the middle of the slice.
    """

    problem: Problem
    robust_range: float
    numbers: Numbers | None = None
    first: Numbers | None = None
    why: str = ""
    volume: bool = False

    @property
    def proposed(self) -> Numbers:
        """What is proposed: the numbers of objects, those of the first result, or weak ones."""
        return self.numbers or self.first or WEAK.in_units(self.units)

    @property
    def units(self) -> Units:
        """In which numbers of other images are those of this one."""
        return Units(self.problem.spacing[1], self.robust_range / 255)

    def is_of(self, problem: Problem, *, volume: bool) -> bool:
        """Tell whether it holds for a problem, whose slices are refined as a volume or not."""
        mine = self.problem
        same_image = (mine.image, mine.channels) == (problem.image, problem.channels)
        same_objects = mine.objects == problem.objects
        if mine.objects and same_objects:
            same_objects = mine.map is problem.map and self.volume == volume
        return same_image and same_objects and (mine.unit, mine.spacing) == (problem.unit, problem.spacing)

    def is_like(self, other: Measured) -> bool:
        """Tell whether the numbers of one image are fit for the other too."""
        if self.numbers is not None or other.numbers is not None:
            return False
        ratio = self.robust_range / other.robust_range
        return self.problem.unit == other.problem.unit and 1 / ALIKE <= ratio <= ALIKE


@dataclass
class _Kept:
    """A region that stays ready: what was read of it, and its refiner."""

    revision: Hashable
    source: Source
    refiner: Refiner
    is_judged: bool = False

    @property
    def inputs(self) -> Inputs:
        """What was read."""
        return self.source.inputs


@dataclass
class Engine:
    """Keeps the last few regions. Used by the worker thread alone."""

    _kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict)
    _stroke_maps: StrokeMaps = field(default_factory=StrokeMaps)
    _placed_maps: PlacedMaps = field(default_factory=PlacedMaps)
    objects: ObjectWork = field(default_factory=ObjectWork)

    def steps(self, request: Request) -> Steps:
        """Do a request; the last step is `Done` with its `Result`."""
        started = working_seconds()
        yield Stage("reading", 0.0)
        if request.problem.objects:
            yield from self._object_steps(request, started)
            return
        kept = self._ready(request)
        inputs = kept.inputs
        request = _of_classes(request, len(inputs.values))
        params = request.coupled(request.params)
        for step in kept.refiner.steps(inputs.probabilities, params, strokes=request.strokes):
            if step.refinement is None:
                yield step
            else:
                if step.refinement.n_missing and not kept.is_judged:
                    _judge(request, inputs)
                    kept.is_judged = True
                kept.source.note(request)
                yield Done(result_of(request, inputs, step.refinement, started))

    def _object_steps(self, request: Request, started: float) -> Steps:
        inputs = read_all(request, self._stroke_maps, self._placed_maps)
        painted = request.strokes is not None and (request.strokes > 0).any()
        if inputs.objects is not None and not (inputs.objects.any() or painted):
            raise Misfit(words.NO_OBJECT_HERE)
        for step in self.objects.steps(request, inputs):
            if step.refinement is None:
                yield step
            else:
                yield Done(result_of(request, inputs, step.refinement, started))

    def object_refiner(self, request: Request) -> ObjectRefiner:
        """Return a refiner of the objects of a request."""
        return self.objects.refiner(request, read_all(request, self._stroke_maps, self._placed_maps))

    def inputs(self, request: Request) -> Inputs:
        """Return what the layers hold of the read region."""
        return self._ready(request).inputs

    def source(self, request: Request) -> Source | None:
        """Return what was read last for a request of the same subject, if it is still there."""
        if request.problem.objects:
            source = self.objects.source
            return source if source is not None and source.subject == request.subject else None
        kept = (kept.source for kept in reversed(self._kept.values()))
        return next((source for source in kept if source.subject == request.subject), None)

    def _ready(self, request: Request) -> _Kept:
        """Return what the layers hold now and a refiner of that image, kept where it has not changed."""
        problem, region = request.problem, request.read
        key = (tuple(map(id, layers_of(problem))), problem.channel_axis, problem.along, request.spacing, region)
        kept = self._kept.pop(key, None)
        if kept is None or kept.revision != request.revision or _in_memory(problem):
            # Arrays in memory are looked at each time, as they may have been changed in place; others cost too much.
            inputs = read_all(request, self._stroke_maps, self._placed_maps)
            same = kept is not None and same_pixels(inputs.image, kept.inputs.image)
            refiner = kept.refiner if kept is not None and same else _refiner(request, inputs)
            image = kept.inputs.image if kept is not None and same else np.array(inputs.image)
            if kept is not None and same and _same_map(inputs, kept.inputs):
                # The same object, by which previews know that nothing has changed.
                inputs = kept.inputs
            else:
                inputs = replace(inputs, image=image)
            source = Source(request.subject, region, inputs, request.strokes)
            if kept is not None and same:
                source.built, source.done = kept.source.built, kept.source.done
            kept = _Kept(request.revision, source, refiner)
        self._kept[key] = kept
        self._forget()
        return kept

    def _forget(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MAX_KEPT
            or sum(kept.refiner.grid.n_points for kept in self._kept.values()) > MAX_KEPT_PIXELS
        ):
            self._kept.popitem(last=False)


def _of_classes(request: Request, n_classes: int) -> Request:
    """Return the request without the balance where that is of other classes: labels got new ones since it was made."""
    bias = request.params.label_bias
    if bias is None or len(bias) == n_classes:
        return request
    return replace(request, params=replace(request.params, label_bias=None))


def read_all(request: Request, stroke_maps: StrokeMaps, placed_maps: PlacedMaps | None = None) -> Inputs:
    """Read the layers of the read region; a map that is made from strokes is made here."""
    problem, region = request.problem, request.read
    if isinstance(problem.map, FromStrokes) and request.strokes is not None:
        image = read_image(problem, region)
        probabilities = stroke_maps.probabilities(problem, region, image, request.strokes)
        return inputs_of(problem, image, probabilities, np.arange(len(probabilities)))
    return read(problem, region, placed_maps)


def working_seconds() -> float:
    """Return the time on a clock that stands still while this thread compiles."""
    return time.perf_counter() - seconds_compiling()


def result_of(request: Request, inputs: Inputs, refinement: Refinement | ObjectRefinement, started: float) -> Result:
    """Return what goes back to the window for a request that was started at such `working_seconds`."""
    if isinstance(refinement, ObjectRefinement):
        return _result_of_objects(request, inputs, refinement, started)
    return _result_of_classes(request, inputs, refinement, started)


def _result_of_classes(request: Request, inputs: Inputs, refinement: Refinement, started: float) -> Result:
    inner = request.region.within(request.read)
    values = inputs.values.astype(inputs.dtype)
    classes = refinement.labels[inner]
    elapsed_ms = 1e3 * (working_seconds() - started)
    foreground = inputs.probabilities.shape == refinement.labels.shape
    said = _most_probable(inputs.probabilities, inner, foreground=foreground).astype(classes.dtype)
    missing = classes == no_label(classes.dtype) if refinement.n_missing else None
    if missing is not None:
        said[missing] = no_label(classes.dtype)
    n_classes = len(values)
    pairs = said.astype(np.intp) * n_classes + classes
    known = pairs.ravel() if missing is None else pairs[~missing]
    counts = np.bincount(known, minlength=n_classes**2).reshape(n_classes, n_classes)
    borders = np.stack([border_lengths(one, n_classes) for one in (said, classes)])
    labels, of_map = named(classes, values), named(said, values)
    result = Result(request, inputs, refinement, labels, of_map, counts, elapsed_ms, borders=borders)
    if CONFIDENCE in request.extras:
        percent = np.round(100 * (1 - refinement.entropy[inner])).astype(np.float16)
        result = replace(result, confidence=percent)
    if CHANGES in request.extras:
        changes = np.where(said != classes, pairs + 1, 0).astype(np.min_scalar_type(n_classes**2))
        result = replace(result, changes=changes)
    return result


def _result_of_objects(request: Request, inputs: Inputs, refinement: ObjectRefinement, started: float) -> Result:
    inner = request.region.within(request.read)
    assert inputs.objects is not None
    said, labels = inputs.objects[inner], refinement.labels[inner].astype(inputs.dtype, copy=False)
    pairs = 2 * (said != 0).astype(np.uint8) + (labels != 0)
    counts = np.bincount(pairs.ravel(), minlength=4).reshape(2, 2)
    elapsed_ms = 1e3 * (working_seconds() - started)
    result = Result(request, inputs, refinement, labels, said, counts, elapsed_ms)
    if CONFIDENCE in request.extras:
        result = replace(result, confidence=np.round(100 * refinement.confidence[inner]).astype(np.float16))
    if CHANGES in request.extras:
        result = replace(result, changes=np.where(said != labels, pairs + 1, 0).astype(np.uint8))
    return result


def _judge(request: Request, inputs: Inputs) -> None:
    """Refuse NaN that is scattered inside the picture; of every so many pixels that cannot be told."""
    if request.read.step == 1:
        check_missing(inputs.image, inputs.channel_axis, f"“{request.problem.image.name}” has", is_part=True)
        n_axes = inputs.image.ndim - (inputs.channel_axis is not None)
        class_axis = None if inputs.probabilities.ndim == n_axes else 0
        check_missing(inputs.probabilities, class_axis, "the map has", is_part=True)


def _most_probable(
    probabilities: NDArray[Any], inner: tuple[int | slice, ...], *, foreground: bool
) -> NDArray[np.intp]:
    """Return the (height, width) class that a map says within a region."""
    if foreground:
        top = np.iinfo(probabilities.dtype).max if probabilities.dtype.kind == "u" else 1
        return (probabilities[inner] > top / 2).astype(np.intp)
    most: NDArray[np.intp] = probabilities[:, *inner].argmax(axis=0)
    return most


def _same_map(inputs: Inputs, kept: Inputs) -> bool:
    """Tell whether the map and its classes are as they were; one in memory is a view, which follows by itself."""
    one, other = inputs.probabilities, kept.probabilities
    same = one.__array_interface__ == other.__array_interface__ or same_pixels(one, other)
    return same and inputs.names == kept.names and np.array_equal(inputs.values, kept.values)


def _in_memory(problem: Problem) -> bool:
    return all(isinstance(data, np.ndarray) for layer in layers_of(problem) for data in levels_of(layer))


def _refiner(request: Request, inputs: Inputs) -> Refiner:
    return Refiner(
        inputs.image,
        spacing=request.spacing,
        channel_axis=inputs.channel_axis,
        origin=request.read.origin,
        probe=probe(request.problem, request.read),
    )


def warm_up(n_channels: int, prepare_drawing: Callable[[], None]) -> Steps:
    """Compile what drawing and images of so many channels need, on a few pixels."""
    yield Stage("preparing", 0.0)
    prepare_drawing()
    checkpoint()
    pixels = np.arange(64 * n_channels, dtype=np.float32).reshape(8, 8, n_channels)
    probabilities = np.full((2, 8, 8), 0.5, np.float32)
    yield Done(Refiner(pixels, channel_axis=-1).refine(probabilities, CRFParams()))


def prepare_previews() -> Steps:
    """Compile what only previews need, on a few pixels: once there is a result, before a slider moves."""
    yield Stage("preparing", 0.0)
    smoothed_labels(np.full((2, 8, 8), 0.5, np.float32), 2, (16, 16))
    window = WindowedGaussian((8, 8), np.ones(2), np.zeros((64, 1), np.float32))
    window.add_messages(np.ones((64, 1), np.float32), 1.0, np.zeros((64, 1), np.float32))
    yield Done(None)


def _looks(problem: Problem, region: Region) -> Iterator[NDArray[Any]]:
    """Yield the labels of a slice, and those of a few others, spread over the stack, for where it has none."""
    leading = problem.shape[:-2]
    n_slices = math.prod(leading)
    others = np.linspace(0, n_slices - 1, min(n_slices, MOST_SLICES)).astype(np.intp)
    indices = [region.index, *(tuple(map(int, np.unravel_index(k, leading))) for k in others if leading)]
    for index in indices:
        part = read_map_layers(problem, middle_of(replace(region, index=index), LARGEST_LOOK))[0]
        yield np.ma.filled(part, 0)


def middle_of(region: Region, size: int) -> Region:
    """Return the middle of a whole slice, so many pixels high and wide at most."""
    (_, height), (_, width) = region.y, region.x
    y, x = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return Region(region.index, (y, min(height, y + size)), (x, min(width, x + size)))


def with_object_numbers(measured: Measured, region: Region) -> Measured:
    """Return the numbers that suit the objects of a slice too, from its middle where it is large."""
    problem = measured.problem
    if measured.volume:
        depth = problem.shape[-3]
        region = replace(middle_of(region, round((LARGEST_LOOK**2 / depth) ** 0.5)), z=(0, depth))
    else:
        region = middle_of(region, LARGEST_LOOK)
    inputs = read(problem, region)
    assert inputs.objects is not None
    if not inputs.objects.any():
        # Numbers for no object yet; those of classes would not suit objects.
        standard = standard_numbers(measured.units)
        return replace(measured, numbers=standard)
    spacing = problem.volume_spacing if measured.volume else problem.spacing
    found = suggest_for_objects(inputs.image, inputs.objects, spacing=spacing, channel_axis=inputs.channel_axis)
    numbers = Numbers.of_params(found.params).changed(border=found.border).shortened(DIGITS)
    return replace(measured, numbers=numbers, why=found.why)


def with_first_numbers(measured: Measured, region: Region) -> Measured:
    """Return the numbers of the first result too; without strength, where the map is better as it is."""
    problem = measured.problem
    inputs = read(problem, region)
    with warnings.catch_warnings():
        # What is wrong with the map is said when it is refined.
        warnings.simplefilter("ignore", InputWarning)
        params = first_params(
            inputs.image,
            inputs.probabilities,
            spacing=problem.spacing,
            channel_axis=inputs.channel_axis,
            is_part=True,
        )
    return replace(measured, first=Numbers.of_params(params).shortened())


def standard_numbers(units: Units) -> Numbers:
    """Return what suits objects as long as none can be looked at."""
    relative = Numbers(
        appearance_weight=APPEARANCE_WEIGHT,
        appearance_position_sigma=POSITION_SIGMA,
        smoothness_weight=SMOOTHNESS_WEIGHT,
        smoothness_position_sigma=SMOOTHNESS_SIGMA,
    )
    return relative.in_units(units)


def measure(problem: Problem, region: Region, *, volume: bool = False) -> Steps:
    """Look at a few pixels: what 255 is to an 8-bit image, and what the numbers of a map are that is not in memory."""
    yield Stage("looking at the image", 0.0)
    height, width = problem.shape[-2:]
    middle = middle_of(region, 512)
    if problem.is_unseen and isinstance(problem.map, Labels):
        remember_labels(problem.map, next(filter(np.any, _looks(problem, region)), np.zeros((1, 1), np.uint8)))
        # What they are is understood anew.
        yield Done(None)
        return
    if problem.is_unseen:
        remember(layers_of_map(problem.map), problem.class_axis, read_map_layers(problem, middle))
    sample = read_image(problem, middle)[::4, ::4]
    if sample.dtype.kind == "f" and not np.isfinite(sample).any():
        # Nothing in the middle: a few pixels of all.
        step = 1 << max(0, (max(height, width) // 256).bit_length() - 1)
        sample = read_image(problem, Region(region.index, (0, height), (0, width), step))
    eight_bits = problem.image.rgb and sample.dtype == np.uint8
    measured = Measured(problem, 255.0 if eight_bits else robust_range(sample), volume=volume)
    if problem.objects:
        yield Stage("looking at the objects", 0.3)
        measured = with_object_numbers(measured, region)
    elif not isinstance(problem.map, FromStrokes):
        yield Stage("trying a few settings", 0.3)
        measured = with_first_numbers(measured, middle)
    yield Done(measured)
