"""Where a map lies on its image: pixel by pixel, or by the places of both layers in napari's world."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari.layers import Image, Layer

from napari_densecrf._napari import words
from napari_densecrf.door.axes import Arrangement, arrangements
from napari_densecrf.door.missing import share_words
from napari_densecrf.door.resampled import Along

from .axes import shape_of
from .brought import brought_image, brought_map
from .places import Turned, end_together, have_one_unit, laying, places_along, says_nothing
from .problem import CHANNELS, FromStrokes, Map, Misfit, layers_of_map, shape_words

PIXEL_BY_PIXEL = "taken pixel by pixel, as one of the two does not say where it lies"


def placed(
    image: Image, source: Map, fits: Sequence[Arrangement], leading: str | None
) -> tuple[Arrangement, tuple[Along, ...], str]:
    """Return how image and map fit, where the map lies, and what the window says of that.

    A map of the image's shape lies on it pixel by pixel, unless both layers say where they are and that differs. A map
    of another shape must say where it is.

    Parameters
    ----------
    image : Image
    source : Map
    fits : sequence of Arrangement
        How the axes of a map of the image's shape may be understood, the best first; empty where none fits.
    leading : str, optional
        As `understand` takes it.

    Returns
    -------
    fit : Arrangement
    along : tuple of Along
        For each axis of the result; empty where the map lies pixel by pixel.
    note : str

    Raises
    ------
    Misfit
        Where the two do not fit, or the map lies elsewhere.
    """
    if isinstance(source, FromStrokes):
        if not fits:
            raise _misfit_of_shapes(image, source)
        return fits[0], (), ""
    if fits:
        return fits[0], *_place_of_equal(image, source, fits[0])
    n_layers = len(layers_of_map(source))
    brought = brought_image(image), brought_map(source)
    for fit in arrangements(*brought, n_layers=n_layers, any_size=True):
        if as_said(fit, leading) and _is_drawn_over(image, fit):
            return fit, *_place_of_other(image, source, fit)
    raise _misfit_of_shapes(image, source)


def as_said(fit: Arrangement, leading: str | None) -> bool:
    """Tell whether an arrangement has channels where the user says so, and none where not; None = nothing is said."""
    return leading is None or (leading == CHANNELS) == (fit.channel_axis is not None)


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


def _misfit_of_shapes(image: Image, source: Map, fit: Arrangement | None = None) -> Misfit:
    """Return what is said of a map of another shape; ``fit`` tells its axes, where only its place is not known."""
    first, shape = layers_of_map(source)[0], shape_of(image)
    wanted = shape_words(shape[:-1] if image.rgb else shape)
    if fit is None:
        return Misfit(words.needs_classes(first.name, shape_words(shape_of(first)), wanted, image.name))
    return Misfit(
        words.needs_shape_or_place(first.name, shape_words(shape_of(first)), wanted, image.name),
        first,
        laying=laying(image, fit.spatial, first, fit.map_spatial),
    )
