"""One click for a map that holds other numbers than probabilities: a new layer that holds what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.layers._source import layer_source
from scipy.special import expit, softmax

from napari_densecrf.door.values import Kind, Values

from .axes import levels_of
from .problem import Misfit


def words(misfit: Misfit) -> str:
    """Return what the button says; nothing where there is no such remedy."""
    values = misfit.values
    if misfit.laying is not None:
        return misfit.laying.words
    if misfit.source is None or values is None:
        return ""
    if values.kind is Kind.SCALED:
        return f"Divide by {values.scale:g}"
    return {
        Kind.LOGITS: "Make probabilities of it",
        Kind.OVERSHOT: "Clip it to 0 to 1",
        Kind.PICTURE: "",
        # Whether each number is a class or an object is seen, and can be said, once it is a Labels layer.
        Kind.CLASSES: "Take it as labels",
        Kind.OBJECTS: "Take it as labels",
    }.get(values.kind, "Take it as classes")


def remedied(layer: Layer, values: Values, class_axis: int | None) -> Layer:
    """Return a layer in the same place that can be a map; the one that was brought stays as it is.

    Parameters
    ----------
    layer : Layer
    values : Values
        What its numbers are; not probabilities.
    class_axis : int, optional
        Axis of the classes.
    """
    data = levels_of(layer)[0]
    if values.kind is Kind.SCALED:
        return Image(np.asarray(data, np.float32) / np.float32(values.scale), **_like(layer, "probabilities"))
    if values.kind is Kind.OVERSHOT:
        return Image(np.clip(np.asarray(data, np.float32), 0, 1), **_like(layer, "probabilities"))
    if values.kind is Kind.LOGITS:
        numbers = np.asarray(data, np.float32)
        made = expit(numbers) if class_axis is None else softmax(numbers, axis=class_axis)
        return Image(made, **_like(layer, "probabilities"))
    if values.kind is Kind.ONE_HOT and class_axis is not None:
        return Labels(np.asarray(data).argmax(axis=class_axis), **_like(layer, "classes", without=class_axis))
    whole = np.asarray(data)
    what = "labels" if values.kind in (Kind.CLASSES, Kind.OBJECTS) else "classes"
    if whole.dtype.kind not in "iu":
        return Labels(whole.astype(np.int32), **_like(layer, what))
    # The same numbers: a command, a folder's pattern of names and a project can name the file.
    with layer_source(path=layer.source.path, reader_plugin=layer.source.reader_plugin):
        return Labels(whole, **_like(layer, what))


def _like(layer: Layer, what: str, without: int | None = None) -> dict[str, Any]:
    """Return name and place of a new layer, without one of the axes."""
    axes = [axis for axis in range(layer.ndim) if axis != without]
    return {
        "name": f"{layer.name} {what}",
        "scale": np.asarray(layer.scale)[axes],
        "translate": np.asarray(layer.translate)[axes],
        "units": [layer.units[axis] for axis in axes],
        "axis_labels": [layer.axis_labels[axis] for axis in axes],
        "metadata": {key: value for key, value in layer.metadata.items() if key == "classes"},
    }
