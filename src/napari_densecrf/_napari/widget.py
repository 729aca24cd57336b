"""The dock widget: it maps controls to a session and back, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from html import escape
from typing import Any

import napari
from magicgui.widgets import Container
from napari.layers import Image, Labels
from napari.utils.notifications import show_warning
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_densecrf.numbers import NAMES, Numbers
from napari_densecrf.params import CRFParams

from . import words
from .contributions.precedence import offer_first
from .panel import form
from .panel.panel import Ends, Panel, plain_button, plain_tooltip, scrolled, set_text
from .panel.progress import Progress
from .panel.qt_loop import QtLoop
from .panel.remembered import Remembered
from .problem import choices, remedies
from .problem.problem import Misfit, Problem
from .problem.request import FILM, UNSAID, Chosen, joins_of
from .sections.begin import Begin
from .sections.choose import Choose
from .sections.compare import Compare
from .sections.convergence import Convergence
from .sections.correct import Correct
from .sections.favour import Favour
from .sections.keep import Keep
from .sections.legend import Legend
from .sections.rescue import Rescue
from .sections.run import Run
from .sections.section import Section
from .sections.see import See
from .session import USER, Session
from .status import Status
from .work.reading import class_names
from .work.worker import Measured, Result

# The folds below the status line, and what has its place elsewhere.
FOLDS: tuple[type[Section], ...] = (See, Compare, Correct, Choose, Keep, Run)
SECTIONS: tuple[type[Section], ...] = (*FOLDS, Begin, Legend, Favour, Rescue, Convergence)

# What to do about slices that are not refined yet.
UNFINISHED = ("refine_all", "keep_refined")


class DenseCRFWidget(Container):
    """Refine a rough segmentation with a fully connected CRF, live.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer

    Notes
    -----
    `session` has the state and does the work; ``widget.session.idle`` tells when all of it has been shown.
    """

    refined = Signal(Labels, description="A result has been written into this Labels layer.")
    result_shown = Signal(Result, description="A result has been written, or a preview of one is drawn.")
    failed = Signal(str, description="A request could not be done; the sentence that the user sees.")

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self.viewer = napari_viewer
        offer_first()
        self.session = session = Session(napari_viewer, QtLoop())
        self._controls: dict[str, Any] = {}
        self._controls |= form.make_controls(
            lambda _: choices.pictures(session.viewer, session.chosen.channels),
            lambda _: choices.maps(session.viewer, session.chosen.strokes, session.chosen.map),
            lambda _: joins_of(session.problem),
        )
        self.sections = [make(session) for make in SECTIONS]
        for section in self.sections:
            self._controls |= section.controls
        super().__init__(widgets=list(self._controls.values()), labels=False)
        self.panel = self._laid_out()
        self._progress = Progress(session, self.progress)
        self._remembered = Remembered(session, self._controls, self.panel.folds)
        self._warned = ""
        self._misfit: Misfit | None = None
        self._proposed: tuple[Image, ...] = ()
        self._undocked = _Undocked(self.native, self.close_session)
        self._connect()
        for section in self.sections:
            section.connect()
        self._remembered.restore()
        session.start()

    # --- for scripts -----------------------------------------------------------------------------------------------

    @property
    def params(self) -> CRFParams:
        """The numbers of the sliders, whole and frozen."""
        return self.session.params

    def set_params(self, params: CRFParams, *, refine: bool = True) -> None:
        """Show other numbers, and refine with them.

        Raises
        ------
        ValueError
            For parameters that the sliders cannot show.
        """
        self.session.set_numbers(Numbers.of_params(params, self.session.numbers), refine=refine)

    @property
    def last_result(self) -> Result | None:
        """The result that is shown."""
        return self.session.result

    # --- controls to session ---------------------------------------------------------------------------------------

    def reset_choices(self, *_: object) -> None:
        """Offer the layers that there are; napari calls this when they come, go, or have another name."""
        session = getattr(self, "session", None)
        if session is not None and not session.is_closed:
            # Which tells `_show_chosen`, where the combos are filled.
            session.layers_changed()

    def _connect(self) -> None:
        session = self.session
        for name, choice in form.CHOICES.items():
            self._controls[name].changed.connect(partial(self._on_choice, choice))
        for name in NAMES:
            self._controls[name].changed.connect(partial(self._on_number, name))
        self.update_now.changed.connect(session.update)
        self.reset.changed.connect(lambda: session.set_numbers(session.proposed))
        self.cancel.changed.connect(session.cancel)
        self.remedy.changed.connect(self._accept)
        session.chosen_changed.connect(self._show_chosen)
        session.numbers_changed.connect(self._show_numbers)
        session.measured_changed.connect(self._fit_ranges)
        session.inputs_changed.connect(self._show_inputs)
        session.status_changed.connect(self._show_status)
        session.busy_changed.connect(partial(setattr, self.cancel, "enabled"))
        session.result_written.connect(self._on_result)
        session.previewed.connect(self.result_shown.emit)
        session.failed.connect(self._on_failure)

    def _on_choice(self, choice: str, value: object) -> None:
        self.session.choose(by=USER, **{choice: value})

    def _on_number(self, name: str, value: float) -> None:
        session = self.session
        session.set_numbers(session.numbers.changed(**{name: value}), by=USER)

    def _accept(self) -> None:
        if self._misfit is not None:
            self.session.accept(self._misfit)
        elif self._proposed:
            self.session.choose(by=USER, image=self._proposed)

    def _reset_one(self, name: str) -> None:
        session = self.session
        session.set_numbers(session.numbers.changed(**{name: getattr(session.proposed, name)}))

    # --- session to controls ---------------------------------------------------------------------------------------

    def _show_chosen(self, chosen: Chosen) -> None:
        with self._quiet(*form.CHOICES):
            super().reset_choices()
            for name, choice in form.CHOICES.items():
                self._controls[name].value = chosen.picture if name == "image" else getattr(chosen, choice)
        self._show_time()

    def _show_numbers(self, numbers: Numbers, by: str) -> None:
        if by != USER:
            with self._quiet(*NAMES):
                for name in NAMES:
                    self._controls[name].value = getattr(numbers, name)

    def _fit_ranges(self, measured: Measured) -> None:
        with self._quiet(*NAMES):
            form.fit_ranges(self._controls, measured)

    def _show_inputs(self, understood: Problem | Misfit) -> None:
        set_text(self.understood, str(understood))
        remedy = remedies.words(understood) if isinstance(understood, Misfit) else ""
        self._misfit = understood if isinstance(understood, Misfit) and remedy else None
        self._proposed = choices.proposed_channels(self.viewer, self.session.chosen)
        if self._proposed and not remedy:
            remedy = f"Use the {len(self._proposed)} selected layers as channels"
        self.remedy.text = plain_button(remedy)
        self.remedy.native.setVisible(bool(remedy))
        guessed = isinstance(understood, Problem) and understood.axes_guessed
        self.panel.show_row(self.labels_are, isinstance(self.session.chosen.map, Labels))
        if isinstance(understood, Problem):
            self.panel.show_row(self.border, understood.objects)
            self.panel.show_row(self.balance, understood.has_balance)
            self._balance_ends.setVisible(understood.has_balance)
            if understood.has_balance:
                names = ["background", "objects"] if understood.objects else class_names(understood.map, 2)
                self._balance_ends.say(*names)
        self.panel.show_row(self.leading, guessed or self.session.chosen.leading != UNSAID)
        if isinstance(understood, Problem) and tuple(self.slices.choices) != joins_of(understood):
            with self._quiet("slices"):
                self.slices.reset_choices()

    def _show_time(self) -> None:
        self.panel.show_row(self.time_sigma, self.slices.value == FILM)

    def _show_status(self, said: Status) -> None:
        # Names of layers and classes may look like markup.
        set_text(self.status, f'<span style="color:{said.light.value}">●</span> {escape(said.words)}', rich=True)
        self.status.tooltip = plain_tooltip(said.detail)

    def _on_result(self, result: Result) -> None:
        self._warned = ""
        layer = self.session.result_layer
        self._show_unfinished(layer is not None and not self.session.results.extent(layer).is_complete)
        self.result_shown.emit(result)
        self.refined.emit(self.session.result_layer)

    def _show_unfinished(self, shown: bool) -> None:
        self._unfinished.setVisible(shown)

    def _on_failure(self, said: str) -> None:
        # Once for all requests that fail in the same way.
        if said != self._warned:
            self._warned = said
            show_warning(said)
        self.failed.emit(said)

    @contextmanager
    def _quiet(self, *names: str) -> Iterator[None]:
        """Let controls be set by the program, which the session then does not hear."""
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._controls[name].changed.blocked())
            yield

    # --- the panel, and its end ------------------------------------------------------------------------------------

    def _laid_out(self) -> Panel:
        """Move the controls from the container's plain column into rows."""
        panel = Panel()
        controls = self._controls
        panel.add_row(controls["image"])
        panel.add_row(controls["probabilities"])
        panel.add_text(controls["understood"])
        panel.add_row(controls["leading"])
        panel.add_row(controls["labels_are"])
        panel.add_wide(controls["remedy"])
        self._section(Begin).lay_out(panel)
        panel.add_wide(controls["continue_project"])
        controls["continue_project"].visible = False
        for name in ("leading", "labels_are"):
            panel.show_row(controls[name], False)
        controls["remedy"].native.setVisible(False)
        self._section(Legend).lay_out(panel)
        panel.add_row(controls["border"], reset=partial(self._reset_one, "border"))
        for header, prefix in (("Follow the image", "appearance_"), ("Smooth outlines", "smoothness_")):
            panel.add_header(header)
            for name in NAMES:
                if name.startswith(prefix):
                    panel.add_row(controls[name], reset=partial(self._reset_one, name))
        panel.add_row(controls["balance"], reset=partial(self._reset_one, "balance"))
        self._balance_ends = Ends()
        panel.add_below(self._balance_ends)
        for name in ("border", "balance"):
            panel.show_row(controls[name], False)
        self._balance_ends.setVisible(False)
        self._add_fold(panel, Favour)
        panel.add_line([controls[name] for name in ("live", "update_now", "suggest", "reset", "cancel")])
        panel.add_text(controls["status"])
        self._section(Rescue).lay_out(panel)
        panel.add_text(controls["advice"])
        panel.add_wide(controls["other_numbers"])
        self._unfinished = panel.add_line([controls[name] for name in UNFINISHED])
        panel.add_wide(controls["progress"])
        for kind in FOLDS:
            self._add_fold(panel, kind)
        with panel.fold("More", words.FOLD_MORE) as more:
            for name in ("n_iterations", "damping"):
                panel.add_row(controls[name], reset=partial(self._reset_one, name))
            for name in ("region", "slices"):
                panel.add_row(controls[name])
            panel.add_row(controls["time_sigma"], reset=partial(self._reset_one, "time_sigma"))
            convergence = self._section(Convergence)
            convergence.fold = more
            convergence.lay_out(panel)
        self._show_unfinished(False)
        layout = self.native.layout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(panel))
        return panel

    def _section(self, kind: type[Section]) -> Section:
        return next(section for section in self.sections if isinstance(section, kind))

    def _add_fold(self, panel: Panel, kind: type[Section]) -> None:
        section = self._section(kind)
        with panel.fold(section.title, section.tip) as fold:
            section.fold = fold
            section.lay_out(panel)

    def close_session(self) -> None:
        """Let go of threads, keys, and all that listens to the viewer; what is shown stays as it is."""
        if self.session.is_closed:
            return
        self._undocked.close()
        self.session.close()
        # napari connects these when it docks a widget, and leaves them when it takes it out.
        events = self.viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered, events.renamed):
            emitter.disconnect(self.reset_choices)
        for section in self.sections:
            section.close()
        self._remembered.close()
        self._progress.close()


class _Undocked(QObject):
    """Calls a function when a widget has been taken out of its dock for good, or deleted.

    The X of a dock takes the widget out and leaves it alive: Qt deletes the dock, and napari forgets it.
    So it is deleted here.
    """

    def __init__(self, widget: QWidget, function: Callable[[], None]) -> None:
        super().__init__()
        self._widget = widget
        self._function: Callable[[], None] | None = function
        widget.installEventFilter(self)
        widget.destroyed.connect(self._call)

    def close(self) -> None:
        """Watch no more."""
        self._function = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ParentChange and self._function is not None and watched.parent() is None:
            # It may be on its way from one dock to another.
            QTimer.singleShot(0, self._look)
        return False

    def _look(self) -> None:
        if self._function is not None and self._widget.parent() is None:
            self._call()
            # Qt takes its parts apart in their order. Left to Python's garbage collector, PySide may crash on them.
            self._widget.deleteLater()

    def _call(self, *_: object) -> None:
        if self._function is not None:
            self._function()
