"""How an image layer and a map make a problem, told from their shapes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from napari.layers import Image, Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf.door.axes import Arrangement, Brought, arrangements, letter_of, same_axes
from napari_densecrf.door.missing import share_words
from napari_densecrf.door.resampled import Along, MapOnImage, Stacked
from napari_densecrf.door.values import Kind, Values

from .axes import LayerAxes, levels_of, shape_of
from .places import Laying, Turned, end_together, have_one_unit, laying, places_along, says_nothing, size_along
from .seen import labels_of, look

METADATA_KEY = "napari-densecrf"
# Marks the layers that were made to be painted on.
STROKES_KEY = "napari-densecrf strokes"
# Without a map, a leading axis as short as this is taken for channels.
FEW_CHANNELS = 4
# Letters for axes along which there are images by themselves.
SINGLES = "IJKLMNOP"
# What the user may say of the axes before y and x.
SLICES, CHANNELS = "slices", "channels"
# What the user may say of labels.
OBJECTS, CLASSES = "objects", "classes"
# More labels than this, most of one piece, are objects; from a few on they may be.
MANY_LABELS, FEW_LABELS = 8, 3
MOST_WHOLE = 0.8
# What stands where masks do not cover the image.
NO_MASK = 2
PIXEL_BY_PIXEL = "taken pixel by pixel, as one of the two does not say where it lies"


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
        if self.objects:
            return True
        is_map = not isinstance(self.map, FromStrokes) and not isinstance(layers_of_map(self.map)[0], Labels)
        return is_map and (self.n_classes == 2 or (self.class_axis is None and not isinstance(self.map, tuple)))

    @property
    def n_balanced(self) -> int:
        """How many classes can be favoured: 2, or all of a map of more; 0 where what the classes are is not known."""
        if self.has_balance:
            return 2
        is_map = not isinstance(self.map, FromStrokes) and not isinstance(layers_of_map(self.map)[0], Labels)
        return self.n_classes if is_map else 0

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
        raise Misfit(words.not_on_grid(layer.name, _words(shape), _words(self.shape)))

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


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def understand(
    image: Layer | None,
    source: Map | None,
    leading: str | None = None,
    channels: tuple[Image, ...] = (),
    labels_are: str | None = None,
) -> Problem:
    """Understand an image and a map: by the names of their axes, by what the map sums to, and by their shapes.

    Parameters
    ----------
    image : Image, optional
    source : Map, optional
    leading : str, optional
        What the user says that the image's axes before y and x are: SLICES, or CHANNELS for one of them.
    channels : tuple of Image
        Where the image is several layers, one a channel: all of them, ``image`` first.
    labels_are : str, optional
        What the user says that labels are: OBJECTS or CLASSES.

    Raises
    ------
    Misfit
        With one sentence for the user.
    """
    if image is None:
        raise Misfit(words.OPEN_IMAGE_OR_SAMPLE)
    for layer in channels[1:]:
        if not is_channel_beside(image, layer):
            raise Misfit(words.no_channel_beside(layer.name, image.name))
    if channels:
        # Each of the layers is gray.
        leading = SLICES
    if source is None or source is image:
        raise Misfit(words.NEEDS_MAP)
    brought, map_brought = brought_image(image), _brought_map(source)
    n_layers = len(layers_of_map(source)) if isinstance(source, tuple) else 1
    fits = [fit for fit in arrangements(brought, map_brought, n_layers=n_layers) if _as_said(fit, leading)]
    best, along, note = _placed(image, source, fits, leading)
    layer = layers_of_map(source)[0]
    if best.values is not None and best.values.kind is not Kind.PROBABILITIES:
        single = None if isinstance(source, tuple) else layer
        sentence = words.no_probabilities(layer.name, best.values.why, _looks_like(best.values))
        raise Misfit(sentence, single, best.values, best.class_axis)
    axes_doubt = "" if leading else best.doubt
    objects, labels_doubt = _are_objects(source, labels_are)
    return Problem(
        image,
        source,
        best.spatial,
        best.channel_axis,
        best.class_axis,
        best.n_classes,
        best.map_spatial,
        best.values,
        axes_doubt or labels_doubt,
        along,
        note,
        channels,
        objects,
        bool(axes_doubt),
    )


def _are_objects(source: Map, said: str | None) -> tuple[bool, str]:
    """Return whether labels are objects rather than classes, and why this is a guess, if it is one."""
    if not isinstance(source, Labels):
        return False, ""
    if said is not None:
        return said == OBJECTS, ""
    seen = labels_of(source)
    if seen is None:
        return False, ""
    mostly_whole = seen.n_whole >= MOST_WHOLE * seen.n_labels
    if seen.n_labels > MANY_LABELS:
        return (
            mostly_whole,
            "" if mostly_whole else f"{seen.n_labels} labels in several pieces each are taken as classes",
        )
    if seen.n_labels >= FEW_LABELS and seen.n_whole == seen.n_labels:
        return True, f"{seen.n_labels} labels, each of one piece, are taken as objects"
    return False, ""


def _placed(
    image: Image, source: Map, fits: Sequence[Arrangement], leading: str | None
) -> tuple[Arrangement, tuple[Along, ...], str]:
    """Return how image and map fit, where the map lies, and what the line says of it.

    A map of the image's shape lies on it pixel by pixel, unless both say where they are and that differs. One of
    another shape must say where it is.

    Raises
    ------
    Misfit
    """
    if isinstance(source, FromStrokes):
        if not fits:
            raise _misfit_of_shapes(image, source)
        return fits[0], (), ""
    if fits:
        return fits[0], *_place_of_equal(image, source, fits[0])
    n_layers = len(layers_of_map(source))
    brought = brought_image(image), _brought_map(source)
    for fit in arrangements(*brought, n_layers=n_layers, any_size=True):
        if _as_said(fit, leading) and _is_drawn_over(image, fit):
            return fit, *_place_of_other(image, source, fit)
    raise _misfit_of_shapes(image, source)


def _is_drawn_over(image: Image, fit: Arrangement) -> bool:
    """Tell whether napari draws the map over the image: y and x are the last axes of both layers."""
    channels, classes = None if image.rgb else fit.channel_axis, fit.class_axis
    return (channels is None or channels < fit.spatial[-2]) and (classes is None or classes < fit.map_spatial[-2])


def _place_of_equal(image: Image, source: Map, fit: Arrangement) -> tuple[tuple[Along, ...], str]:
    """Return where a map of the image's shape lies, and what is said of it; nothing where it is pixel by pixel."""
    layer = layers_of_map(source)[0]
    if not _is_drawn_over(image, fit):
        return (), ""
    unsaid = says_nothing(layer, fit.map_spatial) or says_nothing(image, fit.spatial)
    unsaid = unsaid or not have_one_unit(image, fit.spatial, layer, fit.map_spatial)
    try:
        found = _along(image, source, fit)
    except Turned:
        if unsaid:
            return (), PIXEL_BY_PIXEL
        raise _turned(image, layer) from None
    sizes = [shape_of(image)[axis] for axis in fit.spatial]
    if all(one.is_same(size) for one, size in zip(found, sizes, strict=True)):
        return (), ""
    if unsaid and not all(Along(abs(one.scale)).is_same(size) for one, size in zip(found, sizes, strict=True)):
        return (), PIXEL_BY_PIXEL
    return found, _words_of_place(image, source, fit, found)


def _place_of_other(image: Image, source: Map, fit: Arrangement) -> tuple[tuple[Along, ...], str]:
    """Return where a map of another shape lies, and what is said of it."""
    layer = layers_of_map(source)[0]
    sizes = [shape_of(image)[axis] for axis in fit.spatial]
    its = [1 if axis < 0 else shape_of(layer)[axis] for axis in fit.map_spatial]
    try:
        found = _along(image, source, fit)
    except Turned:
        raise _turned(image, layer) from None
    unsaid = says_nothing(layer, fit.map_spatial) and not says_nothing(image, fit.spatial)
    unsaid = (unsaid and not end_together(found, sizes, its)) or any(
        size != other and one.is_same(size) for one, size, other in zip(found, sizes, its, strict=True)
    )
    if unsaid or not have_one_unit(image, fit.spatial, layer, fit.map_spatial):
        raise _misfit_of_shapes(image, source, fit)
    return found, _words_of_place(image, source, fit, found)


def _along(image: Image, source: Map, fit: Arrangement) -> tuple[Along, ...]:
    """Return where the image's pixels lie among those of a map, all of whose layers must lie in one place."""
    first, *others = layers_of_map(source)
    found = places_along(image, fit.spatial, first, fit.map_spatial)
    sizes = [shape_of(image)[axis] for axis in fit.spatial]
    for layer in others:
        its = places_along(image, fit.spatial, layer, fit.map_spatial)
        for one, other, size in zip(found, its, sizes, strict=True):
            if abs(one.offset - other.offset) + size * abs(one.scale - other.scale) > 0.25:
                raise Misfit(words.layers_apart(layer.name, first.name))
    return found


def _words_of_place(image: Image, source: Map, fit: Arrangement, found: Sequence[Along]) -> str:
    """Say how a map is brought onto the image.

    Raises
    ------
    Misfit
        Where it lies elsewhere.
    """
    layer = layers_of_map(source)[0]
    shares = [
        one.share(shape_of(image)[axis], 1 if its < 0 else shape_of(layer)[its])
        for one, axis, its in zip(found, fit.spatial, fit.map_spatial, strict=True)
    ]
    share = math.prod(shares)
    if share == 0:
        raise Misfit(
            words.lies_elsewhere(layer.name, image.name),
            layer,
            laying=laying(image, fit.spatial, layer, fit.map_spatial),
        )
    scale = found[-1].scale
    coarser = round(1 / scale) if 0 < scale < 0.75 else 1
    which = "at half resolution, " if coarser == 2 else f"at 1/{coarser} of the resolution, " if coarser > 2 else ""
    covered = "" if share == 1 else f", of which it covers {share_words(share)}"
    return f"{which}brought onto the image{covered}"


def _turned(image: Image, layer: Layer) -> Misfit:
    return Misfit(words.is_turned(layer.name, image.name))


def brought_image(image: Image) -> Brought:
    """Return what is known of an image layer, without its pixels; alpha is no colour and left out."""
    shape = shape_of(image)
    letters = [letter_of(name) for name in image.axis_labels]
    if image.rgb:
        shape, letters = (*shape[:-1], 3), [*letters, "C"]
    return Brought(image.name, shape, _distinct(letters), is_rgb=image.rgb)


def _brought_map(source: Map) -> Brought:
    layers = layers_of_map(source)
    letters = _distinct([letter_of(name) for name in layers[0].axis_labels])
    shape = shape_of(layers[0])
    if any(shape_of(layer) != shape for layer in layers):
        # Fits nothing.
        shape, letters = (), ()
    painted = isinstance(source, FromStrokes)
    holds_labels = isinstance(layers[0], Labels)
    return Brought(
        layers[0].name,
        shape,
        letters,
        holds_labels=holds_labels or painted,
        look=None if holds_labels else partial(look, layers),
    )


def _distinct(letters: Sequence[str]) -> tuple[str, ...]:
    """Return letters of axes; those that several axes have tell nothing."""
    return tuple(letter if letters.count(letter) == 1 else "" for letter in letters)


def _as_said(fit: Arrangement, leading: str | None) -> bool:
    return leading is None or (leading == CHANNELS) == (fit.channel_axis is not None)


def _looks_like(values: Values) -> str:
    kind = words.CLASSES_OR_OBJECTS if values.kind in (Kind.CLASSES, Kind.OBJECTS) else values.kind.value
    return f"it looks like {kind}; {values.remedy}"


def _misfit_of_shapes(image: Image, source: Map, fit: Arrangement | None = None) -> Misfit:
    """Return what is said of a map of another shape; ``fit`` tells its axes, where only its place is not known."""
    first, shape = layers_of_map(source)[0], shape_of(image)
    wanted = _words(shape[:-1] if image.rgb else shape)
    if fit is None:
        return Misfit(words.needs_classes(first.name, _words(shape_of(first)), wanted, image.name))
    return Misfit(
        words.needs_shape_or_place(first.name, _words(shape_of(first)), wanted, image.name),
        first,
        laying=laying(image, fit.spatial, first, fit.map_spatial),
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
        letters = brought_image(image).letters
        named = [axis for axis, letter in enumerate(letters) if letter == "C"]
        short = [axis for axis, letter in enumerate(letters[:-2]) if shape[axis] <= FEW_CHANNELS and not letter]
        channel_axis = next(iter(named or short), None)
    spatial = tuple(axis for axis in range(n_axes) if axis != channel_axis)
    if len(spatial) < 2:
        raise Misfit(words.too_few_axes(image.name, _words(shape)))
    return Problem(image, (), spatial, channel_axis, None, 0)


def is_channel_beside(image: Layer, layer: Layer) -> bool:
    """Tell whether two layers can be two channels of one image: both gray, of one shape, in one place."""
    if any(not isinstance(one, Image) or one.rgb for one in (image, layer)) or shape_of(image) != shape_of(layer):
        return False
    axes = range(len(shape_of(image)))
    try:
        found = places_along(image, axes, layer, axes)
    except Turned:
        return False
    return have_one_unit(image, axes, layer, axes) and all(
        one.is_same(size) for one, size in zip(found, shape_of(image), strict=True)
    )


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
    """Return the layers of the image and of the map."""
    return [*problem.image_layers, *layers_of_map(problem.map)]
