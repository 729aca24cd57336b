"""Apply into an OME-Zarr, where the result is larger than the memory. It is shown when it is complete."""

from __future__ import annotations

import os
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf._napari.display.result_layer import OPACITY, paint_like, place
from napari_densecrf._napari.problem.problem import METADATA_KEY, FromStrokes, Misfit, Problem, layers_of
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.recipes.provenance import provenance_of_request
from napari_densecrf._napari.work.reading import Inputs, classes_of
from napari_densecrf.files import places
from napari_densecrf.files.places import Use
from napari_densecrf.files.read import BadInput
from napari_densecrf.files.target import Target, check_path
from napari_densecrf.files.write import FileSink
from napari_densecrf.large.dask_arrays import lazy
from napari_densecrf.large.tiling import TILE_MEMORY, TilePlan

from .apply import Apply
from .in_memory import most_memory
from .layer_frames import LayerFrames

ENDING = ".ome.zarr"


@dataclass(eq=False)
class IntoZarr:
    """An OME-Zarr as the `Destination` of a run.

    Parameters
    ----------
    request : Request
    inputs : Inputs
        Of the slice that is shown: names and values of the classes.
    viewer : ViewerModel
    path : Path
    about : dict
        What is written with it: a run that was stopped goes on only where all of it is the same.
    """

    request: Request
    inputs: Inputs
    viewer: ViewerModel
    path: Path
    about: dict[str, Any]

    def sink(self, frames: LayerFrames, plan: TilePlan) -> FileSink:
        """Return the sink for the labels."""
        problem = self.request.problem
        if isinstance(problem.map, Labels):
            # The slice that is shown may not have all labels.
            values = classes_of(problem.map)
            self.inputs = replace(self.inputs, values=values, names=[f"label {value}" for value in values])
        letters = frames.letters
        sizes = {
            letter: problem.size_along(axis)
            for letter, axis in zip(letters, problem.spatial_axes, strict=True)
            if letter in "ZYX"
        }
        target = Target(
            self.path,
            problem.shape,
            np.dtype(self.inputs.dtype),
            letters,
            (1,) * len(frames.counts) + plan.tile_shape,
            sizes,
            None if problem.unit == "px" else problem.unit,
            self.about,
            values=tuple(self.inputs.values.tolist()),
        )
        return FileSink(target)

    def wanted(self) -> bool:
        """Tell whether the layers are still there."""
        return all(layer in self.viewer.layers for layer in layers_of(self.request.problem))

    def announce(self) -> str:
        """Return a sentence that says where the labels go."""
        return words.goes_to(self.path)

    def show(self) -> None:
        """Do nothing: labels are shown when all are there."""

    def finish(self) -> str:
        """Show the zarr, and return its path."""
        self.viewer.add_layer(written_layer(self.path, self.request.problem, self.inputs, self.about))
        return f": {self.path}"


def start_on_disk(request: Request, inputs: Inputs, strokes: Labels | None, viewer: ViewerModel) -> Apply:
    """Choose a path for a new run.

    Raises
    ------
    Misfit
        Where it cannot be done, with what to do instead.
    """
    if isinstance(request.problem.map, FromStrokes):
        raise Misfit(words.TOO_LARGE_FOR_STROKES)
    path = free_path(request.problem.image)
    try:
        check_path(path)
    except BadInput:
        raise Misfit(words.NEEDS_FILES) from None
    # No file that a layer came from, nor what anybody else has there.
    files = [("the layer", layer.source.path) for layer in (*layers_of(request.problem), strokes) if layer is not None]
    try:
        places.check(places.reads(*files), [Use("the labels", path)])
    except BadInput as error:
        raise Misfit(str(error)) from None
    about = {
        **provenance_of_request(request, inputs),
        "strokes": None if strokes is None else strokes.name,
        "frozen": True,
        "inputs": [_origin(layer, edited) for layer, edited in _with_edits(request, strokes)],
    }
    destination = IntoZarr(request, inputs, viewer, path, about)
    memory = min(TILE_MEMORY, most_memory())
    return Apply(request, viewer, LayerFrames(request, strokes), destination, memory)


def _with_edits(request: Request, strokes: Labels | None) -> list[tuple[Layer, bool]]:
    """Return the layers, and whether their data have been changed since they came."""
    pairs = zip(layers_of(request.problem), request.revision, strict=True)  # type: ignore[call-overload]
    layers = [(layer, revision[0] > 0) for layer, revision in pairs]
    return layers if strokes is None else [*layers, (strokes, True)]


def _origin(layer: Layer, edited: bool) -> dict[str, Any]:
    """Return a value that changes with a layer's data: its file and when that was changed, or else the time now."""
    path = layer.source.path
    if path is None or edited or not os.path.exists(path):
        return {"name": layer.name, "at": time.time_ns()}
    return {"name": layer.name, "path": str(path), "changed_ns": os.stat(path).st_mtime_ns}


def free_path(image: Layer) -> Path:
    """Return a path that is not taken, beside the image's file or, where there is none, in the temporary folder."""
    source = Path(image.source.path) if image.source.path else None
    # A zarr is one image, into which no other is written.
    source = source and (places.zarr_around(source) or source)
    if source is not None and source.parent.is_dir() and os.access(source.parent, os.W_OK):
        folder = source.parent
    else:
        folder = Path(tempfile.gettempdir())
    name = re.sub(r"[^\w .()-]", "_", image.name).removesuffix(ENDING)
    path, k = folder / f"{name} refined{ENDING}", 2
    while os.path.lexists(path):
        path, k = folder / f"{name} refined {k}{ENDING}", k + 1
    return path


def written_layer(path: Path, problem: Problem, inputs: Inputs, about: dict[str, Any]) -> Labels:
    """Return the layer of the labels in a zarr; napari reads the part and the level that it shows."""
    import zarr

    group = zarr.open_group(path, mode="r")
    levels: list[Any] = [group[str(k)] for k in range(len(list(group.array_keys())))]
    if problem.bridged_axis is not None:
        levels = [np.expand_dims(lazy(level), problem.bridged_axis) for level in levels]
    several = len(levels) > 1
    none = inputs.none
    layer = Labels(
        levels if several else levels[0],
        multiscale=several,
        name=f"{problem.image.name} applied",
        opacity=OPACITY,
        metadata={METADATA_KEY: {**about, "no_label": none, "file": str(path)}},
        **place(problem),
    )
    paint_like(layer, problem.map, inputs)
    layer.editable = False
    return layer
