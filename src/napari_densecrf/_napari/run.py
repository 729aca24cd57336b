"""Run on all of it: every slice, every time point, the whole volume, in the background."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import psutil
from magicgui.widgets import Label, PushButton
from napari.layers import Labels
from napari.utils import progress
from numpy.typing import NDArray

from napari_densecrf.tiles import finished, plan_tiles, refine_tiles
from napari_densecrf.tiling import TilePlan

from .engine import Request
from .layers import Inputs, read, read_strokes
from .panel import Panel, say
from .plan import METADATA_KEY, FromStrokes, Misfit
from .provenance import provenance_of_request
from .result import blank, paint_like
from .runner import Done, Found, Runner, Stage, Steps
from .section import Section
from .window import Window

# A job may take this share of the memory that is free.
MEMORY_SHARE = 0.8
GIB = 2**30


@dataclass
class Job:
    """One run over all frames, a slice or a volume each; what is done is kept, so that it can go on.

    Parameters
    ----------
    request : Request
        As the live result has it: layers, numbers, and whether slices make a volume.
    layer : Labels
        Where the labels go.
    frames : list of Window
    done : set of Window
    """

    request: Request
    layer: Labels
    frames: list[Window]
    done: set[Window] = field(default_factory=set)

    @property
    def left(self) -> list[Window]:
        """Frames that are not done."""
        return [frame for frame in self.frames if frame not in self.done]


@dataclass(frozen=True)
class Planned:
    """What a job will take, found out before it starts."""

    n_frames: int
    plan: TilePlan

    def __str__(self) -> str:
        seconds = self.n_frames * self.plan.predicted_seconds
        took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        what = "slice" if len(self.plan.shape) == 2 else "volume"
        return f"{self.n_frames} {what}{'s' * (self.n_frames > 1)}: about {took}, {self.plan.tile_bytes / GIB:.2g} GiB"


@dataclass(frozen=True)
class Piece:
    """Labels of a part of a frame."""

    frame: Window
    where: tuple[slice, ...]
    labels: NDArray[Any]
    last: bool


class Run(Section):
    """One button that applies the numbers to everything, and one that stops."""

    title = "Run"

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        apply = PushButton(
            name="apply", text="Apply to all", tooltip="Refine all slices and time points with these numbers."
        )
        stop = PushButton(
            name="stop", text="Stop", enabled=False, tooltip="Keep what is done; Apply goes on from there."
        )
        self.controls = {control.name: control for control in (apply, stop, Label(name="job"))}
        self._runner = Runner("napari-densecrf run", warns=False)
        self._job: Job | None = None
        self._bar: progress[Any] | None = None
        self._started = 0.0

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons side by side, and below them what they do."""
        panel.add_line([self.controls["apply"], self.controls["stop"]])
        panel.add_text(self.controls["job"])

    def connect(self) -> None:
        """Listen to the buttons and to the thread."""
        self.controls["apply"].changed.connect(self._apply)
        self.controls["stop"].changed.connect(self._stop)
        self._runner.found.connect(self._show)
        self._runner.finished.connect(self._finish)
        self._runner.failed.connect(self._fail)

    def close(self) -> None:
        """End the thread at its next step."""
        self._job = None
        self._runner.close()

    def _apply(self) -> None:
        request, shown = self.widget.request(), self.widget.last_result
        if request is None or shown is None:
            self._say("Refine a slice first.")
            return
        if isinstance(request.plan.map, FromStrokes):
            self._say("A map from strokes is made slice by slice, as each is shown: freeze what is right.")
            return
        job = self._resumed(request) or self._begun(request, shown.inputs)
        self._job = job
        self._started = time.monotonic()
        self._enable(running=True)
        self._say("Looking how long it will take …")
        self._bar = progress(total=len(job.frames), desc="Dense CRF")
        self._bar.update(len(job.done))
        self._runner.submit(lambda: applying(job))

    def _resumed(self, request: Request) -> Job | None:
        """Return the last job, where it is the same and was stopped."""
        job = self._job
        if job is None or job.layer not in self.widget.viewer.layers or not job.left:
            return None
        same = (job.request.plan, job.request.params, job.request.revision, job.request.read.z is None)
        return job if same == (request.plan, request.params, request.revision, request.read.z is None) else None

    def _begun(self, request: Request, inputs: Inputs) -> Job:
        layer = applied_layer(request, inputs)
        self.widget.viewer.add_layer(layer)
        strokes = self.widget.strokes.value
        layer.metadata[METADATA_KEY] |= {"strokes": None if strokes is None else strokes.name}
        return Job(replace(request, strokes=strokes), layer, frames_of(request))

    def _show(self, _: int, found: Any) -> None:
        job = self._job
        if job is None:
            return
        if isinstance(found, Planned):
            self._say(f"{found} …")
        elif job.layer in self.widget.viewer.layers:
            write_piece(job, found)
            if found.last:
                job.done.add(found.frame)
                self._say(f"{len(job.done)} of {len(job.frames)} done …")
                if self._bar is not None:
                    # Last, as it runs the event loop.
                    self._bar.update(1)
        else:
            self._stop()

    def _finish(self, *_: Any) -> None:
        if self._job is not None:
            n_frames, seconds = len(self._job.frames), time.monotonic() - self._started
            self._say(f"All {n_frames} done in {seconds:.1f} s." if n_frames > 1 else f"Done in {seconds:.1f} s.")
        self._enable(running=False)

    def _fail(self, _: int, error: Any) -> None:
        self._say(str(error))
        self._enable(running=False)

    def _stop(self, *_: Any) -> None:
        self._runner.cancel()
        if self._job is not None:
            self._say(f"Stopped after {len(self._job.done)} of {len(self._job.frames)}; Apply goes on from there.")
        self._enable(running=False)

    def _enable(self, *, running: bool) -> None:
        self.controls["apply"].enabled = not running
        self.controls["stop"].enabled = running
        if self._bar is not None and not running:
            self._bar.close()
            self._bar = None

    def _say(self, words: str) -> None:
        say(self.controls["job"], words)


def frames_of(request: Request) -> list[Window]:
    """Return all slices, or all volumes, of a request's image, each whole."""
    shape = request.plan.shape
    whole = ((0, shape[-2]), (0, shape[-1]))
    if request.read.z is not None:
        return [Window((*index, 0), *whole, z=(0, shape[-3])) for index in product(*map(range, shape[:-3]))]
    return [Window(index, *whole) for index in product(*map(range, shape[:-2]))]


def applied_layer(request: Request, inputs: Inputs) -> Labels:
    """Make the layer of a job: like the live result, but no slider changes it."""
    layer = Labels(
        name=f"{request.plan.image.name} applied", opacity=0.6, **blank(request.plan, inputs.dtype, one_level=True)
    )
    paint_like(layer, request.plan.map, inputs)
    layer.metadata[METADATA_KEY] = {**provenance_of_request(request, inputs), "frozen": True}
    return layer


def applying(job: Job) -> Steps:
    """Refine the frames that are left, tile by tile; look first what that takes.

    Raises
    ------
    Misfit
        Where it would not fit the memory: what to do instead.
    """
    planned = None
    for frame in job.left:
        yield Stage("reading", 0.0)
        inputs = read(job.request.plan, frame)
        spacing = job.request.plan.spacing if frame.z is None else job.request.plan.volume_spacing
        options: dict[str, Any] = {"spacing": spacing, "channel_axis": inputs.channel_axis}
        plan = plan_tiles(inputs.image, inputs.probabilities, job.request.params, **options)
        if planned is None:
            planned = Planned(len(job.left), plan)
            _check_memory(job, planned)
            yield Found(planned)
        yield from _pieces(job, frame, inputs, plan, options)
    yield Done(job)


def _pieces(job: Job, frame: Window, inputs: Inputs, plan: TilePlan, options: dict[str, Any]) -> Steps:
    layer: Labels | None = job.request.strokes
    strokes = None if layer is None else read_strokes(layer, job.request.plan, frame)
    labels = refine_tiles(inputs.image, inputs.probabilities, job.request.params, strokes=strokes, plan=plan, **options)
    values = inputs.values.astype(job.layer.dtype)
    tiles = dict(plan.tiles())
    for n_done, (index, block) in enumerate(finished((index, labels.blocks[index]) for index in tiles), start=1):
        yield Found(Piece(frame, tiles[index].inner, values[block], last=n_done == len(tiles)))


def _check_memory(job: Job, planned: Planned) -> None:
    free = psutil.virtual_memory().available
    needed = planned.plan.tile_bytes + job.layer.data.nbytes
    if needed > MEMORY_SHARE * free:
        raise Misfit(
            f"This would take {needed / GIB:.1f} GiB, of {free / GIB:.1f} free: use the command line, which writes to "
            "disk tile by tile."
        )


def write_piece(job: Job, piece: Piece) -> None:
    """Write labels where they belong, and show them where their slice is shown."""
    at: list[Any] = [*piece.frame.leading[: piece.frame.n_single], *piece.where]
    a_plan = job.request.plan
    if a_plan.bridged_axis is not None:
        at.insert(a_plan.bridged_axis, 0)
    job.layer.data[tuple(at)] = piece.labels
    job.layer.refresh(thumbnail=False, highlight=False, extent=False)
