"""Correct by hand: strokes that are certain, and results that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox, Label, PushButton
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_info

from napari_densecrf._napari import words
from napari_densecrf._napari.display.result_layer import PALETTE, class_colours, follow_colours, place
from napari_densecrf._napari.display.strokes import MOST_KEYS, bind_keys
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.seen import labels_of
from napari_densecrf._napari.problem.understand import (
    METADATA_KEY,
    STROKES_KEY,
    Misfit,
    Problem,
    layers_of_map,
    understand_alone,
)
from napari_densecrf._napari.session import Session
from napari_densecrf.crf.objects.source import background_stroke

from .section import Section

BRUSH_SCREEN_PIXELS = 12
# What a class that is clear in the result is painted with.
CLEAR_STROKES = "#f4f4f4"


class Correct(Section):
    """Paint what is certain, and keep what is right."""

    title = "Correct"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._keys = Keys(session.viewer)
        strokes = ComboBox(
            name="strokes",
            label="Strokes",
            choices=lambda _: choices.strokes(session.viewer),
            nullable=True,
            tooltip="A Labels layer whose painted pixels are certain: 1 is the first class, 2 the second.",
        )
        new = PushButton(
            name="new_strokes",
            text="New strokes",
            tooltip="Paint on the image: keys 1 to 9 choose the class, 0 erases. The labels follow each stroke. (N)",
        )
        background = PushButton(
            name="paint_background",
            text="Paint background",
            tooltip="What is painted from now on is certain to be no object.",
        )
        freeze = PushButton(
            name="freeze",
            text="Freeze",
            tooltip="Copy the refined labels into a layer that no slider changes, and that you can edit. (K)",
        )
        # Below the status line, while slices are left; the widget puts it there.
        keep = PushButton(
            name="keep_refined",
            text="Keep these",
            tooltip="Freeze what is refined. The other slices have no label, and stay empty.",
        )
        self.controls = {control.name: control for control in (strokes, new, background, freeze, keep)}
        for name in ("stroke_classes", "frozen"):
            self.controls[name] = Label(name=name)

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons side by side, and below them which number is which class."""
        panel.add_line([self.controls["new_strokes"], self.controls["freeze"]])
        panel.add_row(self.controls["strokes"])
        panel.add_text(self.controls["stroke_classes"])
        panel.add_wide(self.controls["paint_background"])
        panel.add_text(self.controls["frozen"])

    def connect(self) -> None:
        """Listen to the buttons and their keys."""
        self.controls["new_strokes"].changed.connect(self._new_strokes)
        self.controls["paint_background"].changed.connect(self._paint_background)
        self.fold.reveal(self.controls["paint_background"].native, False)
        for name in ("freeze", "keep_refined"):
            self.controls[name].changed.connect(self._freeze)
        self.session.chosen_changed.connect(self._name_classes)
        self.session.result_written.connect(self._name_classes)
        self._keys.bind("n", self._new_strokes)
        self._keys.bind("k", self._freeze)

    def close(self) -> None:
        """Give the keys back."""
        super().close()
        self._keys.release()

    def _new_strokes(self, *_: object) -> None:
        """Add a layer to paint on, of the classes that there are, or of two."""
        session = self.session
        image = session.chosen.image
        if image is None:
            show_info(words.OPEN_IMAGE)
            return
        try:
            problem = session.problem or understand_alone(image)
        except Misfit as misfit:
            show_info(str(misfit))
            return
        zoom = session.viewer.scene.camera.zoom
        if problem.objects:
            layer = object_strokes_layer(problem, zoom)
        else:
            layer = strokes_layer(problem, self._class_names() or ["background", "object"], zoom)
        session.viewer.add_layer(layer)
        session.viewer.layers.selection.active = layer
        layer.mode = "paint"
        session.choose(strokes=layer)
        self.fold.open_by_user()

    def _paint_background(self) -> None:
        layer = self.session.chosen.strokes
        if layer is not None:
            self.session.viewer.layers.selection.active = layer
            layer.selected_label = background_stroke(layer.dtype)
            layer.mode = "paint"

    def _class_names(self) -> list[str]:
        result = self.session.result
        if result is None or result.request.problem != self.session.problem:
            return []
        return list(result.inputs.names)

    def _name_classes(self, *_: object) -> None:
        """Say which number paints which class, in its colour."""
        layer, names = self.session.chosen.strokes, self._class_names()
        problem = self.session.problem
        on_objects = layer is not None and problem is not None and problem.objects
        self.fold.reveal(self.controls["paint_background"].native, on_objects)
        if layer is not None and on_objects:
            set_text(self.controls["stroke_classes"], words.paint_objects(background_stroke(layer.dtype)))
            return
        if layer is None or not names:
            set_text(self.controls["stroke_classes"], "")
            return
        colours = layer.colormap.map(np.arange(1, len(names) + 1))
        parts = [
            f'<span style="color:{_hex(colour)}">■</span>&nbsp;{k}&nbsp;{escape(name).replace(" ", "&nbsp;")}'
            for k, (name, colour) in enumerate(zip(names[:MOST_KEYS], colours, strict=False), start=1)
        ]
        set_text(self.controls["stroke_classes"], "&nbsp; ".join(parts), rich=True)

    def _freeze(self, *_: object) -> None:
        """Copy the result, once it is exact."""
        self.session.when_exact(self._freeze_exact)

    def _freeze_exact(self) -> None:
        """Copy the result into an ordinary layer that can be edited, and that says how it was made."""
        layer = self.session.results.of(self.session.chosen.image)
        if layer is None:
            show_info(words.NOTHING_REFINED)
            return
        self.session.add_fingerprints()
        layers = self.session.viewer.layers
        active, frozen = layers.selection.active, frozen_copy(layer)
        # Hidden, as it looks just like the result that it is a copy of.
        frozen.visible = False
        self.session.viewer.add_layer(frozen)
        layers.selection.active = active
        set_text(self.controls["frozen"], words.frozen(frozen.name, self.session.results.extent(layer)))
        if not self.session.results.extent(layer).is_complete:
            self.fold.open_by_user()


def strokes_layer(problem: Problem, names: list[str], zoom: float) -> Labels:
    """Make a layer on the grid of the result, to paint classes on: k is class k - 1."""
    values = np.arange(len(names))
    colours = dict(class_colours(names, values).color_dict)
    painted: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    for value in values.tolist():
        clear = np.asarray(colours[value])[-1] == 0
        painted[value + 1] = CLEAR_STROKES if clear else colours[value]
    # Where there is no map yet, more classes than were named may be painted.
    for k in range(len(names) + 1, MOST_KEYS + 1):
        painted[k] = PALETTE[(k - 1) % len(PALETTE)]
    layer = Labels(
        np.zeros(problem.result_shape, np.uint8),
        name=f"{problem.image.name} strokes",
        colormap=DirectLabelColormap(color_dict=painted),
        opacity=0.9,
        metadata={STROKES_KEY: True, "classes": names},
        features={"index": [0, *(values + 1)], "class": ["free", *names]},
        **place(problem),
    )
    layer.brush_size = max(1, round(BRUSH_SCREEN_PIXELS / zoom / problem.spacing[1]))
    layer.selected_label = 1
    bind_keys(layer)
    return layer


def object_strokes_layer(problem: Problem, zoom: float) -> Labels:
    """Make a layer on the grid of the result, to paint the numbers of objects on, in their colours."""
    (source,) = layers_of_map(problem.map)
    seen = labels_of(source)
    # Unsigned, and as small as leaves room for new objects: so the number for background is one that can be typed.
    largest = 0 if seen is None else 2 * seen.largest
    dtype = next(one for one in (np.uint8, np.uint16, np.uint32) if largest < np.iinfo(one).max or one is np.uint32)
    layer = Labels(
        np.zeros(problem.result_shape, dtype),
        name=f"{problem.image.name} strokes",
        opacity=0.9,
        metadata={STROKES_KEY: True, "classes": []},
        **place(problem),
    )
    follow_colours(layer, source)
    layer.brush_size = max(1, round(BRUSH_SCREEN_PIXELS / zoom / problem.spacing[1]))
    return layer


def frozen_copy(layer: Labels) -> Labels:
    """Return an ordinary, editable copy of a result, in its place, its colours and with its provenance."""
    data, metadata, _ = layer.as_layer_data_tuple()
    levels = data if layer.multiscale else [data]
    metadata = {name: value for name, value in metadata.items() if name not in ("name", "metadata", "multiscale")}
    copy = Labels(
        [np.array(level) for level in levels] if layer.multiscale else np.array(data),
        name=layer.name.replace(" refined", "") + " frozen",
        multiscale=layer.multiscale,
        metadata={METADATA_KEY: {**layer.metadata[METADATA_KEY], "frozen": True}},
        **metadata,
    )
    copy.editable = not layer.multiscale
    return copy


def _hex(colour: Sequence[float]) -> str:
    red, green, blue = (round(255 * float(part)) for part in colour[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"
