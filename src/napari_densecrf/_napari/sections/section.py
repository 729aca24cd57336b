"""A folded part of the panel: controls of its own, and what they do with the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.events import EventEmitter

from napari_densecrf._napari.panel.panel import Fold, Panel
from napari_densecrf._napari.session import Session


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
