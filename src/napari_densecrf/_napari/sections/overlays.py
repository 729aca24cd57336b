"""Layers beside the result that follow it: how sure it is of each pixel, and what it has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.events import Event
from numpy.typing import NDArray

from napari_densecrf._napari.display.result_layer import OneLayer, blank, put_in_place, reveal, write
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import CHANGES, CONFIDENCE, Result

from .toggle import Toggled

# Up to so many classes each change from one to another has a name; of more, only what a pixel became.
NAMED_CLASSES = 16
# By what a pixel became; brighter than the colours of classes, or changes would drown in them.
BRIGHT = ("#ff2fd0", "#ffe11a", "#19f0ff", "#ff4d4d", "#8dff3d", "#ffffff")


class Companion(Toggled):
    """A layer of the shape of the result, written whenever the result is."""

    def __init__(self, session: Session, name: str, text: str, tooltip: str) -> None:
        super().__init__(session, name, text, tooltip, wants=name)
        self._layers = OneLayer(session.viewer, self.make)
        self._active_before: Layer | None = None
        self._fresh = False

    def make(self, result: Result) -> Layer:
        """Make the layer for a result's image."""
        raise NotImplementedError

    def values(self, result: Result) -> NDArray[Any] | None:
        """Return what a result has for it, or None."""
        raise NotImplementedError

    def adapt(self, layer: Layer, result: Result) -> None:
        """Change what says how the values look and what they mean."""

    def connect(self) -> None:
        """Listen to previews and to removed layers too."""
        super().connect()
        self.session.previewed.connect(self._on_result)
        self.listen(self.session.viewer.layers.events.removed, self._on_removed)

    def start(self) -> None:
        """Make the layer the active one when it comes, as napari's status line speaks of that."""
        self._fresh = True

    def show(self, result: Result) -> None:
        """Write what a result has."""
        values = self.values(result)
        if values is None:
            return
        with self.session.writing():
            layer = self._layers.fitting(result)
            if layer is None:
                layer = self._layers.add(result)
            self.adapt(layer, result)
            put_in_place(layer, result.request.problem)
            write(layer, result.request.problem, result.request.region, values)
            reveal(layer, True)
            if self._fresh:
                self._fresh = False
                self._activate(layer)

    def stop(self) -> None:
        """Hide the layers, and let the layer be active that was."""
        layers = self.session.viewer.layers
        if self._layers.owns(layers.selection.active) and self._active_before in layers:
            layers.selection.active = self._active_before
        for layer in self._layers.all():
            reveal(layer, False)
        self.remove_hidden(self._layers)

    def _activate(self, layer: Layer) -> None:
        selection = self.session.viewer.layers.selection
        # Who paints goes on painting.
        if selection.active is None or selection.active.mode == "pan_zoom":
            self._active_before, selection.active = selection.active, layer

    def _on_removed(self, event: Event) -> None:
        if self.active and not self.session.is_writing and self._layers.owns(event.value):
            self.toggle.value = False


class Confidence(Companion):
    """1 - entropy, in percent."""

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
            CONFIDENCE,
            "Confidence",
            "Yellow: sure of the class. Dark: two or more classes are about as likely. Point at a pixel to read the "
            "percentage. (1 - entropy)",
        )

    def make(self, result: Result) -> Layer:
        """Make an image of percentages."""
        problem = result.request.problem
        return Image(
            name=f"{problem.image.name} confidence",
            colormap="viridis",
            contrast_limits=(0, 100),
            blending="translucent_no_depth",
            opacity=0.8,
            # NaN is drawn clear: where nothing has been refined, nobody is unsure.
            **blank(problem, np.float16, np.nan),
        )

    def values(self, result: Result) -> NDArray[Any] | None:
        """Return percentages, NaN where a pixel has no value."""
        return result.confidence


class Changes(Companion):
    """Was and is, where they differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
            CHANGES,
            "Changed pixels",
            "Colours the pixels whose class differs from what the map alone says. Point at one to read what it was "
            "and is.",
        )

    def make(self, result: Result) -> Layer:
        """Make labels, one for each pair of classes."""
        problem = result.request.problem
        labels = Labels(
            name=f"{problem.image.name} changes",
            blending="translucent",
            opacity=0.9,
            **blank(problem, result.changes.dtype if result.changes is not None else np.uint8),
        )
        labels.editable = False
        return labels

    def values(self, result: Result) -> NDArray[Any] | None:
        """Return pairs, or the class alone that a pixel became where there are many."""
        n_classes = len(result.inputs.values)
        changes = result.changes
        if changes is None or n_classes <= NAMED_CLASSES:
            return changes
        return np.where(changes > 0, (changes - 1) % n_classes + 1, 0).astype(changes.dtype)

    def adapt(self, layer: Layer, result: Result) -> None:
        """Name and colour the pairs, where the classes are not those of before."""
        names = result.inputs.names
        if layer.metadata.get("classes") == names:
            return
        layer.metadata["classes"] = list(names)
        n_classes = len(names)
        if n_classes <= NAMED_CLASSES:
            words = [f"{was} → {now}" for was in names for now in names]
        else:
            words = [f"→ {now}" for now in names]
        layer.features = {"index": np.arange(len(words) + 1), "class": ["unchanged", *words]}
        colours: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
        colours |= {1 + k: BRIGHT[k % n_classes % len(BRIGHT)] for k in range(len(words))}
        layer.colormap = DirectLabelColormap(color_dict=colours)
