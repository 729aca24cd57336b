"""Run on all of it: every slice, every time point, the whole volume, a folder; in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from magicgui.widgets import Label, PushButton
from napari.utils import progress

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.panel import Panel, bring_into_view, set_text
from napari_densecrf._napari.problem.problem import Misfit
from napari_densecrf._napari.runs.apply import Apply
from napari_densecrf._napari.runs.folder_run import FolderRun
from napari_densecrf._napari.runs.in_memory import fits, start_in_memory
from napari_densecrf._napari.runs.objects import ApplyToObjects, start_with_objects
from napari_densecrf._napari.runs.to_zarr import start_on_disk
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.runner import Listener, Runner, Steps
from napari_densecrf.files.batch import Outcome

from .folder_form import FolderForm
from .section import Section


class LongRun(Protocol):
    """A long piece of work in parts; what is done is kept, so that it can go on."""

    again: ClassVar[str]

    @property
    def n_all(self) -> int:
        """Number of parts."""

    @property
    def n_done(self) -> int:
        """Parts that are done."""

    def steps(self) -> Steps:
        """Do what is left, in the thread."""

    def take(self, found: Any) -> str | None:
        """Take a result in the GUI's thread; return the text of the panel, or None where the layers are gone."""

    def finish(self, seconds: float) -> str:
        """Show everything that is done; return the text of the panel."""


class Run(Section):
    """One button that applies the numbers to everything, one for a folder, and one that stops."""

    title = "All slices and files"
    tip = words.FOLD_ALL

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        apply = PushButton(
            name="apply", text="Apply to all", tooltip="Refine all slices and time points with these numbers."
        )
        stop = PushButton(
            name="stop", text="Stop", enabled=False, tooltip="Keep what is done; the same button goes on from there."
        )
        folder = PushButton(
            name="run_on_folder",
            text="Run on folder …",
            tooltip="Refine all images of a folder with these numbers, and save the labels.",
        )
        # Below the status line, while slices are left; the widget puts it there.
        rest = PushButton(
            name="refine_all", text="Refine all", tooltip="Refine all slices with these numbers, in the background."
        )
        self.controls = {control.name: control for control in (apply, folder, stop, rest, Label(name="job"))}
        self._runner = Runner(session.loop, "napari-densecrf run", warns=False)
        self._job: LongRun | None = None
        self._applied: Apply | ApplyToObjects | None = None
        self._batch: FolderRun | None = None
        self._form: FolderForm | None = None
        self._bar: progress[Any] | None = None
        self._started = 0.0
        # What is said takes its room only after this turn of the event loop.
        self._look = session.loop.timer(0, lambda: bring_into_view(self.controls["job"]))

    def lay_out(self, panel: Panel) -> None:
        """Put what can be run side by side, and below what stops it and what it does."""
        panel.add_line([self.controls["apply"], self.controls["run_on_folder"]])
        panel.add_line([self.controls["stop"]])
        panel.add_text(self.controls["job"])

    def connect(self) -> None:
        """Listen to the buttons and to the thread."""
        self.controls["apply"].changed.connect(self._apply)
        self.controls["refine_all"].changed.connect(self._refine_all)
        self.controls["run_on_folder"].changed.connect(self._open_form)
        self.controls["stop"].changed.connect(self._stop)

    def close(self) -> None:
        """End the thread at its next step."""
        super().close()
        self._job = None
        self._runner.close()
        self._look.stop()

    # --- what is asked for -----------------------------------------------------------------------------------------

    def _refine_all(self) -> None:
        self.fold.open_by_user()
        self._apply()

    def _apply(self) -> None:
        request, shown = self.session.request(), self.session.result
        if request is None or shown is None:
            self._say(words.REFINE_FIRST)
            return
        if self._applied is None or not self._applied.goes_on(request, self.session.viewer):
            start: Callable[..., Apply | ApplyToObjects]
            if request.problem.objects:
                start = start_with_objects
            else:
                start = start_in_memory if fits(request, shown.inputs.dtype) else start_on_disk
            try:
                # The layer that is added is no reason to refine anew.
                with self.session.writing():
                    self._applied = start(request, shown.inputs, self.session.chosen.painted, self.session.viewer)
            except Misfit as misfit:
                self._say(str(misfit))
                return
        self._begin(self._applied, words.LOOKING_HOW_LONG)

    def _open_form(self) -> None:
        if self._form is None:
            self._form = FolderForm(self.session, self.fold.button.window(), self.run_on_folder)
        self._form.open()

    def run_on_folder(self, batch: FolderRun) -> None:
        """Refine the files of a folder; where the same was stopped, go on."""
        if self._batch is None or not self._batch.is_like(batch):
            self._batch = batch
        self._begin(self._batch, words.progress(0, batch.n_all))

    # --- what becomes of it ----------------------------------------------------------------------------------------

    def _begin(self, job: LongRun, said: str) -> None:
        self._job = job
        self._started = time.monotonic()
        self._enable(running=True)
        self._say(said)
        self._look.start()
        self._bar = progress(total=job.n_all, desc="Dense CRF")
        self._bar.update(job.n_done)
        self._runner.submit(job.steps, Listener(self._finish, self._show, self._fail))

    def _show(self, found: object) -> None:
        job = self._job
        if job is None:
            return
        said = job.take(found)
        if said is None:
            self._stop()
            return
        self._say(said)
        if self._form is not None and isinstance(found, Outcome):
            self._form.show_outcome(found)
        if self._bar is not None and job.n_done > self._bar.n:
            self._bar.total = job.n_all
            # Last, as it runs the event loop.
            self._bar.update(job.n_done - self._bar.n)

    def _finish(self, *_: object) -> None:
        if self._job is not None:
            with self.session.writing():
                self._say(self._job.finish(time.monotonic() - self._started))
            self._look.start()
        self._enable(running=False)

    def _fail(self, error: Exception) -> None:
        self._say(str(error))
        self._enable(running=False)

    def _stop(self, *_: object) -> None:
        self._runner.cancel()
        if self._job is not None:
            self._say(words.stopped(self._job.n_done, self._job.n_all, self._job.again))
        self._enable(running=False)

    def _enable(self, *, running: bool) -> None:
        for name in ("apply", "refine_all", "run_on_folder"):
            self.controls[name].enabled = not running
        self.controls["stop"].enabled = running
        if self._bar is not None and not running:
            self._bar.close()
            self._bar = None

    def _say(self, said: str) -> None:
        set_text(self.controls["job"], said)
        if self._form is not None and self._job is not None and self._job is self._batch:
            self._form.say(said)
