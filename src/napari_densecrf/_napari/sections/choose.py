"""Let the program choose: numbers from image and map alone, from strokes, or of a preset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from magicgui.widgets import Label, PushButton

from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.problem.understand import FromStrokes
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.worker import Engine, Result
from napari_densecrf.choose.fit import Fit, fit_steps
from napari_densecrf.choose.suggest import Suggestion, suggest_steps
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams

from .preset_controls import ChoosePreset
from .section import Section


class Choose(Section):
    """Buttons that set the sliders, and say why."""

    title = "Choose"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        suggest = PushButton(
            name="suggest",
            text="Auto",
            tooltip="Propose numbers from image and map alone, or to leave the map as it is.",
        )
        fit = PushButton(
            name="fit",
            text="Fit to strokes",
            tooltip="Search for the numbers that predict each stroke best from the others. Cancel keeps the best.",
        )
        self.controls = {control.name: control for control in (suggest, fit, Label(name="advice"))}
        self.preset = ChoosePreset(session, self.controls["advice"])
        self.controls |= self.preset.controls

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons side by side, then the presets, and below them what all of them say."""
        panel.add_line([self.controls["suggest"], self.controls["fit"]])
        self.preset.lay_out(panel)
        panel.add_text(self.controls["advice"])

    def connect(self) -> None:
        """Listen to the buttons, and to what comes of them."""
        self.preset.fold = self.fold
        self.preset.connect()
        self.controls["suggest"].changed.connect(self._suggest)
        self.controls["fit"].changed.connect(self._fit)

    def _suggest(self) -> None:
        request = self.session.request()
        if request is None:
            self._say("Choose an image and a map first.")
            return
        self._say("Looking at the image and the map …")
        self.session.run(lambda: suggesting(self.session.engine, request), self._take_suggestion)

    def _fit(self) -> None:
        request = self.session.request()
        if request is None:
            self._say("Choose an image and a map first.")
        elif isinstance(request.problem.map, FromStrokes):
            self._say("The map itself is made from these strokes: a fit needs a map from elsewhere.")
        elif request.strokes is None or not request.strokes.any():
            self._say("Paint a few strokes in this slice first: at least two of each of two classes.")
        else:
            self._say("Trying numbers on the strokes …")
            self.session.run(lambda: fitting(self.session.engine, request), self._take_fit, self._take_best)

    def _take_best(self, best: Fit) -> None:
        """Show the best so far on the sliders; its labels come by themselves."""
        self._set(best.params, refine=False)
        self._say(best.reason)

    def _take_fit(self, fit: Fit) -> None:
        self._set(fit.params)
        self._say(fit.reason)

    def _take_suggestion(self, suggestion: Suggestion) -> None:
        if suggestion.params is not None:
            self._set(suggestion.params)
        self._say(suggestion.reason)

    def _set(self, params: CRFParams, *, refine: bool = True) -> None:
        self.session.set_numbers(Numbers.of_params(params, self.session.numbers), refine=refine)

    def _say(self, words: str) -> None:
        set_text(self.controls["advice"], words)


def suggesting(engine: Engine, request: Request) -> Steps:
    """Propose numbers for a request; for a film, from the frame that is shown."""
    alone = request.alone()
    inputs = engine.inputs(alone)
    places: dict[str, Any] = {"spacing": alone.spacing, "channel_axis": inputs.channel_axis, "is_part": True}
    for step in suggest_steps(inputs.image, inputs.probabilities, **places):
        if step.suggestion is not None:
            yield Done(step.suggestion)
        else:
            yield Stage(step.stage, step.fraction)


def fitting(engine: Engine, request: Request) -> Steps:
    """Search numbers for the strokes of a request, and refine with each that is better than all before.

    For a film, those of the frame that is shown.
    """
    alone = request.alone()
    inputs = engine.inputs(alone)
    places: dict[str, Any] = {"spacing": alone.spacing, "channel_axis": inputs.channel_axis, "is_part": True}
    shown: CRFParams = request.params
    for step in fit_steps(inputs.image, inputs.probabilities, alone.strokes, request.params, **places):
        if step.fit is not None:
            yield Done(step.fit)
            return
        yield Stage(step.stage, step.fraction)
        if step.best.params != shown:
            shown = step.best.params
            yield Found(step.best)
            yield from _refining(engine, replace(request, params=shown))


def _refining(engine: Engine, request: Request) -> Steps:
    for step in engine.steps(request):
        if isinstance(step, Done):
            result: Result = step.result
            yield Found(result)
