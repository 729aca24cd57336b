"""One thread for the engine: the latest request wins."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from qtpy.QtCore import QObject, Signal

# For so many seconds a request may finish though a newer one of its kind waits; the second where one gave way before.
PATIENCE = 0.1
LONGEST_PATIENCE = 1.0


class Working(Protocol):
    """A point between two pieces of work: progress, and a place to stop. `napari_densecrf.Step` is one."""

    @property
    def stage(self) -> str:
        """What comes next."""

    @property
    def fraction(self) -> float:
        """0..1, of the whole."""


@dataclass(frozen=True)
class Stage:
    """The plain `Working`."""

    stage: str
    fraction: float


@dataclass(frozen=True)
class Found:
    """Something to show before the work is done."""

    value: Any


@dataclass(frozen=True)
class Done:
    """The last step of a piece of work, with what it gives."""

    result: Any


Steps: TypeAlias = "Iterator[Working | Found | Done]"
Work: TypeAlias = Callable[[], Steps]


class Runner(QObject):
    """Runs requests one after the other in a thread of its own, and tells of them in the GUI's.

    There is room for one waiting request: a newer one takes its place. The running one stops at its next step where
    the newer is about another subject; where both are about the same, as while a slider is dragged, it may finish if
    that takes but a moment, so that there is something to see, and never two give way in a row.
    Every signal carries the number of its request; `current` tells whether that is still wanted.

    Parameters
    ----------
    name : str
        Of the thread.
    warns : bool
        Whether to pass warnings on. Their filters belong to the process: of all runners only one may change them.
    """

    progressed = Signal(int, str, float)
    found = Signal(int, object)
    finished = Signal(int, object)
    failed = Signal(int, object)
    warned = Signal(int, str)

    def __init__(self, name: str = "napari-densecrf", *, warns: bool = True) -> None:
        super().__init__()
        self._warns = warns
        self._changed = threading.Condition()
        self._newest = 0
        self._oldest_wanted = 0
        self._subject: Any = None
        self._waiting: tuple[int, Work] | None = None
        self._closed = False
        self._busy = False
        self._gave_way = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work, subject: Any = None) -> int:
        """Ask for a piece of work in place of the waiting one, and of the running one too if the subject is another.

        Return its number. The subject None is like no other.
        """
        with self._changed:
            self._newest += 1
            if subject is None or subject != self._subject:
                self._oldest_wanted = self._newest
            self._subject = subject
            self._waiting = (self._newest, work)
            self._changed.notify()
            return self._newest

    def cancel(self) -> None:
        """Want nothing any more."""
        with self._changed:
            self._newest += 1
            self._oldest_wanted = self._newest
            self._waiting = None

    def close(self) -> None:
        """Cancel, and end the thread at its next step."""
        self.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify()

    def current(self, number: int) -> bool:
        """Tell whether this request is still wanted."""
        return number >= self._oldest_wanted

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        with self._changed:
            return self._busy or self._waiting is not None

    def join(self, seconds: float) -> None:
        """Wait for the thread after `close`."""
        self._thread.join(seconds)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed or self._waiting is None:
                    return
                number, work = self._waiting
                self._waiting = None
                self._busy = True
            try:
                self._run(number, work)
            except RuntimeError:
                # The window has gone, and this object's Qt part with it: there is nobody left to tell.
                if self._closed:
                    return
                raise

    def _run(self, number: int, work: Work) -> None:
        try:
            caught: list[warnings.WarningMessage] = []
            if self._warns:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    result = self._follow(number, work())
            else:
                result = self._follow(number, work())
            for warning in caught:
                if issubclass(warning.category, UserWarning):
                    self._tell(number, self.warned, number, str(warning.message))
        except Exception as error:
            self._tell(number, self.failed, number, error)
            return
        if result is not None:
            self._tell(number, self.finished, number, result)

    def _follow(self, number: int, steps: Steps) -> Any:
        """Go through the steps while they are wanted; return what the last one carries."""
        started = time.monotonic()
        for step in steps:
            if isinstance(step, Done):
                self._gave_way = False
                return step.result
            if not self.current(number):
                return None
            if self._waiting is not None and time.monotonic() - started > self._patience():
                self._gave_way = True
                return None
            if isinstance(step, Found):
                self._tell(number, self.found, number, step.value)
            else:
                self._tell(number, self.progressed, number, step.stage, step.fraction)
        return None

    def _patience(self) -> float:
        """Return for how many seconds a newer request about the same subject has to wait."""
        return LONGEST_PATIENCE if self._gave_way else PATIENCE

    def _tell(self, number: int, signal: Any, *what: Any) -> None:
        if self.current(number) and not self._closed:
            signal.emit(*what)
