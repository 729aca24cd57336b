"""What a widget is like the next time: toggles and open folds; the numbers last used, which a preset brings back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from napari_densecrf._napari.recipes import stored
from napari_densecrf._napari.session import Session

from .panel import Fold

# Habits, which suit any image. Left out is what belongs to the images that are open: the layers, and whether slices
# make a volume. Left out is also what one looks at for a moment: the swipe and the map that is held, which hide the
# result, the pixel that is kept, and the numbers of the other side (A | B).
TOGGLES = ("live", "region", "influence", "confidence", "changes", "areas")
# Drags and clicks come by dozens: one file for all.
PATIENCE_MS = 300


class Remembered:
    """Keeps the state of a widget whenever it changes, and sets it as it was the last time.

    Parameters
    ----------
    session : Session
    controls : mapping of str to widget
    folds : mapping of str to Fold
    """

    def __init__(self, session: Session, controls: Mapping[str, Any], folds: Mapping[str, Fold]) -> None:
        self._session, self._controls, self._folds = session, controls, folds
        self.state = stored.load()
        self._timer = session.loop.timer(PATIENCE_MS, self._save)
        self._unsaved = False

    def restore(self) -> None:
        """Set toggles and folds, then listen to them."""
        toggles = self.state.get("toggles")
        for name, value in toggles.items() if isinstance(toggles, dict) else ():
            # A later version may have other choices.
            if name in TOGGLES:
                with suppress(TypeError, ValueError):
                    self._controls[name].value = value
        # Last, as a toggle that is switched on opens its fold.
        opened = self.state.get("open")
        for title, fold in self._folds.items():
            fold.open = isinstance(opened, list) and title in opened
            fold.opened_by_user = False
            fold.button.toggled.connect(self.note)
        for name in TOGGLES:
            self._controls[name].changed.connect(self.note)
        self._session.numbers_changed.connect(self.note)
        self._session.result_written.connect(self.note)

    def note(self, *_: object) -> None:
        """Take the state down, and keep it when nothing has changed for a moment."""
        # Those of objects suit objects alone, and a balance this image alone.
        measured, numbers = self._session.measured, self._session.relative_numbers
        if measured is not None and measured.numbers is not None:
            numbers = None
        if numbers is not None and self._session.numbers == self._session.proposed:
            # Those that are proposed suit this image, and are nobody's choice.
            numbers = None
        self.state = {
            "numbers": self.state.get("numbers", {}) if numbers is None else numbers.changed(balance=0.0).as_dict(),
            "toggles": {name: self._controls[name].value for name in TOGGLES},
            "open": [title for title, fold in self._folds.items() if fold.open],
        }
        self._unsaved = True
        self._timer.start()

    def close(self) -> None:
        """Keep what is not kept yet; the controls themselves may have gone."""
        self._timer.stop()
        if self._unsaved:
            self._save()

    def _save(self) -> None:
        self._unsaved = False
        stored.save(self.state)
