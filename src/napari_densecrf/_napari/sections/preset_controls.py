"""The controls of presets: choose one, save and delete one's own, and numbers from and to JSON files."""

from __future__ import annotations

import os
from pathlib import Path

from magicgui.widgets import ComboBox, Label, PushButton
from qtpy.QtWidgets import QFileDialog, QInputDialog, QWidget

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.recipes.command import joined
from napari_densecrf._napari.recipes.presets import BUILT_IN, Preset, forget, keep, last_used, own_presets
from napari_densecrf._napari.session import Session
from napari_densecrf.files.read import BadInput, read_params
from napari_densecrf.numbers import Numbers

from .section import Section

FILTER = "Parameters (*.json)"


class ChoosePreset(Section):
    """A combo that shows whose numbers the sliders have, and buttons below it.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._says = Label(name="preset_says", label="")
        self._own, self._last = own_presets(), last_used()
        preset = ComboBox(
            name="preset",
            label="Preset",
            choices=lambda _: [one.name for one in self.presets],
            nullable=True,
            tooltip="Numbers for a kind of image. Below it says where they come from.",
        )
        self.controls = {
            "preset": preset,
            **{
                name: PushButton(name=name, text=text, tooltip=tooltip)
                for name, text, tooltip in (
                    ("save_preset", "Save as", "Save these numbers as a preset of your own, for other images too."),
                    ("delete_preset", "Delete", "Delete the chosen preset; only your own."),
                    ("import_params", "Import", "Take numbers from a JSON file, as the command line reads it."),
                    ("export_params", "Export", "Write these numbers as JSON, for --params of the command line."),
                )
            },
            "preset_says": self._says,
        }

    @property
    def presets(self) -> list[Preset]:
        """All that there are: built in, the user's own, and the numbers of an earlier session."""
        return [*BUILT_IN, *self._own, *self._last]

    def lay_out(self, panel: Panel) -> None:
        """Put the combo into a row and the buttons below it."""
        combo, *buttons, says = self.controls.values()
        panel.add_row(combo)
        panel.add_line(buttons)
        panel.add_text(says)

    def connect(self) -> None:
        """Listen to the controls, and to all that changes the numbers."""
        self.controls["preset"].changed.connect(self._choose)
        for name, react in (
            ("save_preset", self._save),
            ("delete_preset", self.delete),
            ("import_params", self._import),
            ("export_params", self._export),
        ):
            self.controls[name].changed.connect(react)
        self.session.numbers_changed.connect(self._follow)
        self._follow()

    # --- what scripts call, and buttons after a dialog --------------------------------------------------------------

    def save_as(self, name: str) -> None:
        """Save the numbers of the sliders under a name."""
        numbers, image = self.session.relative_numbers, self.session.chosen.image
        name = name.strip()
        if numbers is None or image is None:
            self._say(words.CHOOSE_FIRST)
        elif name in ("", self.controls["preset"].null_string):
            self._say(words.NEEDS_NAME)
        else:
            preset = Preset(name, numbers.as_dict(), f"Saved by you on “{image.name}”.")
            try:
                keep(preset)
            except ValueError as error:
                self._say(str(error))
                return
            self._reload(name)
            self._say(words.saved_preset(name))

    def delete(self, *_: object) -> None:
        """Delete the chosen preset, one of the user's own; the sliders stay where they are."""
        name = self.controls["preset"].value
        if any(name == preset.name for preset in self._own):
            forget(name)
            self._reload(None)
            self._say(words.deleted_preset(name))

    def import_from(self, path: Path) -> None:
        """Show the numbers of a file, and refine with them."""
        try:
            numbers = Numbers.of_params(read_params(path), self.session.numbers)
        except BadInput as error:
            why = str(error).removeprefix(f"{path}: ")
            self._say(words.no_parameters(path.name, why))
        except OSError as error:
            self._say(words.not_read(path.name, error))
        except ValueError as error:
            self._say(words.not_for_sliders(path.name, error))
        else:
            self.session.set_numbers(numbers)
            self._say(words.imported(path.name))

    def export_to(self, path: Path) -> None:
        """Write the numbers of the sliders, in the units of the image that is shown."""
        try:
            path.write_text(self.session.params.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            self._say(words.not_written(path.name, error))
        else:
            options = joined(["--params", path.name, *self._units()], windows=os.name == "nt")
            self._say(words.exported(options))

    # --- dialogs ----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        name = ask_name(self.fold.button.window(), [preset.name for preset in self._own], self.controls["preset"].value)
        if name is not None:
            self.save_as(name)

    def _import(self) -> None:
        path = ask_file(self.fold.button.window(), "Import parameters", writing=False)
        if path is not None:
            self.import_from(path)

    def _export(self) -> None:
        path = ask_file(self.fold.button.window(), "Export parameters", writing=True)
        if path is not None:
            self.export_to(path)

    # --- the combo --------------------------------------------------------------------------------------------------

    def _choose(self, name: str | None) -> None:
        preset = self._of(name)
        relative = self.session.relative_numbers
        if preset is not None and relative is not None:
            self.session.set_relative_numbers(relative.updated(preset.numbers))
            self._say(preset.source)
        elif preset is not None:
            self._say(words.CHOOSE_FIRST)
        self._follow()

    def _follow(self, *_: object) -> None:
        """Show whose numbers the sliders have: of several, those that are chosen already."""
        combo, relative = self.controls["preset"], self.session.relative_numbers
        numbers = {} if relative is None else relative.as_dict()
        chosen = self._of(combo.value)
        if chosen is None or not chosen.same_as(numbers):
            now = next((preset.name for preset in self.presets if preset.same_as(numbers)), None)
            with combo.changed.blocked():
                combo.value = now
            if chosen is not None and self._says.value == chosen.source:
                self._say("")
        self.controls["delete_preset"].enabled = combo.value in [preset.name for preset in self._own]

    def _reload(self, name: str | None) -> None:
        """Offer what is saved now, with one of them chosen."""
        self._own = own_presets()
        combo = self.controls["preset"]
        with combo.changed.blocked():
            combo.reset_choices()
            combo.value = name
        self._follow()

    def _of(self, name: str | None) -> Preset | None:
        return next((preset for preset in self.presets if preset.name == name), None)

    def _units(self) -> list[str]:
        """Return what else the command has to be told to mean the same by the numbers."""
        request = self.session.request()
        if request is None:
            return []
        sizes = request.frame_spacing
        options = [] if set(sizes) == {1.0} else ["--spacing", ",".join(repr(float(size)) for size in sizes)]
        return options if request.time_sigma is None else [*options, "--time-sigma", repr(request.time_sigma)]

    def _say(self, said: str) -> None:
        set_text(self._says, said)


def ask_name(parent: QWidget, names: list[str], name: str | None) -> str | None:
    """Ask for the name of a preset, or one of those that there are, to be replaced."""
    at = names.index(name) if name in names else -1
    text, good = QInputDialog.getItem(parent, "Save preset", "Name of the preset", ["", *names], at + 1, True)
    return text if good else None


def ask_file(parent: QWidget, title: str, *, writing: bool) -> Path | None:
    """Ask for a JSON file to read or to write."""
    dialog = QFileDialog(parent, title, "", FILTER)
    dialog.setDefaultSuffix("json")
    if writing:
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    else:
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    return Path(dialog.selectedFiles()[0]) if dialog.exec() else None
