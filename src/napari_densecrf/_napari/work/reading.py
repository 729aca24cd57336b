"""Layers to the engine's inputs: a window of their data, read in the thread that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import (
    MAX_CLASSES,
    FromStrokes,
    Map,
    Misfit,
    Plan,
    layers_of_map,
    levels_of,
    shape_of,
)
from napari_densecrf._napari.problem.region import Window
from napari_densecrf.crf.probe import Probe, read_probe
from napari_densecrf.crf.unary import probabilities_from_labels


@dataclass(frozen=True)
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
    """

    image: NDArray[Any]
    channel_axis: int | None
    probabilities: NDArray[Any]
    values: NDArray[np.int64]
    names: list[str]

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """Of the result layer."""
        largest = self.values.max()
        return np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.int32


def read(a_plan: Plan, window: Window) -> Inputs:
    """Read one window of the layers' data; what is lazy is computed here, in the caller's thread."""
    return inputs_of(a_plan, read_image(a_plan, window), *_read_map(a_plan, window))


def inputs_of(a_plan: Plan, image: NDArray[Any], probabilities: NDArray[Any], values: NDArray[np.int64]) -> Inputs:
    """Put together what has been read."""
    if isinstance(a_plan.map, Labels):
        names = [f"label {value}" for value in values]
    else:
        names = class_names(a_plan.map, len(values))
    return Inputs(image, None if a_plan.channel_axis is None else -1, probabilities, values, names)


def probe(a_plan: Plan, window: Window) -> Probe:
    """Read the probe of the whole slice, or volume, that a window is a part of, at the window's step."""
    step = window.step
    height, width = a_plan.shape[-2:]

    def read_part(slices: tuple[slice, ...]) -> NDArray[Any]:
        y, x = (
            (part.start * step, min(part.stop * step, size))
            for part, size in zip(slices[-2:], (height, width), strict=True)
        )
        z = None if window.z is None else (slices[0].start, slices[0].stop)
        return read_image(a_plan, Window(window.index, y, x, step, z))

    shape = -(-height // step), -(-width // step)
    return read_probe(shape if window.z is None else (a_plan.shape[-3], *shape), read_part)


def read_strokes(strokes: Labels, a_plan: Plan, window: Window) -> NDArray[np.int64]:
    """Read the strokes of a window: (height, width), or (depth, height, width) of a slab.

    Raises
    ------
    Misfit
        Where the layer is not on the grid of the result.
    """
    shape = shape_of(strokes)
    if shape not in (a_plan.shape, a_plan.result_shape):
        wanted = " x ".join(map(str, a_plan.shape))
        raise Misfit(f"Strokes “{strokes.name}” are {' x '.join(map(str, shape))}: expected {wanted} like the image.")
    at: list[Any] = [*window.leading, *window.slices]
    if len(shape) > len(a_plan.shape) and a_plan.bridged_axis is not None:
        at.insert(a_plan.bridged_axis, 0)
    return np.array(levels_of(strokes)[0][tuple(at)], dtype=np.int64)


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


def read_image(a_plan: Plan, window: Window) -> NDArray[Any]:
    """Read (height, width), or (depth, height, width) of a slab; with the channels last if there are any."""
    image = a_plan.image
    data, at = _resolved(image, a_plan.spatial_axes, window)
    picks: list[Any] = [slice(None)] * len(data.shape)
    for axis, pick in zip(a_plan.spatial_axes, at, strict=True):
        picks[axis] = pick
    if image.rgb:
        # Alpha is no colour.
        picks[-1] = slice(0, 3)
    part = np.asarray(data[tuple(picks)])
    if a_plan.channel_axis is not None and not image.rgb:
        # The leading axes are gone from the part, those before the channels with them.
        dropped = sum(axis < a_plan.channel_axis for axis in a_plan.spatial_axes[: window.n_single])
        part = np.moveaxis(part, a_plan.channel_axis - dropped, -1)
    return part


def _read_map(a_plan: Plan, window: Window) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read probabilities, classes first or of the foreground alone, and the value of each class."""
    axes = tuple(range(len(a_plan.shape)))
    if isinstance(a_plan.map, tuple):
        parts = (_resolved(layer, axes, window) for layer in a_plan.map)
        planes = np.stack([np.asarray(data[at]) for data, at in parts])
        return planes, np.arange(len(planes))
    if a_plan.class_axis is not None:
        axes = tuple(axis + (axis >= a_plan.class_axis) for axis in axes)
    data, at = _resolved(a_plan.map, axes, window)
    if isinstance(a_plan.map, Labels):
        return _read_labels(a_plan.map, np.asarray(data[at]))
    if a_plan.class_axis is None:
        return np.asarray(data[at]), np.arange(2)
    picks = list(at)
    picks.insert(a_plan.class_axis, slice(None))
    part = np.asarray(data[tuple(picks)])
    # Leading axes before the classes are single slices, gone from the part.
    gone = min(a_plan.class_axis, window.n_single)
    return np.moveaxis(part, a_plan.class_axis - gone, 0), np.arange(a_plan.n_classes)


def _read_labels(layer: Labels, part: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make probabilities from a rough segmentation, its classes numbered in the order of their values."""
    values = np.unique(part).astype(np.int64)
    if len(values) < 2:
        values = np.unique(np.concatenate([values, [0, int(values.max()) or 1]]))
    if len(values) > MAX_CLASSES:
        raise Misfit(
            f"“{layer.name}” has {len(values)} labels in this slice: expected classes, not one label per object."
        )
    return probabilities_from_labels(np.searchsorted(values, part), n_labels=len(values)), values


def _resolved(layer: Layer, axes: tuple[int, ...], window: Window) -> tuple[Any, tuple[Any, ...]]:
    """Return the coarsest level of a layer that still has the window's pixels, and the window's place in it."""
    levels = levels_of(layer)
    for data in reversed(levels):
        factors = [levels[0].shape[axis] / data.shape[axis] for axis in axes]
        *leading, along_y, along_x = factors
        factor = round(along_y)
        if factor == round(along_x) and window.step % factor == 0 and all(one == 1 for one in leading):
            (y0, _), (x0, _), (height, width) = window.y, window.x, window.shape
            step = window.step // factor
            y, x = y0 // factor, x0 // factor
            inside = y + (height - 1) * step < data.shape[axes[-2]] and x + (width - 1) * step < data.shape[axes[-1]]
            if inside:
                return data, (
                    *window.leading,
                    slice(y, y + (height - 1) * step + 1, step),
                    slice(x, x + (width - 1) * step + 1, step),
                )
    return levels[0], (*window.leading, *window.slices)
