"""How an image layer and a map make a problem, told from their shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from napari.layers import Image, Labels, Layer

from .axes import LayerAxes, shape_of

MAX_CHANNELS = 64
MAX_CLASSES = 300
METADATA_KEY = "napari-densecrf"
# Marks the layers that were made to be painted on.
STROKES_KEY = "napari-densecrf strokes"
# Without a map, a leading axis as short as this is taken for channels.
FEW_CHANNELS = 4
CHANNEL_NAMES = ("c", "channel", "channels")
# Letters for axes along which there are images by themselves.
SINGLES = "IJKLMNOP"
Z_NAMES, T_NAMES = ("z", "depth", "plane"), ("t", "time", "frame")
STACK_NAMES = ("t", "time", "z")


@dataclass(frozen=True)
class FromStrokes:
    """The map that a pixel classifier makes of the strokes in a layer: there need be no other."""

    layer: Labels


# A map is one layer, several single-class layers chosen together, or made from strokes.
Map: TypeAlias = "Layer | tuple[Layer, ...] | FromStrokes"


class Misfit(ValueError):
    """Says in one sentence what does not fit and what would."""


@dataclass(frozen=True)
class Problem:
    """How the data of an image layer and a map make a problem.

    Parameters
    ----------
    image : Image
    map : Map
        Empty where there is none yet.
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
        return tuple(shape_of(self.image)[axis] for axis in self.spatial_axes)

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
    def volume_spacing(self) -> tuple[float, float, float]:
        """Size of a voxel along the last leading axis, y and x, in world units."""
        return abs(float(self.image.scale[self.spatial_axes[-3]])), *self.spacing

    @property
    def image_axes(self) -> LayerAxes:
        """The axes of the image's data."""
        return LayerAxes(self.image, self.spatial_axes, self.channel_axis)

    @property
    def map_axes(self) -> list[LayerAxes]:
        """The axes of the data of each layer of the map."""
        spatial = tuple(range(len(self.shape)))
        if self.class_axis is not None:
            spatial = tuple(axis + (axis >= self.class_axis) for axis in spatial)
        return [LayerAxes(layer, spatial, self.class_axis) for layer in layers_of_map(self.map)]

    def axes_like_result(self, layer: Layer) -> LayerAxes:
        """Return the axes of a layer on the grid of the result, or without the axis in place of the channels.

        Raises
        ------
        Misfit
            Where it is not on that grid.
        """
        shape = shape_of(layer)
        if shape == self.shape:
            return LayerAxes(layer, tuple(range(len(shape))))
        if shape == self.result_shape:
            return LayerAxes(layer, tuple(axis for axis in range(len(shape)) if axis != self.bridged_axis))
        raise Misfit(f"“{layer.name}” is {_words(shape)}: expected {_words(self.shape)} like the image.")

    def letters(self, last: str) -> str:
        """Return letters for the spatial axes, as the command line takes them: those before ``last`` count images.

        ``last`` is that of the last leading axis, Z of a volume or T.
        """
        n_leading = len(self.spatial_axes) - 2
        return (SINGLES[: n_leading - 1] + last if n_leading else "") + "YX"

    @property
    def may_be_film(self) -> bool:
        """Whether the last leading axis may be time, as far as its name tells."""
        names = [self.image.axis_labels[axis].lower() for axis in self.spatial_axes[:-2]]
        return bool(names) and (names[-1] in T_NAMES or (len(names) == 1 and names[0] not in Z_NAMES))

    @property
    def unit(self) -> str:
        """Name of the world unit along x, or px."""
        name = f"{self.image.units[self.spatial_axes[-1]]:~}"
        return "px" if name in ("pixel", "px", "") else name

    def __str__(self) -> str:
        """Say in one line what was understood."""
        *leading, height, width = self.shape
        stack = f"{' x '.join(map(str, leading))} slices of " if leading else ""
        colours = " RGB" if self.image.rgb else " gray"
        if self.channel_axis is not None and not self.image.rgb:
            colours = f", {shape_of(self.image)[self.channel_axis]} channels"
        size = f", {self.spacing[1]:.3g} {self.unit}/pixel" if self.unit != "px" else ""
        return f"{stack}{height} x {width}{colours}, {self._map_words()}{size}"

    def _map_words(self) -> str:
        if isinstance(self.map, FromStrokes):
            return "classes from strokes"
        if isinstance(self.map, tuple):
            return f"{self.n_classes} classes ({len(self.map)} layers)"
        if isinstance(self.map, Labels):
            return "a rough segmentation"
        if self.class_axis is None:
            return "foreground map"
        last = self.class_axis == len(shape_of(self.map)) - 1
        where = "first" if self.class_axis == 0 else "last" if last else f"{self.class_axis + 1}th"
        return f"{self.n_classes} classes ({where} axis)"


def _without_bridges(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without axes of one pixel, such as a result has in place of channels."""
    return tuple(size for size in shape if size > 1)


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def understand(image: Layer | None, source: Map | None) -> Problem:
    """Understand an image and a map by their shapes.

    Raises
    ------
    Misfit
        With one sentence for the user.
    """
    if image is None:
        raise Misfit("Open an image, or File > Open Sample > Dense CRF.")
    if source is None or source is image:
        raise Misfit("Needs a probability map: from ilastik, Labkit, a network, or paint a few strokes.")
    shape = shape_of(image)
    if image.rgb and shape[-1] == 4:
        # Alpha is no colour: it is left out when the data is read.
        shape = (*shape[:-1], 3)
    fits = []
    for channel_axis in _channel_axes(image, shape):
        spatial = tuple(axis for axis in range(len(shape)) if axis != channel_axis)
        fit = _fit(source, tuple(shape[axis] for axis in spatial)) if len(spatial) >= 2 else None
        if fit is not None:
            fits.append(Problem(image, source, spatial, channel_axis, *fit))
    if fits:
        # As many channels as classes, in a time-lapse: classes come first or last rather than between.
        return min(fits, key=lambda problem: problem.class_axis not in (None, 0, len(problem.shape)))
    first = layers_of_map(source)[0]
    wanted = _words(shape[:-1] if image.rgb else shape)
    raise Misfit(
        f"“{first.name}” is {_words(shape_of(first))}: expected {wanted} like “{image.name}”, with one more axis for "
        "the classes, first or last."
    )


def understand_alone(image: Image) -> Problem:
    """Understand an image that has no map yet.

    Raises
    ------
    Misfit
        Where there are no two spatial axes.
    """
    shape = shape_of(image)
    n_axes = len(shape)
    channel_axis = n_axes - 1 if image.rgb else None
    if not image.rgb and n_axes > 2:
        named = [axis for axis, label in enumerate(image.axis_labels) if label.lower() in CHANNEL_NAMES]
        short = [
            axis
            for axis, label in enumerate(image.axis_labels[:-2])
            if shape[axis] <= FEW_CHANNELS and label.lower() not in STACK_NAMES
        ]
        channel_axis = next(iter(named or short), None)
    spatial = tuple(axis for axis in range(n_axes) if axis != channel_axis)
    if len(spatial) < 2:
        raise Misfit(f"“{image.name}” is {_words(shape)}: expected at least two spatial axes.")
    return Problem(image, (), spatial, channel_axis, None, 0)


def _channel_axes(image: Image, shape: tuple[int, ...]) -> list[int | None]:
    """Return the axes that may be the channels, the likeliest first; None for no channels."""
    if image.rgb:
        return [len(shape) - 1]
    axes: list[int | None] = [None, *(axis for axis in range(len(shape) - 2) if shape[axis] <= MAX_CHANNELS)]
    return axes + ([len(shape) - 1] if len(shape) > 2 and shape[-1] <= MAX_CHANNELS else [])


def _fit(source: Map, spatial: tuple[int, ...]) -> tuple[int | None, int] | None:
    """Return the class axis and the number of classes of a map over these axes, or None."""
    if isinstance(source, tuple):
        return (None, max(2, len(source))) if all(shape_of(layer) == spatial for layer in source) else None
    if isinstance(source, FromStrokes):
        return (None, 0) if _without_bridges(shape_of(source.layer)) == _without_bridges(spatial) else None
    shape = shape_of(source)
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
    made_here = METADATA_KEY in layer.metadata and not layer.metadata[METADATA_KEY].get("frozen")
    if made_here or STROKES_KEY in layer.metadata:
        return False
    return isinstance(layer, Labels) or (isinstance(layer, Image) and not layer.rgb)


def layers_of_map(source: Map) -> list[Layer]:
    """Return the layers that a map is read from."""
    if isinstance(source, FromStrokes):
        return [source.layer]
    return list(source) if isinstance(source, tuple) else [source]


def layers_of(problem: Problem) -> list[Layer]:
    """Return the image and the layers of the map."""
    return [problem.image, *layers_of_map(problem.map)]
