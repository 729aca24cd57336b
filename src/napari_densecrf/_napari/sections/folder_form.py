"""Run on folder: the numbers of the sliders on many files, chosen in a small window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, Label, PushButton
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QApplication, QDialog, QVBoxLayout, QWidget

from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.problem.understand import layers_of_map
from napari_densecrf._napari.runs.folder_run import Choice, FolderRun, batch_command, options_like
from napari_densecrf._napari.session import Session
from napari_densecrf.files.batch import files_of, guess_maps, pattern_of
from napari_densecrf.files.jobs import Options

# Of a folder beside the images, for the labels.
OUTPUT = "refined"


class FolderForm:
    """The window: which images, how their maps are called, and where labels go."""

    def __init__(self, session: Session, parent: QWidget, run: Callable[[FolderRun], None]) -> None:
        self.session = session
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
        self.native = QDialog(parent)
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
            image = self.session.chosen.image
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
        image, source = self.session.chosen.image, self.session.chosen.map
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
        set_text(self.found, words)
        self.start.enabled = self.copy.enabled = self.choice.is_ready

    def _start(self) -> None:
        self._run(FolderRun(self.choice.entries(), self.choice.folder, self._options()))
        self.native.close()

    def _copy(self) -> None:
        QApplication.clipboard().setText(batch_command(self.choice, self._options()))
        set_text(self.found, "Copied.")

    def _options(self) -> Options:
        rough = isinstance(self.session.chosen.map, Labels)
        images = [entry.image for entry in self.choice.entries()]
        return options_like(self.session.request(), self.session.numbers.params, images, rough=rough)


def file_of(layer: Layer) -> Path | None:
    """Return the file that a layer was read from."""
    path = Path(layer.source.path) if layer.source.path else None
    return path if path is not None and path.exists() else None


def _edit(mode: FileDialogMode, label: str, tooltip: str) -> FileEdit:
    edit = FileEdit(mode=mode, label=label, tooltip=tooltip)
    edit.choose_btn.text = "Choose …"
    edit.choose_btn.tooltip = edit.line_edit.tooltip = tooltip
    return edit
