"""Writes labels or marginals tile by tile. A stopped run can go on, and a file gets its name only when it is complete.

Unfinished work is in a hidden folder beside the target, see work_folder.py: the labels so far, and a journal. The
journal has one line for each finished tile, which is written after the labels of the tile. At the end the labels are
renamed. No file but the marker is open between two calls, as Windows does not rename a file that is open.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_densecrf.crf.objects.report import counts_type, report_of, together
from napari_densecrf.large.tile_job import Piece
from napari_densecrf.large.tiles import IN_255THS

from . import pyramid
from .read import METADATA, is_ome_tif
from .target import TIF, Target
from .work_folder import CLAIM, begin_folder, hold_folder, put_back, remove_folder, reserve

# A tif is stored in tiles, not in strips, where y and x are both longer than this.
MOST_UNCUT = 1024
# In the hidden folder: the journal, and the labels of an earlier run while they are being replaced.
JOURNAL, SPARE = "tiles.txt", "earlier"


class FileSink:
    """Writes the pieces of a job into a file; a `Sink`.

    Parameters
    ----------
    target : Target

    Attributes
    ----------
    done : dict
        From the key of each finished tile to the counts of each label in it: a tuple of its number of pixels; of
        objects, of the numbers that `count_objects` returns.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.done: dict[str, dict[int, tuple[int, ...]]] = {}
        self._journal = target.partial / JOURNAL
        self._hold: IO[str] | None = None

    @property
    def wants(self) -> str:
        """Name of the result that is written."""
        if self.target.holds_labels:
            return "labels"
        return IN_255THS if self.target.dtype == np.uint8 else "marginals"

    def open(self) -> Collection[str]:
        """Go on where an earlier run with the same target was stopped, or begin anew.

        Returns
        -------
        collection of str
            Keys of the tiles that are finished.

        Raises
        ------
        BadInput
            Where the format cannot have the axes, the hidden folder is not of this program, or another process writes
            to the same target.
        OSError
            Where the disk has too little room.
        """
        if self.target.is_zarr:
            pyramid.check_axes(self.target)
        self._hold = hold_folder(self.target.partial)
        try:
            with self._named_errors():
                return self._open()
        except Exception:
            self.abandon()
            raise

    def _open(self) -> Collection[str]:
        target = self.target
        claim = json.dumps([JOURNAL, target.about, target.shape, target.tile_shape, str(target.dtype)], sort_keys=True)
        written = target.partial / CLAIM
        if _text_of(written) == claim and self._labels.exists():
            _drop_half_line(self._journal)
            if target.is_zarr:
                pyramid.remove_half_chunks(self._labels)
            self.done = dict(_finished_lines(self._journal))
            return self.done.keys()
        self.done = {}
        put_back(target.partial / SPARE, target.place)
        begin_folder(target.partial)
        if target.is_zarr:
            pyramid.create(self._labels, target)
        else:
            np.lib.format.open_memmap(self._labels, "w+", target.dtype, target.shape)
            reserve(self._labels)
        # This file is written last: where it is, all others are too.
        written.write_text(claim, encoding="utf-8")
        return self.done.keys()

    @property
    def _labels(self) -> Path:
        """Path of the labels so far."""
        return self.target.partial / ("labels" if self.target.is_zarr else "labels.npy")

    def write(self, piece: Piece) -> None:
        """Write a tile, and note it as finished."""
        with self._named_errors():
            self._write(piece)

    def _write(self, piece: Piece) -> None:
        where, pixels = self._placed(piece)
        if self.target.is_zarr:
            pyramid.finest(self._labels)[where] = pixels
        else:
            array = np.lib.format.open_memmap(self._labels, "r+")
            array[where] = pixels
            array.flush()
        counts = _counts_of(piece) if self.target.holds_labels else {}
        with self._journal.open("a", encoding="utf-8") as journal:
            said = (f"{label}={'.'.join(map(str, numbers))}" for label, numbers in counts.items())
            journal.write(f"{piece.key}:{','.join(said)};\n")
        self.done[piece.key] = counts

    def _placed(self, piece: Piece) -> tuple[tuple[slice | int, ...], NDArray[Any]]:
        """Return where a piece is in the file, and its pixels with their axes in the order of the file."""
        where: list[slice | int] = [*piece.frame, *piece.inner]
        if self.target.holds_labels:
            return tuple(where), piece.pixels
        at = self.target.axes.index("C")
        where.insert(at, slice(None))
        return tuple(where), np.moveaxis(piece.pixels, 0, max(at - len(piece.frame), 0))

    def areas(self) -> dict[int, int]:
        """Return the number of pixels of each label in the finished tiles; 0 for classes that no pixel has."""
        found = self._counted()
        del found[self.target.no_label]
        values = self.target.values or range(max(found, default=-1) + 1)
        return {label: found[label] for label in values}

    def report(self) -> NDArray[Any]:
        """Return one row for each object in the finished tiles of all frames, as `ObjectRefinement.report` has them."""
        kind = counts_type(self.target.dtype)
        rows = [np.array([(id_, *numbers) for id_, numbers in counts.items()], kind) for counts in self.done.values()]
        return report_of(together(rows, self.target.dtype))

    @property
    def n_missing(self) -> int:
        """Number of pixels without a value in the finished tiles; 0 for objects."""
        return 0 if self.target.holds_objects else self._counted()[self.target.no_label]

    def _counted(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for counts in self.done.values():
            found.update({label: numbers[0] for label, numbers in counts.items()})
        return found

    def abandon(self) -> None:
        """Keep finished tiles for the next run; remove the hidden folder where no tile is finished."""
        try:
            if not self.done:
                self._remove()
        finally:
            self._let_go()

    def finish(self) -> None:
        """Complete the file, and give it its name."""
        try:
            with self._named_errors():
                self._finish()
        finally:
            self._let_go()

    def _finish(self) -> None:
        target = self._described()
        if target.is_zarr:
            pyramid.finish(self._labels, target, target.partial / SPARE)
        elif target.path.suffix.lower() in TIF:
            made = target.partial / "labels.tif"
            try:
                _write_tif(made, np.load(self._labels, mmap_mode="r"), target)
            except OSError:
                made.unlink(missing_ok=True)
                raise
            os.replace(made, target.place)
        else:
            os.replace(self._labels, target.place)
        self._remove()

    def _described(self) -> Target:
        """Return the target, whose ``about`` also has what is known at the end: pixels without a value, or a report."""
        if not self.target.holds_labels:
            return self.target
        if self.target.holds_objects:
            return replace(self.target, about={**self.target.about, "report": summary(self.report())})
        missing = {"no_label": self.target.no_label, "n_missing": self.n_missing}
        return replace(self.target, about={**self.target.about, **missing})

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Name the file in errors of the system that name none, as those of a full disk."""
        try:
            yield
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), str(self.target.path)) from None

    def _remove(self) -> None:
        if os.name == "nt":
            # Windows does not remove an open file.
            self._let_go()
        remove_folder(self.target.partial)
        if self.target.source is not None:
            pyramid.remove_empty(self.target.place.parent)


def summary(report: NDArray[Any]) -> dict[str, int]:
    """Return the numbers of objects in a report, of those that changed, and of those that were kept as they were."""
    changed = (report["border_moved"] > 0) | (report["area_before"] != report["area_after"])
    n_changed, n_held = int(np.count_nonzero(changed)), int(np.count_nonzero(report["held"]))
    return {"objects": len(report), "changed": n_changed, "held": n_held}


def _counts_of(piece: Piece) -> dict[int, tuple[int, ...]]:
    """Return the counts of each label in a piece, as `FileSink.done` has them."""
    if piece.counts is not None:
        return {int(row[0]): tuple(int(number) for number in row[1:]) for row in piece.counts.tolist()}
    labels = piece.pixels
    if labels.dtype == np.uint8:
        counts = np.bincount(labels.ravel(), minlength=1)
        return {label: (int(counts[label]),) for label in np.flatnonzero(counts).tolist()}
    values, counts = np.unique(labels, return_counts=True)
    return {label: (count,) for label, count in zip(values.tolist(), counts.tolist(), strict=True)}


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _drop_half_line(journal: Path) -> None:
    """Cut an incomplete last line off a journal: the next line would be appended to it."""
    content = journal.read_bytes() if journal.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(journal, len(whole))


def _finished_lines(journal: Path) -> Iterator[tuple[str, dict[int, tuple[int, ...]]]]:
    """Yield the keys of the tiles in a journal, with their counts; an incomplete line is skipped."""
    if not journal.is_file():
        return
    for line in journal.read_text(encoding="utf-8").split("\n"):
        if line.endswith(";"):
            key, labels = line[:-1].split(":")
            pairs = (pair.split("=") for pair in labels.split(",") if pair)
            yield key, {int(label): tuple(map(int, counts.split("."))) for label, counts in pairs}


def _write_tif(path: Path, labels: NDArray[Any], target: Target) -> None:
    is_ome = is_ome_tif(target.path)
    metadata: dict[str, Any] = {"axes": target.axes}
    if is_ome:
        metadata |= {f"PhysicalSize{letter}": size for letter, size in target.sizes.items()}
        metadata |= {f"PhysicalSize{letter}Unit": target.unit for letter in target.sizes if target.unit}
        # OME-XML has no element for it.
        metadata["Description"] = json.dumps({METADATA: target.about})
    else:
        metadata |= {METADATA: target.about, "sizes": target.sizes, "unit": target.unit}
    # OME-XML knows no axes but these: others are called T.
    if is_ome and not set(target.axes) <= set("TCZYX"):
        metadata["axes"] = target.axes.translate({ord(letter): "T" for letter in set(target.axes) - set("TCZYX")})
    large = min(target.shape[-2:]) > MOST_UNCUT
    options: dict[str, Any] = {"tile": (256, 256)} if large else {}
    tifffile.imwrite(path, labels, compression="zlib", metadata=metadata, ome=is_ome, **options)
