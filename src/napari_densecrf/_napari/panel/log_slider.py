"""Sliders with the exact number typed beside them: one whose steps are ratios, and one whose steps are equal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from magicgui.backends._qtpy.widgets import QBaseValueWidget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QHBoxLayout, QLabel, QSizePolicy, QSlider, QWidget

POSITIONS = 400


class _Number(QDoubleSpinBox):
    """A spin box that shows four significant digits, and takes any."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(9)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.setKeyboardTracking(False)
        # napari's style leaves room for buttons, which are not there.
        width = self.fontMetrics().horizontalAdvance("0.0000 µm")
        self.setStyleSheet(f"min-width: {width}px; max-width: {width}px; padding: 1px 4px;")

    def textFromValue(self, value: float) -> str:
        return f"{value:.4g}"


class QLogSlider(QWidget):
    """The slider, the number and its unit. The value is kept exactly; slider and number only show it.

    A value outside the slider's range moves the end of the range.
    """

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = 1.0
        self._range = (0.1, 10.0)
        self._zero = False
        self._pixel = 0.0
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, POSITIONS)
        self.slider.setPageStep(POSITIONS // 20)
        self.slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # In a narrow dock the numbers need the room.
        self.slider.setMinimumWidth(24)
        self.number = _Number()
        self.pixels = QLabel()
        self.pixels.setVisible(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.slider, self.number, self.pixels):
            layout.addWidget(part)
        # A method: PySide keeps a function that holds this widget, and with it the widget, for good.
        self.slider.valueChanged.connect(self._on_position)
        self.number.valueChanged.connect(self._change)
        self.setLimits(*self._range)

    def value(self) -> float:
        """Return the exact value."""
        return self._value

    def setValue(self, value: float) -> None:
        """Set the exact value, and move the ends of the slider where it lies outside."""
        low, high = self._range
        if value > 0:
            self._range = (min(low, value), max(high, value))
        self._change(float(value))

    def setLimits(self, low: float, high: float, zero: bool | None = None) -> None:
        """Set what the ends of the slider mean; with ``zero`` its left end is 0 instead."""
        self._zero = self._zero if zero is None else zero
        self._range = (min(low, self._value) if self._value > 0 else low, max(high, self._value))
        with QSignalBlocker(self.number):
            self.number.setRange(0.0 if self._zero else 1e-9, 1e12)
        self._show()

    def setUnit(self, unit: str, pixel: float | None = None) -> None:
        """Write a unit behind the number, and beside it how many pixels the value is.

        ``pixel`` is the size of a pixel in that unit; 0 leaves the place beside the number empty, None leaves none.
        """
        self.number.setSuffix(f" {unit}" if unit else "")
        self._pixel = pixel or 0.0
        self.pixels.setVisible(pixel is not None)
        self.pixels.setMinimumWidth(self.pixels.fontMetrics().horizontalAdvance("88.8 px") + 2)
        self._describe()

    def _describe(self) -> None:
        n_pixels = self._value / self._pixel if self._pixel else 0.0
        digits = f"{n_pixels:.3g}" if n_pixels < 100 else f"{n_pixels:.0f}"
        self.pixels.setText(f"{digits} px" if self._pixel else "")

    def _at(self, position: int) -> float:
        low, high = self._range
        if self._zero and position == 0:
            return 0.0
        exact = low * (high / low) ** (position / POSITIONS)
        # As many digits as a step of the slider tells apart.
        return float(f"{exact:.3g}")

    def _on_position(self, position: int) -> None:
        self._change(self._at(position))

    def _position(self, value: float) -> int:
        low, high = self._range
        if value <= 0:
            return 0
        position = round(POSITIONS * math.log(value / low) / math.log(high / low))
        return max(position, 1) if self._zero else position

    def _change(self, value: float) -> None:
        changed = value != self._value
        self._value = value
        self._show()
        if changed:
            self.valueChanged.emit(value)

    def _show(self) -> None:
        with QSignalBlocker(self.slider), QSignalBlocker(self.number):
            if self._at(self.slider.value()) != self._value:
                self.slider.setValue(self._position(self._value))
            self.number.setValue(self._value)
        self._describe()


class QLinearSlider(QLogSlider):
    """A slider whose steps are equal, from the lower limit to the upper; below it what its two ends mean, if said."""

    valueChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        self._step = 0.05
        super().__init__(parent)

    def setValue(self, value: float) -> None:
        """Set the exact value, and move the ends of the slider where it lies outside."""
        low, high = self._range
        self._range = (min(low, value), max(high, value))
        self._change(value)

    def setLimits(self, low: float, high: float, zero: bool | None = None) -> None:
        """Set what the ends of the slider mean."""
        self._range = (low, high)
        with QSignalBlocker(self.number):
            self.number.setRange(low, high)
        self._show()

    def setStep(self, step: float) -> None:
        """Set by how much the slider moves at once; whole numbers stay whole."""
        self._step = step
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, round((self._range[1] - self._range[0]) / step))
        if isinstance(step, int):
            self.number.setDecimals(0)
        self.number.setStepType(QAbstractSpinBox.StepType.DefaultStepType)
        self.number.setSingleStep(step)
        self.slider.setPageStep(max(1, self.slider.maximum() // 20))
        self._show()

    def _at(self, position: int) -> float:
        return type(self._step)(round(self._range[0] + position * self._step, 6))

    def _position(self, value: float) -> int:
        return round((value - self._range[0]) / self._step)

    def _change(self, value: float) -> None:
        super()._change(type(self._step)(value))


class _LogSliderBackend(QBaseValueWidget):
    _qwidget: QLogSlider
    _kind: ClassVar[type[QLogSlider]] = QLogSlider

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(self._kind, "value", "setValue", "valueChanged", **kwargs)

    def _mgui_get_visible(self) -> bool:
        return bool(self._qwidget.isVisible())


class _LinearSliderBackend(_LogSliderBackend):
    _kind = QLinearSlider


class LogSlider(ValueWidget[float]):
    """The slider as a magicgui widget.

    Parameters
    ----------
    limits : (float, float)
        What the ends of the slider mean.
    zero : bool
        Whether the left end is 0.
    """

    def __init__(self, limits: tuple[float, float], *, zero: bool = False, **kwargs: Any) -> None:
        value = kwargs.pop("value")
        super().__init__(**{"widget_type": _LogSliderBackend, **kwargs})
        self.default = value
        self.set_limits(limits, zero=zero)
        self.value = value

    def set_limits(self, limits: tuple[float, float], *, zero: bool | None = None) -> None:
        """Set what the ends of the slider mean."""
        self._qt.setLimits(*limits, zero)

    def set_unit(self, unit: str, pixel: float | None = None) -> None:
        """Write a unit behind the number; see `QLogSlider.setUnit`."""
        self._qt.setUnit(unit, pixel)

    @property
    def _qt(self) -> QLogSlider:
        return self._widget._mgui_get_native_widget()


class LinearSlider(LogSlider):
    """A slider of equal steps as a magicgui widget.

    Parameters
    ----------
    limits : (float, float)
        What the ends of the slider mean.
    step : float or int
        By how much it moves; an int keeps the value whole.
    """

    def __init__(self, limits: tuple[float, float], *, step: float, **kwargs: Any) -> None:
        self._step = step
        super().__init__(limits, widget_type=_LinearSliderBackend, **kwargs)

    def set_limits(self, limits: tuple[float, float], *, zero: bool | None = None) -> None:
        """Set what the ends of the slider mean."""
        super().set_limits(limits, zero=zero)
        self._qt.setStep(self._step)
