"""A small plot of one value an iteration: points joined by a line, in napari's colours.

Two curves of at most thirty points need no plotting library: importing one takes longer than a window may hold still.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

LINES = 8
# In pixels of the screen.
DOT, GAP = 3.0, 4


class Plot(QWidget):
    """A title, a vertical axis with its two ends, a horizontal one that counts, and a curve.

    Parameters
    ----------
    title, colour : str
    limits : (float, float), optional
        Ends of the vertical axis; None = those of the values.
    first : int
        What the horizontal axis calls the first value.
    """

    def __init__(self, title: str, colour: str, *, limits: tuple[float, float] | None = None, first: int = 0) -> None:
        super().__init__()
        self.title, self.colour, self.first = title, colour, first
        self._limits = limits
        self.values: NDArray[np.float64] = np.empty(0)
        self.background, self.text, self.frame = "black", "white", "gray"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(self.fontMetrics().height() * LINES)

    def show_values(self, values: NDArray[np.floating]) -> None:
        """Show these values in place of those before."""
        self.values = np.asarray(values, np.float64)
        self.update()

    def take_colours(self, background: str, text: str, frame: str) -> None:
        """Take on the colours of a theme, as ``#rrggbb``."""
        self.background, self.text, self.frame = background, text, frame
        self.update()

    def points(self, area: QRectF) -> list[QPointF]:
        """Return where the values lie in an area of the screen."""
        low, high = self._ends()
        span = (high - low) or 1.0
        steps = max(1, len(self.values) - 1)
        return [
            QPointF(
                area.left() + area.width() * index / steps, area.bottom() - area.height() * float(value - low) / span
            )
            for index, value in enumerate(self.values)
        ]

    def _ends(self) -> tuple[float, float]:
        if self._limits is not None:
            return self._limits
        finite = self.values[np.isfinite(self.values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(self.background))
        metrics = self.fontMetrics()
        # Of one width for all plots, or the iterations of two would not stand below each other.
        left, line = metrics.horizontalAdvance("-0.00000") + GAP, metrics.height()
        area = QRectF(left, line + GAP, self.width() - left - 2 * GAP, self.height() - 2 * line - 3 * GAP)
        painter.setPen(QPen(QColor(self.frame)))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.bottomLeft(), area.topLeft())
        painter.setPen(QPen(QColor(self.text)))
        painter.drawText(QRectF(0, 0, self.width(), line), Qt.AlignmentFlag.AlignCenter, self.title)
        if self.values.size:
            self._paint_values(painter, area, line)
        painter.end()

    def _paint_values(self, painter: QPainter, area: QRectF, line: int) -> None:
        low, high = self._ends()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value, y in ((high, area.top()), (low, area.bottom())):
            painter.drawText(QRectF(0, y - line / 2, area.left() - GAP, line), right, f"{value:.3g}")
        below = area.bottom() + GAP
        painter.drawText(QRectF(area.left(), below, area.width(), line), Qt.AlignmentFlag.AlignLeft, str(self.first))
        last = str(self.first + len(self.values) - 1)
        painter.drawText(QRectF(area.left(), below, area.width(), line), Qt.AlignmentFlag.AlignRight, last)
        points = [point for point, value in zip(self.points(area), self.values, strict=True) if np.isfinite(value)]
        painter.setPen(QPen(QColor(self.colour), 2))
        painter.drawPolyline(QPolygonF(points))
        painter.setBrush(QColor(self.colour))
        painter.setPen(Qt.PenStyle.NoPen)
        for point in points:
            painter.drawEllipse(point, DOT, DOT)
