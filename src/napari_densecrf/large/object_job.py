"""A long run over frames of objects, tile by tile, into sinks. What is chosen is chosen once, for all frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_densecrf.params import CRFParams

from .job import Count, Piece, Progress, Sink, run_tiles
from .object_problem import ObjectCommon, ObjectProblem, choose, object_problem_of, sample_of
from .object_tiles import object_tasks, plan_objects
from .tiles import AGREEMENT, TILE_MEMORY
from .tiling import TilePlan


@dataclass(frozen=True, eq=False)
class ObjectFrame:
    """One image with its objects, lazy or in memory; as `refine_objects_tiles` takes them."""

    image: Any
    objects: Any
    foreground: Any = None
    strokes: Any = None


class ObjectSource(Protocol):
    """Gives the frames of a job."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of frames along each axis that counts them."""

    @property
    def channel_axis(self) -> int | None:
        """Axis of a frame's channels."""

    def object_frame(self, index: tuple[int, ...]) -> ObjectFrame:
        """Return one frame."""


@dataclass(eq=False)
class ObjectJob:
    """A refinement of the objects of frames that is planned and ready to run.

    Parameters
    ----------
    frames : ObjectSource
    spacing : float or tuple of float, optional
    common : ObjectCommon
        Numbers, contrast and border, for all frames.
    why : str
        How the border came about; empty where it was given.
    plan : TilePlan
        Of each frame.
    sinks : tuple of Sink
        They want labels.
    address : str, optional
        Of a scheduler of `dask.distributed`.
    """

    frames: ObjectSource
    spacing: Any
    common: ObjectCommon
    why: str
    plan: TilePlan
    sinks: tuple[Sink, ...]
    address: str | None = None
    # Of the tiles at work: frame and place in it.
    _at_work: dict[str, tuple[tuple[int, ...], tuple[slice, ...]]] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return math.prod(self.frames.counts)

    @property
    def n_tiles(self) -> int:
        """Tiles of all frames."""
        return self.n_frames * self.plan.n_tiles

    def run(self) -> Iterator[Progress]:
        """Refine the tiles that the sinks do not have yet."""
        return run_tiles(self)

    def tasks(self, done: set[str], count: Count) -> Iterator[tuple[str, Any]]:
        """Yield the delayed tiles that are not done, and note the place of each."""
        tiles = list(self.plan.tiles())
        for number in _indices(self.frames.counts):
            keys = {index: ".".join(map(str, (*number, *index))) for index, _ in tiles}
            if done.issuperset(keys.values()):
                continue
            problem = _problem(self.frames, self.spacing, number)
            for index, task in object_tasks(problem, self.common, self.plan, alone=True):
                if keys[index] not in done:
                    self._at_work[keys[index]] = number, self.plan.tile(index).inner
                    yield keys[index], task

    def pieces(self, key: str, results: tuple[NDArray[Any], ...]) -> tuple[Piece, ...]:
        """Return the piece of a tile for each sink."""
        frame, inner = self._at_work.pop(key)
        labels, _, counts = results
        return tuple(Piece(key, frame, inner, labels, counts) for _ in self.sinks)


def _indices(counts: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if not counts:
        yield ()
        return
    for first in range(counts[0]):
        for rest in _indices(counts[1:]):
            yield (first, *rest)


def _problem(frames: ObjectSource, spacing: Any, index: tuple[int, ...]) -> ObjectProblem:
    frame = frames.object_frame(index)
    return object_problem_of(frame.image, frame.objects, frame.foreground, frame.strokes, spacing, frames.channel_axis)


def choose_for(
    frames: ObjectSource,
    spacing: Any,
    params: CRFParams | None,
    border: float | None,
    one_contrast: bool | None,
    adapt: Callable[[CRFParams], CRFParams],
    tile_memory: int = TILE_MEMORY,
) -> tuple[ObjectCommon, str, TilePlan]:
    """Return what is chosen for all frames, on the one with most borders, how the border came about, and the plan.

    Parameters
    ----------
    frames : ObjectSource
    spacing, params, border, one_contrast
        As `refine_objects_tiles` takes them.
    adapt : callable
        Puts numbers that are given one by one in the place of those that are chosen.
    tile_memory : int
        Bytes.
    """
    sample = sample_of(partial(_problem, frames, spacing), frames.counts)
    choice = choose(sample, params, border, one_contrast, adapt)
    # The sample, with its lattice, is kept no longer.
    return choice.common, choice.why, plan_objects(choice, AGREEMENT, tile_memory)
