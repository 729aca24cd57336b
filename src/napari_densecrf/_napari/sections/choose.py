"""Let the program choose: numbers from image and map alone, from strokes, or of a preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from magicgui.widgets import Label, PushButton

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel, plain_tooltip, set_text
from napari_densecrf._napari.problem.problem import FromStrokes, Problem
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.status import Light, Status
from napari_densecrf._napari.work.runner import Done, Found, Stage, Steps
from napari_densecrf._napari.work.worker import Engine, Result
from napari_densecrf.choose.fit import Fit, fit_steps
from napari_densecrf.choose.objects import ObjectNumbers, suggest_for
from napari_densecrf.choose.suggest import Suggestion, suggest_steps
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams

from .contact_sheet import ContactSheet
from .preset_controls import ChoosePreset
from .section import Section


class Choose(Section):
    """Buttons that set the sliders, and say why."""

    title = "Choose numbers"
    tip = words.FOLD_CHOOSE

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
        other = PushButton(name="other_numbers", tooltip="Switch between what has been proposed and what was there.")
        self.controls = {control.name: control for control in (suggest, fit, Label(name="advice"), other)}
        self.sheet = ContactSheet(session, self._take_one_of_nine)
        self.controls |= self.sheet.controls
        self.preset = ChoosePreset(session)
        self.controls |= self.preset.controls
        # What Auto or Fit has decided, until the numbers are others than either.
        self._decision: _Decision | None = None

    def lay_out(self, panel: Panel) -> None:
        """Put the presets below the button. Auto, and what it and Fit say, have their place beside the status line."""
        self.sheet.lay_out(panel)
        panel.add_wide(self.controls["fit"])
        self.preset.lay_out(panel)

    def connect(self) -> None:
        """Listen to the buttons, and to what comes of them."""
        for part in (self.sheet, self.preset):
            part.fold = self.fold
            part.connect()
        self.controls["suggest"].changed.connect(self._suggest)
        self.controls["fit"].changed.connect(self._fit)
        self.controls["other_numbers"].changed.connect(self._switch)
        self.session.numbers_changed.connect(self._on_numbers)
        self._show_other()
        self.session.result_written.connect(self._on_result)

    def _suggest(self) -> None:
        request, before = self.session.request(), self.session.numbers
        if request is None:
            self._say(words.CHOOSE_FIRST)
            return
        self._say(words.LOOKING)
        self.session.run(
            lambda: suggesting(self.session.engine, request), lambda found: self._take_suggestion(found, before)
        )

    def _fit(self) -> None:
        request, before = self.session.request(), self.session.numbers
        if request is None:
            self._say(words.CHOOSE_FIRST)
        elif request.problem.objects:
            self._say(words.FIT_OF_OBJECTS)
        elif isinstance(request.problem.map, FromStrokes):
            self._say(words.FIT_OF_OWN_STROKES)
        elif request.strokes is None or not request.strokes.any():
            self._say(words.FIT_NEEDS_STROKES)
        else:
            self._say(words.TRYING)
            work = partial(fitting, self.session.engine, request)
            self.session.run(work, lambda found: self._take_fit(found, before), self._take_best)

    def _take_best(self, best: Fit) -> None:
        """Show the best so far on the sliders; its labels come by themselves."""
        self.session.set_numbers(self._numbers(best.params), refine=False)
        self._say(best.reason)

    def _take_fit(self, fit: Fit, before: Numbers) -> None:
        if fit.better_unrefined:
            decision = _Decision(before, _without_strength(before), is_map=True)
            self._decide(decision, words.better_unrefined(fit.reason))
        else:
            numbers = self._numbers(fit.params)
            self._decide(_Decision(before, numbers), said_of(fit, is_other=numbers != before), fit.reason)

    def _take_suggestion(self, suggestion: Suggestion | ObjectNumbers, before: Numbers) -> None:
        if isinstance(suggestion, ObjectNumbers):
            numbers = self._numbers(suggestion.params).changed(border=suggestion.border).shortened()
            self._decide(_Decision(before, numbers), words.numbers_of_objects(suggestion.why))
        elif suggestion.params is None:
            said = words.better_unrefined(suggestion.reason)
            self._decide(_Decision(before, _without_strength(before), is_map=True), said)
        else:
            self._decide(_Decision(before, self._numbers(suggestion.params)), words.AUTO_CHOSE, suggestion.reason)

    def _take_one_of_nine(self, before: Numbers, numbers: Numbers, said: str) -> None:
        self._decide(_Decision(before, numbers), said)

    def _numbers(self, params: CRFParams) -> Numbers:
        return Numbers.of_params(params, self.session.numbers)

    # --- what has been decided -------------------------------------------------------------------------------------

    def _decide(self, decision: _Decision, said: str, why: str = "") -> None:
        """Show what has been decided, live or not, and offer what was there before."""
        self._decision = decision
        self.session.set_numbers(decision.numbers, refine=False)
        self._say(said, why)
        self._show_other()
        self.session.update()

    def _switch(self) -> None:
        decision = self._decision
        if decision is not None:
            self.session.set_numbers(decision.other(self.session.numbers), refine=False)
            self.session.update()

    def _on_numbers(self, numbers: Numbers, _: str) -> None:
        if self._decision is not None and numbers not in (self._decision.numbers, self._decision.before):
            # What was said of the numbers holds no longer.
            self._decision = None
            self._say("")
        self._show_other()

    def _show_other(self) -> None:
        control, decision = self.controls["other_numbers"], self._decision
        differs = decision is not None and decision.numbers != decision.before
        if decision is not None and differs:
            decided = self.session.numbers == decision.numbers
            control.text = words.other_numbers(decided=decided, is_map=decision.is_map)
        control.native.setVisible(differs)

    def _on_result(self, result: Result) -> None:
        """Say that the map is shown, where that was decided: of this slice alone."""
        decision = self._decision
        if decision is None or not decision.is_map or self.session.numbers != decision.numbers:
            return
        here = (result.request.problem, result.request.region.index)
        decision.place = decision.place or here
        layer = self.session.result_layer
        if decision.place == here and layer is not None:
            extent = self.session.results.extent(layer)
            left = [] if extent.is_complete else [str(extent)]
            said = " · ".join([words.BETTER_UNREFINED, *left])
            self.session.set_status(Status(said, Light.AMBER if left else Light.GREEN))

    def _say(self, said: str, why: str = "") -> None:
        """Say one sentence; what it rests on is in the tooltip."""
        set_text(self.controls["advice"], said)
        self.controls["advice"].tooltip = plain_tooltip(why)


@dataclass
class _Decision:
    """What Auto or Fit has decided: the numbers, those of before, and whether the map is better as it is."""

    before: Numbers
    numbers: Numbers
    is_map: bool = False
    place: tuple[Problem, tuple[int, ...]] | None = None

    def other(self, numbers: Numbers) -> Numbers:
        """Return those of the two that these are not."""
        return self.before if numbers == self.numbers else self.numbers


def said_of(fit: Fit, *, is_other: bool) -> str:
    """Return one sentence on what a fit has found; ``is_other``: whether that is not what was there before."""
    before, after = fit.agreement_before, fit.agreement_after
    if before is None or after is None:
        return fit.reason
    if f"{after:.0%}" == f"{before:.0%}" and is_other:
        return words.FIT_OTHERS
    # Fewer, where the image speaks for what these numbers change: both shares are said.
    return words.fit_found(before, after) if is_other or after > before else words.FIT_NOTHING_BETTER


def _without_strength(numbers: Numbers) -> Numbers:
    """Return numbers whose result is the map: what is shown is what the sliders say."""
    return numbers.changed(appearance_weight=0.0, smoothness_weight=0.0, balance=0.0, favours=())


def suggesting(engine: Engine, request: Request) -> Steps:
    """Propose numbers for a request; for a film, from the frame that is shown."""
    alone = request.alone()
    if request.problem.objects:
        yield Stage("looking at the objects", 0.3)
        yield Done(suggest_for(engine.object_refiner(request)))
        return
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
