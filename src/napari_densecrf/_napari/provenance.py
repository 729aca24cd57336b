"""How a layer was made: what a result carries in its metadata."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Request, Result
from .layers import Inputs
from .plan import FromStrokes, layers_of_map


def provenance(result: Result, strokes: str | None) -> dict[str, Any]:
    """Return parameters, versions and the inputs' names, as plain values that JSON can hold."""
    return {**provenance_of_request(result.request, result.inputs), "strokes": strokes}


def provenance_of_request(request: Request, inputs: Inputs) -> dict[str, Any]:
    """Return the same without the strokes."""
    a_plan, window = request.plan, request.window
    return {
        "params": request.params.to_dict(),
        "spacing": list(a_plan.spacing),
        "image": a_plan.image.name,
        "probabilities": [layer.name for layer in layers_of_map(a_plan.map)],
        "from_strokes": isinstance(a_plan.map, FromStrokes),
        "classes": list(inputs.names),
        "values": inputs.values.tolist(),
        "volume": request.frame == "volume",
        "time_sigma": request.time_sigma,
        "window": {"index": list(window.index), "y": list(window.y), "x": list(window.x), "step": window.step},
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    """Return the versions of what takes part; looking them up reads files, too slow for each result."""
    return {name: version(name) for name in ("napari-densecrf", "napari", "numba", "numpy")}


def fingerprints(result: Result) -> dict[str, str]:
    """Return SHA-256 of image, map and strokes as they were read, which tell them from all others."""
    inputs, strokes = result.inputs, result.request.strokes
    prints = {"image": _fingerprint(inputs.image), "probabilities": _fingerprint(inputs.probabilities)}
    return prints if strokes is None else {**prints, "strokes": _fingerprint(strokes)}


def _fingerprint(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
