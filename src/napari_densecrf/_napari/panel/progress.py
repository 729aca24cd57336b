"""A bar in the panel and one in napari's window, for work that takes longer than a moment."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import ProgressBar
from napari.utils import progress

from napari_densecrf._napari import status, words
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.status import Light, Status

MOMENT_MS = 500
# napari's bar runs the event loop at every update.
STEP_PERCENT = 5


class Progress:
    """Shows what a session's thread does.

    Parameters
    ----------
    session : Session
    bar : ProgressBar
        Of the panel.
    """

    def __init__(self, session: Session, bar: ProgressBar) -> None:
        self._session, self._bar = session, bar
        self._napari_bar: progress[Any] | None = None
        self._timer = session.loop.timer(MOMENT_MS, self._show)
        self._is_wanted = False
        session.busy_changed.connect(self._on_busy)
        session.progressed.connect(self._on_progress)

    def close(self) -> None:
        """Take the bars away."""
        self._is_wanted = False
        self._timer.stop()
        self._close_napari_bar()

    def _on_busy(self, busy: bool) -> None:
        self._is_wanted = busy
        if busy:
            # Anew with each request: while results keep coming there is no bar.
            self._timer.start()
            return
        self._timer.stop()
        self._close_napari_bar()
        self._bar.visible = False

    def _show(self) -> None:
        if self._session.idle:
            return
        self._bar.visible = True
        self._session.set_status(self._status(status.COMPUTING.words))
        bar = progress(total=100, desc="Dense CRF")
        # Making it ran the event loop: the request may be done, or another bar be there.
        if self._napari_bar is None and self._is_wanted:
            self._napari_bar = bar
        else:
            bar.close()

    def _on_progress(self, stage: str, fraction: float) -> None:
        percent = round(100 * fraction)
        if self._bar.visible and (percent == 0 or abs(percent - self._bar.value) >= STEP_PERCENT):
            self._bar.value = percent
            self._session.set_status(self._status(stage))
            if self._napari_bar is not None:
                self._napari_bar.update(percent - self._napari_bar.n)

    def _status(self, stage: str) -> Status:
        """Return what is said while something runs: also that a preview is on the canvas, as long as it is."""
        said = stage if self._session.preview is None else f"{words.PREVIEW} · {stage}"
        return Status(said, Light.AMBER)

    def _close_napari_bar(self) -> None:
        if self._napari_bar is not None:
            bar, self._napari_bar = self._napari_bar, None
            bar.close()
