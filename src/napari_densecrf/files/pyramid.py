"""Writes labels as an OME-Zarr, on their own or among the labels of an image: chunks, coarser levels, metadata."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .places import zarr_attributes
from .read import METADATA, BadInput
from .target import Target
from .work_folder import alone_in, put

# A chunk of a zarr array has at most so many pixels along each axis.
MOST_CHUNK = 1024
# Coarser levels are added until y or x has no more pixels than this.
SMALLEST_LEVEL = 256
# Names of files that zarr is still writing.
HALF_CHUNK = re.compile(r"\.[0-9a-f]{32}\.partial$")
UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter"}


def check_axes(target: Target) -> None:
    """Raise `BadInput` where OME-Zarr cannot describe the axes."""
    if list(_kinds(target.axes).values()).count("other") > 1:
        raise BadInput(f"{target.path} would have axes {target.axes}: OME-Zarr knows T first, C, Z, Y, X and one more")


def create(folder: Path, target: Target) -> None:
    """Make a group with the array of the finest level."""
    import zarr

    _level(zarr.open_group(folder, mode="w", zarr_format=_zarr_format(target)), "0", target.shape, target)


def finest(folder: Path) -> Any:
    """Return the array of the finest level, to write into."""
    import zarr

    return zarr.open_array(folder / "0", mode="r+")


def remove_half_chunks(folder: Path) -> None:
    """Remove the chunks that zarr was still writing when a run was killed."""
    for at, _, names in os.walk(folder):
        for name in names:
            if HALF_CHUNK.search(name):
                (Path(at) / name).unlink()


def finish(folder: Path, target: Target, spare: Path) -> None:
    """Add coarser levels and attributes, then rename the folder; an earlier zarr is moved to ``spare`` first."""
    import zarr
    from ome_zarr.writer import add_metadata, write_multiscales_metadata

    group = zarr.open_group(folder, mode="r+")
    datasets = []
    for level, factor in enumerate(_write_coarser(group, target)):
        scale = [target.sizes.get(letter, 1.0) * (factor if letter in "YX" else 1) for letter in target.axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": letter.lower(), "type": kind} for letter, kind in _kinds(target.axes).items()]
    unit = UNITS.get(target.unit or "", target.unit)
    for axis in axes:
        if unit and axis["type"] == "space":
            axis["unit"] = unit
    write_multiscales_metadata(group, datasets, axes=axes, name=target.path.name)
    add_metadata(group, {METADATA: target.about})
    if target.source is not None:
        add_metadata(group, {"image-label": {"version": _version(target.source), "source": {"image": "../../"}}})
    put(folder, target.place, spare)
    if target.source is not None:
        with alone_in(target.place.parent):
            _list_labels(target.place, target.source, target.partial)


def remove_empty(labels: Path) -> None:
    """Remove the folder of an image's labels if it is empty, as after a run that made it and failed."""
    if labels.is_dir() and not any(labels.iterdir()):
        labels.rmdir()


# ---- levels


def _zarr_format(target: Target) -> Any:
    """Return the version of zarr, 2 or 3: that of the source image, or 2 (OME-Zarr 0.4), which more programs read."""
    return 2 if target.source is None else _format_of(target.source)


def _format_of(group: Path) -> int:
    return 3 if (group / "zarr.json").is_file() else 2


def _level(group: Any, name: str, shape: Sequence[int], target: Target) -> Any:
    """Make the array of a level. Each tile has a whole number of its chunks, so that no chunk is written twice."""
    chunks = tuple(_chunk(min(side, size)) for side, size in zip(target.tile_shape, shape, strict=True))
    keys = {"name": "v2", "separator": "/"} if group.metadata.zarr_format == 2 else None
    names = [letter.lower() for letter in target.axes] if group.metadata.zarr_format == 3 else None
    return group.create_array(
        name, shape=tuple(shape), chunks=chunks, dtype=target.dtype, chunk_key_encoding=keys, dimension_names=names,
        # A run that was killed in its last step may have left a level.
        overwrite=True,
    )  # fmt: skip


def _chunk(side: int) -> int:
    """Return the side of a chunk: that of a tile, halved until it is at most `MOST_CHUNK`."""
    while side > MOST_CHUNK:
        side = side // 2 if side % 2 == 0 else MOST_CHUNK
    return side


def _kinds(axes: str) -> dict[str, str]:
    """Return the OME-Zarr type of each axis by its letter; T is time only if it is the first axis."""
    kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
    return {letter: kinds.get(letter, "other") if letter != "T" or k == 0 else "other" for k, letter in enumerate(axes)}


def _write_coarser(group: Any, target: Target) -> list[int]:
    """Write coarser levels, each with every second pixel of the one before along y and x.

    Returns
    -------
    list of int
        For each level, the size of its pixels along y and x in those of the finest level: 1, 2, 4, ...
    """
    factors = [1]
    while min(-(-size // factors[-1]) for size in target.shape[-2:]) > SMALLEST_LEVEL:
        finer = group[str(len(factors) - 1)]
        shape = (*finer.shape[:-2], *(-(-size // 2) for size in finer.shape[-2:]))
        coarser = _level(group, str(len(factors)), shape, target)
        for chunk in _chunks(coarser):
            wider = tuple(slice(2 * part.start, 2 * part.stop, 2) for part in chunk[-2:])
            # Of a side of an odd number of pixels, the last one has no second.
            coarser[chunk] = finer[(*chunk[:-2], *wider)]
        factors.append(2 * factors[-1])
    return factors


def _chunks(array: Any) -> Iterator[tuple[slice, ...]]:
    counts = [-(-size // side) for size, side in zip(array.shape, array.chunks, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(
            slice(k * side, min((k + 1) * side, size))
            for k, side, size in zip(index, array.chunks, array.shape, strict=True)
        )


# ---- the list of an image's labels


def _list_labels(labels: Path, image: Path, work: Path) -> None:
    """Add the name of ``labels`` to the list of an image's labels.

    The JSON is written here and not by zarr, so that it is replaced in one step. ``work`` is the folder for unfinished
    work, in which it is made.
    """
    group, name = labels.parent, labels.name
    if _format_of(image) == 3:
        whole = {"zarr_format": 3, "node_type": "group", "attributes": {}, **_json_of(group / "zarr.json")}
        names = whole["attributes"].setdefault("ome", {"version": _version(image)}).setdefault("labels", [])
        document = group / "zarr.json"
    else:
        if not (group / ".zgroup").is_file():
            _write_json(group / ".zgroup", {"zarr_format": 2}, work)
        document = group / ".zattrs"
        whole = _json_of(document)
        names = whole.setdefault("labels", [])
    if name not in names:
        names.append(name)
        _write_json(document, whole, work)


def _version(image: Path) -> str:
    """Return the version of OME-Zarr in which an image is written."""
    attributes = zarr_attributes(image) or {}
    ome = attributes.get("ome", {"version": attributes.get("multiscales", [{}])[0].get("version", "0.4")})
    return str(ome.get("version", "0.5"))


def _json_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _write_json(path: Path, what: dict[str, Any], work: Path) -> None:
    """Write a file in the folder for unfinished work, then rename it."""
    made = work / "attributes.json"
    made.write_text(json.dumps(what, indent=2), encoding="utf-8")
    os.replace(made, path)
