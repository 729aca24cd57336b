"""The writer of labels: a tif, and a JSON file beside it with their parameters, which Restore reads."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_densecrf._napari.problem.understand import METADATA_KEY

# A key of every JSON file that is written here.
PARAMS = "params"


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
        Paths of the files that were written.
    """
    target = Path(path)
    finest = data[0] if attributes.get("multiscale") else data
    tifffile.imwrite(target, np.asarray(finest), compression="zlib")
    written = [str(target)]
    made = attributes.get("metadata", {}).get(METADATA_KEY)
    if not made:
        return written
    if beside(target).exists() and PARAMS not in (read_provenance(target) or {}):
        warnings.warn(f"{beside(target)} is not of napari-densecrf and was left as it is", stacklevel=2)
        return written
    beside(target).write_text(json.dumps(made, indent=2), encoding="utf-8")
    return [*written, str(beside(target))]


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the content of the JSON file beside a file, or None."""
    try:
        made = json.loads(beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made if isinstance(made, dict) else None


def beside(path: Path) -> Path:
    """Return the path of the JSON file beside a file."""
    return path.with_suffix(f"{path.suffix}.json")
