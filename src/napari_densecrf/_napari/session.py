"""What stands between the controls and the work: choices and numbers go in, results come out. No Qt.

A change goes this way: a control calls `choose` or `set_numbers`; `_ask`, once in a turn of the event loop, has
`problem/request.py: resolve` make a frozen `Request`; the `Runner`'s thread has `work/live.py: Live.steps` do it, with
a preview first where the exact run takes longer than a frame; `_take` draws that and emits `previewed`, then writes the
exact `Result` and emits `result_written`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.events import Event, EventEmitter
from psygnal import Signal, SignalInstance

from napari_densecrf.files import places
from napari_densecrf.files import project as files
from napari_densecrf.numbers import IN_INTENSITIES, IN_PIXELS, MORE_DIGITS, Numbers
from napari_densecrf.params import CRFParams

from . import status, words
from .contributions.recognised import as_labels, recognise
from .display.preview import clear_preview, draw_preview
from .display.result_layer import ResultLayers, name_class_axis, prepare_drawing
from .display.strokes import bind_keys
from .problem import choices
from .problem.extent import Extent
from .problem.problem import STROKES_KEY, Misfit, Problem, layers_of, layers_of_map
from .problem.remedies import remedied
from .problem.request import UNSAID, Chosen, Request, resolve, shows_a_part
from .problem.revisions import Revisions
from .problem.view import View, whole_slice
from .recipes import project
from .recipes.provenance import Fingerprints, provenance
from .status import Status
from .work.live import Live
from .work.loop import Loop
from .work.reading import keep_names, names_kept, read_strokes
from .work.runner import Listener, Runner, Work
from .work.worker import Engine, Measured, Result, measure, prepare_previews, warm_up

# So long after the last change, what can wait is done.
TIDY_MS = 300
USER, PROGRAM, IMAGE = "user", "program", "image"


class Session:
    """The state of one widget on one viewer, and its work.

    Parameters
    ----------
    viewer : ViewerModel
    loop : Loop
        Of the thread that owns the layers.

    Notes
    -----
    All is called in the loop's thread. The program changes numbers through `set_numbers` alone, and choices through
    `choose` alone; who shows them listens.
    """

    chosen_changed = Signal(Chosen)
    numbers_changed = Signal(Numbers, str, description="By USER, PROGRAM, or IMAGE: of other units or range.")
    measured_changed = Signal(Measured, description="The units of another image are known.")
    inputs_changed = Signal(object, description="What was understood: a `Problem` or a `Misfit`.")
    continued = Signal(str, list, description="A project goes on: its path, and sentences on what has changed.")
    result_written = Signal(Result)
    previewed = Signal(Result, description="What is drawn until the exact result is there, or again in its place.")
    status_changed = Signal(Status)
    progressed = Signal(str, float, description="Stage and fraction of what runs.")
    busy_changed = Signal(bool, description="Whether something long enough to be cancelled runs.")
    failed = Signal(str, description="A request could not be done; the sentence that the user sees.")

    def __init__(self, viewer: ViewerModel, loop: Loop) -> None:
        self.viewer, self.loop = viewer, loop
        self.chosen, self.numbers = Chosen(), Numbers()
        # What is proposed for the image at hand.
        self.proposed = Numbers()
        self.measured: Measured | None = None
        self.problem: Problem | None = None
        self.result: Result | None = None
        # What is drawn in place of the result, until the exact one is there; it is written nowhere.
        self.preview: Result | None = None
        self._wait_for_exact: list[Callable[[], object]] = []
        self.engine = Engine()
        self._live = Live(self.engine)
        self.results = ResultLayers(viewer)
        self.is_closed = False
        # Projects that were saved or continued here.
        self.projects: set[Path] = set()
        # Numbers of a project, which wait until its image has been measured.
        self._continued: Numbers | None = None
        self._remarks: list[str] = []
        self._preparing: Runner | None = None
        self._extras: dict[object, str] = {}
        self._is_writing = False
        # Whether several layers were selected, which are offered together.
        self._had_several = False
        self._runner = Runner(loop)
        self._fingerprints = Fingerprints(loop)
        self._revisions = Revisions()
        self._known: weakref.WeakSet[Layer] = weakref.WeakSet()
        # Images that stand for labels, with what these look like.
        self._disguised: list[tuple[Layer, dict[str, Any]]] = []
        self._replacing = loop.timer(0, self._replace_disguised)
        self._asking = loop.timer(0, self._ask)
        self._tidying = loop.timer(TIDY_MS, self._tidy_up)
        for signal, react in self._reactions():
            signal.connect(react)

    def _reactions(self) -> list[tuple[EventEmitter | SignalInstance, Callable[..., None]]]:
        viewer = self.viewer
        return [
            (viewer.dims.events.current_step, self._on_slice),
            (viewer.dims.events.order, self._on_slice),
            (viewer.scene.camera.events, self._on_view),
            (viewer.canvas.events.size, self._on_view),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.selection.events.changed, self._on_selection),
            (self._revisions.data_changed, self._on_data),
            (self._revisions.place_changed, self._on_place),
        ]

    def start(self) -> None:
        """Compile in the background, so that the first request has nothing to wait for; look at the layers."""
        n_channels = 3 if any(layer.rgb for layer in choices.images(self.viewer)) else 1
        self.set_status(status.PREPARING)
        self._submit(lambda: warm_up(n_channels, prepare_drawing), done=lambda _: None)
        self.layers_changed()

    def close(self) -> None:
        """End the threads, and listen to nothing any more."""
        if self.is_closed:
            return
        self.is_closed = True
        self._runner.close()
        self._fingerprints.close()
        if self._preparing is not None:
            self._preparing.close()
        self._asking.stop()
        self._replacing.stop()
        self._tidying.stop()
        for signal, react in self._reactions():
            signal.disconnect(react)
        self._revisions.close()
        self.results.close()

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits or is about to be asked, and all that is done has been shown."""
        return self.is_closed or not (self._runner.busy or self._asking.active or self._replacing.active)

    def set_status(self, said: Status) -> None:
        """Say how things stand."""
        self.status_changed.emit(said)

    # --- what is chosen --------------------------------------------------------------------------------------------

    def choose(self, *, by: str = PROGRAM, **changes: Any) -> None:
        """Choose an image, a map, strokes, a region, what slices are, or whether to be live; see `Chosen`.

        The image may be a tuple of layers, one a channel.
        """
        if "image" in changes:
            several = changes["image"] if isinstance(changes["image"], tuple) else ()
            changes |= {"image": several[0] if several else changes["image"], "channels": several}
        if by == USER:
            changes["by_user"] = self.chosen.by_user | (changes.keys() & {"image", "map"})
        before, self.chosen = self.chosen, replace(self.chosen, **changes)
        if self.chosen == before:
            return
        if self.chosen.strokes != before.strokes:
            # A layer that is painted on is offered as strokes, and no longer as a map.
            self._choose_what_fits()
        self._choice_made()

    def layers_changed(self) -> None:
        """Take in that layers came or went: keep what was chosen, or choose what fits."""
        if self.is_closed:
            return
        self._recognise()
        self._choose_what_fits()
        self._take_project()
        self._choice_made(refine=not self._is_writing)

    def _recognise(self) -> None:
        """Give layers that were saved here what they were: place, colours, classes; strokes are strokes again."""
        for layer in self.viewer.layers:
            if layer in self._known:
                continue
            self._known.add(layer)
            labels = recognise(layer)
            if labels is not None:
                self._disguised.append((layer, labels))
                # Not while napari still takes the image in.
                self._replacing.start()
            elif STROKES_KEY in layer.metadata and layer.source.path is not None:
                self._take_strokes(layer)

    def _take_strokes(self, layer: Layer) -> None:
        bind_keys(layer)
        if self.chosen.strokes is None and _fits(layer, self.problem):
            self.chosen = replace(self.chosen, strokes=layer)

    def _replace_disguised(self) -> None:
        layers = self.viewer.layers
        disguised, self._disguised = self._disguised, []
        for image, said in disguised:
            if image in layers:
                at = layers.index(image)
                labels = as_labels(image, said)
                # Before the other comes, which has its name.
                layers.remove(image)
                layers.insert(at, labels)

    def _choose_what_fits(self) -> None:
        chosen, viewer = self.chosen, self.viewer
        image, source, strokes = choices.still_offered(viewer, chosen.image, chosen.map, chosen.strokes)
        channels = chosen.channels if all(layer in viewer.layers for layer in chosen.channels) else ()
        if channels != chosen.channels:
            image = None
        # A choice of the user's counts as long as its layer is there.
        kept = {name for name, layer in (("image", image), ("map", source)) if layer is not None} & chosen.by_user
        image, source = choices.choose(viewer, image, source, strokes, kept, channels)
        self.chosen = replace(
            chosen, image=image, map=source, strokes=strokes, by_user=frozenset(kept), channels=channels
        )

    def _choice_made(self, *, refine: bool = True) -> None:
        self._revisions.watch(self.chosen.layers)
        self.chosen_changed.emit(self.chosen)
        if refine:
            self.schedule()

    def accept(self, misfit: Misfit) -> None:
        """Take a map's numbers for what they are: add a layer that holds what they mean, and choose it.

        Or lay the map where it must lie.
        """
        if misfit.laying is not None and self.chosen.map is not None:
            for layer in layers_of_map(self.chosen.map):
                layer.scale, layer.translate = misfit.laying.scale, misfit.laying.translate
            self.layers_changed()
        elif misfit.source is not None and misfit.values is not None and misfit.source in self.viewer.layers:
            with self.writing():
                layer = remedied(misfit.source, misfit.values, misfit.class_axis)
                self.viewer.add_layer(layer)
                misfit.source.visible = False
            self.choose(by=USER, map=layer)

    # --- projects --------------------------------------------------------------------------------------------------

    def save_project(self, path: Path) -> None:
        """Save what is open and chosen, to go on with on another day.

        Raises
        ------
        Misfit, BadInput, OSError
            With what is wrong; nothing is written then.
        """
        about, stored = project.collected(path, self.chosen, self.numbers, self.viewer, self._was_edited)
        files.save(path, about, stored)
        self.projects.add(places.real(path))

    def continue_project(self, path: Path) -> None:
        """Open what a project names and is not open yet, and choose and set all as it was.

        Raises
        ------
        BadInput, OSError
            With what is wrong; nothing is changed then.
        """
        opened = project.opened(path, [layer for layer in self.viewer.layers if not self._was_edited(layer)])
        with self.writing():
            for layer in opened.layers:
                if layer not in self.viewer.layers:
                    self.viewer.add_layer(layer)
        self._go_on(path, opened)

    def _go_on(self, path: Path, opened: project.Opened) -> None:
        self.projects.add(places.real(path))
        for layer in opened.layers:
            if STROKES_KEY in layer.metadata:
                bind_keys(layer)
        step = opened.project.get("step", ())
        if len(step) == self.viewer.dims.ndim:
            self.viewer.dims.current_step = tuple(step)
        numbers = opened.numbers(self.numbers)
        self.choose(by=USER, **opened.chosen)
        self._continued = numbers
        self.set_numbers(numbers)
        self.continued.emit(str(path), opened.remarks)

    def _take_project(self) -> None:
        """Go on with a project whose layers napari has opened."""
        opened = project.taken_in(self.viewer.layers)
        if opened is not None:
            self._go_on(Path(opened.path), opened)

    def _was_edited(self, layer: Layer) -> bool:
        revisions: Any = self._revisions.of([layer])
        return bool(revisions[0][0] > 0)

    # --- numbers ---------------------------------------------------------------------------------------------------

    def set_numbers(self, numbers: Numbers, *, by: str = PROGRAM, refine: bool = True) -> None:
        """Take other numbers, and refine with them."""
        if numbers != self.numbers or by != USER:
            self.numbers = numbers
            self.numbers_changed.emit(numbers, by)
            if refine:
                self.schedule()

    @property
    def params(self) -> CRFParams:
        """The numbers as `refine` takes them of what is chosen: with the balance of its classes."""
        return self.numbers.params_for(0 if self.problem is None else self.problem.n_balanced)

    @property
    def relative_numbers(self) -> Numbers | None:
        """The numbers as they would be for other images too; None before the image is known."""
        return None if self.measured is None else self.numbers.relative_to(self.measured.units)

    def set_relative_numbers(self, numbers: Numbers) -> None:
        """Take numbers as `relative_numbers` gives them; of an image that is known."""
        if self.measured is not None:
            self.set_numbers(numbers.in_units(self.measured.units, MORE_DIGITS))

    def _take_measured(self, measured: Measured | None) -> None:
        """Propose numbers for an image, and take them, unless those there are fit for it and chosen."""
        if measured is None:
            # Labels have been looked at: what they are is understood anew.
            self.schedule()
            return
        last, self.measured = self.measured, measured
        alike = last is None or measured.is_like(last)
        before, self.proposed = self.proposed, measured.proposed
        now = _following(self.numbers, before, self.proposed, all_units=not alike)
        of_objects = measured.numbers is not None or (last is not None and last.numbers is not None)
        if of_objects or self.numbers == before:
            # Nobody has chosen others, or those of classes and of objects are not alike.
            now = self.proposed
        now, self._continued = self._continued or now, None
        self.measured_changed.emit(measured)
        self.set_numbers(now, by=PROGRAM if alike else IMAGE)

    # --- what is asked for -----------------------------------------------------------------------------------------

    def request(self) -> Request | None:
        """Return what is asked for now, or None where image and map do not fit."""
        try:
            return self._completed(self._resolved())
        except Misfit:
            return None

    def schedule(self) -> None:
        """Ask once, after all that this turn of the event loop brings."""
        if not self.is_closed:
            self._asking.start()

    def update(self) -> None:
        """Refine now, live or not."""
        self._ask(forced=True)

    def run(
        self,
        work: Work,
        done: Callable[[Any], None],
        found: Callable[[Any], None] | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Let the thread do a longer piece of work, which ends where another is asked for.

        What it finds or gives that is a `Result` is shown; all else goes to ``found`` and ``done``. Of what is quiet
        nobody hears that it runs.
        """
        self._asking.stop()
        self._submit(work, done=done, found=found, long=not quiet)

    def cancel(self) -> None:
        """Stop what runs."""
        self._stop()
        self.set_status(status.CANCELLED)

    def request_extra(self, kind: str, by: object) -> None:
        """Have results carry an extra from now on, and the one that is shown too: the same once more, live or not."""
        self._extras[by] = kind
        last = self.result
        if self.chosen.live:
            self.schedule()
        elif last is not None and not self._runner.busy and last.request.problem.image in self.viewer.layers:
            self._refine(replace(last.request, extras=self.extras))

    def release_extra(self, by: object) -> None:
        """Take back what ``by`` has requested; what others want stays."""
        self._extras.pop(by, None)

    @property
    def extras(self) -> frozenset[str]:
        """What results carry besides the labels."""
        return frozenset(self._extras.values())

    def _resolved(self) -> Request:
        request = resolve(self.chosen, self.numbers, View.of(self.viewer))
        if isinstance(request, Misfit):
            raise request
        return request

    def _completed(self, request: Request) -> Request:
        """Add what only this moment knows."""
        painted, problem = self.chosen.painted, request.problem
        strokes = None if painted is None else read_strokes(painted, problem, request.read)
        # What is kept of a slice has the names of its classes.
        layers = layers_of(problem)
        counted: Any = self._revisions.of(layers)
        revision = tuple((*one, names_kept(layer)) for one, layer in zip(counted, layers, strict=True))
        return replace(request, revision=revision, strokes=strokes, extras=self.extras)

    def _ask(self, *, forced: bool = False) -> None:
        """Resolve choices and numbers to a request, and hand it over."""
        if self.is_closed:
            return
        self.problem = None
        try:
            request = self._resolved()
            problem = self.problem = request.problem
            self.inputs_changed.emit(problem)
            volume = request.frame == "volume"
            known = self.measured is not None and self.measured.is_of(problem, volume=volume)
            if not known or problem.is_unseen:
                region = whole_slice(problem, self.viewer.dims.point)
                self._submit(lambda: measure(problem, region, volume=volume), done=self._take_measured, long=False)
            elif self.chosen.live or forced:
                self._continued = None
                self._refine(self._completed(request), live=not forced)
            elif not self.results.has(problem.image, request.region.index):
                self._say_not_live(problem)
        except Misfit as misfit:
            self._stop()
            self._say_misfit(misfit)

    def _say_not_live(self, problem: Problem) -> None:
        """Say what would refine the slice that is shown, and how many are refined: not what was said of another."""
        layer = self.results.of(problem.image)
        extent = [] if layer is None else [str(self.results.extent(layer))]
        self.set_status(replace(status.NOT_LIVE, words=" · ".join([status.NOT_LIVE.words, *extent])))

    def _refine(self, request: Request, *, live: bool = False) -> None:
        self._remarks.clear()
        # A preview is drawn on a flat picture.
        steps = self._live.steps if live and self.viewer.dims.ndisplay == 2 else self.engine.steps
        self._submit(lambda: steps(request), done=self._take, subject=request.subject)

    def _submit(
        self,
        work: Work,
        *,
        done: Callable[[Any], None],
        found: Callable[[Any], None] | None = None,
        subject: Any = None,
        long: bool = True,
    ) -> None:
        def finish(value: Any) -> None:
            if not self._runner.busy:
                self.busy_changed.emit(False)
            done(value)

        def show(value: Any) -> None:
            if isinstance(value, Result):
                self._take(value)
            elif found is not None:
                found(value)

        if long:
            self.busy_changed.emit(True)
        listener = Listener(finish, show, self._take_error, self.progressed.emit, self._remarks.append)
        self._runner.submit(work, listener, subject)

    def _stop(self) -> None:
        self._runner.cancel()
        self._drop_preview()
        self.busy_changed.emit(False)

    # --- what comes back -------------------------------------------------------------------------------------------

    @property
    def result_layer(self) -> Labels | None:
        """The layer of the result that was last written, if it is still there."""
        return None if self.result is None else self.results.of(self.result.request.problem.image)

    @property
    def shown(self) -> Result | None:
        """What is seen: the result, or a preview of the next."""
        return self.preview or self.result

    def when_exact(self, action: Callable[[], object]) -> None:
        """Do something with the result: at once, or where a preview is drawn, when its exact result is there."""
        if self.preview is None:
            action()
        else:
            self._wait_for_exact.append(action)

    @property
    def is_writing(self) -> bool:
        """Whether what is added, removed and written now is the program's own doing."""
        return self._is_writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Mark what is added and written meanwhile as the program's own: it is no reason to refine anew."""
        before, self._is_writing = self._is_writing, True
        try:
            yield
        finally:
            self._is_writing = before

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, where a result of what is chosen has told them."""
        result = self.result
        return [] if result is None or result.request.problem != self.problem else list(result.inputs.names)

    def rename_class(self, index: int, name: str) -> None:
        """Give a class another name, which its map keeps."""
        result, problem = self.result, self.problem
        if result is not None and problem is not None and result.request.problem == problem:
            names = [*result.inputs.names]
            names[index] = name
            values = result.inputs.values
            keep_names(problem.map, names, values.tolist())
            self.result = replace(result, inputs=replace(result.inputs, names=names))
            if self.result_layer is not None:
                self.result_layer.features = {"index": values, "class": names}
        painted = self.chosen.painted
        if painted is not None and index < len(painted.metadata.get("classes") or []):
            painted.metadata["classes"] = [*painted.metadata["classes"]]
            painted.metadata["classes"][index] = name
            painted.features = {
                "index": np.arange(len(painted.metadata["classes"]) + 1),
                "class": [words.FREE, *painted.metadata["classes"]],
            }
        self.schedule()

    def add_fingerprints(self) -> None:
        """Have the result that is shown carry the fingerprints of its inputs, and with it what is copied of it."""
        layer = self.result_layer
        if layer is not None and self.result is not None:
            self._fingerprints.add(self.results.fingerprints(layer), self.result)

    def _take(self, result: Result) -> None:
        """Write a result, or draw a preview, if its layers are still there."""
        image = result.request.problem.image
        if not all(layer in self.viewer.layers for layer in layers_of(result.request.problem)):
            return
        if result.request.is_preview:
            self._draw(result)
            return
        with self.writing():
            if self.result is not None and self.result.request.problem.image is not image:
                self.add_fingerprints()
            painted = self.chosen.strokes
            made = provenance(result, None if painted is None else painted.name)
            extent = self.results.write(result, made, painted)
            if self.chosen.leading == UNSAID:
                # What the user has said of the axes may still be said otherwise.
                name_class_axis(result.request.problem)
            self.result, self.preview = result, None
            self._tidying.start()
            self.say_result(extent)
            self.result_written.emit(result)
        waiting, self._wait_for_exact = self._wait_for_exact, []
        for action in waiting:
            action()

    def _draw(self, preview: Result) -> None:
        """Draw a preview over the result, whose data stay as they are."""
        layer = self.results.of(preview.request.problem.image)
        if layer is not None and preview.drawn is not None:
            draw_preview(layer, preview.drawn.region, preview.drawn.labels)
            self.preview = preview
            self._tidying.start()
            self.set_status(status.preview(preview))
            self.previewed.emit(preview)

    def _drop_preview(self) -> None:
        """Show the result again, where none will come in place of a preview."""
        self._wait_for_exact.clear()
        if self.preview is None:
            return
        self.preview, layer = None, self.result_layer
        if layer is not None and self.result is not None:
            clear_preview(layer)
            self.previewed.emit(self.result)

    def say_result(self, extent: Extent | None = None) -> None:
        """Say in the status line what is shown, also after something else was said there."""
        layer = self.result_layer
        if self.result is not None and layer is not None:
            extent = extent or self.results.extent(layer)
            self.set_status(status.refined(self.result, self._remarks, extent))

    def _take_error(self, error: Exception) -> None:
        self._drop_preview()
        self.busy_changed.emit(False)
        if isinstance(error, Misfit):
            self._say_misfit(error)
            return
        said = status.failed(error)
        self.set_status(said)
        self.failed.emit(said.words)

    def _say_misfit(self, misfit: Misfit) -> None:
        self.inputs_changed.emit(misfit)
        self.set_status(status.NOTHING_YET)

    def _tidy_up(self) -> None:
        """Do what can wait until nothing moves: thumbnail, fingerprints, and what the first preview will need."""
        if self.result_layer is not None:
            self.result_layer.refresh(data_displayed=False, highlight=False, extent=False)
        self.add_fingerprints()
        if self._preparing is None:
            # In a thread of its own, which no request waits for.
            self._preparing = Runner(self.loop, "napari-densecrf previews", warns=False)
            self._preparing.submit(prepare_previews, Listener())

    # --- what happens in the viewer --------------------------------------------------------------------------------

    def _on_slice(self, *_: object) -> None:
        if self.problem is not None and len(self.problem.shape) > 2:
            self.schedule()

    def _on_view(self, *_: object) -> None:
        if self.problem is not None and shows_a_part(self.problem, self.chosen, self.numbers):
            self.schedule()

    def _on_selection(self, *_: object) -> None:
        several = len(self.viewer.layers.selection) > 1
        if several or self._had_several:
            self.layers_changed()
        self._had_several = several

    def _on_removed(self, event: Event) -> None:
        if self.problem is not None and event.value in layers_of(self.problem):
            self._runner.cancel()

    def _on_data(self, layer: Layer, sliced: bool) -> None:
        # A camera that moves, or a result that is added, makes napari slice anew what has not changed.
        if not sliced or not (layer.multiscale or self._is_writing):
            self.schedule()

    def _on_place(self, image: Layer) -> None:
        if self._is_writing:
            return
        if self.problem is not None and self.problem.image is image:
            self.results.put_in_place(self.problem)
        self.schedule()


def _fits(strokes: Labels, problem: Problem | None) -> bool:
    """Tell whether strokes are on the grid of what is open, as far as that is known."""
    try:
        return problem is None or bool(problem.axes_like_result(strokes))
    except Misfit:
        return False


def _following(numbers: Numbers, before: Numbers, after: Numbers, *, all_units: bool) -> Numbers:
    """Return numbers in which those that were as proposed before are as proposed now, or all that have a unit."""
    names = [*IN_PIXELS, *IN_INTENSITIES]
    names = [name for name in names if all_units or getattr(numbers, name) == getattr(before, name)]
    return numbers.changed(**{name: getattr(after, name) for name in names})
