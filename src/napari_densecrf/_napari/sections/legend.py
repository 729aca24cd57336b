"""The legend in the main panel: colour, name and area of each class; click to paint, to see it alone, to rename."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QContextMenuEvent, QIcon, QPainter, QPixmap, QResizeEvent
from qtpy.QtWidgets import QGridLayout, QInputDialog, QMenu, QSizePolicy, QToolButton, QWidget

from napari_densecrf._napari import words
from napari_densecrf._napari.display.result_layer import colours_of
from napari_densecrf._napari.display.strokes import MOST_KEYS
from napari_densecrf._napari.panel.panel import Panel, plain_button, plain_tooltip, shortened
from napari_densecrf._napari.problem.problem import Problem
from napari_densecrf._napari.session import Session

from .painting import paint_class
from .section import Section

# More classes than a dock has room for; the rest are named in the status bar when one points at them.
MOST_CHIPS = 12
N_COLUMNS = 3
SWATCH, PADDING = 12, 18


@dataclass(frozen=True)
class Entry:
    """What the legend says of one class.

    Parameters
    ----------
    name : str
    value : int
        In the layer of the result, or of the strokes.
    colour : tuple of float
        Red, green, blue, opacity.
    area : str
        Empty where nothing has been refined.
    detail : str
        Of the tooltip.
    """

    name: str
    value: int
    colour: tuple[float, ...]
    area: str = ""
    detail: str = ""

    @property
    def is_clear(self) -> bool:
        """Whether the class is not seen in the result."""
        return self.colour[-1] == 0


class _Chip(QToolButton):
    """The button of a class, which says which one it is: PySide would keep a function for each for good."""

    taken = Signal(int)
    asked = Signal(int)

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index
        self.clicked.connect(self._on_click)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self.asked.emit(self._index)

    def _on_click(self) -> None:
        self.taken.emit(self._index)


class Legend(Section):
    """One button a class, two beside each other."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.native = _Chips(self._arrange)
        self._grid = QGridLayout(self.native)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)
        self.chips: list[_Chip] = []
        self.entries: list[Entry] = []
        self._alone: int | None = None
        self._n_columns = N_COLUMNS

    def lay_out(self, panel: Panel) -> None:
        """Put the legend into the panel."""
        panel.add_native(self.native)
        self.native.setVisible(False)

    def connect(self) -> None:
        """Listen to results, to the strokes, and to what is understood."""
        session = self.session
        for signal in (session.result_written, session.chosen_changed, session.inputs_changed):
            signal.connect(self.follow)

    def follow(self, *_: object) -> None:
        """Show the classes that there are now."""
        entries = self._found()
        if [entry.value for entry in entries] != [entry.value for entry in self.entries]:
            self._alone = None
        same = entries == self.entries
        self.entries = entries
        while len(self.chips) < min(len(entries), MOST_CHIPS):
            self._add_chip()
        painting = self._is_painting
        for k, chip in enumerate(self.chips):
            chip.setVisible(k < len(entries))
            if k < len(entries):
                self._dress(chip, k, painting=painting, recolour=not same)
        self.native.setVisible(bool(entries))
        self._arrange()

    # --- what a click does -----------------------------------------------------------------------------------------

    def paint(self, index: int) -> None:
        """Paint with a class."""
        paint_class(self.session, index)
        self.follow()

    def show_alone(self, index: int) -> None:
        """Show one class of the result alone, or all again."""
        layer = self.session.result_layer
        if layer is None or index >= len(self.entries):
            return
        self._alone = None if self._alone == index else index
        layer.selected_label = self.entries[index].value
        layer.show_selected_label = self._alone is not None
        self.follow()

    def rename(self, index: int, name: str) -> None:
        """Give a class another name."""
        if name.strip():
            self.session.rename_class(index, name.strip())
            self.follow()

    def _ask_name(self, index: int) -> None:
        old = self.entries[index].name
        name, good = QInputDialog.getText(self.native, words.RENAME_TITLE, words.RENAME_ASK, text=old)
        if good:
            self.rename(index, name)

    # --- the buttons -----------------------------------------------------------------------------------------------

    @property
    def _is_painting(self) -> bool:
        return self.session.chosen.painted is not None

    def _found(self) -> list[Entry]:
        problem, result = self.session.problem, self.session.result
        if isinstance(problem, Problem) and problem.objects:
            return []
        layer = self.session.result_layer
        if result is not None and layer is not None and result.request.problem == problem:
            areas = result.counts.sum(axis=0)
            # What is clear in the result has a colour on the brush.
            painted = self.session.chosen.painted
            return [
                Entry(
                    name,
                    value,
                    _colour(layer, value) if painted is None else _colour(painted, k + 1),
                    words.area(count / max(1, areas.sum())),
                    words.class_area(name, int(result.counts[k].sum()), count),
                )
                for k, (name, value, count) in enumerate(
                    zip(result.inputs.names, result.inputs.values.tolist(), areas.tolist(), strict=True)
                )
            ]
        strokes = self.session.chosen.painted
        names = [] if strokes is None else strokes.metadata.get("classes") or []
        return [] if strokes is None else [Entry(name, k, _colour(strokes, k)) for k, name in enumerate(names, start=1)]

    def _add_chip(self) -> None:
        chip = _Chip(len(self.chips))
        chip.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        chip.setAutoRaise(True)
        chip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # While one paints a click takes the class; else it asks what to do, as the right button always does.
        chip.taken.connect(self._take)
        chip.asked.connect(self._ask)
        self.chips.append(chip)

    def _take(self, index: int) -> None:
        if self._is_painting:
            self.paint(index)
        else:
            self._ask(index)

    def _arrange(self) -> None:
        """Put the buttons beside each other where their names have room, else below each other."""
        metrics = self.native.fontMetrics()
        widest = max((metrics.horizontalAdvance(chip.text()) for chip in self.chips[: len(self.entries)]), default=0)
        widest += SWATCH + PADDING
        n_columns = max(1, min(N_COLUMNS, self.native.width() // max(widest, 1)))
        if n_columns == self._n_columns and self._grid.count() == len(self.chips):
            return
        self._n_columns = n_columns
        for index, chip in enumerate(self.chips):
            self._grid.addWidget(chip, index // n_columns, index % n_columns)

    def _ask(self, index: int) -> None:
        """Offer what can be done with a class, below its button."""
        chip = self.chips[index]
        menu = self.menu(index)
        menu.popup(chip.mapToGlobal(chip.rect().bottomLeft()))

    def menu(self, index: int) -> QMenu:
        """Return what can be done with a class."""
        menu = QMenu(self.native)
        menu.aboutToHide.connect(menu.deleteLater)
        entry = self.entries[index]
        name = plain_button(shortened(entry.name))
        menu.addAction(words.paint_with(name), partial(self.paint, index))
        if self.session.result_layer is not None and not entry.is_clear:
            text = words.SHOW_ALL if self._alone == index else words.show_alone(name)
            menu.addAction(text, partial(self.show_alone, index))
        menu.addAction(words.RENAME, partial(self._ask_name, index))
        return menu

    def _dress(self, chip: QToolButton, index: int, *, painting: bool, recolour: bool) -> None:
        entry = self.entries[index]
        number = f"{index + 1}  " if painting and index < MOST_KEYS else ""
        text = plain_button(f"{number}{shortened(entry.name)}  {entry.area}".rstrip())
        if chip.text() != text:
            chip.setText(text)
        tip = words.CHIP_PAINTS if painting else words.CHIP_OFFERS
        chip.setToolTip(plain_tooltip(f"{entry.detail} {tip}".strip()))
        font = chip.font()
        if font.bold() != (self._alone == index):
            font.setBold(self._alone == index)
            chip.setFont(font)
        if recolour or chip.icon().isNull():
            chip.setIcon(_swatch(entry.colour))


class _Chips(QWidget):
    """Holds the buttons, and has them arranged anew when the dock is made wider or narrower."""

    def __init__(self, arrange: Callable[[], None]) -> None:
        super().__init__()
        self._arrange = arrange

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._arrange()


def _colour(layer: Labels, value: int) -> tuple[float, ...]:
    return tuple(float(part) for part in colours_of(layer, [value])[0])


def _swatch(colour: tuple[float, ...]) -> QIcon:
    """Return a square of a colour; of a class that is clear only its frame."""
    pixels = QPixmap(SWATCH, SWATCH)
    pixels.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixels)
    if colour[-1]:
        painter.fillRect(pixels.rect(), QColor.fromRgbF(*colour[:3]))
    else:
        painter.setPen(QColor("gray"))
        painter.drawRect(0, 0, SWATCH - 1, SWATCH - 1)
    painter.end()
    return QIcon(pixels)
