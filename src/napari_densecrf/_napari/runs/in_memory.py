"""Apply into a layer, where the result fits the memory. No slider changes that layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import psutil
from napari.components import ViewerModel
from napari.layers import Labels

from napari_densecrf._napari.display.result_layer import blank, paint_like
from napari_densecrf._napari.problem.axes import levels_of, shape_of
from napari_densecrf._napari.problem.problem import METADATA_KEY, Problem, layers_of
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.recipes.provenance import provenance_of_request
from napari_densecrf._napari.work.reading import Inputs
from napari_densecrf.large.tile_job import Piece
from napari_densecrf.large.tiling import TILE_MEMORY, TilePlan

from .apply import Apply
from .layer_frames import LayerFrames

# A job may take this share of the memory that is free.
MEMORY_SHARE = 0.8
# Bytes. A point of a tile takes less, except with many classes or channels.
TILE_POINT_BYTES = 300


class LayerSink:
    """Takes pieces in the worker's thread, and writes them into a layer in the GUI's thread; a `Sink`.

    Parameters
    ----------
    layer : Labels
    problem : Problem
        Of what the layer is the result of.
    """

    wants = "labels"

    def __init__(self, layer: Labels, problem: Problem) -> None:
        self._layer = layer
        self._problem = problem
        self._done: set[str] = set()
        self._arrived: deque[Piece] = deque()

    def open(self) -> Collection[str]:
        """Return the keys of the pieces that have arrived."""
        return set(self._done)

    def write(self, piece: Piece) -> None:
        """Keep a piece until it is shown."""
        self._arrived.append(piece)
        self._done.add(piece.key)

    def finish(self) -> None:
        """Do nothing: pieces are shown as they arrive."""

    def abandon(self) -> None:
        """Do nothing: pieces are shown as they arrive."""

    def show(self) -> None:
        """Write the pieces that have arrived into the layer, and draw it. Only in the GUI's thread."""
        if not self._arrived:
            return
        while self._arrived:
            self._put(self._arrived.popleft())
        self._layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _put(self, piece: Piece) -> None:
        at = self._problem.axes_like_result(self._layer).at(*piece.frame, *piece.inner)
        if piece.pixels.dtype.itemsize > self._layer.data.dtype.itemsize:
            # The layer was made for the labels of the slice that was shown; others may have larger ones.
            self._layer.data = self._layer.data.astype(piece.pixels.dtype)
        self._layer.data[at] = piece.pixels


@dataclass(eq=False)
class IntoLayer:
    """A layer as the `Destination` of a run."""

    layer: Labels
    viewer: ViewerModel
    layer_sink: LayerSink

    def sink(self, frames: LayerFrames, plan: TilePlan) -> LayerSink:
        """Return the sink for the labels."""
        return self.layer_sink

    def wanted(self) -> bool:
        """Tell whether the layer is still there."""
        return self.layer in self.viewer.layers

    def announce(self) -> str:
        """Return nothing: the layer is in view."""
        return ""

    def show(self) -> None:
        """Show what has arrived."""
        self.layer_sink.show()

    def finish(self) -> str:
        """Draw the thumbnail."""
        self.layer_sink.show()
        self.layer.metadata[METADATA_KEY]["stopped"] = False
        self.layer.refresh(extent=False)
        return "."


def start_in_memory(request: Request, inputs: Inputs, strokes: Labels | None, viewer: ViewerModel) -> Apply:
    """Add a layer for a new run over all frames.

    Raises
    ------
    Misfit
        Where the strokes do not fit.
    """
    frames = LayerFrames(request, strokes)
    layer = applied_layer(request, inputs)
    viewer.add_layer(layer)
    layer.metadata[METADATA_KEY] |= {"strokes": None if strokes is None else strokes.name}
    destination = IntoLayer(layer, viewer, LayerSink(layer, request.problem))
    return Apply(request, viewer, frames, destination, n_all=prod(frames.counts))


def applied_layer(request: Request, inputs: Inputs) -> Labels:
    """Make the layer of a run: like the live result, but no slider changes it."""
    none = inputs.none
    # A run fills it; one that is stopped leaves the rest without labels.
    levels = blank(request.problem, inputs.dtype, one_level=True)
    if none is not None:
        levels["data"].fill(none)
    layer = Labels(name=f"{request.problem.image.name} applied", opacity=0.6, **levels)
    paint_like(layer, request.problem.map, inputs)
    layer.metadata[METADATA_KEY] = {
        **provenance_of_request(request, inputs),
        "no_label": none,
        "frozen": True,
        "stopped": True,
    }
    return layer


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
