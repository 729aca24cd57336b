"""Layers to the engine's inputs: a region of their data, read in the thread that asks."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.axes import LayerAxes, levels_of
from napari_densecrf._napari.problem.problem import (
    METADATA_KEY,
    NO_MASK,
    FromStrokes,
    Map,
    Misfit,
    Problem,
    layers_of_map,
)
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.seen import classes_seen, remember_classes
from napari_densecrf.blank import label_type, no_label, without
from napari_densecrf.crf.objects.source import BACKGROUND_STROKE, background_stroke
from napari_densecrf.crf.probe import Probe, read_probe
from napari_densecrf.crf.unary import probabilities_from_labels, probabilities_from_masks
from napari_densecrf.door.axes import MAX_CLASSES
from napari_densecrf.door.missing import same_pixels, without_mask
from napari_densecrf.door.values import probabilities_of
from napari_densecrf.large.dask_arrays import labels_in, lazy, ranks_of

# Where a Labels layer has the names of its numbers.
NAMES_KEY = "names of classes"
# Parts of maps on other pixels that are kept.
MAX_PLACED = 4


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
    objects : (height, width), or (depth, height, width) array of int, optional
        The ids of objects, in place of probabilities; then the classes are background and objects.
    """

    image: NDArray[Any]
    channel_axis: int | None
    probabilities: NDArray[Any]
    values: NDArray[np.int64]
    names: list[str]
    dtype: np.dtype[Any]
    objects: NDArray[Any] | None = None

    @property
    def none(self) -> int | None:
        """What pixels hold that have no label; None for objects, whose background is what nobody has refined too."""
        return None if self.objects is not None else no_label(self.dtype, self.values.tolist())


def read(problem: Problem, region: Region, placed: PlacedMaps | None = None) -> Inputs:
    """Read one region of the layers' data; what is lazy is computed here, in the caller's thread.

    ``placed`` keeps what has been computed of maps that have other pixels than the image.
    """
    placed = PlacedMaps() if placed is None else placed
    if problem.objects:
        return _read_objects(problem, region, placed)
    return inputs_of(problem, read_image(problem, region), *_read_map(problem, region, placed))


def _read_objects(problem: Problem, region: Region, placed: PlacedMaps) -> Inputs:
    """Read the image and the ids of objects."""
    source = problem.map
    assert isinstance(source, Labels)
    dtype = np.dtype(levels_of(source)[0].dtype).newbyteorder("=")
    # Where a layer on other pixels does not cover the image, there is no object.
    ids = placed.part(problem, region, 0) if problem.along else read_map_layers(problem, region)[0]
    ids = np.ma.filled(ids, 0)
    image = read_image(problem, region)
    channel_axis = -1 if problem.has_channels else None
    names = ["background", "objects"]
    return Inputs(image, channel_axis, np.empty(0), np.arange(2), names, dtype, ids.astype(dtype, copy=False))


def inputs_of(problem: Problem, image: NDArray[Any], probabilities: NDArray[Any], values: NDArray[np.int64]) -> Inputs:
    """Put together what has been read."""
    if isinstance(problem.map, Labels):
        names = _names_of_values(problem.map, values)
        # The ids of a segmentation stay what they are, in their own type.
        dtype = levels_of(problem.map)[0].dtype
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(dtype).newbyteorder("=")
    else:
        names = class_names(problem.map, len(values))
        dtype = label_type(len(values))
    return Inputs(image, -1 if problem.has_channels else None, probabilities, values, names, dtype)


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

    Of objects, the background is `BACKGROUND_STROKE` whatever the layer's type.

    Raises
    ------
    Misfit
        Where the layer is not on the grid of the result.
    """
    axes = problem.axes_like_result(strokes)
    part = np.asarray(levels_of(strokes)[0][axes.of(region)])
    values = np.array(part, dtype=np.int64)
    if problem.objects:
        values[part == background_stroke(part.dtype)] = BACKGROUND_STROKE
    return values


def class_names(source: Map, n_classes: int) -> list[str]:
    """Return the names of the classes: of the layers, of the map's metadata, or numbers."""
    if isinstance(source, Labels):
        values = classes_seen(source)
        if values is not None and len(values) == n_classes:
            return _names_of_values(source, values)
    if isinstance(source, tuple):
        names = [layer.name for layer in source]
        return ["background", *names] if isinstance(source[0], Labels) else names
    names = layers_of_map(source)[0].metadata.get("classes") or []
    if isinstance(source, FromStrokes):
        # One may paint more classes than were named, or fewer.
        names = [*names, *(f"class {index}" for index in range(len(names), n_classes))][:n_classes]
    if len(names) == n_classes:
        return [str(name) for name in names]
    return [f"class {index}" for index in range(n_classes)]


def _names_of_values(layer: Labels, values: NDArray[np.int64]) -> list[str]:
    known = layer.metadata.get(NAMES_KEY, {})
    return [known.get(str(value), f"label {value}") for value in values]


def keep_names(source: Map, names: list[str], values: list[int]) -> None:
    """Keep the names of the classes with a map, whose values they have, where `class_names` finds them."""
    layers = layers_of_map(source)
    if isinstance(source, tuple):
        for layer, name in zip(layers, names[-len(layers) :], strict=True):
            layer.name = name
    elif isinstance(source, Labels):
        source.metadata[NAMES_KEY] = dict(zip(map(str, values), names, strict=True))
    else:
        layers[0].metadata["classes"] = list(names)


def names_kept(layer: Layer) -> Hashable:
    """Return what differs where the classes of a layer have been renamed."""
    return str(layer.metadata.get(NAMES_KEY) or layer.metadata.get("classes"))


def read_image(problem: Problem, region: Region) -> NDArray[Any]:
    """Read (height, width), or (depth, height, width) of a slab; with the channels last if there are any."""
    parts = [without_mask(_read(axes, region, vector_to=-1)) for axes in problem.all_image_axes]
    return np.stack(parts, axis=-1) if problem.channels else parts[0]


def _read(axes: LayerAxes, region: Region, *, vector_to: int) -> NDArray[Any]:
    """Read a region of a layer, its channels or classes moved to the first (0) or the last (-1) axis."""
    data, index = axes.level_for(region)
    picked = data[index]
    # Masks stay: what is masked has no value.
    part = np.asanyarray(picked.compute() if hasattr(picked, "compute") else picked)
    vector = axes.vector_in(region)
    return part if vector is None else np.moveaxis(part, vector, vector_to)


def read_map_layers(problem: Problem, region: Region) -> list[NDArray[Any]]:
    """Read each layer of the map as it is, its classes first; of one with other pixels, those under the region."""
    if problem.along:
        under = problem.map_on_image().under(on_map(problem, region))
        return list(under) if problem.class_axis is None else [under]
    return [_read(axes, region, vector_to=0) for axes in problem.map_axes]


def on_map(problem: Problem, region: Region) -> tuple[Any, ...]:
    """Return the index of a region into the map on the image's pixels."""
    where = (*region.leading, *region.slices)
    return where if problem.map_on_image().class_axis is None else (slice(None), *where)


@dataclass
class PlacedMaps:
    """The last parts of maps that have other pixels than the image: computed anew where the map has changed."""

    _known: dict[Hashable, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict)

    def part(self, problem: Problem, region: Region, none: int | None = None) -> NDArray[Any]:
        """Return probabilities, classes first, or labels; ``none`` stands where labels do not cover the image."""
        on_image, index = problem.map_on_image(none), on_map(problem, region)
        key = tuple(map(id, layers_of_map(problem.map))), problem.shape, problem.along, region, none
        under = on_image.under(index)
        known = self._known.pop(key, None)
        if known is None or not same_pixels(known[0], under):
            known = np.array(under), on_image.resampled(under, index)
        self._known[key] = known
        while len(self._known) > MAX_PLACED:
            self._known.pop(next(iter(self._known)))
        return known[1]


def _read_map(problem: Problem, region: Region, placed: PlacedMaps) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Read probabilities, classes first or of the foreground alone, and the value of each class."""
    if problem.along and isinstance(problem.map, Labels):
        values = classes_of(problem.map)
        none = no_label(levels_of(problem.map)[0].dtype, values.tolist())
        return _from_labels(problem.map, placed.part(problem, region, none), values, none)
    if problem.along:
        part = placed.part(problem, region)
        if isinstance(layers_of_map(problem.map)[0], Labels):
            part = probabilities_from_masks(np.ma.masked_equal(part, NO_MASK))
        return part, np.arange(2 if part.ndim == len(region.slices) + (region.z is not None) else len(part))
    parts = read_map_layers(problem, region)
    if isinstance(problem.map, tuple) and isinstance(problem.map[0], Labels):
        return probabilities_from_masks(np.stack([part != 0 for part in parts])), np.arange(len(parts) + 1)
    if isinstance(problem.map, tuple):
        return np.stack([_without_mask(part) for part in parts]), np.arange(len(parts))
    if isinstance(problem.map, Labels):
        return _from_labels(problem.map, parts[0], classes_of(problem.map, parts[0]))
    return _without_mask(parts[0]), np.arange(2 if problem.class_axis is None else problem.n_classes)


def _without_mask(part: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities that are NaN where a map is masked; others as they are."""
    return probabilities_of(part) if np.ma.is_masked(part) else np.asarray(part)


def _from_labels(
    layer: Labels, part: NDArray[Any], values: NDArray[np.int64], none: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make probabilities from a rough segmentation, its classes numbered in the order of the whole layer's values."""
    ranks = ranks_of(without_label(layer, part, none), values)
    return probabilities_from_labels(ranks, n_labels=len(values)), values


def without_label(layer: Labels, labels: Any, none: int | None = None) -> Any:
    """Return labels, masked where a result that was kept has none, and where they are ``none``."""
    own = layer.metadata.get(METADATA_KEY, {}).get("no_label")
    for number in (own, none):
        if number is not None:
            in_memory = isinstance(labels, np.ndarray)
            masked = partial(without, number)
            labels = masked(labels) if in_memory else lazy(labels).map_blocks(masked)
    return labels


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
    values = classes_seen(layer)
    if values is None:
        found = labels_in(without_label(layer, levels_of(layer)[0]))
        if len(found) and found[-1] > np.iinfo(np.int64).max:
            raise Misfit(words.labels_too_large(layer.name, int(found[-1]), np.iinfo(np.int64).max))
        values = found.astype(np.int64)
    if part is not None:
        values = np.union1d(values, np.unique(np.ma.compressed(without_label(layer, part))).astype(np.int64))
    if len(values) < 2:
        values = np.unique(np.concatenate([values, [0, int(values.max(initial=0)) or 1]]))
    if len(values) > MAX_CLASSES:
        raise Misfit(words.too_many_labels(layer.name, len(values)))
    remember_classes(layer, values)
    return values
