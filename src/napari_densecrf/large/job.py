"""A long run over frames, tile by tile, into sinks: files, zarrs or layers.

All frames have one shape and are refined independently, so they share one plan. Of the values that a plan is made from,
only the bytes and seconds of a point depend on the pixels. The probe does too, and is read for each frame.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.blank import named
from napari_densecrf.params import CRFParams

from . import planning
from .problem import Problem, problem_of
from .scheduling import finished
from .tiles import AGREEMENT, TILE_MEMORY, tile_tasks
from .tiling import TilePlan


@dataclass(frozen=True, eq=False)
class Frame:
    """One image that is refined independently of others, with its map; lazy or in memory.

    Parameters
    ----------
    image, probabilities, strokes
        As `refine_tiles` takes them.
    values : (n_labels,) array of int, optional
        The label that is written for each class; None = the index of the class. Where a pixel has no value, it is
        `no_label` of its type.
    """

    image: Any
    probabilities: Any
    strokes: Any = None
    values: NDArray[Any] | None = None


class Source(Protocol):
    """Gives the frames of a job; that their maps hold probabilities, its maker has seen to."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of frames along each axis that counts them."""

    @property
    def channel_axis(self) -> int | None:
        """Axis of a frame's channels."""

    def frame(self, index: tuple[int, ...]) -> Frame:
        """Return one frame."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One result of one tile.

    Parameters
    ----------
    key : str
        Unique for each tile of the job.
    frame : tuple of int
        Index of its frame.
    inner : tuple of slice
        Its place in the frame.
    pixels : array
        Labels, or marginals with the classes first.
    """

    key: str
    frame: tuple[int, ...]
    inner: tuple[slice, ...]
    pixels: NDArray[Any]


class Sink(Protocol):
    """Takes the pieces of a job."""

    @property
    def wants(self) -> str:
        """Name of the result it takes: "labels", "marginals" or `tiles.IN_255THS`."""

    def open(self) -> Collection[str]:
        """Get ready; return the keys of the pieces that an earlier run has written."""

    def write(self, piece: Piece) -> None:
        """Take a piece; it is done when this returns."""

    def finish(self) -> None:
        """Complete the output: all pieces are written."""

    def abandon(self) -> None:
        """End a run that was stopped or has failed; what is done is kept for the next."""


class Progress(NamedTuple):
    """Number of tiles that are done, and of all."""

    n_done: int
    n_all: int


@dataclass(eq=False)
class Job:
    """A refinement of frames that is planned and ready to run.

    Parameters
    ----------
    frames : Source
    params : CRFParams
    spacing : float or tuple of float, optional
    plan : TilePlan
        Of each frame.
    n_labels : int
        Most classes of a frame for which the plan holds; a frame of more is planned anew.
    sinks : tuple of Sink
        The last is written first, so that what the first has is finished in all.
    tile_memory : int
        Bytes.
    address : str, optional
        Of a scheduler of `dask.distributed`.
    """

    frames: Source
    params: CRFParams
    spacing: Any
    plan: TilePlan
    n_labels: int
    sinks: tuple[Sink, ...]
    tile_memory: int = TILE_MEMORY
    address: str | None = None
    _larger_plans: dict[int, TilePlan] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return math.prod(self.frames.counts)

    @property
    def n_tiles(self) -> int:
        """Tiles of all frames, where the plan holds for all."""
        return self.n_frames * self.plan.n_tiles

    def run(self) -> Iterator[Progress]:
        """Refine the tiles that the sinks do not have yet."""
        places: dict[str, tuple[tuple[int, ...], tuple[slice, ...], NDArray[Any] | None]] = {}
        opened: list[Sink] = []
        try:
            found = []
            for sink in self.sinks:
                found.append(set(sink.open()))
                opened.append(sink)
            done = set.intersection(*found)
            count = _Count(len(done), self.n_tiles)
            yield count.progress
            for key, results in finished(self._tasks(done, places, count), self.address):
                frame, inner, values = places.pop(key)
                for sink, pixels in reversed(list(zip(self.sinks, results, strict=True))):
                    labels = pixels if values is None or sink.wants != "labels" else named(pixels, values)
                    sink.write(Piece(key, frame, inner, labels))
                count.n_done += 1
                yield count.progress
        except BaseException:
            for sink in opened:
                sink.abandon()
            raise
        for sink in reversed(self.sinks):
            sink.finish()

    def _tasks(self, done: set[str], places: dict[str, Any], count: _Count) -> Iterator[tuple[str, Any]]:
        """Yield the delayed tiles that are not done, and note the place of each."""
        wanted = tuple(sink.wants for sink in self.sinks)
        for number in np.ndindex(self.frames.counts):
            if all(self._key(number, index, self.plan) in done for index in np.ndindex(self.plan.counts)):
                continue
            frame = self.frames.frame(number)
            problem = problem_of(
                frame.image,
                frame.probabilities,
                self.params,
                self.spacing,
                self.frames.channel_axis,
                frame.strokes,
                is_part=True,
            )
            plan = self._plan_of(problem)
            count.n_all += plan.n_tiles - self.plan.n_tiles
            for index, task in tile_tasks(problem, plan, wanted, alone=True):
                key = self._key(number, index, plan)
                if key not in done:
                    places[key] = number, plan.tile(index).inner, frame.values
                    yield key, task

    def _plan_of(self, problem: Problem) -> TilePlan:
        """Return the plan, or another one for a frame with more classes, which take more memory."""
        if problem.n_labels <= self.n_labels:
            return self.plan
        if problem.n_labels not in self._larger_plans:
            self._larger_plans[problem.n_labels] = planning.plan(problem, AGREEMENT, self.tile_memory)
        return self._larger_plans[problem.n_labels]

    def _key(self, frame: tuple[int, ...], index: tuple[int, ...], plan: TilePlan) -> str:
        numbers = ".".join(map(str, (*frame, *index)))
        return numbers if plan.tile_shape == self.plan.tile_shape else f"{numbers} of {plan.counts}"


@dataclass
class _Count:
    n_done: int
    n_all: int

    @property
    def progress(self) -> Progress:
        return Progress(self.n_done, self.n_all)


def first_plan(
    frames: Source, params: CRFParams, spacing: Any, tile_memory: int = TILE_MEMORY
) -> tuple[Problem, TilePlan]:
    """Return the problem of the first frame, and the plan for all frames."""
    first = frames.frame((0,) * len(frames.counts))
    problem = problem_of(
        first.image, first.probabilities, params, spacing, frames.channel_axis, first.strokes, is_part=True
    )
    return problem, planning.plan(problem, AGREEMENT, tile_memory)
