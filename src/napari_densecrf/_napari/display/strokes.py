"""A layer to paint classes on: its keys choose the class."""

from __future__ import annotations

from collections.abc import Callable

from napari.layers import Labels

MOST_KEYS = 9


def bind_keys(layer: Labels) -> None:
    """Have the keys 1 to 9 choose a class, and 0 erase."""
    for k in range(1, MOST_KEYS + 1):
        layer.bind_key(str(k), _painter(k), overwrite=True)
    layer.bind_key("0", _erase, overwrite=True)


def _painter(k: int) -> Callable[[Labels], None]:
    def paint(layer: Labels) -> None:
        layer.selected_label = k
        layer.mode = "paint"

    return paint


def _erase(layer: Labels) -> None:
    layer.mode = "erase"
