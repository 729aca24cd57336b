"""The dock widget: controls to a request, a result to a Labels layer."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import napari
from magicgui.widgets import Container
from napari.layers import Labels, Layer
from napari.utils import progress
from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_densecrf._napari.display.result_layer import OneLayer, paint_like, put_in_place, result_layer, write
from napari_densecrf._napari.panel import form
from napari_densecrf._napari.panel.panel import Panel, say, scrolled
from napari_densecrf._napari.panel.remembered import Remembered
from napari_densecrf._napari.panel.timers import a_timer
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.axes import (
    METADATA_KEY,
    FromStrokes,
    Misfit,
    Problem,
    layers_of,
    layers_of_map,
    understand,
)
from napari_densecrf._napari.problem.region import (
    SLAB_VOXELS,
    WHOLE_PIXELS,
    margins,
    slab_margin,
    visible_part,
    whole_slice,
)
from napari_densecrf._napari.recipes.provenance import Fingerprints, provenance
from napari_densecrf._napari.sections.choose import Choose
from napari_densecrf._napari.sections.compare import Compare
from napari_densecrf._napari.sections.convergence import Convergence
from napari_densecrf._napari.sections.correct import Correct
from napari_densecrf._napari.sections.keep import Keep
from napari_densecrf._napari.sections.run import Run
from napari_densecrf._napari.sections.section import Section
from napari_densecrf._napari.sections.see import See
from napari_densecrf._napari.work.reading import read_strokes
from napari_densecrf._napari.work.runner import Runner, Work
from napari_densecrf._napari.work.worker import CHANGES, Engine, Measured, Request, Result, measure, warm_up
from napari_densecrf.crf.numba.compile import n_threads
from napari_densecrf.params import CRFParams

READY, BUSY, WRONG = "#3fa34d", "#d89614", "#d64545"
# A stroke that ends, an undo, a refresh after a change in place; not `labels_update`, which comes while one paints.
DATA_EVENTS = ("data", "paint", "set_data")
PLACE_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
SECTIONS: tuple[type[Section], ...] = (See, Compare, Convergence, Correct, Choose, Keep, Run)
# Images alike enough for the numbers of one to be kept for the other: their ranges within this factor.
ALIKE = 4.0


class DenseCRFWidget(Container):
    """Refine a rough segmentation with a fully connected CRF, live.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer

    Notes
    -----
    What a change does: `_ask` resolves controls and layers to a frozen `Request` and hands it to the `Runner`, whose
    thread computes; `_show` writes the result, if the layers it came from are still there.
    """

    refined = Signal(object, description="A result has been written into this Labels layer.")
    result_shown = Signal(object, description="A `Result` has been written.")
    found = Signal(object, description="What a longer piece of work has found so far.")
    done = Signal(object, description="What a longer piece of work has given.")
    renumbered = Signal(description="The image is of other units or another range: the numbers are those proposed.")
    numbers_set = Signal(description="The program, not the user, has set the sliders.")
    failed = Signal(str, description="A request could not be done; the sentence that the user sees.")

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self.viewer = napari_viewer
        self._controls: dict[str, Any] = {}
        self._controls |= form.make_controls(
            lambda _: choices.images(self.viewer),
            lambda _: choices.maps(self.viewer, self._painted()),
            lambda _: form.joins_of(getattr(self, "current_plan", None)),
        )
        self.sections = [make(self) for make in SECTIONS]
        for section in self.sections:
            self._controls |= section.controls
        super().__init__(widgets=list(self._controls.values()), labels=False)
        self.panel = self._laid_out()
        self._runner = Runner()
        self.engine = Engine()
        self._results = OneLayer(self.viewer, result_layer)
        self._revisions: weakref.WeakKeyDictionary[Layer, int] = weakref.WeakKeyDictionary()
        self._watched: weakref.WeakSet[Layer] = weakref.WeakSet()
        self.current_plan: Problem | None = None
        self.last_result: Result | None = None
        self.wants: set[str] = set()
        self._measured: Measured | None = None
        self._remembered = Remembered(self)
        self._fingerprints = Fingerprints()
        self._complaint = ""
        self._notes: list[str] = []
        self._writing = False
        self._closed = False
        self._bar: progress[Any] | None = None
        self._timer = a_timer(0, self._ask)
        self._bar_timer = a_timer(500, self._show_bar)
        self._tidy_timer = a_timer(300, self._tidy_up)
        self._connect()
        for section in self.sections:
            section.connect()
        self._remembered.restore()
        self._set_status("Preparing: the first run compiles, which takes up to a minute …", BUSY)
        self._prepare()
        self.reset_choices()

    @property
    def params(self) -> CRFParams:
        """The numbers of the controls, whole and frozen."""
        return form.params_of(self._controls)

    def relative_numbers(self) -> dict[str, Any]:
        """Return the numbers as they would be for other images too, or nothing before the image is known."""
        known = self._measured
        return {} if known is None else form.relative(self._controls, known.problem, known.robust_range)

    @property
    def painted(self) -> Labels | None:
        """The strokes: those that the map is made from, or those that are chosen."""
        source = self.probabilities.value
        strokes: Labels | None = source.layer if isinstance(source, FromStrokes) else self.strokes.value
        return strokes

    def result_of_image(self) -> Labels | None:
        """Return the result layer of the image at hand, if there is one."""
        layer: Labels | None = self._results.of(self.image.value)
        return layer

    def request(self) -> Request | None:
        """Return what is asked for now, or None where image and map do not fit."""
        try:
            return self._request(self._resolved_plan())
        except Misfit:
            return None

    def run(self, work: Work) -> None:
        """Let the thread do a longer piece of work; `found` and `done` tell of it, a change of a slider ends it."""
        self._timer.stop()
        self.cancel.enabled = True
        self._bar_timer.start()
        self._runner.submit(work)

    def set_params(self, params: CRFParams, *, refine: bool = True) -> None:
        """Show other numbers, and refine with them.

        Raises
        ------
        ValueError
            For parameters that the sliders cannot show.
        """
        for name, value in form.values_of(params).items():
            with self._controls[name].changed.blocked():
                self._controls[name].value = value
        self.numbers_set.emit()
        if refine:
            self._schedule()

    def set_relative_numbers(self, numbers: dict[str, Any]) -> None:
        """Show numbers as `relative_numbers` gives them, and refine with them; of an image that is known."""
        if self._measured is not None:
            form.set_relative(self._controls, numbers, self._measured.problem, self._measured.robust_range)
            self.numbers_set.emit()
            self._schedule()

    # --- what is chosen --------------------------------------------------------------------------------------------

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that there are; keep what was chosen, or choose what fits."""
        if getattr(self, "_closed", True):
            return
        with self.image.changed.blocked(), self.probabilities.changed.blocked(), self.strokes.changed.blocked():
            super().reset_choices()
            image, source = choices.choose(self.viewer, self.image.value, self.probabilities.value, self._painted())
            self.image.value, self.probabilities.value = image, source
        self._watch()
        if not self._writing:
            self._schedule()

    def _chosen_layers(self) -> Iterator[Layer]:
        for choice in (self.image.value, self.probabilities.value, self._painted()):
            yield from () if choice is None else layers_of_map(choice)

    def _painted(self) -> Labels | None:
        """Return the layer that is chosen as strokes."""
        control = self._controls.get("strokes")
        return None if control is None else control.value

    def _watch(self) -> None:
        """Listen to the data and the place of the layers that are chosen."""
        for layer in self._chosen_layers():
            if layer in self._watched:
                continue
            self._watched.add(layer)
            for names, react in ((DATA_EVENTS, self._on_data), (PLACE_EVENTS, self._on_place)):
                for name in names:
                    if name in layer.events.emitters:
                        getattr(layer.events, name).connect(react)

    # --- what a change does ----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        for name in form.INPUTS:
            self._controls[name].changed.connect(self._on_control)
        self.strokes.changed.connect(self.reset_choices)
        self.update_now.changed.connect(lambda: self._ask(forced=True))
        self.reset.changed.connect(self._on_reset)
        self.cancel.changed.connect(self._on_cancel)
        self._runner.finished.connect(self._show)
        self._runner.found.connect(self._show_found)
        self._runner.failed.connect(self._complain)
        self._runner.progressed.connect(self._progress)
        self._runner.warned.connect(lambda _, text: self._notes.append(text))
        self.viewer.dims.events.current_step.connect(self._on_slice)
        self.viewer.dims.events.order.connect(self._on_slice)
        self.viewer.scene.camera.events.connect(self._on_view)
        self.viewer.canvas.events.size.connect(self._on_view)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self.viewer.layers.selection.events.changed.connect(self._on_selection)
        self.native.destroyed.connect(self._close_quietly)

    def _on_control(self, *_: Any) -> None:
        self._watch()
        self._schedule()

    def _on_slice(self, *_: Any) -> None:
        if self.current_plan is not None and len(self.current_plan.shape) > 2:
            self._schedule()

    def _on_view(self, *_: Any) -> None:
        if self.current_plan is not None and self._visible_only(self.current_plan):
            self._schedule()

    def _on_selection(self, *_: Any) -> None:
        if len(self.viewer.layers.selection) > 1:
            self.reset_choices()

    def _on_removed(self, event: Any) -> None:
        if self.current_plan is not None and event.value in layers_of(self.current_plan):
            self._runner.cancel()

    def _on_data(self, event: Any) -> None:
        layer = event.source
        if event.type != "set_data":
            self._revisions[layer] = self._revisions.get(layer, 0) + 1
        elif layer.multiscale or self._writing:
            # A camera that moves, or a result that is added, makes napari slice anew what has not changed.
            return
        self._schedule()

    def _on_place(self, event: Any) -> None:
        layer = self._results.of(event.source)
        if layer is not None and self.current_plan is not None and self.current_plan.image is event.source:
            put_in_place(layer, self.current_plan)
        self._schedule()

    def _schedule(self) -> None:
        """Resolve once, after all that this turn of the event loop brings."""
        if not self._closed:
            self._timer.start()

    def _ask(self, *, forced: bool = False) -> None:
        """Resolve controls and layers to a request, and hand it over."""
        if self._closed:
            return
        self.current_plan = None
        try:
            self.current_plan = self._resolved_plan()
            self._offer_joins(self.current_plan)
            say(self.understood, str(self.current_plan))
            if self._unmeasured(self.current_plan):
                problem, region = self.current_plan, whole_slice(self.current_plan, self.viewer.dims.point)
                self._runner.submit(lambda: measure(problem, region))
            elif self.live.value or forced:
                request = self._request(self.current_plan)
                self._notes.clear()
                self.cancel.enabled = True
                self._bar_timer.start()
                self._runner.submit(lambda: self.engine.steps(request), request.subject)
            elif self._results.of(self.current_plan.image) is None:
                self._set_status("Not live: Update refines", READY)
        except Misfit as misfit:
            self._runner.cancel()
            self._hide_bar()
            self._say_misfit(misfit)

    def _say_misfit(self, misfit: Misfit) -> None:
        say(self.understood, str(misfit))
        self._set_status("Nothing to refine yet", BUSY)

    def _resolved_plan(self) -> Problem:
        problem = understand(self.image.value, self.probabilities.value)
        displayed = tuple(self.viewer.dims.displayed)
        if displayed[-2:] != tuple(sorted(displayed[-2:])):
            raise Misfit("The axes of the view are transposed: bring them back into their order.")
        return problem

    def _offer_joins(self, problem: Problem) -> None:
        """Offer what the slices of a stack may be, and the reach in time where they are a film."""
        if tuple(self.slices.choices) != form.joins_of(problem):
            with self.slices.changed.blocked():
                self.slices.reset_choices()
        self.panel.show_row(self.time_sigma, self.slices.value == form.FILM)

    def _request(self, problem: Problem) -> Request:
        is_film = self._joined(problem) and self.slices.value == form.FILM
        if is_film and not problem.may_be_film:
            raise Misfit("Volumes cannot be coupled in time: three axes are the most. Choose “As a volume” instead.")
        region = whole_slice(problem, self.viewer.dims.point)
        around = self._around(problem)
        if self._visible_only(problem):
            region = visible_part(problem, self.viewer, depth=2 * around + 1)
        grown = region.grown(margins(problem, region, self._reach()), problem.shape)
        if self._joined(problem):
            grown = grown.slab(around, problem.shape[-3])
        painted = self.painted
        strokes = None if painted is None else read_strokes(painted, problem, grown)
        revision = tuple((self._revisions.get(layer, 0), id(layer.data)) for layer in layers_of(problem))
        # The first result says how much it changed.
        wants = frozenset(self.wants if self._results.of(problem.image) else {*self.wants, CHANGES})
        time_sigma = self.time_sigma.value if is_film else None
        return Request(problem, region, grown, self.params, revision, strokes, wants, time_sigma)

    def _joined(self, problem: Problem) -> bool:
        """Tell whether the slices of a stack are refined together."""
        return bool(self.slices.value != form.ONE_BY_ONE and len(problem.shape) > 2)

    def _around(self, problem: Problem) -> int:
        """Return how many slices before and behind the shown one are refined with it."""
        if not self._joined(problem):
            return 0
        if self.slices.value == form.FILM:
            return slab_margin(self.time_sigma.value)
        return slab_margin(self._reach() / problem.volume_spacing[0])

    def _visible_only(self, problem: Problem) -> bool:
        n_pixels = problem.shape[-2] * problem.shape[-1]
        large = n_pixels > WHOLE_PIXELS
        if self._joined(problem):
            depth = min(problem.shape[-3], 2 * self._around(problem) + 1)
            large = n_pixels * depth > SLAB_VOXELS
        return bool(self.region.value == form.VISIBLE or (self.region.value == form.AUTO and large))

    def _reach(self) -> float:
        """Return the reach of the kernels that are on, in world units."""
        return max((float(kernel.position_sigma) for kernel in self.params.kernels if kernel.weight), default=0.0)  # type: ignore[arg-type]

    def _unmeasured(self, problem: Problem) -> bool:
        known = self._measured and self._measured.problem
        return not known or (known.image, known.unit, known.spacing) != (problem.image, problem.unit, problem.spacing)

    # --- what comes back -------------------------------------------------------------------------------------------

    def _show(self, number: int, result: Any) -> None:
        """Take what the thread has done, if it is still wanted and its layers are still there."""
        if self._closed or not self._runner.current(number):
            return
        if not self._runner.busy:
            self._hide_bar()
            self.cancel.enabled = False
        if isinstance(result, Measured):
            self._fit_ranges(result)
        elif isinstance(result, Result):
            self._show_result(result)
        else:
            self.done.emit(result)

    def _show_found(self, number: int, value: Any) -> None:
        """Take what a longer piece of work has found so far."""
        if self._closed or not self._runner.current(number):
            return
        if isinstance(value, Result):
            self._show_result(value)
        else:
            self.found.emit(value)

    def _show_result(self, result: Result) -> None:
        """Write a result, if its layers are still there."""
        if all(layer in self.viewer.layers for layer in layers_of(result.request.problem)):
            with self.writing():
                self._write(result)

    @property
    def result_layer(self) -> Labels | None:
        """The layer of the result that was last written, if it is still there."""
        return None if self.last_result is None else self._results.of(self.last_result.request.problem.image)

    @property
    def is_writing(self) -> bool:
        """Whether what is added, removed and written now is the widget's own doing."""
        return self._writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Mark what is added and written meanwhile as the widget's own: it is no reason to refine anew."""
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def want(self, extra: str) -> None:
        """Have results carry an extra from now on, and the one that is shown too: the same once more, live or not."""
        self.wants.add(extra)
        last = self.last_result
        if self.live.value:
            self._schedule()
        elif last is not None and not self._runner.busy and last.request.problem.image in self.viewer.layers:
            request = replace(last.request, wants=frozenset(self.wants))
            self._runner.submit(lambda: self.engine.steps(request), request.subject)

    def _fit_ranges(self, measured: Measured) -> None:
        """Give the sliders the ranges of an image; its numbers too, unless those there are fit for it and chosen."""
        last, self._measured = self._measured, measured
        alike = last is None or (
            last.problem.unit == measured.problem.unit
            and 1 / ALIKE <= measured.robust_range / last.robust_range <= ALIKE
        )
        form.fit_ranges(self._controls, measured.problem, measured.robust_range, keep=alike)
        if last is None:
            form.set_relative(self._controls, self._remembered.numbers, measured.problem, measured.robust_range)
        if not alike:
            self.renumbered.emit()
        self.numbers_set.emit()
        self._schedule()

    def _write(self, result: Result) -> None:
        problem = result.request.problem
        if self.last_result is not None and self.last_result.request.problem.image is not problem.image:
            self.sign()
        layer = self._results.fitting(result)
        first = layer is None
        if layer is None:
            layer = self._results.add(result)
            if not isinstance(problem.map, FromStrokes):
                for source in layers_of_map(problem.map):
                    source.visible = False
            self._raise_strokes(layer)
        elif layer.metadata[METADATA_KEY].get("values") != result.inputs.values.tolist():
            paint_like(layer, problem.map, result.inputs)
        write(layer, problem, result.request.region, result.labels)
        layer.metadata[METADATA_KEY] = provenance(
            result, None if self.strokes.value is None else self.strokes.value.name
        )
        self.last_result = result
        self._tidy_timer.start()
        self._complaint = ""
        self._set_status(" · ".join(self._what_was_done(result, first)), READY)
        self.result_shown.emit(result)
        self.refined.emit(layer)

    def _raise_strokes(self, result: Labels) -> None:
        """Keep the strokes above what they correct."""
        strokes, layers = self._painted(), self.viewer.layers
        if strokes is not None and layers.index(strokes) < layers.index(result):
            layers.move(layers.index(strokes), len(layers))

    def _what_was_done(self, result: Result, first: bool) -> Iterator[str]:
        yield from self._notes[:1]
        if first and result.said is not None:
            yield f"{100 * (result.said != result.labels).mean():.1f} % of pixels changed"
        yield f"{result.elapsed_ms:.0f} ms"
        region = result.request.read
        yield f"{region.n_pixels:,} pixels"
        if region.step > 1:
            yield f"1/{region.step} of the resolution, as shown"
        if not first:
            # The first says more that matters more, and one line holds no more.
            yield f"{n_threads()} threads"

    def _tidy_up(self) -> None:
        """Do what can wait until nothing moves: thumbnail and fingerprints."""
        if self.result_layer is not None:
            self.result_layer.refresh(data_displayed=False, highlight=False, extent=False)
        self.sign()

    def sign(self) -> None:
        """Have the result that is shown carry the fingerprints of its inputs, and with it what is copied of it."""
        layer = self.result_layer
        if layer is not None and self.last_result is not None:
            self._fingerprints.add(layer.metadata[METADATA_KEY]["fingerprints"], self.last_result)

    def _complain(self, number: int, error: Any) -> None:
        if self._closed or not self._runner.current(number):
            return
        self._hide_bar()
        self.cancel.enabled = False
        if isinstance(error, Misfit):
            self._say_misfit(error)
            return
        words = str(error) if isinstance(error, (ValueError, MemoryError)) else f"{type(error).__name__}: {error}"
        self._set_status(words, WRONG)
        if words != self._complaint:
            self._complaint = words
            show_warning(words)
        self.failed.emit(words)

    def _progress(self, number: int, stage: str, fraction: float) -> None:
        if self._closed or not self._runner.current(number):
            return
        percent = round(100 * fraction)
        # napari's bar runs the event loop at every update.
        if self.progress.visible and (percent == 0 or abs(percent - self.progress.value) >= 5):
            self.progress.value = percent
            self._set_status(stage, BUSY)
            if self._bar is not None:
                self._bar.update(percent - self._bar.n)

    def _show_bar(self) -> None:
        if not self._runner.busy or self._closed:
            return
        self.progress.visible = True
        self._set_status("computing …", BUSY)
        bar = progress(total=100, desc="Dense CRF")
        # Making it ran the event loop: the request may be done, or another bar be there.
        if self._bar is None and self._runner.busy and not self._closed:
            self._bar = bar
        else:
            bar.close()

    def _hide_bar(self) -> None:
        self._bar_timer.stop()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()
        self.progress.visible = False

    def _set_status(self, words: str, colour: str) -> None:
        say(self.status, f'<span style="color:{colour}">●</span> {words}')

    # --- the rest --------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Compile in the background; the first real request then has nothing to wait for."""
        n_channels = 3 if any(layer.rgb for layer in choices.images(self.viewer)) else 1
        self._runner.submit(lambda: warm_up(n_channels))
        self._bar_timer.start()

    def _on_reset(self) -> None:
        for name in form.DEFAULTS:
            with self._controls[name].changed.blocked():
                self._reset_one(name)
        self.numbers_set.emit()
        self._schedule()

    def _reset_one(self, name: str) -> None:
        control = self._controls[name]
        control.value = getattr(control, "default", form.DEFAULTS[name])

    def _on_cancel(self) -> None:
        self._runner.cancel()
        self._hide_bar()
        self.cancel.enabled = False
        self._set_status("Cancelled", READY)

    def _laid_out(self) -> Panel:
        """Move the controls from the container's plain column into rows."""
        panel = Panel()
        controls = self._controls
        panel.add_row(controls["image"])
        panel.add_row(controls["probabilities"])
        panel.add_text(controls["understood"])
        for header, prefix in (("Follow the image", "appearance_"), ("Smooth outlines", "smoothness_")):
            panel.add_header(header)
            for name in form.DEFAULTS:
                if name.startswith(prefix):
                    panel.add_row(controls[name], reset=partial(self._reset_one, name))
        panel.add_line([controls[name] for name in ("live", "update_now", "reset", "cancel")])
        panel.add_text(controls["status"])
        panel.add_wide(controls["progress"])
        with panel.fold("More"):
            for name in ("n_iterations", "damping"):
                panel.add_row(controls[name], reset=partial(self._reset_one, name))
            for name in ("region", "slices"):
                panel.add_row(controls[name])
            panel.add_row(controls["time_sigma"], reset=partial(self._reset_one, "time_sigma"))
        for section in self.sections:
            with panel.fold(section.title):
                section.lay_out(panel)
        layout = self.native.layout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(panel))
        return panel

    def _close_quietly(self, *_: Any) -> None:
        """Let go of the thread and of the viewer."""
        if self._closed:
            return
        self._closed = True
        self._runner.close()
        for section in self.sections:
            section.close()
        self._remembered.close()
        self._fingerprints.close()
        # When the program ends, Qt may have deleted these before.
        with suppress(RuntimeError):
            for timer in (self._timer, self._bar_timer, self._tidy_timer):
                timer.stop()
            if self._bar is not None:
                self._bar.close()
