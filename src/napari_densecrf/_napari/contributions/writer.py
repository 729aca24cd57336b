"""Save labels with how they were made: a tif, and beside it a JSON file that Restore reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_densecrf._napari.problem.understand import METADATA_KEY


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer: napari calls this for File > Save, see the manifest.

    Parameters
    ----------
    path : str
        Of the tif file.
    data : array
        Of the layer; of several resolutions the finest is written.
    attributes : dict
        Of the layer, as napari gives them.

    Returns
    -------
    list of str
        What was written.
    """
    target = Path(path)
    finest = data[0] if attributes.get("multiscale") else data
    tifffile.imwrite(target, np.asarray(finest), compression="zlib")
    written = [str(target)]
    made = attributes.get("metadata", {}).get(METADATA_KEY)
    if made:
        beside(target).write_text(json.dumps(made, indent=2), encoding="utf-8")
        written.append(str(beside(target)))
    return written


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return what lies beside a file, or None."""
    try:
        made = json.loads(beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made if isinstance(made, dict) else None


def beside(path: Path) -> Path:
    """Return where the JSON of a file lies."""
    return path.with_suffix(f"{path.suffix}.json")
