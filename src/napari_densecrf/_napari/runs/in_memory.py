"""All frames of what is open: refined tile by tile in the background, written into a layer of their own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any, ClassVar

import numpy as np
import psutil
from napari.components import ViewerModel
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari.display.result_layer import blank, paint_like
from napari_densecrf._napari.problem.axes import levels_of, shape_of
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.problem.understand import METADATA_KEY, layers_of
from napari_densecrf._napari.recipes.provenance import provenance_of_request
from napari_densecrf._napari.work.reading import Inputs, read_strokes
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.stroke_maps import StrokeMaps
from napari_densecrf._napari.work.worker import read_all
from napari_densecrf.large.tiles import TILE_MEMORY, finished, plan_tiles, refine_tiles
from napari_densecrf.large.tiling import TilePlan

# A job may take this share of the memory that is free.
MEMORY_SHARE = 0.8
# More than a point of a tile takes but for many classes or channels.
TILE_POINT_BYTES = 300
GIB = 2**30


@dataclass
class Apply:
    """One run over all frames, a slice or a volume each; what is done is kept, so that it can go on.

    Parameters
    ----------
    request : Request
        As the live result has it: layers, numbers, and whether slices make a volume.
    strokes : Labels, optional
    layer : Labels
        Where the labels go.
    viewer : ViewerModel
    frames : list of Region
    done : set of Region
    """

    request: Request
    strokes: Labels | None
    layer: Labels
    viewer: ViewerModel
    frames: list[Region]
    done: set[Region] = field(default_factory=set)
    again: ClassVar[str] = "Apply"

    @property
    def n_all(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def n_done(self) -> int:
        """Frames that are done."""
        return len(self.done)

    @property
    def left(self) -> list[Region]:
        """Frames that are not done."""
        return [frame for frame in self.frames if frame not in self.done]

    def of(self, frame: Region) -> Request:
        """Return the request of a frame."""
        painted, problem = self.strokes, self.request.problem
        strokes = None if painted is None else read_strokes(painted, problem, frame)
        return replace(self.request, region=frame, read=frame, strokes=strokes)

    def goes_on(self, request: Request, viewer: ViewerModel) -> bool:
        """Tell whether this was stopped, and would be the same again."""
        same = self.request.whole == request.whole
        return bool(self.left) and self.layer in viewer.layers and same

    def steps(self) -> Steps:
        """Do what is left."""
        return applying(self)

    def take(self, found: Any) -> str | None:
        """Write what has been done, if the layer is still there."""
        if isinstance(found, Planned):
            return f"{found} …"
        if self.layer not in self.viewer.layers:
            return None
        write_piece(self, found)
        if found.last:
            self.done.add(found.frame)
        return f"{self.n_done} of {self.n_all} done …"

    def finish(self, seconds: float) -> str:
        """Say how long it took, and draw the thumbnail."""
        self.layer.refresh(extent=False)
        return f"All {self.n_all} done in {seconds:.1f} s." if self.n_all > 1 else f"Done in {seconds:.1f} s."


@dataclass(frozen=True)
class Planned:
    """What a job will take, found out before it starts."""

    n_frames: int
    plan: TilePlan
    frame: str

    def __str__(self) -> str:
        seconds = self.n_frames * self.plan.predicted_seconds
        took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        what = f"{self.n_frames} {self.frame}{'s' * (self.n_frames > 1)}"
        return f"{what}: about {took}, {self.plan.tile_bytes / GIB:.2g} GiB"


@dataclass(frozen=True)
class Piece:
    """Labels of a part of a frame."""

    frame: Region
    where: tuple[slice, ...]
    labels: NDArray[Any]
    last: bool


def begun(request: Request, inputs: Inputs, strokes: Labels | None, viewer: ViewerModel) -> Apply:
    """Add a layer for a new run over all frames."""
    layer = applied_layer(request, inputs)
    viewer.add_layer(layer)
    layer.metadata[METADATA_KEY] |= {"strokes": None if strokes is None else strokes.name}
    return Apply(request, strokes, layer, viewer, frames_of(request))


def frames_of(request: Request) -> list[Region]:
    """Return all slices, or all volumes, of a request's image, each whole."""
    shape = request.problem.shape
    whole = ((0, shape[-2]), (0, shape[-1]))
    if request.read.z is not None:
        return [Region((*index, 0), *whole, z=(0, shape[-3])) for index in product(*map(range, shape[:-3]))]
    return [Region(index, *whole) for index in product(*map(range, shape[:-2]))]


def applied_layer(request: Request, inputs: Inputs) -> Labels:
    """Make the layer of a job: like the live result, but no slider changes it."""
    layer = Labels(
        name=f"{request.problem.image.name} applied",
        opacity=0.6,
        **blank(request.problem, inputs.dtype, one_level=True),
    )
    paint_like(layer, request.problem.map, inputs)
    layer.metadata[METADATA_KEY] = {**provenance_of_request(request, inputs), "frozen": True}
    return layer


def applying(job: Apply) -> Steps:
    """Refine the frames that are left, tile by tile; look first what that takes."""
    planned, stroke_maps = None, StrokeMaps()
    for frame in job.left:
        yield Stage("reading", 0.0)
        request = job.of(frame)
        inputs = read_all(request, stroke_maps)
        options: dict[str, Any] = {"spacing": request.frame_spacing, "channel_axis": inputs.channel_axis}
        plan = plan_tiles(inputs.image, inputs.probabilities, request.coupled(request.params), **options)
        if planned is None:
            planned = Planned(len(job.left), plan, request.frame)
            yield Found(planned)
        yield from _pieces(request, inputs, plan, options)
    yield Done(job)


def _pieces(request: Request, inputs: Inputs, plan: TilePlan, options: dict[str, Any]) -> Steps:
    params, strokes = request.coupled(request.params), request.strokes
    labels = refine_tiles(inputs.image, inputs.probabilities, params, strokes=strokes, plan=plan, **options)
    values = inputs.values.astype(inputs.dtype)
    tiles = dict(plan.tiles())
    for n_done, (index, block) in enumerate(finished((index, labels.blocks[index]) for index in tiles), start=1):
        yield Found(Piece(request.read, tiles[index].inner, values[block], last=n_done == len(tiles)))


def most_memory() -> int:
    """Return the bytes that a job may take."""
    return int(MEMORY_SHARE * psutil.virtual_memory().available)


def fits(request: Request, dtype: Any) -> bool:
    """Tell whether the memory holds a layer of the whole, beside one frame as it is read and a tile at work."""
    problem = request.problem
    n_points = prod(problem.shape[-2 if request.read.z is None else -3 :])
    read_bytes = sum(
        levels_of(layer)[0].dtype.itemsize * prod(shape_of(layer)) * n_points // prod(problem.shape)
        for layer in layers_of(problem)
        if not isinstance(levels_of(layer)[0], np.ndarray)
    )
    result_bytes = np.dtype(dtype).itemsize * prod(problem.result_shape)
    return result_bytes + read_bytes + min(TILE_MEMORY, TILE_POINT_BYTES * n_points) <= most_memory()


def write_piece(job: Apply, piece: Piece) -> None:
    """Write labels where they belong, and show them where their slice is shown."""
    at: list[Any] = [*piece.frame.leading[: piece.frame.n_single], *piece.where]
    problem = job.request.problem
    if problem.bridged_axis is not None:
        at.insert(problem.bridged_axis, 0)
    job.layer.data[tuple(at)] = piece.labels
    job.layer.refresh(thumbnail=False, highlight=False, extent=False)
