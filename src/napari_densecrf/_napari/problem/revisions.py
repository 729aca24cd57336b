"""How often the data of layers have changed, and whether they are where they were: told by their events."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable

from napari.layers import Layer
from napari.utils.events import Event, EventEmitter
from psygnal import Signal

# A stroke that ends, an undo, a refresh after a change in place; not `labels_update`, which comes while one paints.
DATA_EVENTS = ("data", "paint", "set_data")
PLACE_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class Revisions:
    """Listens to layers, and counts."""

    data_changed = Signal(Layer, bool, description="A layer's data; whether it may only have been sliced anew.")
    place_changed = Signal(Layer)

    def __init__(self) -> None:
        self._counts: weakref.WeakKeyDictionary[Layer, int] = weakref.WeakKeyDictionary()
        self._watched: weakref.WeakSet[Layer] = weakref.WeakSet()

    def watch(self, layers: Iterable[Layer]) -> None:
        """Listen to layers from now on."""
        for layer in layers:
            if layer in self._watched:
                continue
            self._watched.add(layer)
            for emitter, react in self._reactions(layer):
                emitter.connect(react)

    def of(self, layers: Iterable[Layer]) -> Hashable:
        """Return what differs where the data of these layers have changed."""
        return tuple((self._counts.get(layer, 0), id(layer.data)) for layer in layers)

    def close(self) -> None:
        """Listen no more."""
        for layer in list(self._watched):
            for emitter, react in self._reactions(layer):
                emitter.disconnect(react)
        self._watched.clear()

    def _reactions(self, layer: Layer) -> list[tuple[EventEmitter, Callable[[Event], None]]]:
        return [
            (getattr(layer.events, name), react)
            for names, react in ((DATA_EVENTS, self._on_data), (PLACE_EVENTS, self._on_place))
            for name in names
            if name in layer.events.emitters
        ]

    def _on_data(self, event: Event) -> None:
        layer, sliced = event.source, event.type == "set_data"
        if not sliced:
            self._counts[layer] = self._counts.get(layer, 0) + 1
        self.data_changed.emit(layer, sliced)

    def _on_place(self, event: Event) -> None:
        self.place_changed.emit(event.source)
