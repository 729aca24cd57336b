"""Many images with one set of options: one that fails does not stop the others, and a table lists the outcomes."""

from __future__ import annotations

import csv
import glob
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.unary import InputWarning

from . import places, work_folder
from .jobs import FileJob, prepare
from .options import Options, inputs_of
from .places import Use
from .read import BadInput

TABLE = "summary.csv"
HEADS = ("image", "probabilities", "labels", "status", "milliseconds")
SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr")
# Where a folder is named, files with these endings are its images.
PICTURES = (".tif", ".tiff", ".npy", ".h5", ".hdf5", ".zarr", ".png", ".jpg", ".jpeg", ".bmp")
# Columns of the table for objects, in place of the areas of classes; areas in pixels.
OBJECT_HEADS = ("objects", "area before", "area after", "held")
# Spreadsheet programs take a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Entry:
    """One image of a batch, and where its other files are."""

    image: str
    probabilities: str
    strokes: str | None
    output: Path
    foreground: str | None = None


@dataclass
class Outcome:
    """The outcome of one image: a row of the table.

    Parameters
    ----------
    entry : Entry
    status : str
        "done", "failed" or "there already".
    error : str
        One sentence, where it failed.
    remarks : list of str
        Warnings: what was a guess, and how many pixels have no value.
    areas : dict
        From each label to its number of pixels.
    objects : dict
        Of objects: from each of `OBJECT_HEADS` to its number.
    elapsed_ms : float
        Milliseconds.
    """

    entry: Entry
    status: str = "failed"
    error: str = ""
    remarks: list[str] = field(default_factory=list)
    areas: dict[int, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    elapsed_ms: float = 0.0


def stem(name: str) -> str:
    """Return a file's name without its folder and its ending; each of `SUFFIXES` is one ending."""
    path = Path(name)
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def find(
    images: Sequence[str],
    probabilities: str,
    strokes: str | None,
    folder: Path,
    ending: str,
    foreground: str | None = None,
) -> list[Entry]:
    """Return the images that the patterns name, each with its map. A file that is the map of another image is left out.

    Parameters
    ----------
    images : sequence of str
        Files, folders, or patterns with * and ? that a shell has left as they are.
    probabilities, strokes : str
        Paths, in which ``{stem}`` stands for the name of the image without its ending.
    folder : Path
        Of the outputs.
    ending : str
        Of the outputs: .tif, .npy or .ome.zarr.
    foreground : str, optional
        Of objects: the path of the foreground, with ``{stem}`` too.

    Raises
    ------
    BadInput
        Where nothing matches, or two images would be written to one file.
    """
    names = files_of(images)
    for name in names:
        if os.path.normpath(probabilities.replace("{stem}", stem(name))) == os.path.normpath(name):
            raise BadInput(f"{probabilities} names the image {name} itself: expected the pattern of its map")
    patterns = [pattern for pattern in (probabilities, foreground) if pattern is not None]
    maps = {os.path.normpath(pattern.replace("{stem}", stem(name))) for name in names for pattern in patterns}
    names = [name for name in names if os.path.normpath(name) not in maps]
    if not any(os.path.exists(name) for name in names):
        raise BadInput(f"no file matches {', '.join(images)}")
    stems = [stem(name) for name in names]
    twice = {one for one in stems if stems.count(one) > 1}
    if twice:
        raise BadInput(f"several images are called {sorted(twice)[0]}: their labels would overwrite each other")
    return [
        Entry(
            name,
            probabilities.replace("{stem}", one),
            None if strokes is None else strokes.replace("{stem}", one),
            folder / f"{one}{ending}",
            None if foreground is None else foreground.replace("{stem}", one),
        )
        for name, one in zip(names, stems, strict=True)
    ]


def files_of(patterns: Sequence[str]) -> list[str]:
    """Return the files that patterns name, sorted. A folder gives its images; a pattern without a match, itself."""
    names: set[str] = set()
    for pattern in patterns:
        if os.path.isdir(pattern) and not Path(pattern).name.lower().endswith(".zarr"):
            names.update(str(path) for path in Path(pattern).iterdir() if is_picture(path.name))
        elif os.path.lexists(pattern):
            names.add(pattern)
        else:
            names.update(glob.glob(_with_folders_as_they_are(pattern), recursive=True) or [pattern])
    return sorted(names)


def _with_folders_as_they_are(pattern: str) -> str:
    """Return a pattern in which brackets in the name of a folder that exists, as ``exp [1]/*.tif``, are no pattern."""
    path = Path(pattern)
    for folder in path.parents:
        if folder.is_dir():
            return os.path.join(glob.escape(str(folder)), path.relative_to(folder))
    return pattern


def is_picture(name: str) -> bool:
    """Tell whether a file's name is that of an image, a map or labels."""
    return name.lower().endswith(PICTURES) and not name.startswith(".")


def pattern_of(image: str, other: str) -> str | None:
    """Return a path with ``{stem}`` in place of the name of its image; None if the path does not contain that name."""
    path = Path(other)
    # Not as a part of a word or a number: "image 1" is not found in "image 10".
    parts = re.split(rf"(?<![^\W_]){re.escape(stem(image))}(?![^\W_])", path.name, maxsplit=1)
    return str(path.with_name("{stem}".join(parts))) if len(parts) == 2 else None


def run_all(
    entries: Sequence[Entry],
    options: Options,
    folder: Path,
    *,
    skip_existing: bool = False,
    earlier: Sequence[Outcome] = (),
) -> Iterator[tuple[Outcome, bool]]:
    """Refine all entries, and rewrite the table after each.

    Parameters
    ----------
    entries : sequence of Entry
    options : Options
    folder : Path
        Of the table; it is made if there is none.
    skip_existing : bool
        Whether an image whose labels exist already is skipped.
    earlier : sequence of Outcome
        Outcomes of a run that was stopped: their images are not refined again, and the table has their rows too.

    Yields
    ------
    outcome : Outcome
        Of the image at work.
    is_final : bool
        Whether the outcome will not change any more.

    Raises
    ------
    BadInput
        Before anything is written: where an output would overwrite an input, see `places.check`, or another batch
        is writing to the folder.
    """
    check(entries, options, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with work_folder.at_work(folder / TABLE) as work:
        yield from _run_all(entries, options, folder, work, skip_existing=skip_existing, earlier=earlier)


def _run_all(
    entries: Sequence[Entry],
    options: Options,
    folder: Path,
    work: Path,
    *,
    skip_existing: bool,
    earlier: Sequence[Outcome],
) -> Iterator[tuple[Outcome, bool]]:
    """Do what `run_all` does, with a folder for the unfinished table."""
    outcomes = list(earlier)
    settled = {outcome.entry for outcome in earlier}
    for entry in entries:
        if entry in settled:
            continue
        outcome = Outcome(entry)
        outcomes.append(outcome)
        if skip_existing and entry.output.exists():
            outcome.status = "there already"
            write_table(folder / TABLE, outcomes, work)
            yield outcome, True
            continue
        started = time.perf_counter()
        try:
            job = _prepare(entry, options, outcome.remarks)
            for _ in job.run():
                yield outcome, False
            if options.objects is None:
                outcome.areas = job.labels.areas()
            else:
                outcome.objects = _of_objects(job.labels.report())
            outcome.remarks += [job.missing] if job.missing else []
            outcome.status = "done"
        except (BadInput, ValueError, TypeError, MemoryError, OSError) as error:
            outcome.error = sentence(error)
        except Exception as error:
            # Libraries may raise any error for a damaged file.
            outcome.error = f"{type(error).__name__}: {sentence(error)}"
        outcome.elapsed_ms = 1e3 * (time.perf_counter() - started)
        write_table(folder / TABLE, outcomes, work)
        yield outcome, True


def _of_objects(report: NDArray[Any]) -> dict[str, int]:
    """Return a number for each of `OBJECT_HEADS`; areas in pixels, of all objects together."""
    areas = (report["area_before"].sum(), report["area_after"].sum())
    numbers = (len(report), *areas, np.count_nonzero(report["held"]))
    return dict(zip(OBJECT_HEADS, map(int, numbers), strict=True))


def _prepare(entry: Entry, options: Options, remarks: list[str]) -> FileJob:
    """Prepare a job, and note the warnings about its input."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        options = replace(options, is_one_of_many=True)
        if options.objects is not None:
            options = replace(options, objects=replace(options.objects, foreground=entry.foreground))
        job = prepare(entry.image, entry.probabilities, entry.output, options, entry.strokes)
    for warning in caught:
        if issubclass(warning.category, InputWarning):
            # It is shown with the outcome.
            remarks.append(str(warning.message))
        else:
            warnings.warn(warning.message, stacklevel=3)
    return job


def sentence(error: BaseException) -> str:
    """Return the message of an error in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def check(entries: Sequence[Entry], options: Options, folder: Path) -> None:
    """Raise `BadInput` where labels or the table would be written over what any of the entries reads or writes."""
    inputs = [use for one in entries for use in inputs_of(one.image, one.probabilities, one.strokes, options)]
    inputs += [use for one in entries for use in places.reads(("the foreground", one.foreground))]
    table = folder / TABLE
    places.check(inputs, [*(Use("the labels", one.output) for one in entries), Use("the table", table, is_new=False)])
    if table.exists() and not table.read_bytes().startswith(b",".join(head.encode() for head in HEADS)):
        raise BadInput(f"{table} is no table of napari-densecrf: choose another folder for the labels")


def _path_cell(path: object) -> str:
    """Return a path that no spreadsheet program takes for a formula: ``./=1+1.tif`` for ``=1+1.tif``."""
    return f".{os.sep}{path}" if str(path).startswith(FORMULA) else str(path)


def _cell(words: str) -> str:
    return f"'{words}" if words.startswith(FORMULA) else words


def write_table(path: Path, outcomes: Sequence[Outcome], work: Path) -> None:
    """Write the table in ``work``, a folder for unfinished work, then rename it to ``path``."""
    labels = sorted({label for outcome in outcomes for label in outcome.areas})
    made = work / path.name
    with made.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        heads = OBJECT_HEADS if any(outcome.objects for outcome in outcomes) else ()
        table.writerow([*HEADS, *(f"pixels_{label}" for label in labels), *heads, "error", "remarks"])
        for outcome in outcomes:
            table.writerow(
                [
                    *map(_path_cell, (outcome.entry.image, outcome.entry.probabilities, outcome.entry.output)),
                    outcome.status,
                    round(outcome.elapsed_ms),
                    *(outcome.areas.get(label, 0) if outcome.areas else "" for label in labels),
                    *(outcome.objects.get(head, "") for head in heads),
                    _cell(outcome.error),
                    _cell("; ".join(outcome.remarks)),
                ]
            )
    os.replace(made, places.real(path))
