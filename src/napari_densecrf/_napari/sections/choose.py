"""Let the program choose: numbers from image and map alone, from strokes, or of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from magicgui.widgets import Label, PushButton

from napari_densecrf._napari.panel.panel import Panel, say
from napari_densecrf._napari.problem.axes import FromStrokes
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.worker import Engine, Request, Result
from napari_densecrf.choose.fit import Fit, fit_steps
from napari_densecrf.choose.suggest import Suggestion, suggest_steps
from napari_densecrf.params import CRFParams

from .preset_controls import ChoosePreset
from .section import Section


@dataclass(frozen=True)
class Proposed:
    """What `suggest` says of a request."""

    request: Request
    suggestion: Suggestion


@dataclass(frozen=True)
class Fitted:
    """What `fit` has found for a request."""

    request: Request
    fit: Fit


class Choose(Section):
    """Buttons that set the sliders, and say why."""

    title = "Choose"

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
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
        self.preset = ChoosePreset(widget)
        self.controls |= self.preset.controls

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons side by side, then the presets, and below them what all of them say."""
        panel.add_line([self.controls["suggest"], self.controls["fit"]])
        self.preset.lay_out(panel)
        panel.add_text(self.controls["advice"])

    def connect(self) -> None:
        """Listen to the buttons, and to what comes of them."""
        self.preset.connect()
        self.controls["suggest"].changed.connect(self._suggest)
        self.controls["fit"].changed.connect(self._fit)
        self.widget.found.connect(self._take_best)
        self.widget.done.connect(self._take)

    def _suggest(self) -> None:
        request = self.widget.request()
        if request is None:
            self._say("Choose an image and a map first.")
            return
        self._say("Looking at the image and the map …")
        self.widget.run(lambda: suggesting(self.widget.engine, request))

    def _fit(self) -> None:
        request = self.widget.request()
        if request is None:
            self._say("Choose an image and a map first.")
        elif isinstance(request.problem.map, FromStrokes):
            self._say("The map itself is made from these strokes: a fit needs a map from elsewhere.")
        elif request.strokes is None or not request.strokes.any():
            self._say("Paint a few strokes in this slice first: at least two of each of two classes.")
        else:
            self._say("Trying numbers on the strokes …")
            self.widget.run(lambda: fitting(self.widget.engine, request))

    def _take_best(self, found: Any) -> None:
        """Show the best so far on the sliders; its labels come by themselves."""
        if isinstance(found, Fitted):
            self.widget.set_params(found.fit.params, refine=False)
            self._say(found.fit.reason)

    def _take(self, result: Any) -> None:
        if isinstance(result, Fitted):
            self.widget.set_params(result.fit.params)
            self._say(result.fit.reason)
        elif isinstance(result, Proposed):
            if result.suggestion.params is not None:
                self.widget.set_params(result.suggestion.params)
            self._say(result.suggestion.reason)

    def _say(self, words: str) -> None:
        say(self.controls["advice"], words)


def suggesting(engine: Engine, request: Request) -> Steps:
    """Propose numbers for a request; for a film, from the frame that is shown."""
    alone = request.alone()
    inputs = engine.inputs(alone)
    places: dict[str, Any] = {"spacing": alone.spacing, "channel_axis": inputs.channel_axis}
    for step in suggest_steps(inputs.image, inputs.probabilities, **places):
        if step.suggestion is not None:
            yield Done(Proposed(request, step.suggestion))
        else:
            yield Stage(step.stage, step.fraction)


def fitting(engine: Engine, request: Request) -> Steps:
    """Search numbers for the strokes of a request, and refine with each that is better than all before.

    For a film, those of the frame that is shown.
    """
    alone = request.alone()
    inputs = engine.inputs(alone)
    places: dict[str, Any] = {"spacing": alone.spacing, "channel_axis": inputs.channel_axis}
    shown: CRFParams = request.params
    for step in fit_steps(inputs.image, inputs.probabilities, alone.strokes, request.params, **places):
        if step.fit is not None:
            yield Done(Fitted(request, step.fit))
            return
        yield Stage(step.stage, step.fraction)
        if step.best.params != shown:
            shown = step.best.params
            yield Found(Fitted(request, step.best))
            yield from _refining(engine, replace(request, params=shown))


def _refining(engine: Engine, request: Request) -> Steps:
    for step in engine.steps(request):
        if isinstance(step, Done):
            result: Result = step.result
            yield Found(result)
