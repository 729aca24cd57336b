"""How a layer was made: what a result carries in its metadata."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from .engine import Result
from .plan import layers_of


def provenance(result: Result, strokes: str | None) -> dict[str, Any]:
    """Return parameters, versions and the inputs' names, as plain values that JSON can hold."""
    a_plan = result.request.plan
    return {
        "params": result.request.params.to_dict(),
        "spacing": list(a_plan.spacing),
        "image": a_plan.image.name,
        "probabilities": [layer.name for layer in layers_of(a_plan)[1:]],
        "strokes": strokes,
        "classes": list(result.inputs.names),
        "values": result.inputs.values.tolist(),
        "step": result.request.window.step,
        "versions": {name: version(name) for name in ("napari-densecrf", "napari", "numba", "numpy")},
    }
