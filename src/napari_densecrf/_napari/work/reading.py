"""Layers to the engine's inputs: a region of their data, read in the thread that asks."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import LayerAxes, levels_of
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.understand import FromStrokes, Map, Misfit, Problem, layers_of_map
from napari_densecrf.blank import label_type
from napari_densecrf.crf.probe import Probe, read_probe
from napari_densecrf.crf.unary import probabilities_from_labels
from napari_densecrf.door.axes import MAX_CLASSES
from napari_densecrf.large.dask_arrays import labels_in, lazy


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the engine gets, read from the layers, and how its labels go back.

    Parameters
    ----------
    image : (height, width), or (depth, height, width) of a slab; with channels last if there are any
    channel_axis : int, optional
    probabilities : (n_classes, ...), or of the foreground alone
    values : (n_classes,) int
        What the result layer writes for each class.
    names : list of str
        Of the classes.
    dtype : numpy dtype
        Of the result layer.
    """

    image: NDArray[Any]
    channel_axis: int | None
    probabilities: NDArray[Any]
    values: NDArray[np.int64]
    names: list[str]
    dtype: np.dtype[Any]


def read(problem: Problem, region: Region) -> Inputs:
    """Read one region of the layers' data; what is lazy is computed here, in the caller's thread."""
    return inputs_of(problem, read_image(problem, region), *_read_map(problem, region))


def inputs_of(problem: Problem, image: NDArray[Any], probabilities: NDArray[Any], values: NDArray[np.int64]) -> Inputs:
    """Put together what has been read."""
    if isinstance(problem.map, Labels):
        names = [f"label {value}" for value in values]
        # The ids of a segmentation stay what they are, in their own type.
        dtype = levels_of(problem.map)[0].dtype
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(dtype)
    else:
        names = class_names(problem.map, len(values))
        dtype = label_type(len(values))
    return Inputs(image, None if problem.channel_axis is None else -1, probabilities, values, names, dtype)


def probe(problem: Problem, region: Region) -> Probe:
    """Read the probe of the whole slice, or volume, that a region is a part of, at the region's step."""
    step = region.step
    height, width = problem.shape[-2:]

    def read_part(slices: tuple[slice, ...]) -> NDArray[Any]:
        y, x = (
            (part.start * step, min(part.stop * step, size))
            for part, size in zip(slices[-2:], (height, width), strict=True)
        )
        z = None if region.z is None else (slices[0].start, slices[0].stop)
        return read_image(problem, Region(region.index, y, x, step, z))

    shape = -(-height // step), -(-width // step)
    return read_probe(shape if region.z is None else (problem.shape[-3], *shape), read_part)


def read_strokes(strokes: Labels, problem: Problem, region: Region) -> NDArray[np.int64]:
    """Read the strokes of a region: (height, width), or (depth, height, width) of a slab.

    Raises
    ------
    Misfit
        Where the layer is not on the grid of the result.
    """
    axes = problem.axes_like_result(strokes)
    return np.array(levels_of(strokes)[0][axes.of(region)], dtype=np.int64)


def class_names(source: Map, n_classes: int) -> list[str]:
    """Return the names of the classes: of the layers, of the map's metadata, or numbers."""
    if isinstance(source, tuple):
        return [layer.name for layer in source]
    names = layers_of_map(source)[0].metadata.get("classes") or []
    if isinstance(source, FromStrokes):
        # One may paint more classes than were named, or fewer.
        names = [*names, *(f"class {index}" for index in range(len(names), n_classes))][:n_classes]
    if len(names) == n_classes:
        return [str(name) for name in names]
    return [f"class {index}" for index in range(n_classes)]


def read_image(problem: Problem, region: Region) -> NDArray[Any]:
    """Read (height, width), or (depth, height, width) of a slab; with the channels last if there are any."""
    return _read(problem.image_axes, region, vector_to=-1)


def _read(axes: LayerAxes, region: Region, *, vector_to: int) -> NDArray[Any]:
    """Read a region of a layer, its channels or classes moved to the first (0) or the last (-1) axis."""
    data, index = axes.level_for(region)
    part = np.asarray(data[index])
    vector = axes.vector_in(region)
    return part if vector is None else np.moveaxis(part, vector, vector_to)


def read_map_layers(problem: Problem, region: Region) -> list[NDArray[Any]]:
    """Read each layer of the map as it is, its classes first."""
    return [_read(axes, region, vector_to=0) for axes in problem.map_axes]


def _read_map(problem: Problem, region: Region) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read probabilities, classes first or of the foreground alone, and the value of each class."""
    parts = read_map_layers(problem, region)
    if isinstance(problem.map, tuple):
        return np.stack(parts), np.arange(len(parts))
    if isinstance(problem.map, Labels):
        return _read_labels(problem.map, parts[0])
    return parts[0], np.arange(2 if problem.class_axis is None else problem.n_classes)


def _read_labels(layer: Labels, part: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make probabilities from a rough segmentation, its classes numbered in the order of the whole layer's values."""
    values = classes_of(layer, part)
    return probabilities_from_labels(np.searchsorted(values, part), n_labels=len(values)), values


def classes_of(layer: Labels, part: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Return the values of a whole Labels layer, at least two: a number is one class in all its slices.

    Parameters
    ----------
    layer : Labels
    part : array, optional
        Of the layer as it is now: its values are among them, whatever was there when the layer was last read whole.

    Raises
    ------
    Misfit
        Where there are too many for classes, or too large ones.
    """
    data = levels_of(layer)[0]
    if np.dtype(data.dtype) == np.uint64:
        raise Misfit(f"“{layer.name}” holds uint64 numbers: convert it to another type of integers.")
    known = _classes.get(layer)
    if known is None or known[0] != id(data):
        known = id(data), np.asarray(labels_in(lazy(data) if not isinstance(data, np.ndarray) else data), np.int64)
    values = known[1] if part is None else np.union1d(known[1], np.unique(part).astype(np.int64))
    if len(values) < 2:
        values = np.unique(np.concatenate([values, [0, int(values.max()) or 1]]))
    if len(values) > MAX_CLASSES:
        raise Misfit(f"“{layer.name}” has {len(values)} labels: expected classes, not one label per object.")
    _classes[layer] = known[0], values
    return values


_classes: weakref.WeakKeyDictionary[Labels, tuple[int, NDArray[np.int64]]] = weakref.WeakKeyDictionary()
