"""What is known of layers before they are fitted to each other, in the terms of `door.axes`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from napari.layers import Image, Labels

from napari_densecrf.door.axes import Brought, letter_of

from .axes import shape_of
from .problem import FromStrokes, Map, layers_of_map
from .seen import look


def brought_image(image: Image) -> Brought:
    """Return what is known of an image layer, without its pixels; alpha is no colour and left out."""
    shape = shape_of(image)
    letters = [letter_of(name) for name in image.axis_labels]
    if image.rgb:
        shape, letters = (*shape[:-1], 3), [*letters, "C"]
    return Brought(image.name, shape, _distinct(letters), is_rgb=image.rgb)


def brought_map(source: Map) -> Brought:
    """Return what is known of the layers of a map; its numbers are looked at where that is needed to tell its axes."""
    layers = layers_of_map(source)
    letters = _distinct([letter_of(name) for name in layers[0].axis_labels])
    shape = shape_of(layers[0])
    if any(shape_of(layer) != shape for layer in layers):
        # Layers of several shapes are no map: this fits no image.
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
    """Return the letters of axes, and an empty one for each axis whose letter another has too."""
    return tuple(letter if letters.count(letter) == 1 else "" for letter in letters)
