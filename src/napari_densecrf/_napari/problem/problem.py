"""What is refined: the layers of an image and of a map, the axes of both, and where the map lies on the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from napari.layers import Image, Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf.door.axes import letter_of, same_axes
from napari_densecrf.door.resampled import Along, MapOnImage, Stacked
from napari_densecrf.door.values import Values

from .axes import LayerAxes, levels_of, shape_of
from .places import Laying, size_along
from .seen import classes_seen, labels_of

METADATA_KEY = "napari-densecrf"
# Marks the layers that were made to be painted on.
STROKES_KEY = "napari-densecrf strokes"
# What the user may say of the axes before y and x.
SLICES, CHANNELS = "slices", "channels"
# What the user may say of labels.
OBJECTS, CLASSES = "objects", "classes"
# Letters for axes along which images are refined one by one, as the command line takes them.
SINGLES = "IJKLMNOP"
# What masks, of 0 and 1, hold where they do not cover the image.
NO_MASK = 2


@dataclass(frozen=True)
class FromStrokes:
    """The map that a pixel classifier makes of the strokes in a layer: there need be no other."""

    layer: Labels


# A map is one layer, several single-class layers chosen together, or made from strokes.
Map: TypeAlias = "Layer | tuple[Layer, ...] | FromStrokes"


class Misfit(ValueError):
    """Says in one sentence what does not fit and what would.

    Parameters
    ----------
    sentence : str
    source : Layer, optional
        A layer that would fit if its numbers were taken for what they are.
    values : Values, optional
        What they are.
    class_axis : int, optional
        Axis of the classes in that layer.
    laying : Laying, optional
        Where that layer would have to lie.
    """

    def __init__(
        self,
        sentence: str,
        source: Layer | None = None,
        values: Values | None = None,
        class_axis: int | None = None,
        laying: Laying | None = None,
    ) -> None:
        super().__init__(sentence)
        self.source, self.values, self.class_axis, self.laying = source, values, class_axis, laying


@dataclass(frozen=True)
class Problem:
    """How the data of an image layer and a map make a problem.

    Parameters
    ----------
    image : Image
    map : Map
        Empty where there is none yet. Several Labels layers are one class each, and class 0 where all are 0.
    spatial_axes : tuple of int
        Axes of the image's data that are no channels: leading ones, then y and x.
    channel_axis : int, optional
        Axis of the channels in the image's data; the last for RGB.
    class_axis : int, optional
        Of the map's data; None for a foreground map, labels, or several layers.
    n_classes : int
        0 where only the values of a Labels layer will tell.
    map_spatial : tuple of int
        For each axis of the result, that of the map's data; -1 where it lacks an axis of one pixel.
    values : Values, optional
        What the numbers of the map are, where they have been looked at.
    doubt : str
        Why this is a guess; empty where it is sure.
    along : tuple of Along
        Where the image's pixels lie among those of the map, for each axis of the result; empty where each lies on the
        pixel of its number.
    note : str
        What else the line says of the map.
    channels : tuple of Image
        Where the image is several layers, one a channel: all of them, ``image`` first.
    objects : bool
        Whether each label of the map is an object of its own, and 0 the background.
    axes_guessed : bool
        Whether ``doubt`` is about what the axes are.
    """

    image: Image
    map: Map
    spatial_axes: tuple[int, ...]
    channel_axis: int | None
    class_axis: int | None
    n_classes: int
    map_spatial: tuple[int, ...] = ()
    values: Values | None = None
    doubt: str = ""
    along: tuple[Along, ...] = ()
    note: str = ""
    channels: tuple[Image, ...] = ()
    objects: bool = False
    axes_guessed: bool = False

    @property
    def image_layers(self) -> tuple[Image, ...]:
        """The layers that hold the image: one, or one for each channel."""
        return self.channels or (self.image,)

    @property
    def has_channels(self) -> bool:
        """Whether there are channels: on an axis, or as layers of their own."""
        return self.channel_axis is not None or bool(self.channels)

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
        """Size of a pixel along y and x, in the unit of x."""
        y, x = (self.size_along(axis) for axis in self.spatial_axes[-2:])
        return y, x

    @property
    def volume_spacing(self) -> tuple[float, float, float]:
        """Size of a voxel along the last leading axis, y and x, in the unit of x."""
        return self.size_along(self.spatial_axes[-3]), *self.spacing

    def size_along(self, axis: int) -> float:
        """Return the size of a pixel along an axis of the image's data, in the unit of x."""
        return size_along(self.image, axis, self.image.units[self.spatial_axes[-1]])

    @property
    def is_unseen(self) -> bool:
        """Whether the map's numbers are still to be looked at: they are not in memory."""
        if isinstance(self.map, Labels):
            return labels_of(self.map) is None
        return self.values is None and not isinstance(layers_of_map(self.map)[0], Labels)

    @property
    def has_balance(self) -> bool:
        """Whether there are two things between which the balance can be moved."""
        return self.n_balanced == 2

    @property
    def n_balanced(self) -> int:
        """How many classes can be favoured: 2, or all of a map of more; 0 where what the classes are is not known."""
        if self.objects:
            return 2
        if isinstance(self.map, FromStrokes):
            return 0
        if isinstance(self.map, Labels):
            values = classes_seen(self.map)
            return 0 if values is None else len(values)
        if isinstance(self.map, tuple):
            # Masks have what is none of them beside them.
            return len(self.map) + isinstance(self.map[0], Labels)
        return 2 if self.class_axis is None else self.n_classes

    @property
    def image_axes(self) -> LayerAxes:
        """The axes of the image's data; of its first layer, where each channel is one."""
        return LayerAxes(self.image, self.spatial_axes, self.channel_axis)

    @property
    def all_image_axes(self) -> list[LayerAxes]:
        """The axes of the data of each layer of the image."""
        return [LayerAxes(layer, self.spatial_axes, self.channel_axis) for layer in self.image_layers]

    @property
    def map_axes(self) -> list[LayerAxes]:
        """The axes of the data of each layer of the map."""
        return [LayerAxes(layer, self.map_spatial, self.class_axis) for layer in layers_of_map(self.map)]

    def map_on_image(self, none: int | None = None) -> MapOnImage:
        """Return the map on the image's pixels, where it has others.

        Parameters
        ----------
        none : int, optional
            Of labels: what stands where they do not cover the image.
        """
        assert self.along
        first, *others = self.map_axes
        data = levels_of(first.layer)[0]
        if others:
            of_masks = isinstance(first.layer, Labels)
            planes = Stacked(tuple(levels_of(axes.layer)[0] for axes in self.map_axes), of_masks)
            axes = tuple(axis if axis < 0 else axis + 1 for axis in first.spatial)
            return MapOnImage(planes, self.shape, self.along, axes, 0, NO_MASK if of_masks else None)
        return MapOnImage(data, self.shape, self.along, first.spatial, self.class_axis, none)

    def axes_like_result(self, layer: Layer) -> LayerAxes:
        """Return the axes of a layer on the grid of the result, or without the axis in place of the channels.

        Raises
        ------
        Misfit
            Where it is not on that grid.
        """
        shape = shape_of(layer)
        if shape == self.result_shape:
            return LayerAxes(layer, tuple(axis for axis in range(len(shape)) if axis != self.bridged_axis))
        spatial = same_axes(shape, self.shape)
        if spatial is not None:
            return LayerAxes(layer, spatial)
        raise Misfit(words.not_on_grid(layer.name, shape_words(shape), shape_words(self.shape)))

    def letters(self, last: str) -> str:
        """Return letters for the spatial axes, as the command line takes them: those before ``last`` count images.

        ``last`` is that of the last leading axis, Z of a volume or T.
        """
        n_leading = len(self.spatial_axes) - 2
        return (SINGLES[: n_leading - 1] + last if n_leading else "") + "YX"

    @property
    def may_be_film(self) -> bool:
        """Whether the last leading axis may be time, as far as its name tells."""
        letters = [letter_of(self.image.axis_labels[axis]) for axis in self.spatial_axes[:-2]]
        return bool(letters) and (letters[-1] == "T" or (len(letters) == 1 and letters[0] != "Z"))

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
        if self.channels:
            colours = f", {len(self.channels)} channels ({len(self.channels)} layers)"
        size = f", {self.spacing[1]:.3g} {self.unit}/pixel" if self.unit != "px" else ""
        note = f" {self.note}" if self.note else ""
        return f"{stack}{height} x {width}{colours}, {self._map_words()}{note}{size}"

    def _map_words(self) -> str:
        if isinstance(self.map, FromStrokes):
            return "classes from strokes"
        if isinstance(self.map, tuple):
            if isinstance(self.map[0], Labels):
                return f"a rough segmentation ({len(self.map)} layers, one for each class)"
            return f"{self.n_classes} classes ({len(self.map)} layers)"
        if self.objects:
            seen = labels_of(self.map) if isinstance(self.map, Labels) and len(self.shape) == 2 else None
            number = "" if seen is None else f"{seen.n_labels:,} "
            return f"{number}objects, each kept apart"
        if isinstance(self.map, Labels):
            return "a rough segmentation"
        if self.class_axis is None:
            return "foreground map"
        last = self.class_axis == len(shape_of(self.map)) - 1
        where = "first" if self.class_axis == 0 else "last" if last else f"{self.class_axis + 1}th"
        return f"{self.n_classes} classes ({where} axis)"


def shape_words(shape: Sequence[int]) -> str:
    """Return a shape as sentences of the window have it: ``512 x 512``."""
    return " x ".join(map(str, shape))


def layers_of_map(source: Map) -> list[Layer]:
    """Return the layers that a map is read from."""
    if isinstance(source, FromStrokes):
        return [source.layer]
    return list(source) if isinstance(source, tuple) else [source]


def layers_of(problem: Problem) -> list[Layer]:
    """Return the layers of the image and of the map."""
    return [*problem.image_layers, *layers_of_map(problem.map)]
