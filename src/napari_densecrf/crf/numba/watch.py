"""What is compiled while somebody waits for it: Numba tells of each function that it compiles, not of those on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numba.core import event

_PACKAGE = __name__.partition(".")[0]


def _ignore(*_: object) -> None:
    pass


@dataclass
class Watch:
    """What one thread has compiled so far, and who is told.

    Parameters
    ----------
    told : callable
        Called with this, in that thread, after each function. It must not raise.
    between : callable
        Called, in that thread, before each parallel kernel, and when a kernel has been compiled with all that it needs.
        What it raises ends the work there; what has been compiled is kept.
    n_functions : int
    seconds : float
        Of the clock.
    """

    told: Callable[[Watch], object] = _ignore
    between: Callable[[], object] = _ignore
    n_functions: int = 0
    seconds: float = 0.0


class _Here(threading.local):
    watch: Watch | None = None
    depth = 0
    since = 0.0
    seconds = 0.0


_here = _Here()


@contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """Let a watch see what this thread compiles."""
    before, _here.watch = _here.watch, watch
    try:
        yield watch
    finally:
        _here.watch = before


def checkpoint() -> None:
    """Let the watch of this thread end the work here, between two kernels."""
    if _here.watch is not None:
        _here.watch.between()


@contextmanager
def compiling() -> Iterator[None]:
    """Count one function as compiled; one that another needs counts too, but takes no time of its own."""
    if _here.depth == 0:
        _here.since = time.perf_counter()
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
        seconds = time.perf_counter() - _here.since if _here.depth == 0 else 0.0
        _here.seconds += seconds
        if _here.watch is not None:
            _here.watch.n_functions += 1
            _here.watch.seconds += seconds
            _here.watch.told(_here.watch)


def seconds_compiling() -> float:
    """Return for how long this thread has compiled since it began, on the clock: no part of what it was asked for."""
    return _here.seconds


class _Listener(event.Listener):  # type: ignore[misc]
    """Counts the functions of this package that Numba compiles for others, or for Python."""

    def __init__(self) -> None:
        self._open: dict[int, list[Any]] = {}

    def on_start(self, told: Any) -> None:
        if _is_ours(told):
            counting = compiling()
            counting.__enter__()
            self._open.setdefault(threading.get_ident(), []).append(counting)

    def on_end(self, told: Any) -> None:
        if _is_ours(told):
            self._open[threading.get_ident()].pop().__exit__(None, None, None)


def _is_ours(told: Any) -> bool:
    return str(told.data["dispatcher"].py_func.__module__).startswith(_PACKAGE)


event.register("numba:compile", _Listener())
