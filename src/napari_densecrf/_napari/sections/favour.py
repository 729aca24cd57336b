"""Balance of more than two classes: a row for each that favours it against all others."""

from __future__ import annotations

from functools import partial

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.form import MOST_BALANCE
from napari_densecrf._napari.panel.log_slider import LinearSlider
from napari_densecrf._napari.panel.panel import Panel, shortened
from napari_densecrf._napari.problem.problem import Misfit, Problem
from napari_densecrf._napari.session import USER, Session
from napari_densecrf._napari.work.reading import class_names
from napari_densecrf.numbers import Numbers

from .section import Section

# More rows than a dock has room for would push all else out of sight.
MOST_ROWS = 12


class Favour(Section):
    """The rows, which there are only for a map of three classes or more."""

    title = "Balance"
    tip = words.FOLD_BALANCE

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.rows = [
            LinearSlider(
                (-MOST_BALANCE, MOST_BALANCE),
                step=0.05,
                name=f"favour_{k}",
                label=f"class {k}",
                value=0.0,
                tooltip=words.FAVOUR_TIP,
            )
            for k in range(MOST_ROWS)
        ]
        self.controls = {row.name: row for row in self.rows}
        self._panel: Panel | None = None

    def lay_out(self, panel: Panel) -> None:
        """Put the rows into the panel; a double click on a name favours it no more."""
        self._panel = panel
        for row in self.rows:
            panel.add_row(row, reset=partial(setattr, row, "value", 0.0))
            panel.show_row(row, False)

    def connect(self) -> None:
        """Listen to the rows, to what is understood and to the numbers."""
        for k, row in enumerate(self.rows):
            row.changed.connect(partial(self._favour, k))
        self.session.inputs_changed.connect(self._on_inputs)
        self.session.numbers_changed.connect(self._show)
        self.fold.button.setVisible(False)

    def _on_inputs(self, understood: Problem | Misfit) -> None:
        if not isinstance(understood, Problem) or self._panel is None:
            return
        n_classes = understood.n_balanced
        names = class_names(understood.map, n_classes) if n_classes > 2 else []
        self.fold.button.setVisible(bool(names))
        for k, row in enumerate(self.rows):
            self._panel.show_row(row, k < len(names))
            if k < len(names):
                self._panel.name_row(row, shortened(names[k]))
        self._show(self.session.numbers)

    def _favour(self, index: int, value: float) -> None:
        session, problem = self.session, self.session.problem
        if problem is not None and problem.n_balanced > 2:
            there = session.numbers.favours
            now = there[index] if len(there) == problem.n_balanced else 0.0
            session.set_numbers(session.numbers.favouring(index, problem.n_balanced, value - now), by=USER)

    def _show(self, numbers: Numbers, by: str = "") -> None:
        if by == USER:
            return
        for k, row in enumerate(self.rows):
            with row.changed.blocked():
                row.value = numbers.favours[k] if k < len(numbers.favours) else 0.0
