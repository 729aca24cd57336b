"""What to click while there is nothing to refine yet: a sample, or strokes in place of a segmentation."""

from __future__ import annotations

from magicgui.widgets import PushButton

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel
from napari_densecrf._napari.problem.problem import Misfit, Problem
from napari_densecrf._napari.session import Session

from .painting import new_strokes
from .section import Section

SAMPLE = ("napari-densecrf", "tissue")


class Begin(Section):
    """Two buttons below the line that says what is missing; each is there only while it helps."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        sample = PushButton(name="open_sample", text=words.OPEN_SAMPLE, tooltip=words.OPEN_SAMPLE_TIP)
        paint = PushButton(name="paint_strokes", text=words.PAINT_STROKES, tooltip=words.PAINT_STROKES_TIP)
        self.controls = {control.name: control for control in (sample, paint)}

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons into the panel."""
        for control in self.controls.values():
            panel.add_wide(control)
            control.native.setVisible(False)

    def connect(self) -> None:
        """Listen to the buttons, and to what is understood."""
        self.controls["open_sample"].changed.connect(self._open_sample)
        self.controls["paint_strokes"].changed.connect(lambda: new_strokes(self.session))
        self.session.inputs_changed.connect(self._on_inputs)

    def _open_sample(self) -> None:
        self.session.viewer.open_sample(*SAMPLE)

    def _on_inputs(self, understood: Problem | Misfit) -> None:
        chosen = self.session.chosen
        missing = isinstance(understood, Misfit)
        no_map = chosen.image is not None and chosen.map is None and chosen.strokes is None
        self.controls["open_sample"].native.setVisible(missing and chosen.image is None)
        self.controls["paint_strokes"].native.setVisible(missing and no_map)
