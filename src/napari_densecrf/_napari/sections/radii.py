"""How far the kernels reach, drawn on the canvas in true size while their sliders move."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.display.drawing import Overlay
from napari_densecrf._napari.display.placement import centre_of_view, on_canvas, pixel_at
from napari_densecrf._napari.problem.problem import Problem
from napari_densecrf._napari.problem.view import whole_slice
from napari_densecrf._napari.session import USER, Session
from napari_densecrf.numbers import IN_PIXELS, Numbers

from .influence import PixelInfluence
from .section import Section

SHOWN_MS = 1000
ANGLES = np.linspace(0, 2 * np.pi, 97)
# From here to both sides the mark of the centre goes, in parts of the radius.
TICK = 0.08


class Radii(Section):
    """An ellipse of the radius theta around the mouse, the pixel that is kept, or the middle of the view.

    Parameters
    ----------
    session : Session
    influence : PixelInfluence
        Knows the pixel that is kept. Where its layer is about to be drawn, the ellipse waits for it: the canvas is
        drawn once for both. For labels it waits too, see `Overlay`.
    """

    def __init__(self, session: Session, influence: PixelInfluence) -> None:
        super().__init__(session)
        self._influence = influence
        self._waiting: float | None = None
        self.drawing = Overlay(session.viewer)
        self._timer = session.loop.timer(SHOWN_MS, self.drawing.clear)
        self._numbers = session.numbers
        # Before the mouse has moved, napari has it at the origin.
        self._mouse_has_moved = False

    def connect(self) -> None:
        """Listen to the sliders of the reaches, and for the mouse."""
        self.session.numbers_changed.connect(self._on_numbers)
        self._influence.drawn.connect(self._draw_waiting)
        self.session.result_written.connect(lambda _: self.drawing.prepare())
        self.session.viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Take the ellipse away."""
        super().close()
        self._timer.stop()
        self.drawing.close()
        with suppress(ValueError):
            self.session.viewer.mouse_move_callbacks.remove(self._on_move)

    def _on_move(self, *_: object) -> None:
        self._mouse_has_moved = True

    def _on_numbers(self, numbers: Numbers, by: str) -> None:
        """Draw the reach that the user has moved."""
        before, self._numbers = self._numbers, numbers
        moved = [name for name in IN_PIXELS if getattr(numbers, name) != getattr(before, name)]
        if by == USER and moved:
            self._on_slider(getattr(numbers, moved[0]))

    def _on_slider(self, sigma: float) -> None:
        if self._influence.busy:
            self._waiting = sigma
        else:
            self._draw(sigma)

    def _draw_waiting(self, *_: object) -> None:
        if self._waiting is not None:
            self._draw(self._waiting)

    def _draw(self, sigma: float) -> None:
        self._waiting = None
        problem = self.session.problem
        if problem is None:
            return
        if self.session.viewer.dims.ndisplay != 2:
            self.session.viewer.status = "The reach is drawn in the 2D view only."
            return
        index = whole_slice(problem, self.session.viewer.dims.point).index
        ellipse = around(problem, self._centre(problem), sigma)
        self.drawing.draw([on_canvas(problem, index, line) for line in ellipse])
        self._timer.start()

    def _centre(self, problem: Problem) -> tuple[float, float]:
        viewer: Any = self.session.viewer
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
