"""Nine small pictures to choose from, in three rows, each with words under it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QSizePolicy, QToolButton, QWidget

from .panel import plain_button, plain_tooltip

FREELY, SMOOTHLY = Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
N_COLUMNS, N_ROWS = 3, 3
SPACING = 2
# Between a picture and the edge of its button.
PADDING = 6
SMALLER = 0.85


class Thumbnails(QWidget):
    """The pictures, as wide together as the panel."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(SPACING)
        self.buttons: list[QToolButton] = []
        self._group = QButtonGroup(self)
        self._group.idClicked.connect(self._on_click)
        self._pictures: list[QPixmap] = []
        for k in range(N_COLUMNS * N_ROWS):
            button = QToolButton()
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setAutoRaise(True)
            font = button.font()
            font.setPointSizeF(SMALLER * font.pointSizeF())
            button.setFont(font)
            self._group.addButton(button, k)
            grid.addWidget(button, k // N_COLUMNS, k % N_COLUMNS)
            self.buttons.append(button)

    def show_pictures(self, pictures: Sequence[NDArray[np.uint8]], words: Sequence[str], tips: Sequence[str]) -> None:
        """Show these nine (height, width, 3) pictures, with words under each."""
        self._pictures = [_pixmap(picture) for picture in pictures]
        for button, text, tip in zip(self.buttons, words, tips, strict=True):
            button.setText(plain_button(text))
            button.setToolTip(plain_tooltip(tip))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _on_click(self, k: int) -> None:
        self.chosen.emit(k)

    def _fit(self) -> None:
        """Draw the pictures as large as the panel is wide."""
        side = max(32, (self.width() - (N_COLUMNS - 1) * SPACING) // N_COLUMNS - PADDING)
        for button, picture in zip(self.buttons, self._pictures, strict=False):
            scaled = picture.scaled(side, side, FREELY, SMOOTHLY)
            button.setIconSize(QSize(side, side))
            button.setIcon(QIcon(scaled))


def _pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    height, width, _ = picture.shape
    return QPixmap.fromImage(QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888))
