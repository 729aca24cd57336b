"""What the worker thread does for a request: read the layers, keep the refiners, refine, cut the window out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.params import CRFParams
from napari_densecrf.refine import Refiner, Step, refine

from .layers import Inputs, Plan, Window, probe, read

# Slices that stay ready to be refined again, until their pixels together pass the second number.
MAX_KEPT = 4
MAX_KEPT_PIXELS = 6_000_000


@dataclass(frozen=True)
class Request:
    """One frozen picture of the controls and the layers.

    Parameters
    ----------
    plan : Plan
    window : Window
        What is wanted.
    read : Window
        What is refined for it: the window with its margin.
    params : CRFParams
    revision : hashable
        Changes with the data of the image.
    strokes : array, optional
        (height, width) of the read window; 0 = free.
    """

    plan: Plan
    window: Window
    read: Window
    params: CRFParams
    revision: Hashable
    strokes: Any = None


@dataclass(frozen=True)
class Result:
    """What goes back to the window.

    Parameters
    ----------
    request : Request
    inputs : Inputs
    labels : (height, width) array
        The values of the result layer within the wanted window.
    n_pixels : int
        Refined, the margin included.
    elapsed_ms : float
    """

    request: Request
    inputs: Inputs
    labels: NDArray[Any]
    n_pixels: int
    elapsed_ms: float


@dataclass(frozen=True)
class ResultStep:
    """A `Step` whose last carries a `Result`."""

    stage: str
    fraction: float
    refinement: Result | None = None


@dataclass
class Engine:
    """Keeps the refiners of the last few windows. Used by the worker thread alone."""

    _kept: OrderedDict[Hashable, Refiner] = field(default_factory=OrderedDict)

    def steps(self, request: Request) -> Iterator[Step | ResultStep]:
        """Do a request; the last step carries the `Result`."""
        started = time.perf_counter()
        inputs = read(request.plan, request.read)
        yield Step("reading", 0.0)
        refiner = self._refiner(request, inputs)
        for step in refiner.steps(inputs.probabilities, request.params, strokes=request.strokes):
            if step.refinement is None:
                yield step
            else:
                classes = step.refinement.labels[request.window.within(request.read)]
                labels = inputs.values.astype(_dtype(inputs))[classes]
                elapsed_ms = 1e3 * (time.perf_counter() - started)
                result = Result(request, inputs, labels, request.read.n_pixels, elapsed_ms)
                yield ResultStep("done", 1.0, result)

    def _refiner(self, request: Request, inputs: Inputs) -> Refiner:
        key = (id(request.plan.image), request.plan.channel_axis, request.revision, request.read)
        refiner = self._kept.pop(key, None)
        if refiner is None:
            refiner = Refiner(
                inputs.image,
                spacing=request.plan.spacing,
                channel_axis=inputs.channel_axis,
                origin=(request.read.y[0], request.read.x[0]),
                probe=probe(request.plan, request.read),
            )
        self._kept[key] = refiner
        while len(self._kept) > 1 and (
            len(self._kept) > MAX_KEPT or sum(kept.grid.n_points for kept in self._kept.values()) > MAX_KEPT_PIXELS
        ):
            self._kept.popitem(last=False)
        return refiner


def _dtype(inputs: Inputs) -> type[np.integer[Any]]:
    largest = inputs.values.max()
    return np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.int32


def warm_up(n_channels: int) -> Iterator[Step]:
    """Compile what images of so many channels need, on a few pixels."""
    yield Step("preparing", 0.0)
    pixels = np.arange(64 * n_channels, dtype=np.float32).reshape(8, 8, n_channels)
    probabilities = np.full((2, 8, 8), 0.5, np.float32)
    yield Step("prepared", 1.0, refine(pixels, probabilities, channel_axis=-1))
