"""What survives the window and napari: the numbers, relative to the image, the toggles, open folds, and presets."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSettings

from . import form
from .timers import a_timer

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget

# How one works, with whatever image. Not what belongs to the images that are open: the layers, and whether slices make
# a volume, which of the next image would mean something else. Nor what is a look of a moment: the swipe and the map
# that is held, which hide the result, the pixel that is kept, and the other side's numbers.
TOGGLES = ("live", "region", "influence", "confidence", "changes", "areas")
# Drags and clicks come by dozens: one file for all.
PATIENCE_MS = 300


def load(what: str = "widget") -> dict[str, Any]:
    """Return what was saved last, or nothing."""
    try:
        saved = json.loads(_store().value(what, "{}"))
    except (TypeError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def save(state: dict[str, Any], what: str = "widget") -> None:
    """Keep a state of plain values: of the ``widget``, or its ``presets``."""
    _store().setValue(what, json.dumps(state))


def _store() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-densecrf", "napari-densecrf")


class Remembered:
    """The state of a widget: set as it was the last time, and kept whenever it changes.

    Parameters
    ----------
    widget : DenseCRFWidget
    """

    def __init__(self, widget: DenseCRFWidget) -> None:
        self._widget = widget
        self.state = load()
        self._timer = a_timer(PATIENCE_MS, self._save)
        self._unsaved = False

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of the last time, as `form.relative` gives them."""
        numbers = self.state.get("numbers")
        return numbers if isinstance(numbers, dict) else {}

    def restore(self) -> None:
        """Set toggles and folds, then listen to them."""
        widget, folds = self._widget, self._widget.panel.folds
        toggles = self.state.get("toggles")
        for name, value in toggles.items() if isinstance(toggles, dict) else ():
            # A later version may have other choices.
            if name in TOGGLES:
                with suppress(TypeError, ValueError):
                    widget[name].value = value
        # Last, as a toggle that is switched on opens its fold.
        opened = self.state.get("open")
        for title, fold in folds.items():
            fold.open = isinstance(opened, list) and title in opened
            fold.sought = False
            fold.button.toggled.connect(self.note)
        for name in (*TOGGLES, *form.DEFAULTS):
            widget[name].changed.connect(self.note)
        widget.refined.connect(self.note)

    def note(self, *_: Any) -> None:
        """Take the state down, and keep it when nothing has changed for a moment."""
        widget = self._widget
        self.state = {
            "numbers": widget.relative_numbers() or self.numbers,
            "toggles": {name: widget[name].value for name in TOGGLES},
            "open": [title for title, fold in widget.panel.folds.items() if fold.open],
        }
        self._unsaved = True
        self._timer.start()

    def close(self) -> None:
        """Keep what is not kept yet; the controls themselves may have gone."""
        # When the program ends, Qt may have deleted it before.
        with suppress(RuntimeError):
            self._timer.stop()
        if self._unsaved:
            self._save()

    def _save(self) -> None:
        self._unsaved = False
        save(self.state)
