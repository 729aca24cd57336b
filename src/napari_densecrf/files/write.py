"""Label files that are written tile by tile, go on after a stop, and appear under their name only when they are whole.

All work goes into a hidden folder beside the target: the labels so far, and a journal with a line for each finished
tile, written after its labels. The end renames.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .read import BadInput

TIF = (".tif", ".tiff")
WRITABLE = (*TIF, ".npy", ".ome.zarr", ".zarr")
# Sides of a chunk of a zarr array, at most; levels of a pyramid stop below it.
MOST_CHUNK = 1024
SMALLEST_LEVEL = 256
METADATA = "napari-densecrf"


@dataclass(frozen=True)
class Target:
    """What is to be written, and where.

    Parameters
    ----------
    path : Path
        .tif, .npy, an OME-Zarr folder, or ``SOURCE.zarr/labels/NAME`` for a label image of an OME-Zarr.
    shape : tuple of int
    dtype : numpy.dtype
    axes : str
        One letter an axis.
    tile_shape : tuple of int
        Of what is written at a time; an axis that counts frames has 1.
    sizes : dict
        Size of a pixel for the letters that have one.
    unit : str, optional
    about : dict
        Parameters, versions and inputs, which are kept with the labels.
    holds_labels : bool
        Or else marginals, with an axis C for the classes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    tile_shape: tuple[int, ...]
    sizes: dict[str, float]
    unit: str | None
    about: dict[str, Any]
    holds_labels: bool = True

    @property
    def is_zarr(self) -> bool:
        """Whether this is a folder of chunks."""
        return is_zarr(self.path)

    @property
    def source(self) -> Path | None:
        """The OME-Zarr that the labels belong to, if they are to be part of one."""
        parts = self.path.parent
        return parts.parent if self.is_zarr and parts.name == "labels" and parts.parent.is_dir() else None

    @property
    def partial(self) -> Path:
        """The hidden folder of what is not whole yet."""
        return self.path.parent / f".{self.path.name}.partial"


def is_zarr(path: Path) -> bool:
    """Tell whether a path names a zarr, or something in one."""
    inside = path.parent.name == "labels" and path.parent.parent.name.lower().endswith(".zarr")
    return inside or path.name.lower().endswith(".zarr")


def check_path(path: Path) -> None:
    """Raise `BadInput` where labels cannot be written under this name."""
    if not is_zarr(path) and not path.name.lower().endswith(WRITABLE):
        raise BadInput(f"{path} ends in {path.suffix or 'nothing'}: expected {', '.join(WRITABLE)}")
    folder = path.parent.parent if path.parent.name == "labels" and is_zarr(path) else path.parent
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder: expected one that exists")
    if is_zarr(path):
        try:
            import ome_zarr.writer  # noqa: F401
        except ImportError:
            raise BadInput(f'{path} needs ome-zarr: pip install "napari-densecrf[files]"') from None


class PartialLabels:
    """Labels on their way into a file.

    Parameters
    ----------
    target : Target
        Where an earlier run on the same target was stopped, and said the same about it, this one goes on.

    Attributes
    ----------
    done : dict
        From the keys of the tiles that are finished to their number of pixels a class.

    Raises
    ------
    BadInput
        Where the file cannot have such axes.
    """

    def __init__(self, target: Target) -> None:
        _check_axes(target)
        self.target = target
        self.done: dict[str, list[int]] = {}
        said = json.dumps([target.about, target.shape, target.tile_shape, str(target.dtype)], sort_keys=True)
        self._journal = target.partial / "journal.txt"
        claim = target.partial / "about.json"
        if claim.is_file() and claim.read_text(encoding="utf-8") == said:
            self.done = dict(_finished_lines(self._journal))
            self._store = self._open("r+")
            return
        shutil.rmtree(target.partial, ignore_errors=True)
        target.partial.mkdir(parents=True)
        self._store = self._open("w")
        # The last, so that a folder that has it has all else.
        claim.write_text(said, encoding="utf-8")

    def write(self, key: str, where: tuple[slice | int, ...], labels: NDArray[Any]) -> None:
        """Write a tile, and note it as finished."""
        self._store[where] = labels
        if isinstance(self._store, np.memmap):
            self._store.flush()
        areas = np.bincount(labels.ravel()).tolist() if self.target.holds_labels else []
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(f"{key}:{','.join(map(str, areas))};\n")
        self.done[key] = areas

    def areas(self) -> list[int]:
        """Return the number of pixels of each class in what is finished."""
        total = np.zeros(max((len(areas) for areas in self.done.values()), default=0), np.int64)
        for areas in self.done.values():
            total[: len(areas)] += areas
        return total.tolist()

    def abandon(self) -> None:
        """Remove what is not whole, where nothing of it is finished."""
        if not self.done:
            shutil.rmtree(self.target.partial, ignore_errors=True)

    def finish(self) -> None:
        """Make the file what its readers expect, and give it its name."""
        target = self.target
        if target.is_zarr:
            _finish_zarr(target)
        elif target.path.suffix.lower() in TIF:
            made = target.partial / "labels.tif"
            _write_tif(made, self._store, target)
            os.replace(made, target.path)
        else:
            del self._store
            os.replace(target.partial / "labels.npy", target.path)
        shutil.rmtree(target.partial, ignore_errors=True)

    def _open(self, mode: str) -> Any:
        target = self.target
        if not target.is_zarr:
            path = target.partial / "labels.npy"
            if mode == "w":
                return np.lib.format.open_memmap(path, "w+", target.dtype, target.shape)
            return np.lib.format.open_memmap(path, "r+")
        import zarr

        if mode == "r+":
            return zarr.open_array(target.partial / "labels" / "0", mode="r+")
        group = zarr.open_group(target.partial / "labels", mode="w", zarr_format=_zarr_format(target))
        return _level(group, "0", target.shape, target)


def _finished_lines(journal: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the tiles of a journal, whose last line may be half."""
    if not journal.is_file():
        return
    for line in journal.read_text(encoding="utf-8").split("\n"):
        if line.endswith(";"):
            key, areas = line[:-1].split(":")
            yield key, [int(area) for area in areas.split(",") if area]


def _write_tif(path: Path, labels: NDArray[Any], target: Target) -> None:
    is_ome = target.path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    metadata: dict[str, Any] = {"axes": target.axes}
    if is_ome:
        metadata |= {f"PhysicalSize{letter}": size for letter, size in target.sizes.items()}
        metadata |= {f"PhysicalSize{letter}Unit": target.unit for letter in target.sizes if target.unit}
    else:
        metadata |= {METADATA: target.about, "sizes": target.sizes, "unit": target.unit}
    # OME knows no other letters than these.
    if is_ome and not set(target.axes) <= set("TCZYX"):
        metadata["axes"] = target.axes.translate({ord(letter): "T" for letter in set(target.axes) - set("TCZYX")})
    large = min(target.shape[-2:]) > MOST_CHUNK
    options: dict[str, Any] = {"tile": (256, 256)} if large else {}
    tifffile.imwrite(path, labels, compression="zlib", metadata=metadata, ome=is_ome, **options)


# ---- OME-Zarr


def _zarr_format(target: Target) -> Any:
    """Return 2 or 3: what the source has, or 2 (OME-Zarr 0.4), which more programs read."""
    if target.source is not None:
        import zarr

        return zarr.open_group(target.source, mode="r").metadata.zarr_format
    return 2


def _level(group: Any, name: str, shape: Sequence[int], target: Target) -> Any:
    """Make the array of a level, whose chunks are whole parts of a tile."""
    chunks = tuple(_chunk(min(side, size)) for side, size in zip(target.tile_shape, shape, strict=True))
    keys = {"name": "v2", "separator": "/"} if group.metadata.zarr_format == 2 else None
    names = [letter.lower() for letter in target.axes] if group.metadata.zarr_format == 3 else None
    return group.create_array(
        name, shape=tuple(shape), chunks=chunks, dtype=target.dtype, chunk_key_encoding=keys, dimension_names=names
    )


def _chunk(side: int) -> int:
    """Halve a tile's side until it is a chunk's."""
    while side > MOST_CHUNK:
        side = side // 2 if side % 2 == 0 else MOST_CHUNK
    return side


def _kinds(axes: str) -> dict[str, str]:
    """Return the types of axes as OME-Zarr has them: T is time where it comes first."""
    kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
    return {letter: kinds.get(letter, "other") if letter != "T" or k == 0 else "other" for k, letter in enumerate(axes)}


def _check_axes(target: Target) -> None:
    if target.is_zarr and list(_kinds(target.axes).values()).count("other") > 1:
        raise BadInput(f"{target.path} would have axes {target.axes}: OME-Zarr knows T first, C, Z, Y, X and one more")


def _finish_zarr(target: Target) -> None:
    """Add the levels and what OME-Zarr says about them, then move all to its place."""
    import zarr
    from ome_zarr.writer import add_metadata, write_label_metadata, write_multiscales_metadata

    made = target.partial / "labels"
    group = zarr.open_group(made, mode="r+")
    factors = _write_pyramid(group, target)
    datasets = []
    for level, factor in enumerate(factors):
        scale = [target.sizes.get(letter, 1.0) * (factor if letter in "YX" else 1) for letter in target.axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": letter.lower(), "type": kind} for letter, kind in _kinds(target.axes).items()]
    unit = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter"}.get(target.unit or "", target.unit)
    for axis in axes:
        if unit and axis["type"] == "space":
            axis["unit"] = unit
    write_multiscales_metadata(group, datasets, axes=axes, name=target.path.name)
    add_metadata(group, {METADATA: target.about})
    if target.source is None:
        _replace_folder(made, target.path)
        return
    labels = zarr.open_group(target.path.parent, mode="a", zarr_format=group.metadata.zarr_format)
    _replace_folder(made, target.path)
    if target.path.name not in _listed(labels):
        write_label_metadata(labels, target.path.name, source={"image": "../../"})


def _listed(labels: Any) -> list[str]:
    attributes = dict(labels.attrs)
    return list(attributes.get("ome", attributes).get("labels", []))


def _write_pyramid(group: Any, target: Target) -> list[int]:
    """Write levels, each with every second pixel of the one before along y and x; return the factors."""
    factors = [1]
    while min(-(-size // factors[-1]) for size in target.shape[-2:]) > SMALLEST_LEVEL:
        finer = group[str(len(factors) - 1)]
        shape = (*finer.shape[:-2], *(-(-size // 2) for size in finer.shape[-2:]))
        coarser = _level(group, str(len(factors)), shape, target)
        for chunk in _chunks(coarser):
            wider = tuple(slice(2 * part.start, 2 * part.stop, 2) for part in chunk[-2:])
            # The last pixel of an odd side has no neighbour.
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


def _replace_folder(made: Path, path: Path) -> None:
    """Give a folder its name; one that had it before goes away last."""
    old = path.parent / f".{path.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(made, path)
    shutil.rmtree(old, ignore_errors=True)
