"""Keys of the viewer that belong to the widget while it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel


class Keys:
    """Binds keys on a viewer, and gives them back.

    Letters that napari's layers leave free: G, H, J, K, N, Q, U, W. A key that another widget or the user has bound
    is left to them.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._bound: list[str] = []

    def bind(self, key: str, action: Callable[[Any], object]) -> None:
        """Have a key call ``action(viewer)``; a generator goes on where it has yielded when the key is released."""
        try:
            self._viewer.bind_key(key, action)
        except ValueError:
            return
        self._bound.append(key)

    def release(self) -> None:
        """Unbind what was bound here."""
        while self._bound:
            self._viewer.bind_key(self._bound.pop(), None)
