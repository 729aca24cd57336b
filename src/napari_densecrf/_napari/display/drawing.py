"""Lines on napari's canvas: the only file that reaches past napari's models, to its Qt viewer and VisPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from vispy.scene.visuals import Line

# A light line on a dark one is seen on any picture.
STROKES = ((4.0, (0.0, 0.0, 0.0, 0.6)), (2.0, (1.0, 1.0, 1.0, 1.0)))
# The same, where one visual has both.
DARK, LIGHT = (0.0, 0.0, 0.0, 0.8), (1.0, 1.0, 1.0, 1.0)
OVERLAY_WIDTH = 2.0
ON_TOP = 1_000_000
# Where lines are prepared: far from all pixels, so that nobody sees them.
FAR = np.full((2, 2), 1e6, np.float32)
# Time for the canvas to be drawn once.
FRAME_MS = 60


class Drawing:
    """Lines over the layers, but in none: the list of layers stays the user's.

    Nothing is made before it is first shown, or prepared.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._nodes: list[Line] = []
        self._preparing: Iterator[None] = iter(())
        self._timer = QTimer()
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self._prepare_next)

    @property
    def shown(self) -> int:
        """How many lines are shown."""
        return sum(node.visible for node in self._nodes) // len(STROKES)

    def prepare(self, n_lines: int) -> None:
        """Have so many lines be quick to show: VisPy builds a program for each half when it is first drawn.

        All at once these would hold the window for a tenth of a second; here they come one by one, out of sight.
        """
        if not self._nodes:
            self._preparing = self._prepared(n_lines)
            self._timer.start()

    def _prepared(self, n_lines: int) -> Iterator[None]:
        for width, colour in STROKES * n_lines:
            node = self._node(width, colour)
            self._nodes.append(node)
            yield
            node.visible = False

    def _prepare_next(self) -> None:
        if next(self._preparing, self) is self:
            self._timer.stop()

    def draw(self, lines: Sequence[NDArray[np.float64]]) -> None:
        """Show these lines in place of those before, each (n, 2) points of the world along the two shown axes."""
        self._timer.stop()
        while len(self._nodes) < len(STROKES) * len(lines):
            self._nodes += [self._node(width, colour) for width, colour in STROKES]
        for number, node in enumerate(self._nodes):
            k = number // len(STROKES)
            node.visible = k < len(lines)
            if node.visible:
                # VisPy counts x first.
                node.set_data(pos=np.asarray(lines[k], np.float32)[:, ::-1])

    def clear(self) -> None:
        """Show no line."""
        # The window may have gone meanwhile.
        with suppress(RuntimeError):
            # What is being prepared is not seen.
            if not self._timer.isActive():
                for node in self._nodes:
                    node.visible = False

    def close(self) -> None:
        """Take the lines out of the canvas, if it is still there."""
        with suppress(RuntimeError):
            self._timer.stop()
            for node in self._nodes:
                node.parent = None
        self._nodes.clear()

    def _node(self, width: float, colour: tuple[float, ...]) -> Line:
        node = Line(
            pos=FAR,
            color=colour,
            width=width,
            method="agg",
            parent=canvas_of(self._viewer).view.scene,
        )
        node.order = ON_TOP
        node.set_gl_state("translucent", depth_test=False)
        return node


class Overlay:
    """Thin lines over the layers, all in one visual, that wait for the canvas to be drawn for something else.

    While a slider moves the labels draw it anyway; where nothing does for a frame, the lines do.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._node: _PatientLine | None = None
        # (n, 2) points, x first, of the lines that are shown.
        self.lines: list[NDArray[np.float32]] = []
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self._look)

    @property
    def shown(self) -> int:
        """How many lines are shown."""
        return len(self.lines)

    @property
    def is_prepared(self) -> bool:
        """Whether the next lines have nothing to build."""
        return self._node is not None and not self._timer.isActive()

    def prepare(self) -> None:
        """Have lines be quick to show: VisPy builds a program when it is first drawn, here out of sight."""
        if self._node is None:
            self._made()
            self._timer.start()

    def draw(self, lines: Sequence[NDArray[np.float64]]) -> None:
        """Show these lines in place of those before, each (n, 2) points of the world along the two shown axes."""
        node = self._node or self._made()
        # VisPy counts x first.
        self.lines = [np.asarray(line, np.float32)[:, ::-1] for line in lines]
        # Dark lines beside light ones: one of them is seen on any picture.
        aside = np.float32(1 / self._viewer.scene.camera.zoom)
        both = [[line + aside for line in self.lines], self.lines]
        points = np.concatenate([line for one in both for line in one])
        firsts = np.cumsum([0, *(len(line) for one in both for line in one)])
        ends = [np.arange(first, last - 1) for first, last in pairwise(firsts)]
        pairs = np.concatenate(ends)[:, None] + np.arange(2)
        colours = np.repeat(np.array([DARK, LIGHT], np.float32), len(points) // 2, axis=0)
        with node.patiently():
            node.set_data(pos=points, color=colours, connect=pairs.astype(np.uint32))
            node.visible = True
        if not self._timer.isActive():
            self._timer.start()

    def clear(self) -> None:
        """Show no line."""
        self.lines = []
        self._timer.stop()
        if self._node is not None and self._node.visible:
            self._node.visible = False

    def close(self) -> None:
        """Take the lines out of the canvas, if it is still there."""
        with suppress(RuntimeError):
            self._timer.stop()
            if self._node is not None:
                self._node.parent = None
        self._node, self.lines = None, []

    def _look(self) -> None:
        if self._node is None:
            return
        if not self.lines:
            self._node.visible = False
        elif self._node.is_waiting:
            self._node.update()

    def _made(self) -> _PatientLine:
        self._node = node = _PatientLine(
            pos=np.concatenate([FAR, FAR]),
            color=np.array([DARK, DARK, LIGHT, LIGHT], np.float32),
            connect=np.array([[0, 1], [2, 3]], np.uint32),
            width=OVERLAY_WIDTH,
            method="gl",
            parent=canvas_of(self._viewer).view.scene,
        )
        node.order = ON_TOP
        node.set_gl_state("translucent", depth_test=False)
        return node


class _PatientLine(Line):
    """A line that can change without asking for the canvas to be drawn."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # VisPy's visuals take no other attributes once they are made.
        self.unfreeze()
        self.is_patient = self.is_waiting = False
        super().__init__(*args, **options)

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Let changes wait until the canvas is drawn."""
        self.is_patient = self.is_waiting = True
        try:
            yield
        finally:
            self.is_patient = False

    def update(self) -> None:
        if not self.is_patient:
            super().update()

    def _prepare_draw(self, view: Any) -> Any:
        self.is_waiting = False
        return super()._prepare_draw(view)


def canvas_of(viewer: ViewerModel) -> Any:
    """Return napari's canvas. Plugins get a proxy of the viewer, that hides it."""
    region = viewer.window
    return getattr(region, "__wrapped__", region)._qt_viewer.canvas


def show_grip(viewer: ViewerModel, shown: bool) -> None:
    """Have the mouse pointer say that a line can be dragged to the left and right, or be as napari has it."""
    canvas = canvas_of(viewer)
    if shown:
        canvas.native.setCursor(Qt.CursorShape.SplitHCursor)
    else:
        canvas._on_cursor()
