"""What the worker thread does for a request: read the layers, keep the refiners, refine, cut the region out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import FromStrokes, Problem, layers_of, levels_of
from napari_densecrf._napari.problem.region import Region
from napari_densecrf.crf.grid import robust_range
from napari_densecrf.crf.refine import Refinement, Refiner, refine
from napari_densecrf.params import CRFParams

from .reading import Inputs, inputs_of, probe, read, read_image
from .runner import Done, Stage, Steps
from .stroke_maps import TaughtMaps

# Slices that stay ready to be refined again, until their pixels together pass the second number.
MAX_KEPT = 4
CONFIDENCE, CHANGES = "confidence", "changes"
MAX_KEPT_PIXELS = 6_000_000


@dataclass(frozen=True)
class Request:
    """One frozen picture of the controls and the layers.

    Parameters
    ----------
    problem : Problem
    region : Region
        What is wanted.
    read : Window
        What is refined for it: the region with its margin.
    params : CRFParams
    revision : hashable
        Changes with the data of the image.
    strokes : array, optional
        (height, width) of the read region; 0 = free. Of the map's own layer, where that is made from strokes.
    wants : frozenset of str
        What is wanted besides the labels: CONFIDENCE, CHANGES.
    time_sigma : float, optional
        Where the slices of the read region are frames that are coupled in time: the reach of the kernels, in frames.
    """

    problem: Problem
    region: Region
    read: Region
    params: CRFParams
    revision: Hashable
    strokes: Any = None
    wants: frozenset[str] = frozenset()
    time_sigma: float | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a pixel of the read region."""
        *leading, y, x = self.frame_spacing
        return (*leading, y * self.read.step, x * self.read.step)

    @property
    def frame_spacing(self) -> tuple[float, ...]:
        """Size of a pixel at full resolution; in time, of a frame."""
        if self.read.z is None:
            return self.problem.spacing
        return self.problem.volume_spacing if self.time_sigma is None else (1.0, *self.problem.spacing)

    def coupled(self, params: CRFParams) -> CRFParams:
        """Return numbers of the sliders as those of the axes that are refined together."""
        return params if self.time_sigma is None else params.coupled_in_time(self.time_sigma)

    def alone(self) -> Request:
        """Return the same without the other frames of a film."""
        if self.time_sigma is None or self.read.z is None:
            return self
        at = self.read.index[-1] - self.read.z[0]
        strokes = None if self.strokes is None else self.strokes[at]
        return replace(self, read=replace(self.read, z=None), strokes=strokes, time_sigma=None)

    @property
    def frame(self) -> str:
        """What is refined together: a slice, a volume or a film."""
        return "slice" if self.read.z is None else "volume" if self.time_sigma is None else "film"

    @property
    def whole(self) -> Hashable:
        """What a run over all frames is about: another is the same where this is."""
        return self.problem, self.params, self.time_sigma, self.revision, self.frame

    @property
    def subject(self) -> Hashable:
        """What it is about: two requests of one subject differ in their numbers or strokes alone."""
        return tuple(map(id, layers_of(self.problem))), self.spacing, self.region, self.read.z, self.revision


@dataclass(frozen=True)
class Result:
    """What goes back to the window; arrays are those of the wanted region.

    Parameters
    ----------
    request : Request
    inputs : Inputs
        Of the read region.
    refinement : Refinement
        Of the read region.
    labels : (height, width) array
        The values of the result layer.
    elapsed_ms : float
    confidence : (height, width) uint8, optional
        1 - entropy, in percent.
    said : (height, width) array, optional
        The values that the map alone says.
    changes : (height, width) array, optional
        Which class became which: 0 where none did, else 1 + was * n_classes + is, both indices of classes.
    counts : (n_classes, n_classes) int64, optional
        Pixels of the class that the map says (rows) and that the result says (columns).
    """

    request: Request
    inputs: Inputs
    refinement: Refinement
    labels: NDArray[Any]
    elapsed_ms: float
    confidence: NDArray[np.uint8] | None = None
    said: NDArray[Any] | None = None
    changes: NDArray[Any] | None = None
    counts: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Measured:
    """The robust range of an image, from a few pixels of one slice."""

    problem: Problem
    robust_range: float


@dataclass
class _Kept:
    """A region that stays ready: what was read of it, and its refiner."""

    revision: Hashable
    inputs: Inputs
    refiner: Refiner


@dataclass
class Engine:
    """Keeps the last few regions. Used by the worker thread alone."""

    _kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict)
    _taught: TaughtMaps = field(default_factory=TaughtMaps)

    def steps(self, request: Request) -> Steps:
        """Do a request; the last step is `Done` with its `Result`."""
        started = time.perf_counter()
        yield Stage("reading", 0.0)
        inputs, refiner = self._ready(request)
        for step in refiner.steps(inputs.probabilities, request.coupled(request.params), strokes=request.strokes):
            if step.refinement is None:
                yield step
            else:
                yield Done(_result(request, inputs, step.refinement, started))

    def inputs(self, request: Request) -> Inputs:
        """Return what the layers hold of the read region."""
        return self._ready(request)[0]

    def _ready(self, request: Request) -> tuple[Inputs, Refiner]:
        """Return what the layers hold now and a refiner of that image, kept where it has not changed."""
        problem, region = request.problem, request.read
        key = (tuple(map(id, layers_of(problem))), problem.channel_axis, request.spacing, region)
        kept = self._kept.pop(key, None)
        if kept is None or kept.revision != request.revision or _in_memory(problem):
            # Arrays in memory are looked at each time, as they may have been changed in place; others cost too much.
            inputs = read_all(request, self._taught)
            same = kept is not None and np.array_equal(inputs.image, kept.inputs.image)
            refiner = kept.refiner if kept is not None and same else _refiner(request, inputs)
            image = kept.inputs.image if kept is not None and same else np.array(inputs.image)
            kept = _Kept(request.revision, replace(inputs, image=image), refiner)
        self._kept[key] = kept
        self._forget()
        return kept.inputs, kept.refiner

    def _forget(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MAX_KEPT
            or sum(kept.refiner.grid.n_points for kept in self._kept.values()) > MAX_KEPT_PIXELS
        ):
            self._kept.popitem(last=False)


def read_all(request: Request, taught: TaughtMaps) -> Inputs:
    """Read the layers of the read region; a map that is made from strokes is made here."""
    problem, region = request.problem, request.read
    if isinstance(problem.map, FromStrokes) and request.strokes is not None:
        image = read_image(problem, region)
        probabilities = taught.probabilities(problem, region, image, request.strokes)
        return inputs_of(problem, image, probabilities, np.arange(len(probabilities)))
    return read(problem, region)


def _result(request: Request, inputs: Inputs, refinement: Refinement, started: float) -> Result:
    inner = request.region.within(request.read)
    values = inputs.values.astype(inputs.dtype)
    classes = refinement.labels[inner]
    result = Result(request, inputs, refinement, values[classes], 1e3 * (time.perf_counter() - started))
    if CONFIDENCE in request.wants:
        percent = np.round(100 * (1 - refinement.entropy[inner])).astype(np.uint8)
        result = replace(result, confidence=percent)
    if CHANGES in request.wants:
        foreground = inputs.probabilities.shape == refinement.labels.shape
        said = _most_probable(inputs.probabilities, inner, foreground=foreground)
        n_classes = len(values)
        pairs = said * n_classes + classes
        counts = np.bincount(pairs.ravel(), minlength=n_classes**2).reshape(n_classes, n_classes)
        changes = np.where(said != classes, pairs + 1, 0).astype(np.min_scalar_type(n_classes**2))
        result = replace(result, said=values[said], changes=changes, counts=counts)
    return result


def _most_probable(
    probabilities: NDArray[Any], inner: tuple[int | slice, ...], *, foreground: bool
) -> NDArray[np.intp]:
    """Return the (height, width) class that a map says within a region."""
    if foreground:
        top = np.iinfo(probabilities.dtype).max if probabilities.dtype.kind == "u" else 1
        return (probabilities[inner] > top / 2).astype(np.intp)
    most: NDArray[np.intp] = probabilities[:, *inner].argmax(axis=0)
    return most


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


def warm_up(n_channels: int) -> Steps:
    """Compile what images of so many channels need, on a few pixels."""
    yield Stage("preparing", 0.0)
    pixels = np.arange(64 * n_channels, dtype=np.float32).reshape(8, 8, n_channels)
    probabilities = np.full((2, 8, 8), 0.5, np.float32)
    yield Done(refine(pixels, probabilities, channel_axis=-1))


def measure(problem: Problem, region: Region) -> Steps:
    """Find what 255 is to an 8-bit image: the span of intensities without the rarest, from a few pixels."""
    yield Stage("looking at the image", 0.0)
    height, width = problem.shape[-2:]
    y, x = max(0, height // 2 - 256), max(0, width // 2 - 256)
    middle = Region(region.index, (y, min(height, y + 512)), (x, min(width, x + 512)))
    sample = read_image(problem, middle)[::4, ::4]
    yield Done(Measured(problem, 255.0 if problem.image.rgb and sample.dtype == np.uint8 else robust_range(sample)))
