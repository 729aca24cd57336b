"""Run on folder: the numbers of the sliders on many files, chosen in a small window."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, Label, PushButton
from napari.layers import Labels, Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel, plain_tooltip, set_text
from napari_densecrf._napari.problem.problem import layers_of_map
from napari_densecrf._napari.runs.folder_run import Choice, FolderRun, batch_command, options_like, words_of
from napari_densecrf._napari.session import Session
from napari_densecrf.files.batch import Entry, Outcome, files_of, pattern_of
from napari_densecrf.files.options import Options

# Of a folder beside the images, for the labels.
OUTPUT = "refined"
COLUMNS = ("Image", "Map", "State")
STATE = 2
# Of the table; a folder may have thousands.
MOST_ROWS = 500


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
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
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
        panel.add_native(self.table)
        panel.add_line([self.copy, self.start])
        panel.fill()
        panel.setMinimumWidth(panel.fontMetrics().horizontalAdvance("m") * 60)
        return panel

    def _on_images(self) -> None:
        """Guess the rest from the names."""
        images = self.choice.images
        names = files_of([images]) if images else []
        maps = self._guessed(names)
        with self.maps.changed.blocked():
            self.maps.line_edit.value = maps or ""
        if images:
            whole = Path(images)
            with self.output.changed.blocked():
                self.output.value = (whole if whole.is_dir() else whole.parent) / OUTPUT
        self._describe()

    def _guessed(self, names: Sequence[str]) -> str | None:
        """Return how maps are called: as that of the image that is open. Other names are no sign of a map."""
        image, source = self.session.chosen.image, self.session.chosen.map
        here = None if image is None else file_of(image)
        if here is not None and source is not None and str(here) in names:
            for layer in layers_of_map(source):
                there = file_of(layer)
                pattern = None if there is None else pattern_of(str(here), str(there))
                if pattern is not None and there != here:
                    return pattern
        return None

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
        choice = self.choice
        set_text(self.found, str(choice) if choice.images else words.CHOOSE_FOLDER)
        self.start.enabled = self.copy.enabled = choice.is_ready
        self._show_pairs(choice.entries() if choice.is_ready else ())

    def _show_pairs(self, entries: Sequence[Entry]) -> None:
        """Show which map belongs to which image, before anything is done with them."""
        self.table.setRowCount(min(len(entries), MOST_ROWS) + (len(entries) > MOST_ROWS))
        for row, entry in enumerate(entries[:MOST_ROWS]):
            pair = entry.image, entry.probabilities
            has_image, has_map = map(os.path.exists, pair)
            for column, path in enumerate(pair):
                self._put(row, column, Path(path).name, path)
            self._put(row, STATE, words.of_pair(has_image, has_map))
        if len(entries) > MOST_ROWS:
            self._put(MOST_ROWS, 0, words.more_pairs(len(entries) - MOST_ROWS))
        self.table.resizeColumnsToContents()

    def show_outcome(self, outcome: Outcome) -> None:
        """Show what became of an image, in its row."""
        for row in range(self.table.rowCount()):
            image = self.table.item(row, 0)
            if image is not None and image.data(Qt.ItemDataRole.UserRole) == outcome.entry.image:
                said = words_of(outcome)
                self._put(row, STATE, f"{outcome.status}: {said}" if said else outcome.status, said)
                self.table.scrollToItem(image)

    def _put(self, row: int, column: int, text: str, tooltip: str = "") -> None:
        item = QTableWidgetItem(text)
        item.setToolTip(plain_tooltip(tooltip))
        item.setData(Qt.ItemDataRole.UserRole, tooltip)
        self.table.setItem(row, column, item)

    def say(self, said: str) -> None:
        """Say in this window too how far its run is."""
        set_text(self.found, said)

    def _start(self) -> None:
        self._run(FolderRun(self.choice.entries(), self.choice.folder, self._options()))

    def _copy(self) -> None:
        QApplication.clipboard().setText(batch_command(self.choice, self._options()))
        set_text(self.found, words.COPIED)

    def _options(self) -> Options:
        rough = isinstance(self.session.chosen.map, Labels)
        images = [entry.image for entry in self.choice.entries()]
        return options_like(self.session.request(), self.session.params, images, rough=rough)


def file_of(layer: Layer) -> Path | None:
    """Return the file that a layer was read from."""
    path = Path(layer.source.path) if layer.source.path else None
    return path if path is not None and path.exists() else None


def _edit(mode: FileDialogMode, label: str, tooltip: str) -> FileEdit:
    edit = FileEdit(mode=mode, label=label, tooltip=tooltip)
    edit.choose_btn.text = "Choose …"
    edit.choose_btn.tooltip = edit.line_edit.tooltip = tooltip
    return edit
