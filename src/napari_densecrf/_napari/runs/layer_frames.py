"""The frames of the open layers, slices, volumes or films, as a job takes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import LayerAxes, levels_of
from napari_densecrf._napari.problem.problem import FromStrokes, Problem
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.reading import classes_of, read_strokes, without_label
from napari_densecrf._napari.work.stroke_maps import StrokeMaps
from napari_densecrf._napari.work.worker import read_all
from napari_densecrf.blank import no_label
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.door.axes import letter_of
from napari_densecrf.large.dask_arrays import lazy, map_of_labels, map_of_masks
from napari_densecrf.large.job import Frame


@dataclass(eq=False)
class LayerFrames:
    """All frames of a request's layers, each with the same classes as its live result; a `Source`.

    Parameters
    ----------
    request : Request
    strokes : Labels, optional

    Raises
    ------
    Misfit
        Where the strokes are not on the grid of the image.
    """

    request: Request
    strokes: Labels | None
    _stroke_maps: StrokeMaps = field(default_factory=StrokeMaps)

    def __post_init__(self) -> None:
        if self.strokes is not None:
            # Raises where they do not fit, and reads one slice.
            read_strokes(self.strokes, self.request.problem, self._region((0,) * len(self.counts)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Frames along each axis that counts them."""
        return self.request.problem.shape[: -self._n_joined]

    @property
    def channel_axis(self) -> int | None:
        """Axis of a frame's channels."""
        return -1 if self.request.problem.has_channels else None

    @property
    def letters(self) -> str:
        """Letters of the axes of the result: as the image's axes are called, or as they most often are."""
        return _letters(self.request.problem, {"slice": "", "volume": "Z", "film": "T"}[self.request.frame])

    @property
    def _n_joined(self) -> int:
        return 2 if self.request.read.z is None else 3

    def frame(self, index: tuple[int, ...]) -> Frame:
        """Return one frame: views of arrays that are in memory, lazy arrays of others.

        Raises
        ------
        Misfit
            Where a rough segmentation has too many labels there, or where strokes make no map.
        """
        problem = self.request.problem
        if isinstance(problem.map, FromStrokes):
            region = self._region(index)
            strokes = None if self.strokes is None else read_strokes(self.strokes, problem, region)
            inputs = read_all(replace(self.request, region=region, read=region, strokes=strokes), self._stroke_maps)
            return Frame(inputs.image, inputs.probabilities, strokes)
        probabilities, values = self._map(index)
        return Frame(self._image(index), probabilities, self._strokes(index), values)

    def _region(self, index: tuple[int, ...]) -> Region:
        *leading, height, width = self.request.problem.shape
        if self._n_joined == 2:
            return Region(index, (0, height), (0, width))
        return Region((*index, 0), (0, height), (0, width), z=(0, leading[-1]))

    def _image(self, index: tuple[int, ...]) -> Any:
        """Return (*spatial), or with the channels last."""
        problem = self.request.problem
        parts = [_in_order(axes, vector_to=-1)[index] for axes in problem.all_image_axes]
        return np.stack(parts, axis=-1) if problem.channels else parts[0]

    def _map(self, index: tuple[int, ...]) -> tuple[Any, NDArray[Any] | None]:
        """Return the map, and the label of each class where it is made of labels."""
        problem = self.request.problem
        if problem.along:
            return self._map_from_elsewhere(index)
        parts = [_in_order(axes, vector_to=0) for axes in problem.map_axes]
        if isinstance(problem.map, tuple) and isinstance(problem.map[0], Labels):
            return map_of_masks(np.stack([part[index] != 0 for part in parts]), CONFIDENCE), None
        if isinstance(problem.map, tuple):
            return np.stack([part[index] for part in parts]), None
        if isinstance(problem.map, Labels):
            labels = without_label(problem.map, parts[0][index])
            values = classes_of(problem.map)
            return map_of_labels(labels, CONFIDENCE, values.tolist()), values.astype(parts[0].dtype)
        return parts[0][index if problem.class_axis is None else (slice(None), *index)], None

    def _map_from_elsewhere(self, index: tuple[int, ...]) -> tuple[Any, NDArray[Any] | None]:
        """Return the same of a map that has other pixels than the image; a part is computed when it is read."""
        problem = self.request.problem
        if not isinstance(problem.map, Labels):
            on_image = problem.map_on_image()
            part = lazy(on_image)[index if on_image.class_axis is None else (slice(None), *index)]
            if on_image.none is not None:
                part = map_of_masks(part.map_blocks(np.ma.masked_equal, on_image.none), CONFIDENCE)
            return part, None
        values = classes_of(problem.map)
        none = no_label(levels_of(problem.map)[0].dtype, values.tolist())
        on_image = problem.map_on_image(none)
        labels = without_label(problem.map, lazy(on_image)[index], none)
        return map_of_labels(labels, CONFIDENCE, values.tolist()), values.astype(on_image.dtype)

    def _strokes(self, index: tuple[int, ...]) -> Any:
        if self.strokes is None:
            return None
        return _in_order(self.request.problem.axes_like_result(self.strokes), vector_to=0)[index]


def _in_order(axes: LayerAxes, *, vector_to: int) -> Any:
    """Return all data of a layer in the order of the problem: lazy, or a view where they are in memory."""
    data = levels_of(axes.layer)[0]
    whole = axes.at(*(slice(None),) * len(axes.spatial))
    # The others are of one pixel, and gone.
    kept = [axis for axis, pick in enumerate(whole) if isinstance(pick, slice)]
    part = (data if isinstance(data, np.ndarray) else lazy(data))[whole]
    return part.transpose([kept.index(axis) for axis in axes.order(vector_to=vector_to)])


def _letters(problem: Problem, last: str) -> str:
    """Return letters for the axes of the result; ``last`` is that of the last leading axis, where it is known."""
    letters = [letter_of(problem.image.axis_labels[axis]) for axis in problem.spatial_axes[:-2]]
    spare = iter("IJKLMNOP")
    named = [letter if letter in ("Z", "T") else "" for letter in letters]
    if last:
        named[-1] = last
    for axis in reversed(range(len(named))):
        usual = next(letter for letter in ("Z", "T", next(spare)) if letter not in named)
        named[axis] = named[axis] if named[axis] and named.count(named[axis]) == 1 else usual
    return "".join(named) + "YX"
