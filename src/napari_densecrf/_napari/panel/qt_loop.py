"""Qt's event loop, as `work/loop.py` asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from qtpy.QtCore import QObject, Qt, QTimer, Signal


class QtTimer:
    """A timer that acts once.

    Qt may have deleted it before it is stopped, when the program ends.
    """

    def __init__(self, interval_ms: int, action: Callable[[], object]) -> None:
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(interval_ms)
        self._action = action
        # A method: PySide keeps a function, and what it holds, for good.
        self._timer.timeout.connect(self._act)

    @property
    def active(self) -> bool:
        """Whether it is going to act."""
        return bool(self._timer.isActive())

    def _act(self) -> None:
        self._action()

    def start(self) -> None:
        """Start it anew."""
        self._timer.start()

    def stop(self) -> None:
        """Have it not act."""
        with suppress(RuntimeError):
            self._timer.stop()


class QtLoop(QObject):
    """Calls actions in the thread that this was made in."""

    _called = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._called.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def call_soon(self, action: Callable[[], object]) -> None:
        """Call an action in the loop's thread; may be asked from any thread."""
        # Qt may have deleted this with the window: then there is nobody to call.
        with suppress(RuntimeError):
            self._called.emit(action)

    def timer(self, interval_ms: int, action: Callable[[], object]) -> QtTimer:
        """Return a timer that does not run yet."""
        return QtTimer(interval_ms, action)

    def _call(self, action: Callable[[], object]) -> None:
        action()
