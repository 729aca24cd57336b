"""The writers: labels as a tif that says how they look, where they lie and how they were made, which Restore reads."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import npe2
import numpy as np
import tifffile
from napari.utils.notifications import show_info
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.problem import METADATA_KEY
from napari_densecrf.door.axes import letter_of
from napari_densecrf.files import places, work_folder
from napari_densecrf.files.read import METRES

from .attributes import described

# A key of every JSON file that is written here.
PARAMS = "params"
# In a tif's description and in the JSON beside it: how the layer looks and where it lies.
LAYER = "layer"
TIF = (".tif", ".tiff")
OME = (".ome.tif", ".ome.tiff")

LayerData = tuple[Any, dict[str, Any], str]


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer: napari calls this for File > Save, see the manifest.

    Parameters
    ----------
    path : str
        Of the tif file; without an ending, it gets one.
    data : array
        Of the layer; of several resolutions the finest is written.
    attributes : dict
        Of the layer, as napari gives them.

    Returns
    -------
    list of str
        Paths of the files that were written.
    """
    target = Path(path) if path.lower().endswith(TIF) else Path(f"{path}.tif")
    finest = np.asarray(data[0] if attributes.get("multiscale") else data)
    made = attributes.get("metadata", {}).get(METADATA_KEY) or {}
    said = described(attributes, "labels")
    with work_folder.at_work(target) as work:
        _write_tif(work / target.name, finest, attributes, {METADATA_KEY: made, LAYER: said}, is_ome=_is_ome(target))
        os.replace(work / target.name, places.real(target))
    written = [str(target)]
    _say_what_is_left(target.name, made)
    if not made and not _is_ome(target):
        return written
    if beside(target).exists() and not _is_ours(beside(target)):
        warnings.warn(f"{beside(target)} is not of napari-densecrf and was left as it is", stacklevel=2)
        return written
    work_folder.write_text(beside(target), json.dumps({**made, LAYER: said}, indent=2))
    return [*written, str(beside(target))]


def _say_what_is_left(name: str, made: Mapping[str, Any]) -> None:
    """Say where a file holds pixels without a label because nobody has refined them."""
    slices = made.get("slices", {"refined": 1, "of": 1})
    n_refined = slices["refined"] + slices.get("with_other_numbers", 0)
    if n_refined < slices["of"]:
        show_info(words.saved_in_part(name, n_refined, slices["of"], made["no_label"]))
    elif made.get("stopped"):
        show_info(words.saved_unfinished(name, made["no_label"]))


def write_folder(path: str, layers: list[LayerData]) -> list[str]:
    """Write several layers into a folder: labels as `write_labels` does, all others as napari does."""
    folder = Path(path)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    try:
        for data, attributes, kind in layers:
            target = folder / str(attributes["name"]).replace(os.sep, "_")
            if kind == "labels":
                written += write_labels(str(target), data, attributes)
            else:
                written += npe2.write(str(target), [(data, attributes, kind)], plugin_name="napari")
    except Exception:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return written


def read_kept(path: Path) -> dict[str, Any] | None:
    """Return what a tif, or the JSON file beside a file, says of how the layer was made and how it looks.

    Returns
    -------
    dict, optional
        How it was made, with ``"layer"``: how it looks. None where nothing is said.
    """
    if path.name.lower().endswith(TIF):
        with suppress(Exception), tifffile.TiffFile(path) as file:
            for said in file.shaped_metadata or ():
                if METADATA_KEY in said:
                    return {**(said[METADATA_KEY] or {}), **({LAYER: said[LAYER]} if LAYER in said else {})}
    return _read_json(beside(path))


def beside(path: Path) -> Path:
    """Return the path of the JSON file beside a file."""
    return path.with_suffix(f"{path.suffix}.json")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return made if isinstance(made, dict) else None


def _is_ours(path: Path) -> bool:
    made = _read_json(path) or {}
    return PARAMS in made or LAYER in made


def _is_ome(path: Path) -> bool:
    return path.name.lower().endswith(OME)


def _write_tif(
    path: Path, labels: NDArray[Any], attributes: Mapping[str, Any], said: dict[str, Any], *, is_ome: bool
) -> None:
    """Write labels with axes and pixel sizes as other programs read them, and with what is said of the layer."""
    letters = [letter_of(name) for name in attributes.get("axis_labels", ())]
    named = all(letters) and len(set(letters)) == len(letters) == labels.ndim
    metadata: dict[str, Any] = {"axes": "".join(letters) if named else "TZYX"[-labels.ndim :]}
    sizes = _micrometres(attributes, labels.ndim)
    options: dict[str, Any] = {}
    if is_ome:
        for letter, size in zip(metadata["axes"], sizes, strict=True):
            if size is not None and letter in "ZYX":
                metadata |= {f"PhysicalSize{letter}": size, f"PhysicalSize{letter}Unit": "µm"}
    else:
        # tifffile writes these as JSON, which it and any program can read.
        metadata = {**(metadata if named else {}), **said}
        y, x = sizes[-2:]
        if x and y:
            options = {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, labels, compression="zlib", metadata=metadata, ome=is_ome, **options)


def _micrometres(attributes: Mapping[str, Any], n_axes: int) -> list[float | None]:
    """Return the size of a pixel along each axis, where its unit is one of length."""
    scale, units = attributes.get("scale"), attributes.get("units")
    if scale is None or units is None or len(units) != n_axes:
        return [None] * n_axes
    metres = [METRES.get(str(unit)) for unit in units]
    return [None if one is None else abs(float(size)) * one * 1e6 for size, one in zip(scale, metres, strict=True)]
