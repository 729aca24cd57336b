"""Many images with one set of numbers: a bad file stops nothing, and a table says what became of each."""

from __future__ import annotations

import csv
import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .files import BadInput
from .jobs import Job, Options, prepare, run

TABLE = "summary.csv"
SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr")


@dataclass(frozen=True)
class Entry:
    """One image of a batch, and where its other files are."""

    image: str
    probabilities: str
    strokes: str | None
    output: Path


@dataclass
class Outcome:
    """What became of an image: a row of the table.

    Parameters
    ----------
    entry : Entry
    status : str
        "done", "failed" or "there already".
    error : str
        One sentence, where it failed.
    areas : list of int
        Pixels of each class.
    elapsed_ms : float
    """

    entry: Entry
    status: str = "failed"
    error: str = ""
    areas: list[int] = field(default_factory=list)
    elapsed_ms: float = 0.0


def stem(name: str) -> str:
    """Return a file's name without its folder and its ending, ``.ome.tif`` and such being one."""
    path = Path(name)
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def find(images: Sequence[str], probabilities: str, strokes: str | None, folder: Path, ending: str) -> list[Entry]:
    """Return the images that the patterns name, each with its map.

    Parameters
    ----------
    images : sequence of str
        Files, or patterns with * and ? that a shell has left as they are.
    probabilities, strokes : str
        With ``{stem}`` where the image's name goes, without its ending.
    folder : Path
    ending : str
        Of the outputs: .tif, .npy, .ome.zarr.

    Raises
    ------
    BadInput
        Where nothing matches, or two images would be written to one file.
    """
    names = sorted({name for pattern in images for name in (glob.glob(pattern, recursive=True) or [pattern])})
    found = [name for name in names if os.path.exists(name)]
    if not found:
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
        )
        for name, one in zip(names, stems, strict=True)
    ]


def run_all(
    entries: Sequence[Entry], options: Options, folder: Path, *, skip_existing: bool = False
) -> Iterator[tuple[Outcome, Job | None, int]]:
    """Do all, and write the table anew after each.

    Yields
    ------
    outcome : Outcome
        Of the image at work; its status is final when the next begins.
    job : Job, optional
        None where there is none, or no more.
    n_done : int
        Tiles that are finished.
    """
    outcomes: list[Outcome] = []
    for entry in entries:
        outcome = Outcome(entry)
        outcomes.append(outcome)
        if skip_existing and entry.output.exists():
            outcome.status = "there already"
            write_table(folder / TABLE, outcomes)
            yield outcome, None, 0
            continue
        started = time.perf_counter()
        try:
            job = prepare(entry.image, entry.probabilities, entry.output, options, entry.strokes)
            for n_done, areas in run(job):
                outcome.areas = areas
                yield outcome, job, n_done
            outcome.status = "done"
        except (BadInput, ValueError, TypeError, MemoryError, OSError) as error:
            outcome.error = " ".join(str(error).split())
        outcome.elapsed_ms = 1e3 * (time.perf_counter() - started)
        write_table(folder / TABLE, outcomes)
        yield outcome, None, 0


def write_table(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table beside its place, then rename."""
    most = max(len(outcome.areas) for outcome in outcomes)
    heads = ["image", "probabilities", "labels", "status", "milliseconds", *(f"pixels_{k}" for k in range(most))]
    made = path.with_name(f".{path.name}")
    with made.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*heads, "error"])
        for outcome in outcomes:
            areas = outcome.areas if outcome.status == "done" else []
            table.writerow(
                [
                    outcome.entry.image,
                    outcome.entry.probabilities,
                    outcome.entry.output,
                    outcome.status,
                    round(outcome.elapsed_ms),
                    *areas,
                    *[""] * (most - len(areas)),
                    outcome.error,
                ]
            )
    os.replace(made, path)
