"""Layers to inputs, by their shapes; result to a Labels layer. Pure but for `result_layer` and `write`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_densecrf.grid import Probe, read_probe
from napari_densecrf.unary import probabilities_from_labels

MAX_CHANNELS = 64
MAX_CLASSES = 300
METADATA_KEY = "napari-densecrf"
OPACITY = 0.6
# Okabe and Ito's colours, told apart by every kind of eye; blue, orange and green first.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
BACKGROUND_NAMES = ("background", "bg", "none", "unlabeled", "unlabelled", "empty")

# A map is one layer, or several single-class layers chosen together.
Map: TypeAlias = "Layer | tuple[Layer, ...]"


class Misfit(ValueError):
    """Says in one sentence what does not fit and what would."""


@dataclass(frozen=True)
class Plan:
    """How the data of an image layer and a map make a problem.

    Parameters
    ----------
    image : Image
    map : Map
    spatial_axes : tuple of int
        Axes of the image's data that are no channels: leading ones, then y and x.
    channel_axis : int, optional
        Axis of the channels in the image's data; the last for RGB.
    class_axis : int, optional
        Of the map's data; None for a foreground map, labels, or several layers.
    n_classes : int
        0 where only the values of a Labels layer will tell.
    """

    image: Image
    map: Map
    spatial_axes: tuple[int, ...]
    channel_axis: int | None
    class_axis: int | None
    n_classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: leading axes, then y and x."""
        return tuple(_shape(self.image)[axis] for axis in self.spatial_axes)

    @property
    def bridged_axis(self) -> int | None:
        """Position of the channels among the result's axes, where leading axes come before them.

        napari aligns layers by their last axes, so there the result needs an axis too: of one pixel that is as long as
        all channels together.
        """
        if self.image.rgb or self.channel_axis is None:
            return None
        before = sum(axis < self.channel_axis for axis in self.spatial_axes[:-2])
        return before or None

    @property
    def result_axes(self) -> list[int]:
        """Axes of the image's data that the result has."""
        axes = list(self.spatial_axes)
        if self.bridged_axis is not None and self.channel_axis is not None:
            axes.insert(self.bridged_axis, self.channel_axis)
        return axes

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result's data."""
        shape = list(self.shape)
        if self.bridged_axis is not None:
            shape.insert(self.bridged_axis, 1)
        return tuple(shape)

    @property
    def spacing(self) -> tuple[float, float]:
        """Size of a pixel along y and x, in world units."""
        y, x = (abs(float(self.image.scale[axis])) for axis in self.spatial_axes[-2:])
        return y, x

    @property
    def unit(self) -> str:
        """Name of the world unit along x, or px."""
        name = f"{self.image.units[self.spatial_axes[-1]]:~}"
        return "px" if name in ("pixel", "px", "") else name

    def __str__(self) -> str:
        """Say in one line what was understood."""
        *leading, height, width = self.shape
        stack = f"{' x '.join(map(str, leading))} slices of " if leading else ""
        colours = "RGB" if self.image.rgb else "gray"
        if self.channel_axis is not None and not self.image.rgb:
            colours = f"{_shape(self.image)[self.channel_axis]} channels"
        size = f", {self.spacing[1]:.3g} {self.unit}/pixel" if self.unit != "px" else ""
        return f"{stack}{height} x {width} {colours}, {self._map_words()}{size}"

    def _map_words(self) -> str:
        if isinstance(self.map, tuple):
            return f"{self.n_classes} classes ({len(self.map)} layers)"
        if isinstance(self.map, Labels):
            return "a rough segmentation"
        if self.class_axis is None:
            return "foreground map"
        last = self.class_axis == len(_shape(self.map)) - 1
        where = "first" if self.class_axis == 0 else "last" if last else f"{self.class_axis + 1}th"
        return f"{self.n_classes} classes ({where} axis)"


def _shape(layer: Layer) -> tuple[int, ...]:
    """Return the shape of the data, of the finest level where there are several."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(data.shape)


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def plan(image: Layer | None, source: Map | None) -> Plan:
    """Understand an image and a map by their shapes.

    Raises
    ------
    Misfit
        With one sentence for the user.
    """
    if image is None:
        raise Misfit("Open an image, or File > Open Sample > Dense CRF.")
    if source is None or source is image:
        raise Misfit("Needs a probability map: from ilastik, Labkit, a network, or a rough Labels layer.")
    shape = _shape(image)
    if image.rgb and shape[-1] == 4:
        # Alpha is no colour: it is left out when the data is read.
        shape = (*shape[:-1], 3)
    axes = range(len(shape))
    if image.rgb:
        candidates: list[int | None] = [len(shape) - 1]
    else:
        candidates = [None, *(axis for axis in axes[:-2] if shape[axis] <= MAX_CHANNELS)]
        candidates += [len(shape) - 1] if len(shape) > 2 and shape[-1] <= MAX_CHANNELS else []
    for channel_axis in candidates:
        spatial = tuple(axis for axis in axes if axis != channel_axis)
        if len(spatial) < 2:
            continue
        fit = _fit(source, tuple(shape[axis] for axis in spatial))
        if fit is not None:
            return Plan(image, source, spatial, channel_axis, *fit)
    first = source[0] if isinstance(source, tuple) else source
    wanted = _words(shape[:-1] if image.rgb else shape)
    raise Misfit(
        f"“{first.name}” is {_words(_shape(first))}: expected {wanted} like “{image.name}”, with one more axis for the "
        "classes, first or last."
    )


def _fit(source: Map, spatial: tuple[int, ...]) -> tuple[int | None, int] | None:
    """Return the class axis and the number of classes of a map over these axes, or None."""
    if isinstance(source, tuple):
        return (None, max(2, len(source))) if all(_shape(layer) == spatial for layer in source) else None
    shape = _shape(source)
    if isinstance(source, Labels):
        return (None, 0) if shape == spatial else None
    if shape == spatial:
        return None, 2
    if len(shape) != len(spatial) + 1:
        return None
    for axis in (0, len(shape) - 1, *range(1, len(shape) - 1)):
        if shape[:axis] + shape[axis + 1 :] == spatial and 2 <= shape[axis] <= MAX_CLASSES:
            return axis, shape[axis]
    return None


def could_be_map(layer: Layer) -> bool:
    """Tell whether a layer may be offered as a map."""
    made_here = METADATA_KEY in layer.metadata
    return (isinstance(layer, Labels) and not made_here) or (isinstance(layer, Image) and not layer.rgb)


def class_names(source: Map, n_classes: int) -> list[str]:
    """Return the names of the classes: of the layers, of the map's metadata, or numbers."""
    if isinstance(source, tuple):
        return [layer.name for layer in source]
    names = source.metadata.get("classes")
    if names is not None and len(names) == n_classes:
        return [str(name) for name in names]
    return [f"class {index}" for index in range(n_classes)]


@dataclass(frozen=True)
class Inputs:
    """What the engine gets, read from the layers, and how its labels go back.

    Parameters
    ----------
    image : (height, width) or (height, width, n_channels)
    probabilities : (n_classes, height, width) or (height, width)
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


@dataclass(frozen=True)
class Window:
    """A part of one slice: index of the leading axes, then first and behind-last along y and x."""

    index: tuple[int, ...]
    y: tuple[int, int]
    x: tuple[int, int]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Along y and x."""
        return slice(*self.y), slice(*self.x)

    @property
    def n_pixels(self) -> int:
        """Pixels in it."""
        return (self.y[1] - self.y[0]) * (self.x[1] - self.x[0])

    def grown(self, margins: tuple[int, int], shape: tuple[int, ...]) -> Window:
        """Return it with a margin, within the slice."""
        (y0, y1), (x0, x1) = self.y, self.x
        height, width = shape[-2:]
        return Window(
            self.index,
            (max(0, y0 - margins[0]), min(height, y1 + margins[0])),
            (max(0, x0 - margins[1]), min(width, x1 + margins[1])),
        )

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Return the slices that cut this one out of an outer one."""
        return (
            slice(self.y[0] - outer.y[0], self.y[1] - outer.y[0]),
            slice(self.x[0] - outer.x[0], self.x[1] - outer.x[0]),
        )


def shown_window(a_plan: Plan, point: Sequence[float], *, visible_only: bool) -> Window:
    """Return the slice at a point of the world, or the part of it that the canvas shows."""
    image = a_plan.image
    here = image.world_to_data(point)
    *leading, y_axis, x_axis = a_plan.spatial_axes
    shape = a_plan.shape
    index = tuple(
        int(np.clip(round(float(here[axis])), 0, size - 1)) for axis, size in zip(leading, shape, strict=False)
    )
    whole = Window(index, (0, shape[-2]), (0, shape[-1]))
    if not visible_only:
        return whole
    corners = np.asarray(image.corner_pixels)
    factor = image.downsample_factors[image.data_level] if image.multiscale else np.ones(corners.shape[1])
    (y0, x0), (y1, x1) = (corners[:, (y_axis, x_axis)] * factor[[y_axis, x_axis]]).astype(int)
    y0, x0 = max(0, y0), max(0, x0)
    y1, x1 = min(shape[-2], y1 + 1), min(shape[-1], x1 + 1)
    return Window(index, (y0, y1), (x0, x1)) if y1 > y0 and x1 > x0 else whole


def read(a_plan: Plan, window: Window) -> Inputs:
    """Read one window of the layers' data; what is lazy is computed here, in the caller's thread."""
    part = _read_image(a_plan, window)
    probabilities, values = _read_map(a_plan, window)
    names = (
        class_names(a_plan.map, len(values))
        if not isinstance(a_plan.map, Labels)
        else [f"label {value}" for value in values]
    )
    return Inputs(part, None if a_plan.channel_axis is None else -1, probabilities, values, names)


def probe(a_plan: Plan, window: Window) -> Probe:
    """Read the probe of the whole slice that a window is a part of."""

    def read_part(slices: tuple[slice, ...]) -> NDArray[Any]:
        y, x = slices
        return _read_image(a_plan, Window(window.index, (y.start, y.stop), (x.start, x.stop)))

    return read_probe(a_plan.shape[-2:], read_part)


def _read_image(a_plan: Plan, window: Window) -> NDArray[Any]:
    """Return (height, width) or (height, width, n_channels)."""
    image = a_plan.image
    data = image.data[0] if image.multiscale else image.data
    picks: list[Any] = [slice(None)] * len(data.shape)
    for axis, at in zip(a_plan.spatial_axes, (*window.index, *window.slices), strict=True):
        picks[axis] = at
    if image.rgb:
        picks[-1] = slice(0, 3)
    part = np.asarray(data[tuple(picks)])
    if a_plan.channel_axis is not None and not image.rgb:
        # The leading axes are gone from the part, those before the channels with them.
        dropped = sum(axis < a_plan.channel_axis for axis in a_plan.spatial_axes[:-2])
        part = np.moveaxis(part, a_plan.channel_axis - dropped, -1)
    return part


def _read_map(a_plan: Plan, window: Window) -> tuple[NDArray[Any], NDArray[np.int64]]:
    at = (*window.index, *window.slices)
    if isinstance(a_plan.map, tuple):
        planes = np.stack([np.asarray(_data(layer)[at]) for layer in a_plan.map])
        return planes, np.arange(len(planes))
    data = _data(a_plan.map)
    if isinstance(a_plan.map, Labels):
        part = np.asarray(data[at])
        values = np.unique(part).astype(np.int64)
        if len(values) < 2:
            values = np.unique(np.concatenate([values, [0, int(values.max()) or 1]]))
        if len(values) > MAX_CLASSES:
            raise Misfit(
                f"“{a_plan.map.name}” has {len(values)} labels in this slice: expected "
                "classes, not one label per object."
            )
        return probabilities_from_labels(np.searchsorted(values, part), n_labels=len(values)), values
    if a_plan.class_axis is None:
        return np.asarray(data[at]), np.arange(2)
    picks = list(at)
    picks.insert(a_plan.class_axis, slice(None))
    part = np.asarray(data[tuple(picks)])
    # Leading axes before the classes are single slices, gone from the part.
    gone = min(a_plan.class_axis, len(window.index))
    return np.moveaxis(part, a_plan.class_axis - gone, 0), np.arange(a_plan.n_classes)


def _data(layer: Layer) -> Any:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def result_layer(a_plan: Plan, inputs: Inputs) -> Labels:
    """Make the Labels layer of a result: the image's place in the world, the source's colours."""
    image, axes = a_plan.image, a_plan.result_axes
    scale, translate = np.array(image.scale[axes]), np.array(image.translate[axes])
    if a_plan.bridged_axis is not None and a_plan.channel_axis is not None:
        n_channels = _shape(image)[a_plan.channel_axis]
        translate[a_plan.bridged_axis] += scale[a_plan.bridged_axis] * (n_channels - 1) / 2
        scale[a_plan.bridged_axis] *= n_channels
    dtype = np.uint8 if inputs.values.max() < 256 else np.uint16 if inputs.values.max() < 65536 else np.int32
    labels = Labels(
        np.zeros(a_plan.result_shape, dtype),
        name=f"{image.name} refined",
        affine=_sub_affine(image, axes),
        scale=scale,
        translate=translate,
        rotate=image.rotate[np.ix_(axes, axes)],
        shear=_sub_shear(image, axes),
        units=[image.units[axis] for axis in axes],
        axis_labels=[image.axis_labels[axis] for axis in axes],
        opacity=OPACITY,
        blending="translucent",
    )
    paint_like(labels, a_plan.map, inputs)
    labels.editable = False
    return labels


def _sub_affine(image: Image, axes: list[int]) -> NDArray[np.float64]:
    whole = np.asarray(image.affine.affine_matrix)
    kept = [*axes, whole.shape[0] - 1]
    return whole[np.ix_(kept, kept)]


def _sub_shear(image: Image, axes: list[int]) -> NDArray[np.float64]:
    """Return the shear among some axes as a full matrix: napari takes and gives the upper triangle otherwise."""
    n_axes = image.ndim
    matrix = np.eye(n_axes)
    matrix[np.triu_indices(n_axes, 1)] = np.asarray(image.shear).ravel()
    return matrix[np.ix_(axes, axes)]


def paint_like(labels: Labels, source: Map, inputs: Inputs) -> None:
    """Give a result the colours of its source and the names of its classes."""
    if isinstance(source, Labels):
        labels.colormap = source.colormap
    else:
        labels.colormap = class_colours(inputs)
    labels.features = {"index": inputs.values, "class": inputs.names}


def class_colours(inputs: Inputs) -> DirectLabelColormap:
    """Return one colour a class. The first of two, or one that is named as background, stays clear."""
    clear = len(inputs.names) == 2 or inputs.names[0].strip().lower() in BACKGROUND_NAMES
    colours: dict[int | None, Any] = {None: "transparent"}
    for k, value in enumerate(inputs.values.tolist()):
        colours[value] = PALETTE[(k - clear) % len(PALETTE)]
    if clear:
        colours[int(inputs.values[0])] = "transparent"
    return DirectLabelColormap(color_dict=colours)


def write(labels: Labels, a_plan: Plan, window: Window, values: NDArray[Any]) -> float:
    """Write one window into a result in place, show it, and return the share of its pixels that changed."""
    at: list[Any] = [*window.index, *window.slices]
    if a_plan.bridged_axis is not None:
        at.insert(a_plan.bridged_axis, 0)
    target = labels.data[tuple(at)]
    changed = float(np.count_nonzero(target != values)) / max(1, values.size)
    target[...] = values
    labels.refresh(thumbnail=False, highlight=False, extent=False)
    return changed
