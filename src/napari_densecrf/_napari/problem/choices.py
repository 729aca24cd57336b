"""Which layers the combos offer, and which image and map to take where the user has chosen none that fit."""

from __future__ import annotations

from itertools import takewhile
from operator import eq

from napari.components import ViewerModel
from napari.layers import Image, Labels

from .understand import (
    METADATA_KEY,
    STROKES_KEY,
    FromStrokes,
    Map,
    Misfit,
    Problem,
    could_be_map,
    layers_of_map,
    understand,
)


def images(viewer: ViewerModel) -> list[Image]:
    """Return the layers that may be the image."""
    return [layer for layer in viewer.layers if isinstance(layer, Image) and METADATA_KEY not in layer.metadata]


def maps(viewer: ViewerModel, painted: Labels | None = None, chosen: Map | None = None) -> list[tuple[str, Map]]:
    """Return what may be the map, with its name.

    Single-class layers that are selected together are one, and so are those of ``chosen``. Strokes may be made into
    one: those of the layers that were made for it, and of the layer ``painted`` that is chosen as strokes.
    """
    layers = [layer for layer in viewer.layers if could_be_map(layer) and layer is not painted]
    offered: list[tuple[str, Map]] = [(layer.name, layer) for layer in layers]
    for layer in viewer.layers:
        if isinstance(layer, Labels) and (layer is painted or STROKES_KEY in layer.metadata):
            offered.append((f"made from “{layer.name}”", FromStrokes(layer)))
    selected = [layer for layer in layers if layer in viewer.layers.selection and isinstance(layer, Image)]
    shapes = {layer.data.shape for layer in selected if not layer.multiscale}
    together = [tuple(selected)] if len(selected) >= 2 and len(shapes) == 1 else []
    if isinstance(chosen, tuple) and chosen not in together and all(layer in layers for layer in chosen):
        together.append(chosen)
    for several in together:
        offered.append((f"{len(several)} layers: " + ", ".join(layer.name for layer in several), several))
    return offered


def still_offered(
    viewer: ViewerModel, image: Image | None, source: Map | None, painted: Labels | None
) -> tuple[Image | None, Map | None, Labels | None]:
    """Return what was chosen as image, map and strokes as far as it may still be chosen."""
    painted = painted if painted in viewer.layers else None
    image = image if image in images(viewer) else None
    offered = [choice for _, choice in maps(viewer, painted, source)]
    return image, source if source in offered else None, painted


def strokes(viewer: ViewerModel) -> list[tuple[str, Labels]]:
    """Return what may be the strokes: Labels that are no result."""
    layers = [layer for layer in viewer.layers if isinstance(layer, Labels) and METADATA_KEY not in layer.metadata]
    return [(layer.name, layer) for layer in layers]


def choose(
    viewer: ViewerModel, image: Image | None, source: Map | None, painted: Labels | None
) -> tuple[Image | None, Map | None]:
    """Return the image and map to work on: what was chosen if it fits, else the pair that tells the most.

    Of several that tell as much, the image that was chosen comes first, then the active layer, then names that begin
    alike. Where no pair fits, return what might have been meant, to be named.
    """
    if fitting(image, source):
        return image, source
    active = viewer.layers.selection.active
    candidates = sorted(images(viewer), key=lambda layer: not layer.rgb)
    offered = [choice for _, choice in maps(viewer, painted)]
    pairs = [(a_image, choice) for a_image in candidates for choice in offered if fitting(a_image, choice)]

    def preference(pair: tuple[Image, Map]) -> tuple[int, bool, bool, int]:
        a_image, layers = pair[0], layers_of_map(pair[1])
        return (
            _rank(*pair),
            image is not None and a_image is not image,
            # napari gives plugins a proxy of the active layer, which equals it.
            active not in (a_image, *layers),
            -_letters_alike(a_image.name, layers[0].name),
        )

    if pairs:
        return min(pairs, key=preference)
    if image is None:
        # A picture more likely than a map: the fewer axes the likelier.
        plain = [layer for layer in candidates if layer is not source]
        image = min(plain, key=lambda layer: layer.ndim, default=None)
    if source is None or source is image:
        source = next((choice for choice in offered if choice is not image), None)
    return image, source


def _letters_alike(name: str, other: str) -> int:
    """Return with how many equal letters two names begin."""
    return sum(takewhile(bool, map(eq, name, other)))


def _rank(image: Image, choice: Map) -> int:
    """Return 0 for the pair that tells the most: a map with classes tells more than one that could be a plain image."""
    found = fitting(image, choice)
    if found is None:
        return 9
    if isinstance(choice, FromStrokes):
        return 5
    if found.class_axis is not None:
        return 0 if found.channel_axis is None or image.rgb else 1
    if isinstance(choice, Labels):
        return 2
    # Whole numbers of the foreground alone may just as well be another picture.
    return 3 if all(layer.dtype.kind == "f" for layer in layers_of_map(choice)) else 4


def fitting(image: Image | None, choice: Map | None) -> Problem | None:
    """Return how an image and a map fit, or None."""
    if image is None or choice is None or choice is image:
        return None
    try:
        return understand(image, choice)
    except Misfit:
        return None
