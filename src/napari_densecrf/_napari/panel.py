"""How the controls are laid out: rows of a name and a control, nothing wider than its dock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import Widget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)


class _DoubleClick(QObject):
    """Calls a function when a widget is double-clicked."""

    def __init__(self, widget: QWidget, function: Callable[[], None]) -> None:
        super().__init__(widget)
        self._function = function
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() == QEvent.Type.MouseButtonDblClick:
            self._function()
            return True
        return super().eventFilter(watched, event)


class Panel(QWidget):
    """Rows of controls, in the order in which they are added."""

    def __init__(self) -> None:
        super().__init__()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(6, 6, 6, 6)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        whole.addLayout(self._grid)
        whole.addStretch(1)
        self._folded: list[QWidget] = []

    def add_header(self, text: str) -> None:
        """Add a line that names what follows."""
        label = QLabel(f"<b>{text}</b>")
        label.setContentsMargins(0, 6, 0, 0)
        self._add_wide(label)

    def add_row(self, control: Widget, *, reset: Callable[[], None] | None = None, folded: bool = False) -> None:
        """Add a control with its name before it; a double click on the name calls ``reset``."""
        label = QLabel(control.label)
        label.setToolTip(control.tooltip or "")
        native = control.native
        native.setMinimumWidth(0)
        if not isinstance(native, QLabel):
            native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        if reset is not None:
            _DoubleClick(label, reset)
        row = self._grid.rowCount()
        self._grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._grid.addWidget(native, row, 1)
        if folded:
            self._folded += [label, native]

    def add_text(self, control: Widget) -> None:
        """Add a text as wide as the panel, that wraps."""
        native = control.native
        native.setWordWrap(True)
        native.setMinimumWidth(0)
        native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._add_wide(native)

    def add_wide(self, control: Widget) -> None:
        """Add a control as wide as the panel."""
        self._add_wide(control.native)

    def add_line(self, controls: Sequence[Widget]) -> None:
        """Add controls side by side."""
        line = QHBoxLayout()
        line.setSpacing(4)
        for control in controls:
            native = control.native
            native.setMinimumWidth(0)
            if isinstance(native, QPushButton):
                native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            line.addWidget(native, 1 if isinstance(native, QPushButton) else 0)
        self._grid.addLayout(line, self._grid.rowCount(), 0, 1, 2)

    def add_fold(self, text: str) -> QToolButton:
        """Add the button that shows and hides the folded rows."""
        button = QToolButton()
        button.setText(text)
        button.setCheckable(True)
        button.setAutoRaise(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setArrowType(Qt.ArrowType.RightArrow)
        button.toggled.connect(self.unfold)
        button.toggled.connect(
            lambda shown: button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        )
        self._add_wide(button)
        return button

    def unfold(self, shown: bool) -> None:
        """Show or hide the folded rows."""
        for part in self._folded:
            part.setVisible(shown)

    def _add_wide(self, part: QWidget) -> None:
        self._grid.addWidget(part, self._grid.rowCount(), 0, 1, 2)


def scrolled(panel: QWidget) -> QScrollArea:
    """Return the panel in an area that scrolls up and down where the dock is too low, and never sideways."""
    area = QScrollArea()
    area.setWidget(panel)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMinimumWidth(280)
    return area
