"""Never lose how a layer was made: restore it, save it with its parameters, copy it as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from magicgui.widgets import Label, PushButton
from napari.layers import Labels, Layer
from qtpy.QtWidgets import QApplication

from napari_densecrf._napari.contributions.writer import read_kept
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.request import FILM, ONE_BY_ONE, VOLUME, joins_of
from napari_densecrf._napari.problem.understand import METADATA_KEY, FromStrokes, Misfit, layers_of_map
from napari_densecrf._napari.recipes.command import differs, shell_command
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams

from .section import Section


class Keep(Section):
    """Buttons that copy and restore."""

    title = "Keep"

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
        self.controls = {control.name: control for control in (python, command, restore, Label(name="kept"))}

    def lay_out(self, panel: Panel) -> None:
        """Put the copying side by side, and restoring below."""
        panel.add_line([self.controls["copy_python"], self.controls["copy_command"]])
        panel.add_line([self.controls["restore"]])
        panel.add_text(self.controls["kept"])

    def connect(self) -> None:
        """Listen to the buttons."""
        self.controls["copy_python"].changed.connect(lambda: self._copy(python_script))
        self.controls["copy_command"].changed.connect(lambda: self._copy(shell_command))
        self.controls["restore"].changed.connect(self._restore)

    def _copy(self, write: Callable[[Result, Labels | None], str]) -> None:
        result = self.session.result
        if result is None:
            self._say("Nothing has been refined yet.")
            return
        strokes = self.session.chosen.strokes
        try:
            text = write(result, strokes)
        except Misfit as misfit:
            self._say(str(misfit))
            return
        QApplication.clipboard().setText(text)
        remark = differs(result.request) if write is shell_command else ""
        self._say(f"Copied. {remark}".rstrip())

    def _restore(self) -> None:
        layer = self.session.viewer.layers.selection.active
        made = None if layer is None else provenance_of(layer)
        if layer is None or made is None:
            self._say("Select a layer that was made here: a refined, a frozen or a saved one.")
            return
        try:
            numbers = Numbers.of_params(CRFParams.from_dict(made["params"]), self.session.numbers)
        except ValueError as error:
            self._say(f"Nothing was set: {error}.")
            return
        if made.get("time_sigma") is not None:
            numbers = replace(numbers, time_sigma=made["time_sigma"])
        missing = self._choose_inputs(made)
        self.session.set_numbers(numbers)
        self._say(f"Restored from “{layer.name}”." + (f" Not open: {', '.join(missing)}." if missing else ""))

    def _choose_inputs(self, made: dict[str, Any]) -> list[str]:
        """Choose the inputs by their names, and slices as what they were; return the names that are not there."""
        session = self.session
        layers = {layer.name: layer for layer in session.viewer.layers}
        names = [made["image"], *made["probabilities"], *([made["strokes"]] if made["strokes"] else [])]
        strokes = layers.get(made["strokes"])
        session.choose(by=USER, image=layers.get(made["image"], session.chosen.image), strokes=strokes)
        for _, choice in choices.maps(session.viewer, strokes):
            from_strokes = isinstance(choice, FromStrokes)
            if [layer.name for layer in layers_of_map(choice)] == made["probabilities"] and (
                from_strokes == made.get("from_strokes", False)
            ):
                session.choose(by=USER, map=choice)
        joined = VOLUME if made.get("volume") else ONE_BY_ONE if made.get("time_sigma") is None else FILM
        if joined in joins_of(session.problem):
            session.choose(slices=joined)
        return [name for name in names if name not in layers]

    def _say(self, words: str) -> None:
        set_text(self.controls["kept"], words)


def provenance_of(layer: Layer) -> dict[str, Any] | None:
    """Return how a layer was made: from its metadata, its file, or the JSON beside that."""
    made = layer.metadata.get(METADATA_KEY)
    if not made and layer.source.path:
        made = read_kept(Path(layer.source.path))
    return made if made and "params" in made else None
