"""How far the kernels reach, drawn on the canvas in true size while their sliders move."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.display.drawing import Drawing
from napari_densecrf._napari.display.placement import centre_of_view, on_canvas, pixel_at
from napari_densecrf._napari.panel.timers import a_timer
from napari_densecrf._napari.problem.axes import Problem
from napari_densecrf._napari.problem.region import whole_slice

from .influence import PixelInfluence
from .section import Section

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget

SHOWN_MS = 1000
SLIDERS = ("appearance_position_sigma", "smoothness_position_sigma")
ANGLES = np.linspace(0, 2 * np.pi, 97)
# From here to both sides the mark of the centre goes, in parts of the radius.
TICK = 0.08
# The ellipse and the two strokes of the cross.
N_LINES = 3


class Radii(Section):
    """An ellipse of the radius theta around the mouse, the pixel that is kept, or the middle of the view.

    Parameters
    ----------
    widget : DenseCRFWidget
    influence : PixelInfluence
        Knows the pixel that is kept. Where its layer is about to be drawn, the ellipse waits for it: the canvas is
        drawn once for both.
    """

    def __init__(self, widget: DenseCRFWidget, influence: PixelInfluence) -> None:
        super().__init__(widget)
        self._influence = influence
        self._waiting: float | None = None
        self.drawing = Drawing(widget.viewer)
        self._timer = a_timer(SHOWN_MS, self.drawing.clear)
        # Before the mouse has moved, napari has it at the origin.
        self._mouse_has_moved = False

    def connect(self) -> None:
        """Listen to the sliders of the reaches, and for the mouse."""
        for name in SLIDERS:
            self.widget[name].changed.connect(self._on_slider)
        self._influence.drawn.append(self._draw_waiting)
        self.widget.result_shown.connect(lambda _: self.drawing.prepare(N_LINES))
        self.widget.viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Take the ellipse away."""
        # When the program ends, Qt may have deleted it before.
        with suppress(RuntimeError):
            self._timer.stop()
        self.drawing.close()
        with suppress(ValueError):
            self.widget.viewer.mouse_move_callbacks.remove(self._on_move)

    def _on_move(self, *_: Any) -> None:
        self._mouse_has_moved = True

    def _on_slider(self, sigma: float) -> None:
        if self._influence.busy:
            self._waiting = sigma
        else:
            self._draw(sigma)

    def _draw_waiting(self) -> None:
        if self._waiting is not None:
            self._draw(self._waiting)

    def _draw(self, sigma: float) -> None:
        self._waiting = None
        problem = self.widget.current_plan
        if problem is None:
            return
        if self.widget.viewer.dims.ndisplay != 2:
            self.widget.viewer.status = "The reach is drawn in the 2D view only."
            return
        index = whole_slice(problem, self.widget.viewer.dims.point).index
        ellipse = around(problem, self._centre(problem), sigma)
        self.drawing.draw([on_canvas(problem, index, line) for line in ellipse])
        self._timer.start()

    def _centre(self, problem: Problem) -> tuple[float, float]:
        viewer: Any = self.widget.viewer
        if viewer.mouse_over_canvas and self._mouse_has_moved:
            return pixel_at(problem, viewer.cursor.position)
        return self._influence.pinned or centre_of_view(problem, viewer)


def around(problem: Problem, centre: tuple[float, float], sigma: float) -> list[NDArray[np.float64]]:
    """Return an ellipse of a radius in world units and a cross in its middle, as lines of (n, 2) pixels."""
    radii = sigma / np.array(problem.spacing)
    lines = [
        np.column_stack([np.sin(ANGLES), np.cos(ANGLES)]),
        np.array([[-TICK, 0], [TICK, 0]]),
        np.array([[0, -TICK], [0, TICK]]),
    ]
    return [centre + line * radii for line in lines]
