"""Never lose how a layer was made: restore it, save it with its parameters, copy it as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import Label, PushButton
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_densecrf._napari import words
from napari_densecrf._napari.contributions.writer import read_kept
from napari_densecrf._napari.panel.panel import Panel, plain_button, plain_tooltip, set_text
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.problem import CLASSES, METADATA_KEY, OBJECTS, FromStrokes, Misfit, layers_of_map
from napari_densecrf._napari.problem.request import FILM, ONE_BY_ONE, VOLUME, joins_of
from napari_densecrf._napari.recipes.command import differs, shell_command
from napari_densecrf._napari.recipes.project import left_out
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.files import places
from napari_densecrf.files import project as files
from napari_densecrf.files.batch import sentence
from napari_densecrf.files.read import BadInput
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams

from .section import Section


class Keep(Section):
    """Buttons that copy and restore."""

    title = "Save and script"
    tip = words.FOLD_KEEP

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        python = PushButton(
            name="copy_python", text="Copy as Python", tooltip="A script that gives the same labels, bit for bit."
        )
        command = PushButton(
            name="copy_command", text="Copy as command", tooltip="The shell command that does the same to the files."
        )
        restore = PushButton(
            name="restore",
            text="Restore from selected layer",
            tooltip="Set sliders, image and map back to what made the selected layer.",
        )
        save = PushButton(
            name="save_project",
            text="Save project",
            tooltip="Save image, map, strokes and numbers as one small file beside the image, to continue another day.",
        )
        load = PushButton(
            name="open_project",
            text="Continue …",
            tooltip="Open a project: image, map, strokes and numbers as they were.",
        )
        # Beside the image's own rows, where one looks when it opens.
        offer = PushButton(name="continue_project")
        controls = (save, load, offer, python, command, restore, Label(name="kept"))
        self.controls = {control.name: control for control in controls}
        self._offered: Path | None = None
        # A project of an earlier day that would be replaced, which the user has been told.
        self._warned_of: Path | None = None

    def lay_out(self, panel: Panel) -> None:
        """Put projects first, then copying, and restoring below."""
        panel.add_line([self.controls["save_project"], self.controls["open_project"]])
        panel.add_line([self.controls["copy_python"], self.controls["copy_command"]])
        panel.add_line([self.controls["restore"]])
        panel.add_text(self.controls["kept"])

    def connect(self) -> None:
        """Listen to the buttons, and to images that have a project."""
        self.controls["save_project"].changed.connect(lambda: self.save_project())
        self.controls["open_project"].changed.connect(self._ask_project)
        self.controls["continue_project"].changed.connect(self._continue_offered)
        self.session.chosen_changed.connect(self._offer)
        self.session.continued.connect(self._say_continued)
        self.controls["copy_python"].changed.connect(lambda: self._copy_exact(python_script))
        self.controls["copy_command"].changed.connect(lambda: self._copy_exact(shell_command))
        self.controls["restore"].changed.connect(self._restore)

    # --- projects --------------------------------------------------------------------------------------------------

    @property
    def offered(self) -> Path | None:
        """The project of the image that is open, if there is one that has not been continued."""
        return self._offered

    def save_project(self, path: Path | None = None) -> None:
        """Save a project, where none is named beside the image's file."""
        image = self.session.chosen.image
        if image is None:
            self._say(words.OPEN_IMAGE)
            return
        has_file = bool(image.source.path) and Path(image.source.path).exists()
        own = files.beside(image.source.path) if has_file else None
        path = path or own or ask_project(self._window(), f"{image.name}{files.ENDING}", writing=True)
        if path is None or self._is_of_another_day(path):
            return
        try:
            self.session.save_project(path)
        except (BadInput, Misfit, OSError) as error:
            self._say(sentence(error))
            return
        self._say(
            words.project_saved(path.name, left_out(self.session.chosen, self.session.viewer), is_beside=path == own)
        )
        self._offer()

    def _is_of_another_day(self, path: Path) -> bool:
        """Tell whether a project would be lost that the user has not opened; say so, and let the second click do it."""
        if path == self._warned_of or places.real(path) in self.session.projects:
            return False
        saved = saved_at(path)
        if saved is None:
            return False
        self._warned_of = path
        self._say(words.earlier_project(path.name, saved))
        return True

    def _ask_project(self) -> None:
        path = ask_project(self._window(), "", writing=False)
        if path is not None:
            self.continue_project(path)

    def _continue_offered(self) -> None:
        if self._offered is not None:
            self.continue_project(self._offered)

    def continue_project(self, path: Path) -> None:
        """Open a project."""
        try:
            self.session.continue_project(path)
        except (BadInput, OSError) as error:
            self._say(sentence(error))
            self.fold.open_by_user()

    def _say_continued(self, path: str, remarks: list[str]) -> None:
        self._say(" ".join([words.project_continued(Path(path).name), *remarks]))
        if remarks:
            self.fold.open_by_user()
        self._offer()

    def _offer(self, *_: object) -> None:
        """Offer the project that lies beside the image's file."""
        image = self.session.chosen.image
        path = None if image is None or not image.source.path else files.beside(image.source.path)
        saved = None if path is None or path in self.session.projects else saved_at(path)
        self._offered = path if saved is not None else None
        if path is not None and saved is not None:
            self.controls["continue_project"].text = plain_button(words.offer(saved))
            self.controls["continue_project"].tooltip = plain_tooltip(words.offer_tip(path.name))
        self.show_offer(self._offered is not None)

    def show_offer(self, shown: bool) -> None:
        """Show or hide the button that continues a project; the widget puts it where it is seen."""
        self.controls["continue_project"].visible = shown

    def _window(self) -> QWidget:
        return self.fold.button.window()

    # --- copying and restoring -------------------------------------------------------------------------------------

    def _copy_exact(self, write: Callable[[Result, Labels | None], str]) -> None:
        self.session.when_exact(partial(self._copy, write))

    def _copy(self, write: Callable[[Result, Labels | None], str]) -> None:
        """Put a recipe onto the clipboard, or why there is none: never what was copied before."""
        result, clipboard = self.session.result, QApplication.clipboard()
        try:
            if result is None:
                raise Misfit(words.NOTHING_REFINED)
            text = write(result, self.session.chosen.strokes)
        except (Misfit, OSError) as error:
            clipboard.setText(words.not_copied(str(error)))
            self._say(str(error))
            return
        clipboard.setText(text)
        remark = differs(result.request) if write is shell_command else ""
        self._say(f"{words.COPIED} {remark}".rstrip())

    def _restore(self) -> None:
        layer = self.session.viewer.layers.selection.active
        made = None if layer is None else provenance_of(layer)
        if layer is None or made is None:
            self._say(words.SELECT_MADE_HERE)
            return
        try:
            numbers = Numbers.of_params(CRFParams.from_dict(made["params"]), self.session.numbers)
        except ValueError as error:
            self._say(words.nothing_set(error))
            return
        if made.get("time_sigma") is not None:
            numbers = replace(numbers, time_sigma=made["time_sigma"])
        about = made.get("objects")
        # A file of the command line says more of objects.
        border = about.get("border") if isinstance(about, dict) else made.get("border")
        if border is not None:
            numbers = replace(numbers, border=border)
        # Of a file that the command line wrote, the numbers alone: its inputs are files.
        missing = self._choose_inputs(made) if "probabilities" in made else []
        self.session.set_numbers(numbers)
        self._say(words.restored(layer.name, missing))

    def _choose_inputs(self, made: dict[str, Any]) -> list[str]:
        """Choose the inputs by their names, and slices as what they were; return the names that are not there."""
        session = self.session
        layers = {layer.name: layer for layer in session.viewer.layers}
        names = [made["image"], *made["probabilities"], *([made["strokes"]] if made["strokes"] else [])]
        strokes = layers.get(made["strokes"])
        channels = tuple(layers[name] for name in made.get("channels", []) if name in layers)
        image = channels if len(channels) > 1 else layers.get(made["image"], session.chosen.image)
        session.choose(by=USER, image=image, strokes=strokes)
        for _, choice in choices.maps(session.viewer, strokes):
            from_strokes = isinstance(choice, FromStrokes)
            if [layer.name for layer in layers_of_map(choice)] == made["probabilities"] and (
                from_strokes == made.get("from_strokes", False)
            ):
                session.choose(by=USER, map=choice)
                if isinstance(choice, Labels):
                    session.choose(labels_are=OBJECTS if made.get("objects") else CLASSES)
        joined = VOLUME if made.get("volume") else ONE_BY_ONE if made.get("time_sigma") is None else FILM
        if joined in joins_of(session.problem):
            session.choose(slices=joined)
        return [name for name in names if name not in layers]

    def _say(self, said: str) -> None:
        set_text(self.controls["kept"], said)


def saved_at(path: Path) -> str | None:
    """Return when a project was saved, as the user reads it; None where there is none."""
    try:
        saved = files.load(path).get("saved", "")
        return f"{datetime.fromisoformat(saved):%d %b %Y, %H:%M}"
    except (BadInput, OSError, TypeError, ValueError):
        return None


def ask_project(parent: QWidget, name: str, *, writing: bool) -> Path | None:
    """Ask for a project to open or to save."""
    title = "Save project" if writing else "Continue a project"
    dialog = QFileDialog(parent, title, name, f"Projects (*{files.ENDING})")
    dialog.setDefaultSuffix(files.ENDING[1:])
    if writing:
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    else:
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    return Path(dialog.selectedFiles()[0]) if dialog.exec() else None


def provenance_of(layer: Layer) -> dict[str, Any] | None:
    """Return how a layer was made: from its metadata, its file, or the JSON beside that."""
    made = layer.metadata.get(METADATA_KEY)
    if not made and layer.source.path:
        made = read_kept(Path(layer.source.path))
    return made if made and "params" in made else None
