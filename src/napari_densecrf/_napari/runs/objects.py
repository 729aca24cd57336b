"""Apply for objects: every slice or volume with the same numbers, in the background, into a layer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.problem import METADATA_KEY, Misfit
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.reading import Inputs, read, read_strokes
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf.crf.objects.refine import ObjectRefiner

from .in_memory import applied_layer, most_memory

# What a pixel takes while its objects are refined, with five channels.
PIXEL_BYTES = 400


@dataclass(eq=False)
class ApplyToObjects:
    """One run over all frames, a slice or a volume each; what is done is kept, so that it can go on.

    Parameters
    ----------
    request : Request
        As the live result has it.
    strokes : Labels, optional
    viewer : ViewerModel
    layer : Labels
        Where the labels go.
    """

    request: Request
    strokes: Labels | None
    viewer: ViewerModel
    layer: Labels
    again: ClassVar[str] = "Apply"
    _done: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def counts(self) -> tuple[int, ...]:
        """Frames along each axis that counts them."""
        return self.request.problem.shape[: -2 if self.request.read.z is None else -3]

    @property
    def n_all(self) -> int:
        """Number of frames."""
        return math.prod(self.counts)

    @property
    def n_done(self) -> int:
        """Frames that are in the layer."""
        return len(self._done)

    def goes_on(self, request: Request, viewer: ViewerModel) -> bool:
        """Tell whether this was stopped, and would be the same again."""
        same = viewer is self.viewer and self.request.whole == request.whole
        return same and self.n_done < self.n_all and self.layer in viewer.layers

    def steps(self) -> Steps:
        """Refine the frames that are left."""
        for index in itertools.product(*map(range, self.counts)):
            if index in self._done:
                continue
            yield Stage("refining", self.n_done / self.n_all)
            yield Found((index, self._refined(index)))
        yield Done(self)

    def _refined(self, index: tuple[int, ...]) -> NDArray[Any]:
        request, problem = self.request, self.request.problem
        region = self._region(index)
        inputs = read(problem, region)
        assert inputs.objects is not None
        strokes = None if self.strokes is None else read_strokes(self.strokes, problem, region)
        if not inputs.objects.any() and (strokes is None or not (strokes > 0).any()):
            return inputs.objects
        refiner = ObjectRefiner(
            inputs.image,
            inputs.objects,
            spacing=request.frame_spacing,
            channel_axis=inputs.channel_axis,
            strokes=strokes,
        )
        labels: NDArray[Any] = refiner.refine(request.params, request.border).labels
        return labels

    def _region(self, index: tuple[int, ...]) -> Region:
        *leading, height, width = self.request.problem.shape
        if self.request.read.z is None:
            return Region(index, (0, height), (0, width))
        return Region((*index, 0), (0, height), (0, width), z=(0, leading[-1]))

    def take(self, found: tuple[tuple[int, ...], NDArray[Any]]) -> str | None:
        """Write a frame into the layer; return the text of the panel, or None where the layer is gone."""
        if self.layer not in self.viewer.layers:
            return None
        index, labels = found
        at = self.request.problem.axes_like_result(self.layer).at(*index, *(slice(None),) * labels.ndim)
        self.layer.data[at] = labels
        self._done.add(index)
        self.layer.refresh(thumbnail=False, highlight=False, extent=False)
        return words.progress(self.n_done, self.n_all)

    def finish(self, seconds: float) -> str:
        """Draw the thumbnail, and say how long it took."""
        self.layer.metadata[METADATA_KEY]["stopped"] = False
        self.layer.refresh(extent=False)
        return words.applied(self.n_all, seconds, ".")


def start_with_objects(request: Request, inputs: Inputs, strokes: Labels | None, viewer: ViewerModel) -> ApplyToObjects:
    """Add a layer for a new run over all frames.

    Raises
    ------
    Misfit
        Where the memory does not hold a frame, or the result.
    """
    problem = request.problem
    n_points = math.prod(problem.shape[-2 if request.read.z is None else -3 :])
    n_bytes = PIXEL_BYTES * n_points + np.dtype(inputs.dtype).itemsize * math.prod(problem.result_shape)
    if n_bytes > most_memory():
        raise Misfit(words.too_large_for_objects(n_bytes))
    layer = applied_layer(request, inputs)
    viewer.add_layer(layer)
    layer.metadata[METADATA_KEY] |= {"strokes": None if strokes is None else strokes.name}
    return ApplyToObjects(request, strokes, viewer, layer)
