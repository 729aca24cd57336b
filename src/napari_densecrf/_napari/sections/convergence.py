"""The section "Convergence": the free energy and the largest change of each iteration, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from magicgui.widgets import Label
from napari.utils.theme import get_theme
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.runner import Done, Listener, Runner
from napari_densecrf._napari.work.worker import Result

from .section import Section

# What the free energy may rise by, in parts of its span, before it is said to: rounding is far below.
RISE = 1e-4
# Settled is where no probability changes by more than this, or where the last iteration lowers the free energy by less
# than this part of all that was gained: some pixels between two classes may go on for long, and nobody sees them.
SETTLED_CHANGE = 0.05
SETTLED_GAIN = 0.001
LINES = 8
FREE_ENERGY, CHANGE = "#0072B2", "#E69F00"


class Convergence(Section):
    """The plots and the hint. The library that plots is brought in when the fold is first opened."""

    title = "Convergence"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.hint = Label(name="convergence_hint", label="")
        self.controls = {"convergence_hint": self.hint}
        self.plots: Plots | None = None
        self._place = QWidget()
        self._runner: Runner | None = None

    def lay_out(self, panel: Panel) -> None:
        """Leave room for the plots."""
        layout = QVBoxLayout(self._place)
        layout.setContentsMargins(0, 0, 0, 0)
        panel.add_text(self.hint)
        panel.add_native(self._place)

    def connect(self) -> None:
        """Listen to the fold, results and the theme."""
        self.fold.button.toggled.connect(self._on_fold)
        self.session.result_written.connect(lambda _: self._show())
        self.listen(self.session.viewer.events.theme, self._paint)
        # It may have been left open the last time.
        self._on_fold(self.fold.open)

    def close(self) -> None:
        """End the thread."""
        super().close()
        if self._runner is not None:
            self._runner.close()

    def _on_fold(self, opened: bool) -> None:
        if opened and self._runner is None:
            # Importing takes longer than a window may hold still.
            self._runner = Runner(self.session.loop, "napari-densecrf import", warns=False)
            self._runner.submit(_import, Listener(self._make, failed=self._say_error))
        self._show()

    def _say_error(self, error: Exception) -> None:
        set_text(self.hint, str(error))

    def _make(self, library: Any) -> None:
        self.plots = Plots(library)
        self._place.layout().addWidget(self.plots.native)
        if self._runner is not None:
            self._runner.close()
        self._paint()
        self._show()
        self.fold.come_into_view()

    def _paint(self, *_: Any) -> None:
        if self.plots is not None:
            self.plots.paint(get_theme(self.session.viewer.theme))

    def _show(self) -> None:
        result = self.session.result
        if not self.fold.open:
            return
        if result is None:
            set_text(self.hint, "Nothing has been refined yet.")
            return
        energy, change = per_iteration(result)
        set_text(self.hint, advice(energy, change))
        if self.plots is not None:
            self.plots.show(energy, change)


class Plots:
    """Two small plots, one above the other, of one iteration axis.

    Parameters
    ----------
    library : module
        pyqtgraph.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self.native = library.GraphicsLayoutWidget()
        self.native.ci.setContentsMargins(0, 0, 0, 0)
        self.native.ci.setSpacing(0)
        self._plots: list[Any] = []
        self.energy = self._add("free energy a pixel", FREE_ENERGY)
        self.change = self._add("largest change of a probability", CHANGE)
        self._plots[1].setXLink(self._plots[0])
        self._plots[1].setYRange(0, 1)

    def _add(self, name: str, colour: str) -> Any:
        """Add a plot below those there are, and return its curve."""
        plot = self.native.addPlot(row=len(self._plots), col=0)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.setTitle(name)
        plot.getAxis("left").enableAutoSIPrefix(False)
        # Of one width, or the iterations of two plots would not stand below each other.
        plot.getAxis("left").setWidth(self.native.fontMetrics().horizontalAdvance("-0.00000"))
        self._plots.append(plot)
        self.native.setFixedHeight(self.native.fontMetrics().height() * LINES * len(self._plots))
        pen = self._library.mkPen(colour, width=2)
        return plot.plot(pen=pen, symbol="o", symbolSize=7, symbolBrush=colour, symbolPen=None)

    def show(self, energy: NDArray[np.float64], change: NDArray[np.float32]) -> None:
        """Show the free energy before the first iteration and after each, and the largest change of each."""
        self.energy.setData(np.arange(len(energy)), energy)
        self.change.setData(np.arange(1, len(change) + 1), change)

    def paint(self, theme: Any) -> None:
        """Take on the colours of a theme of napari."""
        text = theme.text.as_hex()
        self.native.setBackground(theme.background.as_hex())
        for plot in self._plots:
            plot.setTitle(plot.titleLabel.text, color=text, size=theme.font_size)
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(theme.secondary.as_hex())
                axis.setTextPen(text)
                axis.setTickFont(self.native.font())


def per_iteration(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the free energy a pixel, (n_iterations + 1,), and the largest change of a probability, (n_iterations,)."""
    refinement = result.refinement
    return refinement.free_energy / result.request.read.n_pixels, refinement.largest_change


def advice(energy: NDArray[np.float64], change: NDArray[np.float32]) -> str:
    """Return one sentence: whether it has settled, and what helps if it has not."""
    if len(energy) < 2:
        return "No iterations: the labels are the map's own."
    span = float(np.ptp(energy))
    steps = np.diff(energy)
    if (steps > RISE * span).any():
        return "It oscillates: use damping (under More)."
    if change[-1] <= SETTLED_CHANGE or -steps[-1] <= SETTLED_GAIN * span:
        return "It has settled."
    return "It has not settled yet: use more iterations (under More)."


def _import() -> Iterator[Done]:
    """Import pyqtgraph: written for Qt, it draws in a fraction of the time that matplotlib takes."""
    import pyqtgraph

    yield Done(pyqtgraph)
