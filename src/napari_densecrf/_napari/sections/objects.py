"""What became of each object: a table in the layer, and one after the other, those that changed most first."""

from __future__ import annotations

from typing import Any

import numpy as np
from magicgui.widgets import Label, PushButton
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.display.placement import on_canvas
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.session import TIDY_MS, Session
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.objects.refine import ObjectRefinement

from .section import Section

# An object fills so much of the canvas where the camera goes to it.
FILLED = 0.2


class Objects(Section):
    """The button that goes to the next object, and the table of all in the features of the result's layer."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.next = PushButton(
            name="next_object",
            text="Next object that changed most",
            tooltip="The camera goes to it; again, to the next. All are in the table of the layer's features.",
        )
        self.says = Label(name="object_words", label="")
        self.controls = {control.name: control for control in (self.next, self.says)}
        # The table takes longer than a frame while a slider moves: it waits until nothing does.
        self._rest = session.loop.timer(TIDY_MS, self._fill_table)
        self._result: Result | None = None
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self._at = 0

    def lay_out(self, panel: Panel) -> None:
        """Put the words below the button."""
        panel.add_wide(self.next)
        panel.add_text(self.says)

    def connect(self) -> None:
        """Listen to the button, to results and to what is understood."""
        self.next.changed.connect(self.go_on)
        self.session.result_written.connect(self._on_result)
        self.session.inputs_changed.connect(self._on_inputs)
        self.fold.reveal(self.next.native, False)

    def close(self) -> None:
        """Wait for nothing any more."""
        super().close()
        self._rest.stop()

    def go_on(self) -> None:
        """Go to the next object, those whose borders moved most first."""
        result = self.session.result
        if result is None or not isinstance(result.refinement, ObjectRefinement):
            return
        report = result.refinement.report
        if result is not self._result:
            self._result, self._at = result, 0
            self._order = np.argsort(-report["border_moved"], kind="stable")
        row = report[self._order[self._at % len(self._order)]]
        place = self._at % len(self._order) + 1
        self._at += 1
        self._show(result, row)
        set_text(self.says, words.object_changed(row, place, len(self._order)))

    def _show(self, result: Result, row: Any) -> None:
        """Move the camera to an object, where it is in view."""
        region, problem = result.request.region, result.request.problem
        at = np.argwhere(result.labels == row["id"])
        layer = self.session.result_layer
        if layer is not None:
            layer.selected_label = int(row["id"])
        if not at.size:
            return
        low, high = at.min(axis=0) * region.step, (at.max(axis=0) + 1) * region.step
        corners = np.stack([low, high]) + np.array([region.y[0], region.x[0]])
        first, last = on_canvas(problem, region.index, corners - 0.5)
        camera, canvas = self.session.viewer.scene.camera, self.session.viewer.canvas.size
        camera.center = (*camera.center[:-2], *(first + last) / 2)
        camera.zoom = FILLED * min(canvas) / max(np.abs(last - first).max(), 1e-9)

    def _on_inputs(self, understood: Any) -> None:
        shown = bool(getattr(understood, "objects", False))
        self.fold.reveal(self.next.native, shown)
        if not shown:
            set_text(self.says, "")

    def _on_result(self, result: Result) -> None:
        if isinstance(result.refinement, ObjectRefinement):
            self._rest.start()

    def _fill_table(self) -> None:
        result, layer = self.session.result, self.session.result_layer
        if result is not None and layer is not None and isinstance(result.refinement, ObjectRefinement):
            layer.features = table(result.refinement)


def table(refinement: ObjectRefinement) -> dict[str, NDArray[Any]]:
    """Return one row an object, as the features of a Labels layer have it."""
    report = refinement.report
    return {
        "index": report["id"],
        "area before": report["area_before"],
        "area after": report["area_after"],
        "border moved": np.round(report["border_moved"], 3),
        "held": report["held"],
    }
