"""One thread for pieces of work: the latest request wins."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from napari_densecrf._napari import words
from napari_densecrf.crf.numba.watch import Watch, watching

from .loop import Loop

# For so many seconds a request may finish though a newer one of its kind waits; the second where one gave way before.
PATIENCE = 0.1
LONGEST_PATIENCE = 1.0
# Compiling for so many seconds is told of: to take what is on disk takes less.
NOTICED = 0.4
# At most about so many functions are compiled for the first image, and for another kind of image.
FIRST_FUNCTIONS, MORE_FUNCTIONS = 85, 45


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
    """The plain `Working`.

    Parameters
    ----------
    stage : str
    fraction : float
    gives_way : callable, optional
        Tells whether a newer request about the same subject takes over, here and between the kernels of what comes
        next; None = the runner's patience tells, and only here.
    """

    stage: str
    fraction: float
    gives_way: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Pause:
    """A time to wait, in seconds, in which a newer request takes over."""

    seconds: float


@dataclass(frozen=True)
class Found:
    """Something to show before the work is done."""

    value: Any


@dataclass(frozen=True)
class Done:
    """The last step of a piece of work, with what it gives."""

    result: Any


Steps: TypeAlias = "Iterator[Working | Pause | Found | Done]"
Work: TypeAlias = Callable[[], Steps]


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """What is called in the window's thread while a piece of work goes on, as long as the work is wanted.

    Parameters
    ----------
    done : callable
        Gets what the last step carries.
    found : callable
        Gets what is found on the way.
    failed : callable
        Gets the exception.
    progressed : callable
        Gets the stage and the fraction.
    warned : callable
        Gets the text of a warning; before ``done``.
    """

    done: Callable[[Any], object] = _ignore
    found: Callable[[Any], object] = _ignore
    failed: Callable[[Exception], object] = _ignore
    progressed: Callable[[str, float], object] = _ignore
    warned: Callable[[str], object] = _ignore


class _Unwanted(BaseException):
    """Ends work between two kernels, when nobody wants it any more. No error, which might be caught on the way."""


@dataclass(frozen=True)
class _Request:
    number: int
    work: Work
    listener: Listener


class Runner:
    """Runs requests one after the other in a thread of its own, and tells listeners of them in the window's.

    There is room for one waiting request: a newer one takes its place. The running one stops at its next step where
    the newer is about another subject. Where both are about the same, as while a slider is dragged, the work may say
    at each step whether it gives way. Where it does not, it may finish if that takes but a moment, so that there is
    something to see; and never two give way in a row.

    Parameters
    ----------
    loop : Loop
        Of the window.
    name : str
        Of the thread.
    warns : bool
        Whether to pass warnings on. Their filters belong to the process: of all runners only one may change them.
    """

    def __init__(self, loop: Loop, name: str = "napari-densecrf", *, warns: bool = True) -> None:
        self._loop = loop
        self._warns = warns
        self._changed = threading.Condition()
        self._newest = 0
        self._oldest_wanted = 0
        self._subject: Hashable = None
        self._waiting: _Request | None = None
        self._closed = False
        self._running = False
        self._undelivered = 0
        self._gave_way = False
        # Of the step that the running work is at.
        self._gives_way: Callable[[], bool] | None = None
        self._has_compiled = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work, listener: Listener, subject: Hashable = None) -> None:
        """Ask for a piece of work in place of the waiting one, and of the running one too if the subject is another.

        None never equals an earlier subject.
        """
        with self._changed:
            self._newest += 1
            if subject is None or subject != self._subject:
                self._oldest_wanted = self._newest
            self._subject = subject
            self._waiting = _Request(self._newest, work, listener)
            self._changed.notify()

    def cancel(self) -> None:
        """Want nothing any more."""
        with self._changed:
            self._newest += 1
            self._oldest_wanted = self._newest
            self._waiting = None
            self._changed.notify()

    def close(self) -> None:
        """Cancel, and end the thread at its next step."""
        self.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def busy(self) -> bool:
        """Whether something runs or waits, or is done and not delivered yet."""
        with self._changed:
            return self._running or self._waiting is not None or self._undelivered > 0

    @property
    def alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for the thread after `close`."""
        self._thread.join(seconds)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._running = False
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed or self._waiting is None:
                    return
                request, self._waiting = self._waiting, None
                self._running = True
            self._run(request)
            # Nothing of a piece of work is kept while the next is waited for.
            del request

    def _run(self, request: _Request) -> None:
        watch = Watch(partial(self._tell_compiled, request), partial(self._end_unwanted, request))
        try:
            caught: list[warnings.WarningMessage] = []
            with watching(watch):
                if self._warns:
                    with warnings.catch_warnings(record=True) as caught:
                        warnings.simplefilter("always")
                        result = self._follow(request)
                else:
                    result = self._follow(request)
            for warning in caught:
                if issubclass(warning.category, UserWarning):
                    self._tell(request, request.listener.warned, str(warning.message))
        except _Unwanted:
            return
        except Exception as error:
            self._tell(request, request.listener.failed, error, last=True)
            return
        if result is not None:
            self._has_compiled = self._has_compiled or watch.seconds > NOTICED
            self._tell(request, request.listener.done, result.result, last=True)

    def _follow(self, request: _Request) -> Done | None:
        """Go through the steps while they are wanted; return the last one."""
        started, self._gives_way = time.monotonic(), None
        for step in request.work():
            self._gives_way = step.gives_way if isinstance(step, Stage) else None
            if isinstance(step, Done):
                self._gave_way = False
                return step
            if not self._wanted(request):
                return None
            if isinstance(step, Found):
                self._tell(request, request.listener.found, step.value)
            elif isinstance(step, Pause):
                with self._changed:
                    self._changed.wait_for(partial(self._is_over, request), step.seconds)
                if self._is_over(request):
                    return None
            elif self._is_to_give_way(step, started):
                return None
            else:
                self._tell(request, request.listener.progressed, step.stage, step.fraction)
        return None

    def _tell_compiled(self, request: _Request, watch: Watch) -> None:
        """Say how far compiling is to whoever waits for it: the next request, where this one is not wanted."""
        if watch.seconds < NOTICED:
            return
        one = request if self._wanted(request) else self._waiting
        if one is not None:
            about = max(MORE_FUNCTIONS if self._has_compiled else FIRST_FUNCTIONS, watch.n_functions)
            said = words.preparing(watch.n_functions, about)
            self._tell(one, one.listener.progressed, said, watch.n_functions / about)

    def _end_unwanted(self, request: _Request) -> None:
        gives_way = self._waiting is not None and self._gives_way is not None and self._gives_way()
        if gives_way or not self._wanted(request):
            raise _Unwanted

    def _is_over(self, request: _Request) -> bool:
        """Tell whether there is something newer, or nothing to wait for any more."""
        return self._waiting is not None or not self._wanted(request)

    def _is_to_give_way(self, step: Working, started: float) -> bool:
        """Tell whether the request that waits takes over at a step."""
        if self._waiting is None:
            return False
        if self._gives_way is not None:
            return self._gives_way()
        if time.monotonic() - started > self._patience():
            self._gave_way = True
            return True
        return False

    def _wanted(self, request: _Request) -> bool:
        return request.number >= self._oldest_wanted and not self._closed

    def _patience(self) -> float:
        """Return for how many seconds a newer request about the same subject has to wait."""
        return LONGEST_PATIENCE if self._gave_way else PATIENCE

    def _tell(self, request: _Request, listener: Callable[..., object], *what: Any, last: bool = False) -> None:
        if not self._wanted(request):
            return
        with self._changed:
            self._undelivered += 1
            if last:
                # So that whoever hears of it may find that nothing runs any more.
                self._running = False
        self._loop.call_soon(partial(self._deliver, request, listener, what))

    def _deliver(self, request: _Request, listener: Callable[..., object], what: tuple[Any, ...]) -> None:
        with self._changed:
            self._undelivered -= 1
        # It may have been cancelled on the way.
        if self._wanted(request):
            listener(*what)
