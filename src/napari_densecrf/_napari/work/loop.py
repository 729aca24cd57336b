"""What work needs of the window's event loop: to be called in it, and timers. Qt's is in `panel/qt_loop.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Acts once, so long after it was last started."""

    @property
    def active(self) -> bool:
        """Whether it is going to act."""

    def start(self) -> None:
        """Start it anew."""

    def stop(self) -> None:
        """Have it not act."""


class Loop(Protocol):
    """The loop of the thread that owns the layers."""

    def call_soon(self, action: Callable[[], object]) -> None:
        """Call an action in the loop's thread; may be asked from any thread."""

    def timer(self, interval_ms: int, action: Callable[[], object]) -> Timer:
        """Return a timer that does not run yet."""
