"""Layers to paint on, and painting with a class: for the buttons of several parts of the panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_info

from napari_densecrf._napari import words
from napari_densecrf._napari.display.result_layer import PALETTE, class_colours, follow_colours, place
from napari_densecrf._napari.display.strokes import MOST_KEYS, bind_keys
from napari_densecrf._napari.problem.problem import STROKES_KEY, Misfit, Problem, layers_of_map
from napari_densecrf._napari.problem.seen import labels_of
from napari_densecrf._napari.problem.understand import understand_alone
from napari_densecrf._napari.session import Session

BRUSH_SCREEN_PIXELS = 12
# What a class that is clear in the result is painted with: seen on pale tissue and on a dark background alike.
CLEAR_STROKES = "#e6007a"
# Classes of an image that has no map yet.
FIRST_NAMES = ("background", "object")


def new_strokes(session: Session) -> Labels | None:
    """Add a layer to paint on, of the classes that there are, or of two; choose it, ready to paint.

    None where nothing can be painted on, which is said.
    """
    image = session.chosen.image
    if image is None:
        show_info(words.OPEN_IMAGE)
        return None
    try:
        problem = session.problem or understand_alone(image)
    except Misfit as misfit:
        show_info(str(misfit))
        return None
    zoom = session.viewer.scene.camera.zoom
    if problem.objects:
        layer = object_strokes_layer(problem, zoom)
    else:
        layer = strokes_layer(problem, session.class_names or list(FIRST_NAMES), zoom)
    session.viewer.add_layer(layer)
    session.viewer.layers.selection.active = layer
    layer.mode = "paint"
    session.choose(strokes=layer)
    return layer


def paint_class(session: Session, index: int) -> None:
    """Paint with a class from now on, on the chosen strokes or on new ones."""
    layer = session.chosen.painted or new_strokes(session)
    if layer is not None:
        session.viewer.layers.selection.active = layer
        layer.visible = True
        layer.selected_label = index + 1
        layer.mode = "paint"


def strokes_layer(problem: Problem, names: list[str], zoom: float) -> Labels:
    """Make a layer on the grid of the result, to paint classes on: k is class k - 1."""
    values = np.arange(len(names))
    colours = dict(class_colours(names, values).color_dict)
    painted: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    for value in values.tolist():
        clear = np.asarray(colours[value])[-1] == 0
        painted[value + 1] = CLEAR_STROKES if clear else colours[value]
    # Where there is no map yet, more classes than were named may be painted.
    for k in range(len(names) + 1, MOST_KEYS + 1):
        painted[k] = PALETTE[(k - 1) % len(PALETTE)]
    layer = Labels(
        np.zeros(problem.result_shape, np.uint8),
        name=f"{problem.image.name} strokes",
        colormap=DirectLabelColormap(color_dict=painted),
        opacity=0.9,
        metadata={STROKES_KEY: True, "classes": names},
        features={"index": [0, *(values + 1)], "class": [words.FREE, *names]},
        **place(problem),
    )
    layer.brush_size = max(1, round(BRUSH_SCREEN_PIXELS / zoom / problem.spacing[1]))
    layer.selected_label = 1
    bind_keys(layer)
    return layer


def object_strokes_layer(problem: Problem, zoom: float) -> Labels:
    """Make a layer on the grid of the result, to paint the numbers of objects on, in their colours."""
    (source,) = layers_of_map(problem.map)
    seen = labels_of(source)
    # Unsigned, and as small as leaves room for new objects: so the number for background is one that can be typed.
    largest = 0 if seen is None else 2 * seen.largest
    dtype = next(one for one in (np.uint8, np.uint16, np.uint32) if largest < np.iinfo(one).max or one is np.uint32)
    layer = Labels(
        np.zeros(problem.result_shape, dtype),
        name=f"{problem.image.name} strokes",
        opacity=0.9,
        metadata={STROKES_KEY: True, "classes": []},
        **place(problem),
    )
    follow_colours(layer, source)
    layer.brush_size = max(1, round(BRUSH_SCREEN_PIXELS / zoom / problem.spacing[1]))
    return layer
