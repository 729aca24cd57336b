"""A long run over frames and their maps: two classes or more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_densecrf.blank import named
from napari_densecrf.params import CRFParams

from . import planning
from .problem import Problem, problem_of
from .tile_job import AtWork, Opened, Piece, Stack, TileJob
from .tiles import tile_tasks
from .tiling import AGREEMENT, TILE_MEMORY, TilePlan


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


class Source(Stack, Protocol):
    """Gives the frames of a job. Whoever makes it has checked that their maps hold probabilities."""

    def frame(self, index: tuple[int, ...]) -> Frame:
        """Return one frame."""


@dataclass(eq=False, kw_only=True)
class Job(TileJob):
    """A refinement of frames that is planned and ready to run.

    Parameters
    ----------
    frames : Source
    spacing, plan, sinks, address
        As `TileJob` takes them.
    params : CRFParams
    n_labels : int
        Most classes of a frame for which the plan holds; a frame of more is planned anew.
    tile_memory : int
        Bytes that a tile of such a frame may take.
    """

    frames: Source
    params: CRFParams
    n_labels: int
    tile_memory: int = TILE_MEMORY
    _larger_plans: dict[int, TilePlan] = field(default_factory=dict, init=False)

    def _open(self, number: tuple[int, ...]) -> Opened:
        frame = self.frames.frame(number)
        problem = _problem(frame, self.frames, self.params, self.spacing)
        plan, wanted = self._plan_of(problem), tuple(sink.wants for sink in self.sinks)
        return Opened(plan, tile_tasks(problem, plan, wanted, alone=True), frame.values)

    def _plan_of(self, problem: Problem) -> TilePlan:
        """Return the plan, or another one for a frame with more classes, which take more memory."""
        if problem.n_labels <= self.n_labels:
            return self.plan
        if problem.n_labels not in self._larger_plans:
            self._larger_plans[problem.n_labels] = planning.plan(problem, AGREEMENT, self.tile_memory)
        return self._larger_plans[problem.n_labels]

    def _pieces(self, key: str, tile: AtWork, results: tuple[NDArray[Any], ...]) -> tuple[Piece, ...]:
        def named_for(wants: str, pixels: NDArray[Any]) -> NDArray[Any]:
            return pixels if tile.values is None or wants != "labels" else named(pixels, tile.values)

        return tuple(
            Piece(key, tile.frame, tile.inner, named_for(sink.wants, pixels))
            for sink, pixels in zip(self.sinks, results, strict=True)
        )


def _problem(frame: Frame, frames: Stack, params: CRFParams, spacing: Any) -> Problem:
    return problem_of(
        frame.image, frame.probabilities, params, spacing, frames.channel_axis, frame.strokes, is_part=True
    )


def first_plan(
    frames: Source, params: CRFParams, spacing: Any, tile_memory: int = TILE_MEMORY
) -> tuple[Problem, TilePlan]:
    """Return the problem of the first frame, and the plan for all frames.

    Of what a plan is made from, only the bytes and seconds of a pixel depend on the values of an image. Those of the
    first frame stand for all; the probe of the lattice is read for each frame.

    Parameters
    ----------
    frames : Source
    params, spacing, tile_memory
        As `refine_tiles` takes them.

    Raises
    ------
    ValueError, MemoryError
        As `plan_tiles`.
    """
    first = frames.frame((0,) * len(frames.counts))
    problem = _problem(first, frames, params, spacing)
    return problem, planning.plan(problem, AGREEMENT, tile_memory)
