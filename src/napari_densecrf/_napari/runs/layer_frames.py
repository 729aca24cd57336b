"""The frames of the open layers, slices, volumes or films, as a job takes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import (
    MAX_CLASSES,
    T_NAMES,
    Z_NAMES,
    FromStrokes,
    Misfit,
    Plan,
    levels_of,
)
from napari_densecrf._napari.problem.region import Window
from napari_densecrf._napari.work.reading import read_strokes
from napari_densecrf._napari.work.stroke_maps import TaughtMaps
from napari_densecrf._napari.work.worker import Request, read_all
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.large.dask_arrays import labels_in, lazy, map_of_labels
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
    _taught: TaughtMaps = field(default_factory=TaughtMaps)

    def __post_init__(self) -> None:
        if self.strokes is not None:
            # Raises where they do not fit, and reads one slice.
            read_strokes(self.strokes, self.request.plan, self._window((0,) * len(self.counts)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Frames along each axis that counts them."""
        return self.request.plan.shape[: -self._n_joined]

    @property
    def channel_axis(self) -> int | None:
        """Axis of a frame's channels."""
        return None if self.request.plan.channel_axis is None else -1

    @property
    def letters(self) -> str:
        """Letters of the axes of the result: as the image's axes are called, or as they most often are."""
        return _letters(self.request.plan, {"slice": "", "volume": "Z", "film": "T"}[self.request.frame])

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
        a_plan = self.request.plan
        if isinstance(a_plan.map, FromStrokes):
            window = self._window(index)
            strokes = None if self.strokes is None else read_strokes(self.strokes, a_plan, window)
            inputs = read_all(replace(self.request, window=window, read=window, strokes=strokes), self._taught)
            return Frame(inputs.image, inputs.probabilities, strokes)
        probabilities, values = self._map(index)
        return Frame(self._image(index), probabilities, self._strokes(index), values)

    def _window(self, index: tuple[int, ...]) -> Window:
        *leading, height, width = self.request.plan.shape
        if self._n_joined == 2:
            return Window(index, (0, height), (0, width))
        return Window((*index, 0), (0, height), (0, width), z=(0, leading[-1]))

    def _image(self, index: tuple[int, ...]) -> Any:
        """Return (*spatial), or with the channels last."""
        a_plan = self.request.plan
        data = _sliced(levels_of(a_plan.image)[0])
        channels = [] if a_plan.channel_axis is None else [a_plan.channel_axis]
        part = data.transpose([*a_plan.spatial_axes, *channels])[index]
        # Alpha is no colour.
        return part[..., :3] if a_plan.image.rgb else part

    def _map(self, index: tuple[int, ...]) -> tuple[Any, NDArray[Any] | None]:
        """Return the map, and the label of each class where it is made of labels."""
        a_plan = self.request.plan
        if isinstance(a_plan.map, tuple):
            return np.stack([_sliced(levels_of(layer)[0])[index] for layer in a_plan.map]), None
        assert not isinstance(a_plan.map, FromStrokes)
        data = _sliced(levels_of(a_plan.map)[0])
        if isinstance(a_plan.map, Labels):
            values = _classes_in(data[index], a_plan.map.name)
            return map_of_labels(data[index], CONFIDENCE, values.tolist()), values.astype(label_type(values))
        if a_plan.class_axis is None:
            return data[index], None
        others = [axis for axis in range(data.ndim) if axis != a_plan.class_axis]
        return data.transpose([a_plan.class_axis, *others])[(slice(None), *index)], None

    def _strokes(self, index: tuple[int, ...]) -> Any:
        if self.strokes is None:
            return None
        return _sliced(levels_of(self.strokes)[0]).reshape(self.request.plan.shape)[index]


def label_type(values: NDArray[np.int64]) -> type[np.integer[Any]]:
    """Return the smallest type for such labels, the same as that of the live result."""
    largest = values.max()
    return np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.int32


def _sliced(data: Any) -> Any:
    """Return an array that can be sliced and transposed without being read; one in memory as it is."""
    return data if isinstance(data, np.ndarray) else lazy(data)


def _classes_in(labels: Any, name: str) -> NDArray[np.int64]:
    """Return the labels that are the classes of a frame, at least two."""
    values = labels_in(labels)
    if len(values) > MAX_CLASSES:
        raise Misfit(f"“{name}” has {len(values)} labels in a slice: expected classes, not one label per object.")
    if len(values) < 2:
        values = np.unique(np.concatenate([values, [0, int(values.max()) or 1]]))
    return values


def _letters(a_plan: Plan, last: str) -> str:
    """Return letters for the axes of the result; ``last`` is that of the last leading axis, where it is known."""
    labels = [a_plan.image.axis_labels[axis].lower() for axis in a_plan.spatial_axes[:-2]]
    spare = iter("IJKLMNOP")
    named = ["Z" if label in Z_NAMES else "T" if label in T_NAMES else "" for label in labels]
    if last:
        named[-1] = last
    for axis in reversed(range(len(named))):
        usual = next(letter for letter in ("Z", "T", next(spare)) if letter not in named)
        named[axis] = named[axis] if named[axis] and named.count(named[axis]) == 1 else usual
    return "".join(named) + "YX"
