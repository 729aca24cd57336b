"""A long run over frames, tile by tile, into sinks: files, zarrs or layers. One that was stopped can go on.

All frames have one shape and are refined independently, so they share one plan.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .scheduling import finished
from .tiling import TilePlan


class Stack(Protocol):
    """Frames along some axes; none for a single image."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of frames along each axis that counts them; empty for a single image."""

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels in a frame's image."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One result of one tile.

    Parameters
    ----------
    key : str
        Unique for each tile of the job, and the same in each run.
    frame : tuple of int
        Index of its frame.
    inner : tuple of slice
        Its place in the frame, one slice a spatial axis.
    pixels : array
        Labels (*spatial), or marginals (n_labels, *spatial).
    counts : structured array, optional
        Of objects: what `crf.objects.report.count_objects` returns for the piece.
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
        """Write a piece; it is written when this returns."""

    def finish(self) -> None:
        """Complete the output: all pieces are written."""

    def abandon(self) -> None:
        """End a run that was stopped or has failed; what is written is kept for the next."""


class Progress(NamedTuple):
    """Number of tiles that are done, and of all."""

    n_done: int
    n_all: int


class Opened(NamedTuple):
    """A frame whose tiles are ready to be computed.

    Parameters
    ----------
    plan : TilePlan
        Of this frame.
    tasks : iterator
        Yields the number of each tile along each axis, and its delayed results.
    values : (n_labels,) array of int, optional
        The label that is written for each class; None = what is refined.
    """

    plan: TilePlan
    tasks: Iterator[tuple[tuple[int, ...], Any]]
    values: NDArray[Any] | None = None


class AtWork(NamedTuple):
    """A tile that is being computed: its frame, its place in it, and `Opened.values` of the frame."""

    frame: tuple[int, ...]
    inner: tuple[slice, ...]
    values: NDArray[Any] | None


@dataclass(eq=False, kw_only=True)
class TileJob(ABC):
    """A refinement of frames that is planned and ready to run.

    Parameters
    ----------
    frames : Stack
    spacing : float or tuple of float, optional
        Size of a pixel, one number or one per spatial axis; None = 1.
    plan : TilePlan
        Of each frame.
    sinks : tuple of Sink
        The last is written first: a tile that the first sink has is in all of them.
    address : str, optional
        Of a scheduler of `dask.distributed`; None = this process.
    """

    frames: Stack
    spacing: Any
    plan: TilePlan
    sinks: tuple[Sink, ...]
    address: str | None = None
    _at_work: dict[str, AtWork] = field(default_factory=dict, init=False)
    # Tiles of the frames that this run has opened, beyond those of the plan.
    _n_more: int = field(default=0, init=False)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return math.prod(self.frames.counts)

    @property
    def n_tiles(self) -> int:
        """Tiles of all frames, where the plan holds for all."""
        return self.n_frames * self.plan.n_tiles

    def run(self) -> Iterator[Progress]:
        """Refine the tiles that the sinks do not have yet.

        Yields
        ------
        Progress
            Before the first tile, and whenever one is written.
        """
        self._n_more = 0
        opened: list[Sink] = []
        try:
            found = []
            for sink in self.sinks:
                found.append(set(sink.open()))
                opened.append(sink)
            done = set.intersection(*found)
            n_done = len(done)
            yield Progress(n_done, self.n_tiles)
            for key, results in finished(self._tasks(done), self.address):
                pieces = self._pieces(key, self._at_work.pop(key), results)
                for sink, piece in reversed(list(zip(self.sinks, pieces, strict=True))):
                    sink.write(piece)
                n_done += 1
                yield Progress(n_done, self.n_tiles + self._n_more)
        except BaseException:
            for sink in opened:
                sink.abandon()
            raise
        for sink in reversed(self.sinks):
            sink.finish()

    def _tasks(self, done: set[str]) -> Iterator[tuple[str, Any]]:
        """Yield the keys of the tiles that are not done, and their delayed results; note where each belongs."""
        for number in np.ndindex(self.frames.counts):
            if all(self._key(number, index, self.plan) in done for index, _ in self.plan.tiles()):
                continue
            frame = self._open(number)
            self._n_more += frame.plan.n_tiles - self.plan.n_tiles
            for index, task in frame.tasks:
                key = self._key(number, index, frame.plan)
                if key not in done:
                    self._at_work[key] = AtWork(number, frame.plan.tile(index).inner, frame.values)
                    yield key, task

    def _key(self, frame: tuple[int, ...], index: tuple[int, ...], plan: TilePlan) -> str:
        numbers = ".".join(map(str, (*frame, *index)))
        return numbers if plan.tile_shape == self.plan.tile_shape else f"{numbers} of {plan.counts}"

    @abstractmethod
    def _open(self, number: tuple[int, ...]) -> Opened:
        """Read what has to be known of a frame, and return its tiles."""

    @abstractmethod
    def _pieces(self, key: str, tile: AtWork, results: tuple[NDArray[Any], ...]) -> tuple[Piece, ...]:
        """Return the piece of a tile for each sink."""
