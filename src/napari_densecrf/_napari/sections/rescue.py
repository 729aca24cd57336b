"""What helps a class that has lost much: two buttons below the status line, there only when needed."""

from __future__ import annotations

from magicgui.widgets import PushButton

from napari_densecrf._napari import status, words
from napari_densecrf._napari.panel.panel import Panel, plain_button, shortened
from napari_densecrf._napari.problem.problem import Misfit, Problem
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import Result

from .section import Section

# Log-odds: one click is seen, and two do not turn the picture over.
FAVOUR = 0.5
WEAKER = 0.5


class Rescue(Section):
    """Favour the class, or weaken all."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        favour = PushButton(name="favour_lost", tooltip=words.FAVOUR_LOST_TIP)
        weaker = PushButton(name="weaker", text=words.WEAKER, tooltip=words.WEAKER_TIP)
        self.controls = {control.name: control for control in (favour, weaker)}
        self._lost: int | None = None

    def lay_out(self, panel: Panel) -> None:
        """Put the two side by side."""
        self._line = panel.add_line(list(self.controls.values()))
        self._offer(None)

    def connect(self) -> None:
        """Listen to the buttons, to results, and to what is understood."""
        self.controls["favour_lost"].changed.connect(self._favour)
        self.controls["weaker"].changed.connect(self._weaken)
        self.session.result_written.connect(self._offer)
        self.session.inputs_changed.connect(self._on_inputs)

    def _on_inputs(self, understood: Problem | Misfit) -> None:
        if isinstance(understood, Misfit):
            self._offer(None)

    def _offer(self, result: Result | None) -> None:
        """Show what helps the class that has lost the largest part of itself."""
        lost = [] if result is None else status.lost(result)
        self._lost = max(lost, key=lambda one: one.share).index if lost else None
        may_favour = result is not None and result.request.problem.n_balanced > 0
        if lost and result is not None:
            name = shortened(result.inputs.names[max(lost, key=lambda one: one.share).index])
            self.controls["favour_lost"].text = plain_button(words.favour(name))
        self.controls["favour_lost"].native.setVisible(bool(lost) and may_favour)
        # An empty line would leave a gap.
        self._line.setVisible(bool(lost))

    def _favour(self) -> None:
        problem = self.session.problem
        if problem is not None and self._lost is not None:
            self.session.set_numbers(self.session.numbers.favouring(self._lost, problem.n_balanced, FAVOUR))

    def _weaken(self) -> None:
        numbers = self.session.numbers
        self.session.set_numbers(
            numbers.changed(
                appearance_weight=WEAKER * numbers.appearance_weight,
                smoothness_weight=WEAKER * numbers.smoothness_weight,
            ).shortened()
        )
