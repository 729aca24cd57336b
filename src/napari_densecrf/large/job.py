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
    counts : structured array, optional
        Of objects: what `crf.objects.report.count_objects` returns of the piece.
    """

    key: str
    frame: tuple[int, ...]
    inner: tuple[slice, ...]
    pixels: NDArray[Any]
    counts: NDArray[Any] | None = None


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


class Count:
    """Number of tiles that are done, and of all, while a job runs."""

    def __init__(self, n_done: int, n_all: int) -> None:
        self.n_done, self.n_all = n_done, n_all

    @property
    def progress(self) -> Progress:
        """Both, at this moment."""
        return Progress(self.n_done, self.n_all)


class Tiled(Protocol):
    """What `run_tiles` runs: tiles of frames, and how their results become pieces."""

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The last is written first, so that what the first has is finished in all."""

    @property
    def n_tiles(self) -> int:
        """Tiles of all frames."""

    @property
    def address(self) -> str | None:
        """Of a scheduler of `dask.distributed`."""

    def tasks(self, done: set[str], count: Count) -> Iterator[tuple[str, Any]]:
        """Yield the keys of the tiles that are not done with their delayed results."""

    def pieces(self, key: str, results: Any) -> tuple[Piece, ...]:
        """Return the piece of a tile for each sink."""


def run_tiles(job: Tiled) -> Iterator[Progress]:
    """Refine the tiles that the sinks do not have yet."""
    opened: list[Sink] = []
    try:
        found = []
        for sink in job.sinks:
            found.append(set(sink.open()))
            opened.append(sink)
        done = set.intersection(*found)
        count = Count(len(done), job.n_tiles)
        yield count.progress
        for key, results in finished(job.tasks(done, count), job.address):
            for sink, piece in reversed(list(zip(job.sinks, job.pieces(key, results), strict=True))):
                sink.write(piece)
            count.n_done += 1
            yield count.progress
    except BaseException:
        for sink in opened:
            sink.abandon()
        raise
    for sink in reversed(job.sinks):
        sink.finish()


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
    # Of the tiles at work: frame, place in it, and what its labels are called.
    _at_work: dict[str, tuple[tuple[int, ...], tuple[slice, ...], NDArray[Any] | None]] = field(default_factory=dict)

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
        return run_tiles(self)

    def pieces(self, key: str, results: tuple[NDArray[Any], ...]) -> tuple[Piece, ...]:
        """Return the piece of a tile for each sink."""
        frame, inner, values = self._at_work.pop(key)

        def named_for(sink: Sink, pixels: NDArray[Any]) -> NDArray[Any]:
            return pixels if values is None or sink.wants != "labels" else named(pixels, values)

        return tuple(
            Piece(key, frame, inner, named_for(sink, pixels)) for sink, pixels in zip(self.sinks, results, strict=True)
        )

    def tasks(self, done: set[str], count: Count) -> Iterator[tuple[str, Any]]:
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
                    self._at_work[key] = number, plan.tile(index).inner, frame.values
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


def first_plan(
    frames: Source, params: CRFParams, spacing: Any, tile_memory: int = TILE_MEMORY
) -> tuple[Problem, TilePlan]:
    """Return the problem of the first frame, and the plan for all frames."""
    first = frames.frame((0,) * len(frames.counts))
    problem = problem_of(
        first.image, first.probabilities, params, spacing, frames.channel_axis, first.strokes, is_part=True
    )
    return problem, planning.plan(problem, AGREEMENT, tile_memory)
