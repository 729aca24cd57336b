"""An event loop that a test turns by hand, so that sessions and runners need no Qt."""

import queue
import time

WAIT_S = 240


class HandTimer:
    """A timer of a `HandLoop`."""

    def __init__(self, interval_ms, action):
        self._interval, self._action = interval_ms / 1000, action
        self._due = None

    @property
    def active(self):
        return self._due is not None

    def start(self):
        self._due = time.monotonic() + self._interval

    def stop(self):
        self._due = None

    def look(self):
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._action()


class HandLoop:
    """Keeps what it is asked to call until it is turned."""

    def __init__(self):
        self._actions = queue.Queue()
        self._timers = []

    def call_soon(self, action):
        self._actions.put(action)

    def timer(self, interval_ms, action):
        made = HandTimer(interval_ms, action)
        self._timers.append(made)
        return made

    def turn_until(self, condition, wait_s=WAIT_S):
        """Do what is due until a condition holds."""
        until = time.monotonic() + wait_s
        while not condition():
            assert time.monotonic() < until, "waited too long"
            for timer in self._timers:
                timer.look()
            try:
                self._actions.get(timeout=0.005)()
            except queue.Empty:
                continue


def rest(session):
    """Do what is due until a session has nothing left to do."""
    session.loop.turn_until(lambda: session.idle)
