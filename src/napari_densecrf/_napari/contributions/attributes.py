"""How a layer looks and where it lies, as plain values that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap, label_colormap

from napari_densecrf._napari.problem.problem import STROKES_KEY

# Of every layer; the rest is of one kind.
COMMON = ("affine", "blending", "name", "opacity", "rotate", "scale", "shear", "translate")
OF_IMAGES = ("contrast_limits", "gamma", "rgb")
# What the metadata say of classes and of what a layer is for; how it was made is kept by itself.
SAID = ("classes", STROKES_KEY)
# The colour of all labels that have none of their own.
OTHERS = "others"


def described(attributes: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Describe a layer.

    Parameters
    ----------
    attributes : mapping
        As napari gives them to writers: the second of ``layer.as_layer_data_tuple()``.
    kind : str
        "labels" or "image".
    """
    said = {name: attributes[name] for name in COMMON if name in attributes}
    if "units" in attributes:
        said["units"] = [str(unit) for unit in attributes["units"]]
    if "axis_labels" in attributes:
        said["axis_labels"] = list(attributes["axis_labels"])
    metadata = attributes.get("metadata", {})
    said["metadata"] = {name: metadata[name] for name in SAID if name in metadata}
    if kind == "labels":
        said |= _described_labels(attributes)
    else:
        said |= {name: attributes[name] for name in OF_IMAGES if name in attributes}
        if "colormap" in attributes:
            said["colormap"] = getattr(attributes["colormap"], "name", attributes["colormap"])
    plain: dict[str, Any] = _plain({"kind": kind, **said})
    return plain


def attributes_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a layer that was described, as napari's layers take them."""
    attributes = {name: value for name, value in said.items() if name not in ("kind", "colours")}
    colours = said.get("colours")
    if colours is not None:
        attributes["colormap"] = _colours_of(colours)
    return attributes


def _described_labels(attributes: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    features = attributes.get("features")
    if features is not None and len(features):
        said["features"] = {str(name): list(features[name]) for name in features}
    colormap = attributes.get("colormap")
    if isinstance(colormap, DirectLabelColormap):
        said["colours"] = {
            OTHERS if label is None else str(label): colour for label, colour in colormap.color_dict.items()
        }
    elif colormap is not None and hasattr(colormap, "seed"):
        said["colours"] = {"seed": colormap.seed, "number": len(colormap.colors)}
    return said


def _colours_of(colours: Mapping[str, Any]) -> Any:
    if "seed" in colours:
        return label_colormap(int(colours["number"]) - 1, seed=float(colours["seed"]))
    by_label: dict[int | None, Any] = {None: "transparent"}
    by_label |= {None if label == OTHERS else int(label): np.asarray(colour) for label, colour in colours.items()}
    return DirectLabelColormap(color_dict=by_label)


def _plain(value: Any) -> Any:
    """Return lists, dicts, numbers and text in place of arrays and their numbers."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
