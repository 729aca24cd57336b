"""How an image layer and a map make a problem: told from names of axes, shapes, and what the map sums to."""

from __future__ import annotations

from napari.layers import Image, Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf.door.axes import arrangements
from napari_densecrf.door.values import Kind, Values

from .axes import shape_of
from .brought import brought_image, brought_map
from .placed import as_said, placed
from .places import Turned, have_one_unit, places_along
from .problem import (
    METADATA_KEY,
    OBJECTS,
    SLICES,
    STROKES_KEY,
    Map,
    Misfit,
    Problem,
    layers_of_map,
    shape_words,
)
from .seen import labels_of

# Without a map, a leading axis as short as this is taken for channels.
FEW_CHANNELS = 4
# Labels are objects where there are more than MANY_LABELS and at least this share of them is in one piece each; they
# may be, where there are at least FEW_LABELS and all of them are.
MANY_LABELS, FEW_LABELS = 8, 3
MOST_WHOLE = 0.8


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
    of_image, of_map = brought_image(image), brought_map(source)
    n_layers = len(layers_of_map(source)) if isinstance(source, tuple) else 1
    fits = [fit for fit in arrangements(of_image, of_map, n_layers=n_layers) if as_said(fit, leading)]
    best, along, note = placed(image, source, fits, leading)
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


def _looks_like(values: Values) -> str:
    kind = words.CLASSES_OR_OBJECTS if values.kind in (Kind.CLASSES, Kind.OBJECTS) else values.kind.value
    return f"it looks like {kind}; {values.remedy}"


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
        raise Misfit(words.too_few_axes(image.name, shape_words(shape)))
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
