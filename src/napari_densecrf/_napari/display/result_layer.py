"""The Labels layer of a result: where it lies, what colours it has, and how a region is written into it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable
from copy import deepcopy
from typing import Any, Generic, TypeVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import levels_of, shape_of
from napari_densecrf._napari.problem.extent import Extent
from napari_densecrf._napari.problem.problem import METADATA_KEY, FromStrokes, Map, Problem, layers_of_map
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.work.reading import Inputs
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.numba.parallel import one_at_a_time
from napari_densecrf.crf.numba.watch import compiling

from . import contours
from .sparse import filled

AnyLayer = TypeVar("AnyLayer", bound=Layer)
OPACITY = 0.6
# Slices of more pixels get a result of several resolutions, of which napari draws only what it shows.
SINGLE_SCALE_PIXELS = 4096 * 4096
COARSEST = 1024
# Okabe and Ito's colours, told apart by every kind of eye; blue, orange and green first.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
# What the first class is called where nobody has named it: most often it is what is around all else.
NAMELESS = ("", "0", "class 0", "label 0")
BACKGROUND_NAMES = ("background", "bg", "none", "unlabeled", "unlabelled", "empty")


class OneLayer(Generic[AnyLayer]):
    """One layer for each image: found again, added where it is missing, replaced where it no longer fits.

    Parameters
    ----------
    viewer : ViewerModel
    make : callable
        ``make(result)`` gives a new layer for a result, or for what else `add` gets that has its ``request``.
    """

    def __init__(self, viewer: ViewerModel, make: Callable[[Any], AnyLayer]) -> None:
        self._viewer = viewer
        self._make = make
        self._layers: weakref.WeakKeyDictionary[Image, AnyLayer] = weakref.WeakKeyDictionary()

    def of(self, image: Image | None) -> AnyLayer | None:
        """Return the layer of an image, or None."""
        layer = None if image is None else self._layers.get(image)
        return layer if layer is not None and layer in self._viewer.layers else None

    def all(self) -> list[AnyLayer]:
        """Return the layers that are there, of whatever image."""
        return [layer for layer in self._layers.values() if layer in self._viewer.layers]

    def owns(self, layer: Layer) -> bool:
        """Tell whether a layer is or was one of these."""
        # Not `is`: what napari gives to plugins may be a proxy of the layer, which equals it.
        return any(layer == one for one in self._layers.values())

    def fitting(self, result: Result) -> AnyLayer | None:
        """Return the layer of a result's image where its shape fits; remove one that does not fit."""
        problem = result.request.problem
        layer = self.of(problem.image)
        fits = layer is None or tuple(layer.data.shape) == problem.result_shape
        if layer is not None and not (fits and self._holds(layer, result)):
            self._viewer.layers.remove(layer)
            return None
        return layer

    def _holds(self, layer: AnyLayer, result: Result) -> bool:
        """Tell whether a layer's type is one for a result's values."""
        return True

    def remove_hidden(self) -> None:
        """Take layers out of the list that are not shown: they are made anew when they are wanted."""
        for layer in self.all():
            if not layer.visible:
                self._viewer.layers.remove(layer)

    def add(self, result: Any) -> AnyLayer:
        """Add a new layer for a result's image; the active layer stays the one it was."""
        layer = self._make(result)
        # Marked before it is added, or it would be offered as a map.
        layer.metadata.setdefault(METADATA_KEY, {})
        self._layers[result.request.problem.image] = layer
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        return layer


class ResultLayers(OneLayer[Labels]):
    """The refined labels, one layer for each image."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer, self._new)
        self.contours = contours.Contours(viewer)
        # Index of each slice that has been refined, and what it has been refined with.
        self._visited: weakref.WeakKeyDictionary[Labels, dict[tuple[int, ...], Hashable]] = weakref.WeakKeyDictionary()

    def close(self) -> None:
        """Listen no more."""
        self.contours.close()

    def _new(self, result: Result) -> Labels:
        layer = result_layer(result)
        self.contours.add(layer)
        return layer

    def write(self, result: Result, made: dict[str, Any], strokes: Labels | None) -> Extent:
        """Write a result into its layer, with how it was made; return how much of the layer has been refined.

        The first hides the map, and leaves the strokes above what they correct.
        """
        problem = result.request.problem
        layer = self.fitting(result)
        if layer is None:
            layer = self.add(result)
            if not isinstance(problem.map, FromStrokes):
                for source in layers_of_map(problem.map):
                    source.visible = False
                self._leave(layers_of_map(problem.map), layer)
            self._keep_above(strokes, layer)
        elif problem.objects:
            follow_colours(layer, problem.map)
        elif layer.metadata[METADATA_KEY].get("values") != result.inputs.values.tolist():
            paint_like(layer, problem.map, result.inputs)
        write(layer, problem, result.request.region, result.labels)
        request = result.request
        visited = self._visited.setdefault(layer, {})
        visited[request.region.index] = now = (request.params, request.time_sigma, request.frame)
        n_now = sum(one == now for one in visited.values())
        extent = Extent(n_now, math.prod(problem.shape[:-2]), len(visited) - n_now)
        others = {"with_other_numbers": extent.n_other} if extent.n_other else {}
        layer.metadata[METADATA_KEY] = {
            **made,
            "no_label": result.inputs.none,
            "slices": {"refined": extent.n_refined, "of": extent.n_all, **others},
        }
        return extent

    def _holds(self, layer: Labels, result: Result) -> bool:
        """Tell whether a layer's type is one for a result's values, and no class has the number of no label."""
        made = layer.metadata[METADATA_KEY]
        same = "no_label" not in made or made["no_label"] == result.inputs.none
        return np.dtype(layer.dtype) == result.inputs.dtype and same

    def has(self, image: Image, index: tuple[int, ...]) -> bool:
        """Tell whether a slice of an image has been refined."""
        layer = self.of(image)
        return layer is not None and index in self._visited.get(layer, {})

    def extent(self, layer: Labels) -> Extent:
        """Return how much of a result has been refined."""
        slices = layer.metadata[METADATA_KEY].get("slices", {"refined": 1, "of": 1})
        return Extent(slices["refined"], slices["of"], slices.get("with_other_numbers", 0))

    def put_in_place(self, problem: Problem) -> None:
        """Move the layer of an image to where the image is now."""
        layer = self.of(problem.image)
        if layer is not None:
            put_in_place(layer, problem)

    def fingerprints(self, layer: Labels) -> dict[str, str]:
        """Return where the fingerprints of a layer's inputs are kept."""
        prints: dict[str, str] = layer.metadata[METADATA_KEY]["fingerprints"]
        return prints

    def _leave(self, hidden: list[Layer], layer: Labels) -> None:
        """Have the result be the active layer where a hidden one would be: its controls would change what none sees."""
        selection = self._viewer.layers.selection
        if selection.active in hidden:
            selection.active = layer

    def _keep_above(self, strokes: Labels | None, layer: Labels) -> None:
        layers = self._viewer.layers
        if strokes is not None and layers.index(strokes) < layers.index(layer):
            layers.move(layers.index(strokes), len(layers))


def name_class_axis(problem: Problem) -> None:
    """Have napari's slider call the axis of the classes so, where nobody has named it and it is no guess."""
    axis = problem.class_axis
    if axis is None or problem.doubt:
        return
    for layer in layers_of_map(problem.map):
        labels = list(layer.axis_labels)
        # napari numbers what has no name from the last axis on.
        if labels[axis] == str(axis - len(labels)):
            labels[axis] = "class"
            layer.axis_labels = labels


def blank(problem: Problem, dtype: Any, value: float = 0, *, one_level: bool = False) -> dict[str, Any]:
    """Return the data of a layer of the result's shape, of several resolutions where it is large, and its place."""
    shapes = [problem.result_shape] if one_level else _level_shapes(problem.result_shape)
    levels = [filled(shape, dtype, value) for shape in shapes]
    return {"data": levels if len(levels) > 1 else levels[0], "multiscale": len(levels) > 1, **place(problem)}


def result_layer(result: Result) -> Labels:
    """Make the Labels layer of a result: the image's place in the world, the source's colours."""
    problem, inputs = result.request.problem, result.inputs
    labels = Labels(
        name=f"{problem.image.name} refined",
        opacity=OPACITY,
        blending="translucent",
        **blank(problem, inputs.dtype, inputs.none or 0),
    )
    paint_like(labels, problem.map, inputs)
    if problem.objects:
        # The image must be seen where a border is judged.
        labels.contour = contours.WIDTH
        labels.opacity = 1.0
    labels.editable = False
    return labels


def _level_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of the resolutions of a result, each half as fine as the one before."""
    shapes = [shape]
    while np.prod(shape[-2:]) > SINGLE_SCALE_PIXELS and max(shapes[-1][-2:]) > COARSEST:
        step = 2 ** len(shapes)
        shapes.append((*shape[:-2], -(-shape[-2] // step), -(-shape[-1] // step)))
    return shapes


def place(problem: Problem) -> dict[str, Any]:
    """Return what puts a layer of the result's shape where the image is."""
    image, axes = problem.image, problem.result_axes
    scale, translate = np.array(image.scale[axes]), np.array(image.translate[axes])
    if problem.bridged_axis is not None and problem.channel_axis is not None:
        n_channels = shape_of(image)[problem.channel_axis]
        translate[problem.bridged_axis] += scale[problem.bridged_axis] * (n_channels - 1) / 2
        scale[problem.bridged_axis] *= n_channels
    return {
        "affine": image.affine.set_slice(axes),
        "scale": scale,
        "translate": translate,
        "rotate": image.rotate[np.ix_(axes, axes)],
        "shear": Affine(shear=image.shear, ndim=image.ndim).set_slice(axes).linear_matrix,
        "units": [image.units[axis] for axis in axes],
        "axis_labels": [image.axis_labels[axis] for axis in axes],
    }


def put_in_place(labels: Layer, problem: Problem) -> None:
    """Move a layer of the result's shape to where its image is now."""
    move(labels, place(problem))


def move(layer: Layer, to: dict[str, Any]) -> None:
    """Set what differs of a layer's place: setting draws anew."""
    for name, value in to.items():
        now, wanted = (np.asarray(place, dtype=object) for place in (getattr(layer, name), value))
        if name == "shear":
            # napari takes a matrix, and gives its upper triangle.
            wanted = wanted[np.triu_indices(len(wanted), 1)]
        if not np.array_equal(now, wanted):
            setattr(layer, name, value)


def redraw(layer: Layer) -> None:
    """Show what has been written into a layer's data, and leave its thumbnail and extent as they are.

    napari's list of layers would paint its rows anew, which takes as long as the rest: it is not told.
    """
    with layer.events.blocker():
        layer.refresh(thumbnail=False, highlight=False, extent=False)


def reveal(layer: Layer, shown: bool) -> None:
    """Show or hide a layer, which draws anew even where nothing changes."""
    if layer.visible != shown:
        layer.visible = shown


def paint_like(labels: Labels, source: Map, inputs: Inputs) -> None:
    """Give a result the colours of its source and the names of its classes; what is no class is clear."""
    if inputs.objects is not None:
        follow_colours(labels, source)
        return
    if isinstance(source, Labels):
        colours = {value: source.get_color(value) for value in inputs.values.tolist()}
        clear = {value: np.zeros(4) if colour is None else colour for value, colour in colours.items()}
        labels.colormap = DirectLabelColormap(color_dict={None: "transparent", **clear})
    else:
        labels.colormap = class_colours(inputs.names, inputs.values)
    labels.features = {"index": inputs.values, "class": inputs.names}


def follow_colours(labels: Labels, source: Map) -> None:
    """Give objects the colours that they have in their source."""
    if not isinstance(source, Labels):
        return
    now, wanted = (np.asarray(getattr(layer.colormap, "colors", ())) for layer in (labels, source))
    if type(labels.colormap) is not type(source.colormap) or not np.array_equal(now, wanted):
        # A copy, as a colormap knows which label of its layer is selected.
        colours = deepcopy(source.colormap)
        colours.selection = labels.selected_label
        labels.colormap = colours


def colours_of(layer: Labels, values: Any) -> NDArray[np.float32]:
    """Return (n, 4) colours of values, 0..1: those that they have when no class is shown alone."""
    colormap = layer.colormap
    if colormap.use_selection:
        colormap = deepcopy(colormap)
        colormap.use_selection = False
    given = np.asarray(values)
    if given.size and given.min() >= 0 and given.max() < 256:
        # napari compiles a mapping for each type: that of the result is there already.
        given = given.astype(np.uint8)
    return np.asarray(colormap.map(given), np.float32).reshape(-1, 4)


def class_colours(names: list[str], values: NDArray[np.int64]) -> DirectLabelColormap:
    """Return one colour a class. The first stays clear where it is one of two, or background, or has no name."""
    first = names[0].strip().lower()
    clear = len(names) == 2 or first in BACKGROUND_NAMES or first in NAMELESS
    colours: dict[int | None, Any] = {None: "transparent"}
    for k, value in enumerate(values.tolist()):
        colours[value] = PALETTE[(k - clear) % len(PALETTE)]
    if clear:
        colours[int(values[0])] = "transparent"
    return DirectLabelColormap(color_dict=colours)


def prepare_drawing() -> None:
    """Let napari compile what draws the labels of a result: it would do so in the window's thread, and hold it up."""
    with one_at_a_time, compiling():
        Labels(np.zeros((2, 2), np.uint8), colormap=DirectLabelColormap(color_dict={None: "transparent", 1: "white"}))


def write(layer: Layer, problem: Problem, region: Region, values: NDArray[Any]) -> None:
    """Write one region into a result in place, and show it.

    A region of a coarse step goes into the level that is as coarse, where there is one; else its pixels are repeated.
    """
    levels = levels_of(layer)
    level = min(region.step.bit_length() - 1, len(levels) - 1)
    repeat = region.step >> level
    (y, x) = (first >> level for first in (region.y[0], region.x[0]))
    if repeat > 1:
        values = values.repeat(repeat, axis=0).repeat(repeat, axis=1)
    data = levels[level]
    height, width = (
        min(have, room - first) for have, room, first in zip(values.shape, data.shape[-2:], (y, x), strict=True)
    )
    at = problem.axes_like_result(layer).at(*region.index, slice(y, y + height), slice(x, x + width))
    data[at] = values[:height, :width]
    redraw(layer)
