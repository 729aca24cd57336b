"""A file of labels that was saved here and is opened again: it gets back its place, colours, classes and role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.layers._source import layer_source

from napari_densecrf._napari.problem.axes import shape_of
from napari_densecrf._napari.problem.problem import METADATA_KEY, STROKES_KEY

from .attributes import attributes_of
from .writer import LAYER, TIF, read_kept

# What a layer may be given after it was made.
SETTABLE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "opacity", "blending")


def recognise(layer: Layer) -> dict[str, Any] | None:
    """Give a layer that napari has opened what its file says of it.

    Parameters
    ----------
    layer : Layer
        Without metadata of this plugin.

    Returns
    -------
    dict, optional
        What an Image layer would have as the Labels layer that it was; napari opens small integers as images.
        None where the layer is what it should be.
    """
    path = layer.source.path
    if path is None or not str(path).lower().endswith(TIF) or not isinstance(layer, (Image, Labels)):
        return None
    kept = read_kept(Path(path))
    if not kept or kept.get(LAYER, {}).get("kind") != "labels" or _is_other(layer, kept[LAYER]):
        return None
    said = attributes_of(kept[LAYER])
    made = {name: value for name, value in kept.items() if name != LAYER}
    metadata = said.pop("metadata", {})
    if STROKES_KEY not in metadata:
        # What is opened is no live result: no slider changes it.
        metadata[METADATA_KEY] = {**made, "frozen": True} if made else {}
    said.pop("name", None)
    if not made and STROKES_KEY not in metadata:
        metadata.pop(METADATA_KEY)
    if isinstance(layer, Image):
        # Marked, so that in the meantime nobody takes it for the image or the map.
        layer.metadata[METADATA_KEY] = {}
        return {**said, "metadata": metadata, "name": layer.name}
    for name in SETTABLE:
        if name in said:
            setattr(layer, name, said[name])
    for name in ("colormap", "features"):
        if name in said:
            setattr(layer, name, said[name])
    layer.metadata.update(metadata)
    return None


def as_labels(image: Image, said: dict[str, Any]) -> Labels:
    """Return the Labels layer that an Image layer stands for, of the same file."""
    with layer_source(path=image.source.path, reader_plugin=image.source.reader_plugin):
        return Labels(np.asarray(image.data), **said)


def _is_other(layer: Layer, said: dict[str, Any]) -> bool:
    """Tell whether a layer has other axes than what was saved, as one that was opened with others in a stack."""
    shape = shape_of(layer)[: layer.ndim]
    return len(said.get("scale", shape)) != len(shape) or getattr(layer, "rgb", False) or layer.multiscale
