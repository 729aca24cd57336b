"""All frames of what fits no memory: into an OME-Zarr, tile by tile, which is then shown."""

from __future__ import annotations

import os
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_densecrf._napari.display.result_layer import OPACITY, paint_like, place
from napari_densecrf._napari.problem.axes import (
    MAX_CLASSES,
    METADATA_KEY,
    T_NAMES,
    Z_NAMES,
    FromStrokes,
    Misfit,
    Plan,
    layers_of,
    levels_of,
)
from napari_densecrf._napari.recipes.provenance import provenance_of_request
from napari_densecrf._napari.work.reading import Inputs
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.worker import Request
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.files import jobs
from napari_densecrf.files.frames import Frames
from napari_densecrf.files.places import zarr_around
from napari_densecrf.files.read import BadInput, Contents
from napari_densecrf.files.write import Target, check_path
from napari_densecrf.large.tiles import TILE_MEMORY, labels_in, lazy, map_of_labels, plan_tiles

from .in_memory import Planned, most_memory

ENDING = ".ome.zarr"


@dataclass
class ApplyToDisk:
    """One run over all frames into a file, which has what is done: it can go on.

    Parameters
    ----------
    request : Request
    inputs : Inputs
        Of the slice that is shown: names and values of the classes.
    strokes : Labels, optional
    viewer : ViewerModel
    path : Path
        Of the OME-Zarr.
    about : dict
        What is written with it: a run that was stopped goes on only where all of it is the same.
    """

    request: Request
    inputs: Inputs
    strokes: Labels | None
    viewer: ViewerModel
    path: Path
    about: dict[str, Any]
    n_all: int = 1
    n_done: int = 0
    again: ClassVar[str] = "Apply"

    def goes_on(self, request: Request, viewer: ViewerModel) -> bool:
        """Tell whether this was stopped, and would be the same again."""
        same = self.request.whole == request.whole
        return self.n_done < self.n_all and viewer is self.viewer and same

    def steps(self) -> Steps:
        """Do what is left."""
        yield Stage("reading", 0.0)
        job = self._job()
        yield Found(Planned(len(job.frames), job.plan, self.request.frame))
        for n_done, _ in jobs.run(job):
            yield Found((n_done, job.n_tiles))
        yield Done(self)

    def take(self, found: Any) -> str | None:
        """Count, as long as the layers are there."""
        if not all(layer in self.viewer.layers for layer in layers_of(self.request.plan)):
            return None
        if isinstance(found, Planned):
            return f"Too large for the memory: it goes to {self.path}. {found} …"
        self.n_done, self.n_all = found
        return f"{self.n_done} of {self.n_all} done …"

    def finish(self, seconds: float) -> str:
        """Show what has been written."""
        self.viewer.add_layer(written_layer(self.path, self.request.plan, self.inputs, self.about))
        return f"Done in {seconds:.1f} s: {self.path}"

    def _job(self) -> jobs.Job:
        """Plan it: what the command line does with files is done with the layers."""
        request, a_plan = self.request, self.request.plan
        frames, values = frames_of_layers(request, self.strokes)
        if values is not None:
            self.inputs = replace(self.inputs, values=values, names=[f"label {value}" for value in values])
        options = jobs.Options(request.params, spacing=request.frame_spacing, time_sigma=request.time_sigma)
        image, probabilities, _ = frames.frame((0,) * len(frames.counts))
        plan = plan_tiles(
            image,
            probabilities,
            options.model,
            spacing=options.spacing,
            channel_axis=frames.channel_axis,
            tile_memory=min(TILE_MEMORY, most_memory()),
        )
        axes = a_plan.spatial_axes
        sizes = {
            letter: abs(float(a_plan.image.scale[axis]))
            for letter, axis in zip(frames.axes, axes, strict=True)
            if letter in "ZYX"
        }
        target = Target(
            self.path,
            frames.shape,
            np.dtype(self.inputs.dtype),
            frames.axes,
            (1,) * len(frames.counts) + plan.tile_shape,
            sizes,
            None if a_plan.unit == "px" else a_plan.unit,
            self.about,
        )
        read = Contents(a_plan.image.name, frames.image, frames.axes)
        return jobs.Job((read,), frames, plan, options, target, None if values is None else tuple(values.tolist()))


def begun_on_disk(request: Request, inputs: Inputs, strokes: Labels | None, viewer: ViewerModel) -> ApplyToDisk:
    """Choose a place for a new run.

    Raises
    ------
    Misfit
        Where it cannot be done, with what to do instead.
    """
    if isinstance(request.plan.map, FromStrokes):
        raise Misfit("Too large for the memory, and a map from strokes needs it: refine a part of the image.")
    path = free_path(request.plan.image)
    try:
        check_path(path)
    except BadInput:
        raise Misfit(
            'Too large for the memory; to write to disk instead: pip install "napari-densecrf[files]"'
        ) from None
    about = {
        **provenance_of_request(request, inputs),
        "strokes": None if strokes is None else strokes.name,
        "frozen": True,
        "inputs": [_origin(layer, edited) for layer, edited in _with_edits(request, strokes)],
    }
    return ApplyToDisk(request, inputs, strokes, viewer, path, about)


def _with_edits(request: Request, strokes: Labels | None) -> list[tuple[Layer, bool]]:
    """Return the layers, and whether their data have been changed since they came."""
    pairs = zip(layers_of(request.plan), request.revision, strict=True)  # type: ignore[call-overload]
    layers = [(layer, revision[0] > 0) for layer, revision in pairs]
    return layers if strokes is None else [*layers, (strokes, True)]


def _origin(layer: Layer, edited: bool) -> dict[str, Any]:
    """Return what tells a layer's data from others: its file and when that was changed, or the present moment."""
    path = layer.source.path
    if path is None or edited or not os.path.exists(path):
        return {"name": layer.name, "at": time.time_ns()}
    return {"name": layer.name, "path": str(path), "changed_ns": os.stat(path).st_mtime_ns}


def free_path(image: Layer) -> Path:
    """Return a name that is not taken, beside the image's file or, where there is none, among temporary files."""
    source = Path(image.source.path) if image.source.path else None
    # A zarr is one image, into which no other is written.
    source = source and (zarr_around(source) or source)
    if source is not None and source.parent.is_dir() and os.access(source.parent, os.W_OK):
        folder = source.parent
    else:
        folder = Path(tempfile.gettempdir())
    name = re.sub(r"[^\w .()-]", "_", image.name).removesuffix(ENDING)
    path, k = folder / f"{name} refined{ENDING}", 2
    while os.path.lexists(path):
        path, k = folder / f"{name} refined {k}{ENDING}", k + 1
    return path


def frames_of_layers(request: Request, strokes: Labels | None) -> tuple[Frames, Any]:
    """Return all frames of the layers, lazy, and the values of the classes where the map is a rough segmentation.

    Raises
    ------
    Misfit
        Where it has too many labels.
    """
    a_plan = request.plan
    image = lazy(levels_of(a_plan.image)[0])
    order = list(a_plan.spatial_axes)
    if a_plan.channel_axis is not None:
        order.append(a_plan.channel_axis)
    image = image.transpose(order)
    if a_plan.image.rgb:
        # Alpha is no colour.
        image = image[..., :3]
    probabilities, values = _lazy_map(a_plan)
    painted = None if strokes is None else lazy(levels_of(strokes)[0])
    if painted is not None and painted.ndim > len(a_plan.shape):
        painted = painted.reshape(a_plan.shape)
    n_joined = 2 if request.read.z is None else 3
    letters = _letters(a_plan, {"slice": "", "volume": "Z", "film": "T"}[request.frame])
    has_classes = probabilities.ndim > len(a_plan.shape)
    frames = Frames(
        letters[:-n_joined],
        letters[-n_joined:],
        image,
        probabilities,
        painted,
        a_plan.channel_axis is not None,
        has_classes,
    )
    return frames, values


def _lazy_map(a_plan: Plan) -> tuple[Any, Any]:
    source = a_plan.map
    if isinstance(source, tuple):
        return np.stack([lazy(levels_of(layer)[0]) for layer in source]), None
    assert not isinstance(source, FromStrokes)
    pixels = lazy(levels_of(source)[0])
    if isinstance(source, Labels):
        values = labels_in(pixels)
        if not 2 <= len(values) <= MAX_CLASSES:
            raise Misfit(f"“{source.name}” has {len(values)} labels: expected 2 to {MAX_CLASSES} classes.")
        return map_of_labels(pixels, CONFIDENCE, values.tolist()), values
    if a_plan.class_axis is None:
        return pixels, None
    others = [axis for axis in range(pixels.ndim) if axis != a_plan.class_axis]
    return pixels.transpose([a_plan.class_axis, *others]), None


def _letters(a_plan: Plan, last: str) -> str:
    """Return letters for the axes of the result: as the image's axes are called, or as they most often are.

    ``last`` is that of the last leading axis, where it is known.
    """
    labels = [a_plan.image.axis_labels[axis].lower() for axis in a_plan.spatial_axes[:-2]]
    spare = iter("IJKLMNOP")
    named = ["Z" if label in Z_NAMES else "T" if label in T_NAMES else "" for label in labels]
    if last:
        named[-1] = last
    for axis in reversed(range(len(named))):
        usual = next(letter for letter in ("Z", "T", next(spare)) if letter not in named)
        named[axis] = named[axis] if named[axis] and named.count(named[axis]) == 1 else usual
    return "".join(named) + "YX"


def written_layer(path: Path, a_plan: Plan, inputs: Inputs, about: dict[str, Any]) -> Labels:
    """Return the layer of labels that have been written: read where, and as finely as, it is looked at."""
    import zarr

    group = zarr.open_group(path, mode="r")
    levels: list[Any] = [group[str(k)] for k in range(len(list(group.array_keys())))]
    if a_plan.bridged_axis is not None:
        levels = [np.expand_dims(lazy(level), a_plan.bridged_axis) for level in levels]
    several = len(levels) > 1
    layer = Labels(
        levels if several else levels[0],
        multiscale=several,
        name=f"{a_plan.image.name} applied",
        opacity=OPACITY,
        metadata={METADATA_KEY: {**about, "file": str(path)}},
        **place(a_plan),
    )
    paint_like(layer, a_plan.map, inputs)
    layer.editable = False
    return layer
