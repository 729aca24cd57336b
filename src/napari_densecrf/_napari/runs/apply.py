"""Apply: one run over all frames of what is open, in the background, into a layer or a zarr."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from napari.components import ViewerModel

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf.large.job import Job, first_plan
from napari_densecrf.large.tile_job import Progress, Sink
from napari_densecrf.large.tiling import GIB, TILE_MEMORY, TilePlan

from .layer_frames import LayerFrames


class Destination(Protocol):
    """Takes the labels of a run, and shows them."""

    def sink(self, frames: LayerFrames, plan: TilePlan) -> Sink:
        """Return the sink for the labels; called once, in the worker's thread."""

    def wanted(self) -> bool:
        """Tell whether the layers that the run is about are still open."""

    def announce(self) -> str:
        """Return a sentence that says where the labels go, or nothing."""

    def show(self) -> None:
        """Show the labels that have arrived."""

    def finish(self) -> str:
        """Show all labels; return the end of a sentence that says where they are."""


@dataclass(eq=False)
class Apply:
    """One run over all frames, a slice or a volume each; what is done is kept, so that it can go on.

    Parameters
    ----------
    request : Request
        As the live result has it: layers, numbers, and whether slices make a volume.
    viewer : ViewerModel
    frames : LayerFrames
    destination : Destination
    tile_memory : int
        Bytes.
    """

    request: Request
    viewer: ViewerModel
    frames: LayerFrames
    destination: Destination
    tile_memory: int = TILE_MEMORY
    n_all: int = 1
    n_done: int = 0
    again: ClassVar[str] = "Apply"
    _job: Job | None = None

    def goes_on(self, request: Request, viewer: ViewerModel) -> bool:
        """Tell whether this was stopped, and would be the same again."""
        same = viewer is self.viewer and self.request.whole == request.whole
        return same and self.n_done < self.n_all and self.destination.wanted()

    def steps(self) -> Steps:
        """Plan once, and refine what is left."""
        yield Stage("reading", 0.0)
        if self._job is None:
            self._job = self._planned()
        left = math.ceil((self._job.n_tiles - self.n_done) / self._job.plan.n_tiles)
        yield Found(Planned(left, self._job.plan, self.request.frame))
        for progress in self._job.run():
            # Until the first tile is done, what the job takes stays to be read.
            yield Found(progress) if progress.n_done else Stage("refining", 0.0)
        yield Done(self)

    def take(self, found: Planned | Progress) -> str | None:
        """Show what is done; return the text of the panel, or None where the layers are gone."""
        if not self.destination.wanted():
            return None
        if isinstance(found, Planned):
            return f"{self.destination.announce()}{found} …"
        self.n_done, self.n_all = found
        self.destination.show()
        return words.progress(self.n_done, self.n_all)

    def finish(self, seconds: float) -> str:
        """Show all, and say how long it took."""
        n_frames = 1 if self._job is None else self._job.n_frames
        where = self.destination.finish()
        return words.applied(n_frames, seconds, where)

    def _planned(self) -> Job:
        request, frames = self.request, self.frames
        params, spacing = request.coupled(request.params), request.frame_spacing
        problem, plan = first_plan(frames, params, spacing, self.tile_memory)
        sink = self.destination.sink(frames, plan)
        return Job(
            frames=frames,
            params=params,
            spacing=spacing,
            plan=plan,
            n_labels=problem.n_labels,
            sinks=(sink,),
            tile_memory=self.tile_memory,
        )


@dataclass(frozen=True)
class Planned:
    """The memory and time of the frames that are left, known before the first tile."""

    n_frames: int
    plan: TilePlan
    frame: str

    def __str__(self) -> str:
        seconds = self.n_frames * self.plan.predicted_seconds
        took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        what = f"{self.n_frames} {self.frame}{'s' * (self.n_frames > 1)}"
        return f"{what}: about {took}, {self.plan.tile_bytes / GIB:.2g} GiB"
