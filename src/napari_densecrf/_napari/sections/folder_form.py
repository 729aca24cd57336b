"""Run on folder: the numbers of the sliders on many files, chosen in a small window."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, Label, PushButton
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QApplication, QDialog, QVBoxLayout

from napari_densecrf._napari.panel.panel import Panel, say
from napari_densecrf._napari.problem.axes import layers_of_map
from napari_densecrf._napari.recipes.command import options_of
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.worker import Request
from napari_densecrf.crf.unary import CONFIDENCE
from napari_densecrf.files.batch import TABLE, Entry, Outcome, files_of, find, guess_maps, pattern_of, run_all
from napari_densecrf.files.jobs import Options
from napari_densecrf.files.read import BadInput, read
from napari_densecrf.params import CRFParams

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget

# Of a folder beside the images, for the labels.
OUTPUT = "refined"
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
        """Tell whether this was stopped, and the other would do the same again."""
        same = (self.entries, self.folder, self.options) == (other.entries, other.folder, other.options)
        return same and self.n_done < self.n_all

    def steps(self) -> Steps:
        """Do what is left; a bad file stops nothing."""
        for outcome, job, _ in run_all(self.entries, self.options, self.folder, earlier=tuple(self.outcomes)):
            yield Found(outcome) if job is None else Stage(outcome.entry.image, 0.0)
        yield Done(self)

    def take(self, found: Outcome) -> str:
        """Note what has become of an image."""
        self.outcomes.append(found)
        failed = len(self._failed)
        return f"{self.n_done} of {self.n_all} done{f', {failed} of them failed' if failed else ''} …"

    def finish(self, seconds: float) -> str:
        """Say how many were done, and what is wrong with the first that was not."""
        failed, where = self._failed, f"{self.folder / TABLE}"
        n_good = self.n_all - len(failed)
        if not failed:
            return f"All {self.n_all} images done in {seconds:.0f} s, see {where}."
        more = "" if len(failed) == 1 else ", and others"
        return f"{n_good} of {self.n_all} images done, {len(failed)} failed: {_words(failed[0])}{more}. See {where}"

    @property
    def _failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]


def _words(failed: Outcome) -> str:
    """Say what is wrong with an image, with the names of files in place of their paths."""
    error = failed.error
    for path in map(Path, (failed.entry.image, failed.entry.probabilities)):
        error = error.replace(str(path), path.name)
    name = Path(failed.entry.image).name
    return error if name in error else f"{name}: {error}"


@dataclass(frozen=True)
class Choice:
    """What is chosen in the window.

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

    def __str__(self) -> str:
        """Say in a line what is there."""
        try:
            entries = self.entries()
        except BadInput:
            return "There is no image."
        missing = [Path(entry.image).name for entry in entries if not Path(entry.probabilities).exists()]
        count = f"{len(entries)} image{'s' * (len(entries) > 1)}"
        if not self.maps:
            return f"{count}: choose the map of one of them."
        if not missing:
            return f"{count}, {'each with its map' if len(entries) > 1 else 'with its map'}."
        if len(missing) == len(entries):
            return f"{count}, but no map is called so."
        return f"{count}, {len(missing)} without a map: {missing[0]}{' …' if len(missing) > 1 else ''}"


class FolderForm:
    """The window: which images, how their maps are called, and where labels go."""

    def __init__(self, widget: DenseCRFWidget, run: Callable[[FolderRun], None]) -> None:
        self.widget = widget
        self._run = run
        self.images = _edit(FileDialogMode.EXISTING_DIRECTORY, "Images", "A folder, or a pattern such as images/*.tif")
        self.maps = _edit(
            FileDialogMode.EXISTING_FILE,
            "Maps",
            "Choose the map of one image; {stem} stands for the name of each image.",
        )
        self.output = _edit(
            FileDialogMode.EXISTING_DIRECTORY, "Save in", "A folder for the labels and a table of what was done."
        )
        self.found = Label(name="found")
        self.start = PushButton(text="Run", tooltip="Refine all with the numbers as they are now.")
        self.copy = PushButton(text="Copy as command", tooltip="The shell command that does the same.")
        self._said = ""
        self.images.changed.connect(self._on_images)
        self.maps.changed.connect(self._on_maps)
        self.output.changed.connect(self._describe)
        self.start.changed.connect(self._start)
        self.copy.changed.connect(self._copy)
        self.native = QDialog(widget.native)
        self.native.setWindowTitle("Run on folder")
        layout = QVBoxLayout(self.native)
        layout.addWidget(self._laid_out())

    @property
    def choice(self) -> Choice:
        """What is chosen."""
        images, maps, output = (edit.line_edit.value.strip() for edit in (self.images, self.maps, self.output))
        return Choice(images, maps, Path(output))

    def open(self) -> None:
        """Show the window, filled in as far as the layers tell."""
        if not self.images.line_edit.value:
            image = self.widget.image.value
            path = None if image is None else file_of(image)
            if path is not None:
                self.images.value = path.parent / f"*{path.suffix}"
        self._describe()
        self.native.show()
        self.native.raise_()

    def _laid_out(self) -> Panel:
        panel = Panel()
        for edit in (self.images, self.maps, self.output):
            panel.add_row(edit)
        panel.add_text(self.found)
        panel.add_line([self.copy, self.start])
        panel.fill()
        panel.setMinimumWidth(panel.fontMetrics().horizontalAdvance("m") * 40)
        return panel

    def _on_images(self) -> None:
        """Guess the rest from the names."""
        images = self.choice.images
        names = files_of([images]) if images else []
        maps = self._guessed(names)
        if maps is not None:
            with self.maps.changed.blocked():
                self.maps.line_edit.value = maps
        if images:
            whole = Path(images)
            with self.output.changed.blocked():
                self.output.value = (whole if whole.is_dir() else whole.parent) / OUTPUT
        self._describe()

    def _guessed(self, names: Sequence[str]) -> str | None:
        """Return how maps are called: as that of the image at hand, or as the files around say."""
        image, source = self.widget.image.value, self.widget.probabilities.value
        here = None if image is None else file_of(image)
        if here is not None and source is not None and str(here) in names:
            for layer in layers_of_map(source):
                there = file_of(layer)
                pattern = None if there is None else pattern_of(str(here), str(there))
                if pattern is not None and there != here:
                    return pattern
        return guess_maps(names)

    def _on_maps(self) -> None:
        """Make a pattern of the map of one image."""
        maps = self.choice.maps
        if maps and "{stem}" not in maps and Path(maps).exists():
            patterns = (pattern_of(name, maps) for name in files_of([self.choice.images]) if name != maps)
            pattern = max((one for one in patterns if one is not None), key=len, default=None)
            if pattern is not None:
                with self.maps.changed.blocked():
                    self.maps.line_edit.value = pattern
        self._describe()

    def _describe(self) -> None:
        words = str(self.choice) if self.choice.images else "Choose the folder of the images."
        say(self.found, words)
        self.start.enabled = self.copy.enabled = bool(self.choice.maps) and "image" in words and words[0].isdigit()

    def _start(self) -> None:
        self._run(FolderRun(self.choice.entries(), self.choice.folder, self._options()))
        self.native.close()

    def _copy(self) -> None:
        QApplication.clipboard().setText(batch_command(self.choice, self._options()))
        say(self.found, "Copied.")

    def _options(self) -> Options:
        rough = isinstance(self.widget.probabilities.value, Labels)
        images = [entry.image for entry in self.choice.entries()]
        return options_like(self.widget.request(), self.widget.params, images, rough=rough)


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
    axes = request.plan.letters("Z" if request.frame == "volume" else "T")
    if _n_axes(images) != len(axes):
        return Options(params, spacing=request.plan.spacing, confidence=confidence)
    return Options(
        params, axes=axes, spacing=request.frame_spacing, time_sigma=request.time_sigma, confidence=confidence
    )


def _n_axes(images: Sequence[str]) -> int:
    for image in images:
        try:
            return int(read(image).pixels.ndim)
        except (BadInput, OSError, MemoryError):
            continue
    return 0


def batch_command(choice: Choice, options: Options) -> str:
    """Return the shell command that does what a choice does."""
    images = choice.images
    words = ["napari-densecrf", "batch", images, "--probabilities", choice.maps, "-o", str(choice.folder)]
    if options.axes is not None:
        words += ["--axes", options.axes]
    if options.time_sigma is not None:
        words += ["--time-sigma", repr(options.time_sigma)]
    if options.spacing is not None:
        words += ["--spacing", ",".join(repr(float(size)) for size in options.spacing)]
    if options.confidence is not None:
        words += ["--from-labels", repr(options.confidence)]
    return shlex.join([*words, *options_of(options.params)])


def file_of(layer: Layer) -> Path | None:
    """Return the file that a layer was read from."""
    path = Path(layer.source.path) if layer.source.path else None
    return path if path is not None and path.exists() else None


def _edit(mode: FileDialogMode, label: str, tooltip: str) -> FileEdit:
    edit = FileEdit(mode=mode, label=label, tooltip=tooltip)
    edit.choose_btn.text = "Choose …"
    edit.choose_btn.tooltip = edit.line_edit.tooltip = tooltip
    return edit
