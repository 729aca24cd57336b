"""How the controls are laid out: rows of a name and a control, nothing wider than its dock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from html import escape
from typing import Any

from magicgui.widgets import Label, Widget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QWidget,
)

FILLING = Qt.AlignmentFlag(0)


# Qt's own word for no limit, which its bindings do not all have.
UNLIMITED = 16777215
# Letters of a row's name.
LONGEST_NAME = 14
# Of what an end of a slider is called, below it.
LONGEST_END = 11
# More buttons than this beside each other have little room around their words.
FEW_BUTTONS = 3
# Between what is scrolled to and the end of what is seen.
MARGIN = 6


def set_text(control: Label, words: str, *, rich: bool = False) -> None:
    """Show words in a text of the panel, as markup only if ``rich``; without words it takes no room."""
    control.native.setTextFormat(Qt.TextFormat.RichText if rich else Qt.TextFormat.PlainText)
    if control.value != words:
        control.value = words
    height = UNLIMITED if words else 0
    # Setting it lays the panel out, changed or not.
    if control.native.maximumHeight() != height:
        control.native.setMaximumHeight(height)


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name that fits before a slider, or where there is room for so many letters."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def plain_tooltip(words: str) -> str:
    """Return what a tooltip has to hold to show these words as they are: Qt takes what looks like markup for it."""
    if not Qt.mightBeRichText(words):
        return words
    return f"<qt>{escape(words, quote=False)}</qt>".replace("\n", "<br>")


def plain_button(words: str) -> str:
    """Return what a button has to hold to show these words as they are: Qt underlines what follows one ampersand."""
    return words.replace("&", "&&")


def bring_into_view(control: Widget) -> None:
    """Scroll the panel to where a control is."""
    part = control.native
    area = part.parentWidget()
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    if area is not None:
        area.ensureWidgetVisible(part, 0, 0)


class _DoubleClick(QObject):
    """Calls a function when a widget is double-clicked."""

    def __init__(self, widget: QWidget, function: Callable[[], None]) -> None:
        super().__init__(widget)
        self._function = function
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseButtonDblClick:
            self._function()
            return True
        return super().eventFilter(watched, event)


class Fold:
    """A part of the panel behind a button that shows and hides it; it begins hidden."""

    def __init__(self, title: str, tip: str = "") -> None:
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setToolTip(tip)
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.toggled.connect(self._turn)
        self.button.clicked.connect(self._on_click)
        # Whether the user has opened it, rather than the program.
        self.opened_by_user = False
        self._parts: list[QWidget] = []
        self._hidden: set[QWidget] = set()

    @property
    def open(self) -> bool:
        """Whether the part is shown."""
        return bool(self.button.isChecked())

    @open.setter
    def open(self, shown: bool) -> None:
        self.button.setChecked(shown)

    def hold(self, part: QWidget) -> None:
        """Take a widget into the part."""
        self._parts.append(part)
        part.setVisible(self.open)

    def reveal(self, part: QWidget, shown: bool) -> None:
        """Show a part whenever the fold is open, or not even then."""
        (self._hidden.discard if shown else self._hidden.add)(part)
        part.setVisible(shown and self.open)

    def _turn(self, shown: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        for part in self._parts:
            part.setVisible(shown and part not in self._hidden)

    def _on_click(self, shown: bool) -> None:
        self.opened_by_user = shown
        self.come_into_view()

    def open_by_user(self) -> None:
        """Open it as a click does, for a key or a button that belongs to it."""
        if not self.open:
            self.open = True
            self._on_click(True)

    def come_into_view(self) -> None:
        """Scroll to what a click has opened, once it has been laid out; its title stays in view."""
        if self.opened_by_user:
            QTimer.singleShot(0, self._scroll)

    def _scroll(self) -> None:
        # The window may have gone meanwhile.
        with suppress(RuntimeError):
            area = self.button.parentWidget()
            while area is not None and not isinstance(area, QScrollArea):
                area = area.parentWidget()
            if area is not None and self.opened_by_user:
                for part in (*self._parts[-1:], self.button):
                    area.ensureWidgetVisible(part, 0, MARGIN)


class Panel(QWidget):
    """Rows of controls in one grid, in the order in which they are added."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(6, 6, 6, 6)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)
        self.folds: dict[str, Fold] = {}
        self._fold: Fold | None = None
        self._rows: dict[str, tuple[Fold | None, tuple[QWidget, QWidget]]] = {}

    @contextmanager
    def fold(self, title: str, tip: str = "") -> Iterator[Fold]:
        """Add a fold, whose tooltip says what it is for, and put into it what is added while this is open."""
        fold = Fold(title, tip)
        self.add_native(fold.button)
        self.folds[title] = self._fold = fold
        yield fold
        self._fold = None

    def add_header(self, text: str) -> QLabel:
        """Add a line that names what follows, and return it."""
        label = QLabel(f"<b>{text}</b>")
        label.setContentsMargins(0, 6, 0, 0)
        self.add_native(label)
        return label

    def add_row(self, control: Widget, *, reset: Callable[[], None] | None = None) -> None:
        """Add a control with its name before it; a double click on the name calls ``reset``."""
        label = QLabel(control.label)
        # Names of classes may look like markup.
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setToolTip(control.tooltip or "")
        native = control.native
        native.setMinimumWidth(0)
        if not isinstance(native, QLabel):
            native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        if reset is not None:
            _DoubleClick(label, reset)
        self._place(label, 0, 1, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._place(native, 1, 1, same_row=True)
        self._rows[control.name] = self._fold, (label, native)

    def name_row(self, control: Widget, name: str) -> None:
        """Give a row another name."""
        label = self._rows[control.name][1][0]
        if isinstance(label, QLabel):
            label.setText(name)

    def show_row(self, control: Widget, shown: bool) -> None:
        """Show or hide a row."""
        fold, parts = self._rows[control.name]
        for part in parts:
            if fold is None:
                part.setVisible(shown)
            else:
                fold.reveal(part, shown)

    def add_text(self, control: Label) -> None:
        """Add a text as wide as the panel, that wraps."""
        native = control.native
        native.setWordWrap(True)
        native.setMinimumWidth(0)
        native.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        set_text(control, control.value)
        self.add_native(native)

    def add_wide(self, control: Widget) -> None:
        """Add a control as wide as the panel."""
        self.add_native(control.native)

    def add_line(self, controls: Sequence[Widget]) -> QWidget:
        """Add controls side by side, and return what holds them."""
        whole = QWidget()
        line = QHBoxLayout(whole)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(4)
        n_buttons = sum(isinstance(control.native, QPushButton) for control in controls)
        for control in controls:
            native = control.native
            native.setMinimumWidth(0)
            if isinstance(native, QPushButton) and n_buttons > FEW_BUTTONS:
                native.setStyleSheet("padding: 4px 1px;")
            if isinstance(native, QPushButton):
                native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            line.addWidget(native, 1 if isinstance(native, QPushButton) else 0)
        self.add_native(whole)
        return whole

    def add_native(self, part: QWidget) -> None:
        """Add any Qt widget, as wide as the panel."""
        self._place(part, 0, 2)

    def add_below(self, part: QWidget) -> None:
        """Add any Qt widget below the controls of the rows, not below their names."""
        self._place(part, 1, 1)

    def fill(self) -> None:
        """Keep the rows together at the top."""
        self._grid.setRowStretch(self._grid.rowCount(), 1)

    def _place(
        self,
        part: QWidget,
        column: int,
        n_columns: int,
        alignment: Any = FILLING,
        *,
        same_row: bool = False,
    ) -> None:
        row = self._grid.rowCount() - same_row
        self._grid.addWidget(part, row, column, 1, n_columns, alignment)
        if self._fold is not None:
            self._fold.hold(part)


class Ends(QWidget):
    """What the two ends of a slider mean, below it."""

    def __init__(self) -> None:
        super().__init__()
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._labels = QLabel(), QLabel()
        for label in self._labels:
            label.setTextFormat(Qt.TextFormat.PlainText)
            # Long names are cut, and do not make the panel wider than its dock.
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            line.addWidget(label, 1)
        self._labels[1].setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def say(self, left: str, right: str) -> None:
        """Name the two ends."""
        left, right = shortened(left, LONGEST_END), shortened(right, LONGEST_END)
        for label, text in zip(self._labels, (f"\u25c2 {left}", f"{right} \u25b8"), strict=True):
            label.setText(text)


class _Scrolled(QScrollArea):
    """A scroll area that would like to be a little wider than its narrowest."""

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        hint.setWidth(self.fontMetrics().horizontalAdvance("m") * 30)
        return hint


def scrolled(panel: Panel) -> QScrollArea:
    """Return the panel in an area that scrolls up and down where the dock is too low, and never sideways."""
    panel.fill()
    area = _Scrolled()
    area.setWidget(panel)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMinimumWidth(280)
    return area
