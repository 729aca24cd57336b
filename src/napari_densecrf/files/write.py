"""Label files, written tile by tile. A stopped run can go on, and a file gets its name only when it is complete.

Unfinished work is in a hidden folder beside the target: the labels so far, and a journal with a line for each finished
tile, written after its labels. At the end the labels are renamed. No file but the marker, which is locked, is open
between two calls, as Windows does not rename an open file.
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
from .places import CLAIM, begin_folder, hold_folder, put_back, remove_folder, reserve
from .read import METADATA, is_ome_tif
from .target import TIF, Target

# Larger images are cut into tiles within a tif.
MOST_UNCUT = 1024
# In the hidden folder: finished tiles, and labels of an earlier run that are being replaced.
JOURNAL, SPARE = "tiles.txt", "earlier"


class FileSink:
    """Writes the pieces of a job into a file; a `Sink`.

    Parameters
    ----------
    target : Target

    Attributes
    ----------
    done : dict
        From the keys of the tiles that are finished to counts of each label there: the number of its pixels; of an
        object, what `count_objects` returns.
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

        Raises
        ------
        BadInput
            Where the format has no such axes, the hidden folder is not of this program, or another run is at work.
        OSError
            Where the disk has not enough room.
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
        # The last, so that a folder that has it has all else.
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
        """Return the place of a piece in the file, and its pixels with the axis of classes where the file has it."""
        where: list[slice | int] = [*piece.frame, *piece.inner]
        if self.target.holds_labels:
            return tuple(where), piece.pixels
        at = self.target.axes.index("C")
        where.insert(at, slice(None))
        return tuple(where), np.moveaxis(piece.pixels, 0, max(at - len(piece.frame), 0))

    def areas(self) -> dict[int, int]:
        """Return the number of pixels of each label in what is finished; 0 for classes that are nowhere."""
        found = self._counted()
        del found[self.target.no_label]
        values = self.target.values or range(max(found, default=-1) + 1)
        return {label: found[label] for label in values}

    def report(self) -> NDArray[Any]:
        """Return one row an object in what is finished, as `ObjectRefinement.report`; those of all frames together."""
        kind = counts_type(self.target.dtype)
        rows = [np.array([(id_, *numbers) for id_, numbers in counts.items()], kind) for counts in self.done.values()]
        return report_of(together(rows, self.target.dtype))

    @property
    def n_missing(self) -> int:
        """Number of pixels without a value in what is finished."""
        return 0 if self.target.holds_objects else self._counted()[self.target.no_label]

    def _counted(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for counts in self.done.values():
            found.update({label: numbers[0] for label, numbers in counts.items()})
        return found

    def abandon(self) -> None:
        """Keep what is finished, for a run that goes on; remove the folder where nothing is."""
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
        """Return the target, with how many pixels have no value and what they are in the labels; or with a report."""
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
        """Name the file in errors of the system, as where the disk is full."""
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
    """Return how many objects a report has, how many of them changed, and how many were held as they were."""
    changed = (report["border_moved"] > 0) | (report["area_before"] != report["area_after"])
    n_changed, n_held = int(np.count_nonzero(changed)), int(np.count_nonzero(report["held"]))
    return {"objects": len(report), "changed": n_changed, "held": n_held}


def _counts_of(piece: Piece) -> dict[int, tuple[int, ...]]:
    """Return the counts of each label in a piece, see `FileSink`."""
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
    """Remove the end of a journal that was not written to its end: the next line would be a part of it."""
    content = journal.read_bytes() if journal.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(journal, len(whole))


def _finished_lines(journal: Path) -> Iterator[tuple[str, dict[int, tuple[int, ...]]]]:
    """Yield the tiles in a journal; its last line may be incomplete."""
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
        # OME has no room of its own for it.
        metadata["Description"] = json.dumps({METADATA: target.about})
    else:
        metadata |= {METADATA: target.about, "sizes": target.sizes, "unit": target.unit}
    # OME knows no other letters than these.
    if is_ome and not set(target.axes) <= set("TCZYX"):
        metadata["axes"] = target.axes.translate({ord(letter): "T" for letter in set(target.axes) - set("TCZYX")})
    large = min(target.shape[-2:]) > MOST_UNCUT
    options: dict[str, Any] = {"tile": (256, 256)} if large else {}
    tifffile.imwrite(path, labels, compression="zlib", metadata=metadata, ome=is_ome, **options)
