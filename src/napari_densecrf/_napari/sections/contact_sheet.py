"""Try nine: a grid of what nine settings would do; a click takes one, and the next nine lie around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from magicgui.widgets import Label, PushButton
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.display.result_layer import colours_of
from napari_densecrf._napari.panel.panel import Panel, bring_into_view, set_text, shortened
from napari_densecrf._napari.panel.thumbnails import Thumbnails
from napari_densecrf._napari.problem.view import View, visible_part
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.numbers import Numbers

from .nine import CENTRE, Setting, Thumbnail, settings_around, trying
from .section import Section


class ContactSheet(Section):
    """The button, the grid below it, and a line that says what to do.

    Parameters
    ----------
    session : Session
    take : callable
        ``take(before, numbers, words)`` sets numbers that have been decided, so that one click takes them back.
    """

    def __init__(self, session: Session, take: Callable[[Numbers, Numbers, str], None]) -> None:
        super().__init__(session)
        self._decide = take
        self.button = PushButton(name="try_nine", text=words.TRY_NINE, tooltip=words.TRY_NINE_TIP)
        self.says = Label(name="nine_says", label="")
        self.controls = {control.name: control for control in (self.button, self.says)}
        self.grid = Thumbnails()
        self.shown: list[Thumbnail] = []
        self._waits = self._goes_on = False

    def lay_out(self, panel: Panel) -> None:
        """Put the grid below the button."""
        panel.add_wide(self.button)
        panel.add_text(self.says)
        panel.add_native(self.grid)

    def connect(self) -> None:
        """Listen to the button, to clicks on the pictures, and to what makes them stale."""
        self.fold.reveal(self.grid, False)
        self.button.changed.connect(self.try_nine)
        self.grid.chosen.connect(self.take)
        self.session.numbers_changed.connect(self._on_numbers)
        self.session.result_written.connect(self._on_result)
        self.session.busy_changed.connect(self._on_busy)

    def try_nine(self, *_: object) -> None:
        """Ask for the nine around the numbers of now."""
        session = self.session
        result, measured = session.result, session.measured
        if result is None or measured is None or result.request.problem != session.problem:
            self._say(words.REFINE_FIRST)
            return
        problem = result.request.problem
        if problem.objects:
            self._say(words.NINE_OF_OBJECTS)
            return
        names = [shortened(name) for name in result.inputs.names]
        favoured = most_in_need(result.counts) if problem.n_balanced else None
        settings = settings_around(session.numbers, measured.units, names, favoured)
        colours = Colours.of(session.result_layer, result.inputs.values)
        self._say(words.TRYING_NINE)
        self._waits = True
        visible = visible_part(problem, View.of(session.viewer))
        session.run(lambda: trying(session.engine, result, visible, settings, colours), self._take_thumbnails)

    def take(self, k: int) -> None:
        """Set the numbers of one of the nine, and try nine around it."""
        if k >= len(self.shown):
            return
        setting = self.shown[k].setting
        if k != CENTRE:
            self._goes_on = True
            self._decide(self.session.numbers, setting.numbers, words.took(setting.words))
        else:
            self._clear()

    def _take_thumbnails(self, shown: list[Thumbnail]) -> None:
        self._waits = False
        self.session.say_result()
        if self.session.numbers != shown[CENTRE].setting.numbers:
            return
        self.shown = shown
        self.grid.show_pictures(
            [one.picture for one in shown],
            [one.setting.words for one in shown],
            [_tip(one.setting, one.differs) for one in shown],
        )
        self.fold.reveal(self.grid, True)
        self._say(words.CLICK_ONE)
        bring_into_view(self.says)
        self.fold.come_into_view()

    def _on_numbers(self, numbers: Numbers, _: str) -> None:
        if self.shown and not self._goes_on and numbers != self.shown[CENTRE].setting.numbers:
            self._clear()

    def _on_result(self, _: Result) -> None:
        if self._goes_on:
            self._goes_on = False
            self.try_nine()

    def _on_busy(self, busy: bool) -> None:
        if not busy and self._waits:
            # Cancelled; where it is done, it says so after this.
            self._waits = False
            self._clear()

    def _clear(self) -> None:
        self.shown = []
        self.fold.reveal(self.grid, False)
        self._say("")

    def _say(self, said: str) -> None:
        set_text(self.says, said)


@dataclass(frozen=True, eq=False)
class Colours:
    """The colours of a result's layer, for a thread that must not touch layers."""

    values: NDArray[np.int64]
    colours: NDArray[np.float32]

    @classmethod
    def of(cls, layer: Any, values: NDArray[np.int64]) -> Colours:
        """Take them from a layer; the values are in their order."""
        order = np.sort(values)
        return cls(order, colours_of(layer, order))

    def __call__(self, labels: NDArray[Any]) -> NDArray[np.float32]:
        """Return (..., 4) of labels; what is no class is clear."""
        at = np.searchsorted(self.values, labels).clip(max=len(self.values) - 1)
        found: NDArray[np.float32] = np.where((self.values[at] == labels)[..., None], self.colours[at], 0)
        return found


def most_in_need(counts: NDArray[np.int64]) -> int:
    """Return the class that kept the least of its area; of those that kept as much, the smallest.

    Not the first of several, which most often is what is around all else.
    """
    before, after = counts.sum(axis=1)[1:], counts.sum(axis=0)[1:]
    kept = after / np.maximum(before, 1) + (before == 0) * 2
    return 1 + int(np.lexsort((after, kept.round(2)))[0])


def _tip(setting: Setting, differs: float) -> str:
    return words.nine_tip(setting.words, differs)
