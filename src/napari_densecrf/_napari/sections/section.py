"""A folded part of the panel: controls of its own, and what they do with the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.events import EventEmitter

from napari_densecrf._napari.display.result_layer import OneLayer
from napari_densecrf._napari.panel.panel import Fold, Panel
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.loop import Timer

# Whoever switches back and forth waits for no new layer.
AWAY_MS = 3000


class Section:
    """One fold, or a part of one.

    A section knows the `Session` and its `Fold`, nothing else of the widget. It makes its controls when it is made,
    and listens from `connect` on. What is not shown costs nothing.

    Parameters
    ----------
    session : Session
    """

    title = ""
    # Of the fold: what it is for.
    tip = ""
    fold: Fold

    def __init__(self, session: Session) -> None:
        self.session = session
        self.controls: dict[str, Any] = {}
        self._away: Timer | None = None
        self._heard: list[tuple[EventEmitter, Callable[..., object]]] = []

    def lay_out(self, panel: Panel) -> None:
        """Put the controls into the panel; what is added goes into this section's fold."""

    def connect(self) -> None:
        """Listen."""

    def listen(self, emitter: EventEmitter, react: Callable[..., object]) -> None:
        """Listen to an event of the viewer, until `close`."""
        emitter.connect(react)
        self._heard.append((emitter, react))

    def close(self) -> None:
        """Let go of what outlives the widget: callbacks of the viewer, and in subclasses keys and threads."""
        for emitter, react in self._heard:
            emitter.disconnect(react)
        self._heard.clear()
        if self._away is not None:
            self._away.stop()

    def remove_hidden(self, layers: OneLayer[Any]) -> None:
        """Take helper layers out of the list once they have been hidden for a while: the list stays the user's."""
        if self.session.is_closed:
            return
        if self._away is None:

            def remove() -> None:
                with self.session.writing():
                    layers.remove_hidden()

            self._away = self.session.loop.timer(AWAY_MS, remove)
        self._away.start()
