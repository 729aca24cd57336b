"""Run on folder, without Qt: the chosen files, the run over them, and the command that does the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from napari.layers import Image

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.recipes.command import joined, objects_options, options_of
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.files.batch import TABLE, Entry, Outcome, find, run_all
from napari_densecrf.files.options import ObjectOptions, Options, as_they_are
from napari_densecrf.files.read import BadInput, read
from napari_densecrf.params import CRFParams

# Ending of the labels.
LABELS = ".tif"


@dataclass
class FolderRun:
    """One run over the files of a folder; what is done is kept, so that it can go on.

    Parameters
    ----------
    entries : tuple of Entry
    folder : Path
        For labels and table; it is made.
    options : Options
    outcomes : list of Outcome
    """

    entries: tuple[Entry, ...]
    folder: Path
    options: Options
    outcomes: list[Outcome] = field(default_factory=list)
    again: ClassVar[str] = "the same run"

    @property
    def n_all(self) -> int:
        """Number of images."""
        return len(self.entries)

    @property
    def n_done(self) -> int:
        """Images that are done, or have failed."""
        return len(self.outcomes)

    def is_like(self, other: FolderRun) -> bool:
        """Tell whether this was stopped and the other one is equal: then this can go on."""
        same = (self.entries, self.folder, self.options) == (other.entries, other.folder, other.options)
        return same and self.n_done < self.n_all

    def steps(self) -> Steps:
        """Do what is left; a bad file stops nothing."""
        for outcome, is_final in run_all(self.entries, self.options, self.folder, earlier=tuple(self.outcomes)):
            yield Found(outcome) if is_final else Stage(outcome.entry.image, 0.0)
        yield Done(self)

    def take(self, found: Outcome) -> str:
        """Keep the outcome of an image; return the text of the panel."""
        self.outcomes.append(found)
        return words.progress(self.n_done, self.n_all, len(self._failed))

    def finish(self, seconds: float) -> str:
        """Say how many were done, and what is wrong with the first that was not."""
        first = _named(self._failed[0]) if self._failed else ""
        return words.folder_done(self.n_all, len(self._failed), first, seconds, self.folder / TABLE)

    @property
    def _failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]


def _named(failed: Outcome) -> str:
    said, name = words_of(failed), Path(failed.entry.image).name
    return said if name in said else f"{name}: {said}"


def words_of(outcome: Outcome) -> str:
    """Say what became of an image, in the words of the window, with the names of files in place of their paths."""
    said = "; ".join(outcome.remarks) if outcome.status != "failed" else outcome.error
    for path in map(Path, (outcome.entry.image, outcome.entry.probabilities)):
        said = said.replace(str(path), path.name)
    return words.for_window(said)


@dataclass(frozen=True)
class Choice:
    """The choices in the window.

    Parameters
    ----------
    images : str
        A folder, or a pattern with * and ?.
    maps : str
        With ``{stem}`` where the name of an image goes.
    folder : Path
        For labels and table.
    """

    images: str
    maps: str
    folder: Path

    def entries(self) -> tuple[Entry, ...]:
        """Return the images with their maps.

        Raises
        ------
        BadInput
            Where there is none.
        """
        return tuple(find([self.images], self.maps, None, self.folder, LABELS))

    @property
    def is_ready(self) -> bool:
        """Whether there are images, and a pattern for their maps."""
        try:
            return bool(self.maps) and bool(self.entries())
        except BadInput:
            return False

    def __str__(self) -> str:
        """Describe in a line which images and maps there are."""
        try:
            entries = self.entries()
        except BadInput:
            return words.NO_IMAGE
        missing = [Path(entry.image).name for entry in entries if not Path(entry.probabilities).exists()]
        return words.pairs(len(entries), missing, has_pattern=bool(self.maps))


def options_like(request: Request | None, params: CRFParams, images: Sequence[str], *, rough: bool) -> Options:
    """Return how to refine files like the image at hand: its pixel size, and its axes where files have as many.

    Parameters
    ----------
    request : Request, optional
    params : CRFParams
    images : sequence of str
        The first that can be read tells how many axes files have.
    rough : bool
        Whether maps are rough segmentations.
    """
    confidence = CONFIDENCE if rough else None
    if request is None:
        return Options(params, confidence=confidence)
    problem = request.problem
    objects = ObjectOptions(request.border, chosen=False, adapt=as_they_are, one_contrast=True)
    if problem.objects:
        params, confidence = request.params, None
    wanted = objects if problem.objects else None
    axes = problem.image_axes.letters(problem.letters("Z" if request.frame == "volume" else "T"))
    # The map at hand says what a gray map is, which might as well be a picture.
    is_foreground = isinstance(problem.map, Image) and problem.class_axis is None
    if _n_axes(images) != len(axes):
        return Options(params, spacing=request.problem.spacing, confidence=confidence, objects=wanted)
    return Options(
        params,
        axes=axes,
        map_axes=axes.replace("C", "") if is_foreground else None,
        spacing=request.frame_spacing,
        time_sigma=request.time_sigma,
        confidence=confidence,
        objects=wanted,
    )


def _n_axes(images: Sequence[str]) -> int:
    for image in images:
        try:
            return int(read(image).pixels.ndim)
        except (BadInput, OSError, MemoryError):
            continue
    return 0


def batch_command(choice: Choice, options: Options) -> str:
    """Return the shell command that refines the chosen files."""
    images = choice.images
    command = ["napari-densecrf", "batch", images, "--probabilities", choice.maps, "-o", str(choice.folder)]
    if options.axes is not None:
        command += ["--axes", options.axes]
    if options.map_axes is not None:
        command += ["--map-axes", options.map_axes]
    if options.time_sigma is not None:
        command += ["--time-sigma", repr(options.time_sigma)]
    if options.spacing is not None:
        command += ["--spacing", ",".join(repr(float(size)) for size in options.spacing)]
    if options.confidence is not None:
        command += ["--from-labels", repr(options.confidence)]
    if options.objects is not None:
        command += objects_options(options.objects.border)
    return joined([*command, *options_of(options.params)], windows=os.name == "nt")
