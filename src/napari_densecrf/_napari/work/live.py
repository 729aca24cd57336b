"""What the worker thread does while a slider may be moving: a preview, and the exact result when the hand rests."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.problem import FromStrokes, layers_of
from napari_densecrf._napari.problem.request import Request
from napari_densecrf.blank import named
from napari_densecrf.crf.numba.parallel import threads_at_most
from napari_densecrf.crf.objects.refine import ObjectRefinement, ObjectRefiner, ObjectStep
from napari_densecrf.crf.probe import take_probe
from napari_densecrf.crf.refine import BUILDING, Refiner, Step
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.params import CRFParams

from .pace import Kind, Pace
from .preview import Cut, cuts, thinned, widened
from .reading import Inputs
from .runner import Done, Found, Pause, Stage, Steps
from .smoothed import repeated, smoothed_labels
from .source import Source, built_of, numbers_of
from .worker import Drawn, Engine, Result, result_of, working_seconds

# Sizes whose pixels stay ready: a preview goes from one to the next and back.
MAX_KEPT = 3


@dataclass
class _Ready:
    """A refiner of the pixels of a preview, and what it was made of."""

    made_of: tuple[NDArray[Any] | None, ...]
    inputs: Inputs
    refiner: Refiner | ObjectRefiner
    built: Hashable = None


@dataclass
class Live:
    """Does requests as they come from a hand. Used by the worker thread alone.

    Where the exact run is known to fit a frame, it is all that is done. Else a preview comes first, as fine as fits;
    then, where no newer request comes for a moment, the exact run, which gives way to a newer request as long as that
    one's preview would be there sooner.
    """

    engine: Engine
    pace: Pace = field(default_factory=Pace)
    _of: Hashable = None
    _thin: OrderedDict[int, tuple[Inputs, Inputs]] = field(default_factory=OrderedDict)
    _ready: OrderedDict[Hashable, _Ready] = field(default_factory=OrderedDict)

    def steps(self, request: Request) -> Steps:
        """Do a request: `Found` with the `Result` of a preview, and `Done` with the exact one."""
        asked = working_seconds()
        self._keep_pace(request)
        source = self._source(request)
        kind, n_pixels = self._kind(request, source), request.read.n_pixels
        found = cuts(request, source.read) if source is not None else []
        same = source is not None and source.done == numbers_of(request) and _same(source.strokes, request.strokes)
        if source is None or not found or same or self.pace.fits(kind, n_pixels):
            yield from self._exact(request, kind, None)
            return
        number = self.pace.finest(kind, [cut.n_pixels for cut in found])
        cut = found[number]
        # As where no object is in view: what is wrong is said of the exact run.
        with suppress(ValueError, MemoryError):
            yield Found(self._preview(cut, source))
        yield Pause(self.pace.rest(kind, n_pixels, working_seconds() - asked))
        yield from self._exact(request, kind, cut)

    def _keep_pace(self, request: Request) -> None:
        """Forget what was measured of other images and maps."""
        here = tuple(map(id, layers_of(request.problem))), request.problem.objects, request.frame
        if here != self._of:
            self._of, self.pace = here, Pace()
            self._ready.clear()
            self._thin.clear()

    def _source(self, request: Request) -> Source | None:
        source = self.engine.source(request)
        # The map is made of the strokes.
        from_strokes = isinstance(request.problem.map, FromStrokes)
        if source is not None and from_strokes and not _same(source.strokes, request.strokes):
            return None
        return source

    def _kind(self, request: Request, source: Source | None) -> Kind:
        same = source is not None and source.read == request.read and source.built == built_of(request)
        return Kind.WEIGHTS if same else Kind.SIGMAS

    def _exact(self, request: Request, kind: Kind, cut: Cut | None) -> Steps:
        """Run exactly; with a preview that was shown, give way to a newer one that would be there sooner."""
        started = working_seconds()
        successor = 0.0 if cut is None else self.pace.expected(kind, cut.n_pixels) or 0.0
        expected = self.pace.expected(kind, request.read.n_pixels)

        def gives_way() -> bool:
            """Tell whether the next preview would be there sooner than this run's result."""
            seconds = working_seconds() - started
            return expected is None or seconds > 2 * expected or expected - seconds > successor

        built = False
        for step in self.engine.steps(request):
            built = built or (isinstance(step, (Step, ObjectStep)) and step.stage == BUILDING)
            if isinstance(step, Done):
                # What is built may have been kept of an earlier request.
                kind = Kind.SIGMAS if built else Kind.WEIGHTS
                self.pace.note(kind, request.read.n_pixels, working_seconds() - started)
                yield step
            elif cut is not None and isinstance(step, (Step, ObjectStep, Stage)):
                yield Stage(step.stage, step.fraction, gives_way)
            else:
                yield step

    def _preview(self, cut: Cut, source: Source) -> Result:
        """Refine the pixels of a preview."""
        request = cut.request
        ready = self._made_ready(cut, source)
        started = working_seconds()
        built = built_of(request)
        kind = Kind.WEIGHTS if ready.built == built else Kind.SIGMAS
        alone = self.pace.alone(kind, cut.n_pixels)
        with warnings.catch_warnings(), threads_at_most(1 if alone else None):
            # What is wrong with the map is said of the exact result.
            warnings.simplefilter("ignore", InputWarning)
            params = widened(request.coupled(request.params), cut.factor, ready.refiner.terms.sums_windows)
            *_, last = _steps(ready, request, params)
        refinement, ready.built = last.refinement, built
        assert refinement is not None
        result = result_of(request, ready.inputs, refinement, started)
        result = replace(result, drawn=_drawn(result, source.read.step))
        seconds = working_seconds() - started
        self.pace.note(kind, cut.n_pixels, seconds)
        self.pace.note_threads(kind, cut.n_pixels, seconds, alone=alone)
        return result

    def _thin_inputs(self, source: Source, factor: int) -> Inputs:
        """Return every so many pixels of what has been read, kept while that is the same."""
        known = self._thin.pop(factor, None)
        if known is None or known[0] is not source.inputs:
            known = source.inputs, thinned(source.inputs, source.read, factor)
        self._thin[factor] = known
        while len(self._thin) > MAX_KEPT:
            self._thin.popitem(last=False)
        return known[1]

    def _made_ready(self, cut: Cut, source: Source) -> _Ready:
        """Return a refiner of the pixels of a preview, kept where it is of the same."""
        request, inputs = cut.request, source.inputs
        key = (self._of, request.problem.along, request.spacing, request.read)
        # Objects are pinned by strokes before they are refined.
        strokes = request.strokes if request.problem.objects else None
        made_of = (inputs.image, inputs.probabilities, inputs.objects)
        ready = self._ready.pop(key, None)
        if ready is None or ready.made_of[0] is not inputs.image or not _is_of(ready, made_of, strokes):
            here = cut.of(self._thin_inputs(source, cut.factor))
            refiner: Refiner | ObjectRefiner
            if here.objects is not None:
                refiner = ObjectRefiner(
                    here.image,
                    here.objects,
                    spacing=request.spacing,
                    channel_axis=here.channel_axis,
                    strokes=strokes,
                )
            else:
                refiner = Refiner(
                    here.image,
                    spacing=request.spacing,
                    channel_axis=here.channel_axis,
                    origin=request.read.origin,
                    probe=take_probe(here.image, here.channel_axis),
                )
                refiner.terms.is_draft = True
            ready = _Ready((*made_of, strokes), here, refiner)
        self._ready[key] = ready
        while len(self._ready) > MAX_KEPT:
            self._ready.popitem(last=False)
        return ready


def _drawn(result: Result, step: int) -> Drawn:
    """Return a preview's labels on the pixels of such a step."""
    request, region = result.request, result.request.region
    factor = region.step // step
    fine = replace(region, step=step)
    if factor == 1:
        return Drawn(fine, result.labels)
    refinement = result.refinement
    if isinstance(refinement, ObjectRefinement) or refinement.n_missing:
        return Drawn(fine, repeated(result.labels, factor, fine.shape))
    marginals = refinement.marginals[:, *request.region.within(request.read)]
    classes = smoothed_labels(marginals, factor, fine.shape)
    values = result.inputs.values
    as_they_are = values.tolist() == list(range(len(values)))
    return Drawn(
        fine, classes.astype(result.labels.dtype) if as_they_are else named(classes, values.astype(result.labels.dtype))
    )


def _is_of(ready: _Ready, made_of: tuple[NDArray[Any] | None, ...], strokes: NDArray[Any] | None) -> bool:
    *before, strokes_before = ready.made_of
    return all(a is b for a, b in zip(before, made_of, strict=True)) and _same(strokes_before, strokes)


def _same(some: NDArray[Any] | None, others: NDArray[Any] | None) -> bool:
    return some is others or (some is not None and others is not None and np.array_equal(some, others))


def _steps(ready: _Ready, request: Request, params: CRFParams) -> Iterator[Step] | Iterator[ObjectStep]:
    if isinstance(ready.refiner, ObjectRefiner):
        return ready.refiner.steps(params, request.border)
    return ready.refiner.steps(ready.inputs.probabilities, params, strokes=request.strokes)
