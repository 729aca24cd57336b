"""Timers that act once."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer


def a_timer(interval_ms: int, action: Callable[[], object]) -> QTimer:
    """Return a timer that acts once, so long after it was last started."""
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(interval_ms)
    timer.timeout.connect(action)
    return timer
