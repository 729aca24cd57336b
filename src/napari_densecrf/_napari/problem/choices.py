"""Which layers the combos offer, and which image and map to take where the user has chosen none that fit."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from operator import eq

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_densecrf.door.axes import MAX_CHANNELS
from napari_densecrf.door.values import Kind

from .axes import levels_of
from .problem import METADATA_KEY, STROKES_KEY, FromStrokes, Map, Misfit, Problem, layers_of_map
from .request import Chosen
from .seen import look
from .understand import could_be_map, is_channel_beside, understand

# A map that lies on other pixels and covers less of the image is not taken unasked.
COVERED_UNASKED = 0.5


def images(viewer: ViewerModel) -> list[Image]:
    """Return the layers that may be the image."""
    return [layer for layer in viewer.layers if isinstance(layer, Image) and METADATA_KEY not in layer.metadata]


def pictures(viewer: ViewerModel, chosen: tuple[Image, ...] = ()) -> list[tuple[str, Image | tuple[Image, ...]]]:
    """Return what may be the image, with its name: one layer, or the channels that are chosen or proposed."""
    several = [one for one in (chosen, selected_channels(viewer)) if one]
    offered: list[tuple[str, Image | tuple[Image, ...]]] = [(layer.name, layer) for layer in images(viewer)]
    return offered + [(name_of(channels), channels) for channels in dict.fromkeys(several)]


def name_of(channels: tuple[Image, ...]) -> str:
    """Return the name of several layers as one image."""
    return " + ".join(layer.name for layer in channels)


def selected_channels(viewer: ViewerModel) -> tuple[Image, ...]:
    """Return the selected layers that can be the channels of one image, in their order; none for fewer than two."""
    layers = tuple(layer for layer in images(viewer) if layer in viewer.layers.selection)
    alike = all(is_channel_beside(layers[0], layer) for layer in layers)
    return layers if 2 <= len(layers) <= MAX_CHANNELS and alike else ()


def proposed_channels(viewer: ViewerModel, chosen: Chosen) -> tuple[Image, ...]:
    """Return the selected layers that one click makes the image; none where they are, or one of them is the map."""
    layers = selected_channels(viewer)
    taken = [] if chosen.map is None else layers_of_map(chosen.map)
    return () if layers == chosen.channels or any(layer in taken for layer in layers) else layers


def maps(viewer: ViewerModel, painted: Labels | None = None, chosen: Map | None = None) -> list[tuple[str, Map]]:
    """Return what may be the map, with its name.

    Single-class layers that are selected together are one, images or labels, and so are those of ``chosen``. Strokes
    may be made into one: those of the layers that were made for it, and of the layer ``painted`` that is chosen as
    strokes.
    """
    layers = [layer for layer in viewer.layers if could_be_map(layer) and layer is not painted]
    offered: list[tuple[str, Map]] = [(layer.name, layer) for layer in layers]
    for layer in viewer.layers:
        if isinstance(layer, Labels) and (layer is painted or STROKES_KEY in layer.metadata):
            offered.append((f"made from “{layer.name}”", FromStrokes(layer)))
    together: list[Map] = []
    for kind in (Image, Labels):
        selected = [layer for layer in layers if layer in viewer.layers.selection and isinstance(layer, kind)]
        shapes = {None if layer.multiscale else layer.data.shape for layer in selected}
        if len(selected) >= 2 and len(shapes) == 1 and None not in shapes:
            together.append(tuple(selected))
    if isinstance(chosen, tuple) and chosen not in together and all(layer in layers for layer in chosen):
        together.append(chosen)
    for several in together:
        names = [layer.name for layer in layers_of_map(several)]
        offered.append((f"{len(names)} layers: {', '.join(names)}", several))
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
    viewer: ViewerModel,
    image: Image | None,
    source: Map | None,
    painted: Labels | None,
    kept: Collection[str] = (),
    channels: tuple[Image, ...] = (),
) -> tuple[Image | None, Map | None]:
    """Return the image and map to work on: what the user has chosen, and the pair that tells the most.

    Only what is more than a guess is paired unasked: a map with classes that sum to one or are named, floats from 0 to
    1 beside an image that is none, a segmentation, strokes. Of several that tell as much, the image at hand comes
    first, then the active layer, then names that begin alike.

    Parameters
    ----------
    viewer : ViewerModel
    image, source
        At hand.
    painted : Labels, optional
        The strokes.
    kept : collection of str
        Which of "image" and "map" the user has chosen: these stay.
    channels : tuple of Image
        Layers that are the image together: none of them is the map.
    """
    candidates = [image] if image is not None and "image" in kept else images(viewer)
    candidates = sorted(candidates, key=lambda layer: not layer.rgb)
    offered = [source] if source is not None and "map" in kept else [one for _, one in maps(viewer, painted, source)]
    offered = [one for one in offered if not any(layer in channels for layer in layers_of_map(one))]
    pairs = [
        (_rank(found, choice), a_image, choice)
        for a_image in candidates
        for choice in offered
        if (found := fitting(a_image, choice)) is not None and (_tells(found, a_image) or "map" in kept)
    ]
    active = viewer.layers.selection.active

    def preference(pair: tuple[int, Image, Map]) -> tuple[int, bool, bool, bool, bool, int]:
        rank, a_image, choice = pair
        layers = layers_of_map(choice)
        return (
            rank,
            not lies_on(a_image, layers[0]),
            image is not None and a_image is not image,
            source is not None and choice != source,
            # napari gives plugins a proxy of the active layer, which equals it.
            active not in (a_image, *layers),
            -_letters_alike(a_image.name, layers[0].name),
        )

    if pairs:
        _, image, source = min(pairs, key=preference)
        return image, source
    if image is None:
        # A picture more likely than a map: the fewer axes the likelier.
        plain = [layer for layer in candidates if source is None or layer not in layers_of_map(source)]
        image = min(plain, key=lambda layer: layer.ndim, default=None)
    if "map" not in kept:
        # What fits by its shape alone is no map for that; what is known to be none is named, with what to do.
        source = next((choice for choice in offered if image is not None and _is_worth_naming(image, choice)), None)
    return image, source


def _is_worth_naming(image: Image, choice: Map) -> bool:
    """Tell whether it helps to say why a layer is no map: it is not just another picture."""
    if image in layers_of_map(choice):
        return False
    try:
        understand(image, choice)
    except Misfit as misfit:
        if misfit.values is None:
            return True
        is_labels = misfit.values.kind in (Kind.MASK, Kind.CLASSES, Kind.OBJECTS)
        return misfit.values.sure and (misfit.class_axis is not None or is_labels)
    return False


def lies_on(image: Image, layer: Layer) -> bool:
    """Tell whether a layer lies where an image lies, in the plane: to within a pixel."""
    place, extent = _place(image), _place(layer)
    pixel = np.abs(np.asarray(image.scale[-2:], float)).max()
    return bool(np.abs(place - extent).max() <= pixel)


def _place(layer: Layer) -> NDArray[np.float64]:
    """Return the middle of a layer's first and last pixels along y and x, in the world."""
    # Channels of RGB are no axis of the world.
    extent: NDArray[np.float64] = np.asarray(layer.extent.world)[:, -2:]
    return extent


def _letters_alike(name: str, other: str) -> int:
    """Return with how many equal letters two names begin."""
    return sum(takewhile(bool, map(eq, name, other)))


def _tells(found: Problem, image: Image) -> bool:
    """Tell whether a pair is more than a guess."""
    if found.along and found.map_on_image().share < COVERED_UNASKED:
        return False
    if isinstance(found.map, FromStrokes):
        return True
    if isinstance(found.map, Labels):
        return holds_something(found.map)
    if isinstance(found.map, tuple) and isinstance(found.map[0], Labels):
        return all(isinstance(layer, Labels) and _is_mask(layer) for layer in found.map)
    if found.values is None:
        # Not in memory: an axis for the classes speaks for itself until it has been looked at.
        return found.class_axis is not None or isinstance(found.map, tuple)
    if found.class_axis is not None or isinstance(found.map, tuple):
        return found.values.sure
    if not found.values.sure:
        return False
    own = look([image], None)
    return own is None or image.dtype.kind != "f" or own.kind is not Kind.PROBABILITIES


def holds_something(layer: Labels) -> bool:
    """Tell whether a Labels layer has more than one value, as far as that is known; an empty one is there to paint."""
    data = levels_of(layer)[-1]
    return not isinstance(data, np.ndarray) or bool((data != data.flat[0]).any())


def _is_mask(layer: Labels) -> bool:
    """Tell whether a Labels layer holds one number besides 0, as one class alone does; False where it is not known."""
    data = levels_of(layer)[-1]
    if not isinstance(data, np.ndarray):
        return False
    given = data[data != 0]
    return bool(given.size and (given == given.flat[0]).all())


def _rank(found: Problem, choice: Map) -> int:
    """Return 0 for the pair that tells the most: a map with classes tells more than one that could be a plain image.

    One on the pixels of the image tells more than one that is brought onto it.
    """
    if isinstance(choice, FromStrokes):
        return 5
    if found.class_axis is not None or isinstance(choice, tuple):
        return (0 if found.channel_axis is None or found.image.rgb else 1) + 6 * bool(found.along)
    return (2 if isinstance(choice, Labels) else 3) + 6 * bool(found.along)


def fitting(image: Image | None, choice: Map | None, leading: str | None = None) -> Problem | None:
    """Return how an image and a map fit, or None."""
    if image is None or choice is None or image in layers_of_map(choice):
        return None
    try:
        return understand(image, choice, leading)
    except Misfit:
        return None
