"""A part of the fold "More": the free energy and the largest change of each iteration, and what to do about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from magicgui.widgets import Label
from napari.utils.theme import get_theme
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.panel.plot import Plot
from napari_densecrf._napari.session import TIDY_MS, Session
from napari_densecrf._napari.work.runner import Done, Steps
from napari_densecrf._napari.work.worker import Engine, Result

from .section import Section

# What the free energy may rise by, in parts of its span, before it is said to: rounding is far below.
RISE = 1e-4
# More than this part of the pixels still to change is said to be unsettled; fewer nobody sees.
UNSETTLED = 0.001
# So many more iterations tell, in proportion to those that were done, and at least.
TIMES_MORE, LEAST_MORE = 4, 20
# Settled is where no probability changes by more than this, or where the last iteration lowers the free energy by less
# than this part of all that was gained: some pixels between two classes may go on for long, and nobody sees them.
SETTLED_CHANGE = 0.05
SETTLED_GAIN = 0.001
FREE_ENERGY, CHANGE = "#0072B2", "#E69F00"


class Convergence(Section):
    """The plots and the hint."""

    title = "Convergence"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.hint = Label(name="convergence_hint", label="")
        self.controls = {"convergence_hint": self.hint}
        self.energy = Plot("free energy a pixel", FREE_ENERGY)
        # What would still change is looked at when nothing moves.
        self._rest = session.loop.timer(TIDY_MS, self._look_further)
        # Before the first iteration nothing has changed.
        self.change = Plot("largest change of a probability", CHANGE, limits=(0.0, 1.0))

    def lay_out(self, panel: Panel) -> None:
        """Put the plots below the hint."""
        panel.add_text(self.hint)
        for plot in (self.energy, self.change):
            panel.add_native(plot)

    def connect(self) -> None:
        """Listen to the fold, results and the theme."""
        self.fold.button.toggled.connect(self._show)
        self.session.result_written.connect(self._show)
        self.listen(self.session.viewer.events.theme, self._paint)
        self._paint()
        # It may have been left open the last time.
        self._show()

    def close(self) -> None:
        """Wait for nothing any more."""
        super().close()
        self._rest.stop()

    def _paint(self, *_: object) -> None:
        theme = get_theme(self.session.viewer.theme)
        for plot in (self.energy, self.change):
            plot.take_colours(*(colour.as_hex("long") for colour in (theme.background, theme.text, theme.secondary)))

    def _show(self, *_: object) -> None:
        result = self.session.result
        for plot in (self.energy, self.change):
            self.fold.reveal(plot, result is not None)
        if not self.fold.open:
            return
        if result is None:
            set_text(self.hint, words.NOTHING_REFINED)
            return
        energy, change = per_iteration(result)
        said = advice(energy, change)
        set_text(self.hint, said)
        if said == words.PERHAPS_NOT_SETTLED:
            self._rest.start()
        self.energy.show_values(energy)
        self.change.show_values(np.concatenate([[np.nan], change]))

    def _look_further(self) -> None:
        """Ask which part of the pixels would still change, as long as nothing else is asked for."""
        session, result = self.session, self.session.result
        if not self.fold.open or result is None or not session.idle or self.hint.value != words.PERHAPS_NOT_SETTLED:
            return

        def take(share: float) -> None:
            if self.session.result is result and self.fold.open:
                n_pixels = round(share * result.labels.size)
                set_text(self.hint, words.still_to_change(n_pixels) if share > UNSETTLED else words.SETTLED)

        session.run(lambda: going_on(session.engine, result), take, quiet=True)


def per_iteration(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the free energy a pixel, (n_iterations + 1,), and the largest change of a probability, (n_iterations,)."""
    refinement = result.refinement
    return refinement.free_energy / result.request.read.n_pixels, refinement.largest_change


def advice(energy: NDArray[np.float64], change: NDArray[np.float32]) -> str:
    """Return one sentence: whether it has settled, and what helps if it has not."""
    if len(energy) < 2:
        return words.NO_ITERATIONS
    span = float(np.ptp(energy))
    steps = np.diff(energy)
    if (steps > RISE * span).any():
        return words.OSCILLATES
    if change[-1] <= SETTLED_CHANGE or -steps[-1] <= SETTLED_GAIN * span:
        return words.SETTLED
    return words.PERHAPS_NOT_SETTLED


def going_on(engine: Engine, result: Result) -> Steps:
    """Refine on, and give which part of the pixels gets another class than in a result."""
    params = result.request.params
    n_iterations = max(TIMES_MORE * params.n_iterations, LEAST_MORE)
    request = replace(result.request, params=replace(params, n_iterations=n_iterations), extras=frozenset())
    for step in engine.steps(request):
        if isinstance(step, Done):
            differs: NDArray[np.bool_] = step.result.labels != result.labels
            yield Done(float(differs.mean()))
        else:
            yield step
