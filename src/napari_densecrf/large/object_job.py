"""A long run over frames of objects. What is chosen is chosen once, for all frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_densecrf.params import CRFParams

from .object_choice import choose, sample_of
from .object_planning import plan_objects
from .object_problem import ObjectCommon, ObjectProblem, object_problem_of
from .object_tiles import object_tasks
from .tile_job import AtWork, Opened, Piece, Stack, TileJob
from .tiling import AGREEMENT, TILE_MEMORY, TilePlan


@dataclass(frozen=True, eq=False)
class ObjectFrame:
    """One image with its objects, lazy or in memory; as `refine_objects_tiles` takes them."""

    image: Any
    objects: Any
    foreground: Any = None
    strokes: Any = None


class ObjectSource(Stack, Protocol):
    """Gives the frames of a job."""

    def object_frame(self, index: tuple[int, ...]) -> ObjectFrame:
        """Return one frame."""


@dataclass(eq=False, kw_only=True)
class ObjectJob(TileJob):
    """A refinement of the objects of frames that is planned and ready to run.

    Parameters
    ----------
    frames : ObjectSource
    spacing, plan, sinks, address
        As `TileJob` takes them; sinks want labels.
    common : ObjectCommon
        What all frames share.
    why : str
        How the border came about; empty where it was given.
    """

    frames: ObjectSource
    common: ObjectCommon
    why: str

    def _open(self, number: tuple[int, ...]) -> Opened:
        problem = _problem(self.frames, self.spacing, number)
        return Opened(self.plan, object_tasks(problem, self.common, self.plan, alone=True))

    def _pieces(self, key: str, tile: AtWork, results: tuple[NDArray[Any], ...]) -> tuple[Piece, ...]:
        labels, _, counts = results
        return tuple(Piece(key, tile.frame, tile.inner, labels, counts) for _ in self.sinks)


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
    """Choose for all frames, on a part of the one with most border pixels, and plan their tiles.

    Parameters
    ----------
    frames : ObjectSource
    spacing, params, border, one_contrast
        As `refine_objects_tiles` takes them.
    adapt : callable
        Returns parameters with those numbers replaced that are given one by one.
    tile_memory : int
        Bytes that a tile may take.

    Returns
    -------
    common : ObjectCommon
        What all frames share.
    why : str
        How the border came about; empty where it was given.
    plan : TilePlan
        Of each frame.

    Raises
    ------
    ValueError, MemoryError
        As `refine_objects_tiles`.
    """
    sample = sample_of(partial(_problem, frames, spacing), frames.counts)
    choice = choose(sample, params, border, one_contrast, adapt)
    # The sample, with its lattice, is kept no longer.
    return choice.common, choice.why, plan_objects(choice, AGREEMENT, tile_memory)
