"""Correct by hand: strokes that are certain, and results that are kept."""

from __future__ import annotations

import numpy as np
from magicgui.widgets import ComboBox, Label, PushButton
from napari.layers import Labels
from napari.utils.notifications import show_info

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.problem import METADATA_KEY
from napari_densecrf._napari.session import Session
from napari_densecrf.crf.objects.source import background_stroke

from .doubtful import Doubtful
from .painting import new_strokes
from .section import Section


class Correct(Section):
    """Paint what is certain, and keep what is right."""

    title = "Correct"
    tip = words.FOLD_CORRECT

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
        self.doubtful = Doubtful(session)
        self.controls |= self.doubtful.controls
        for name in ("stroke_classes", "frozen"):
            self.controls[name] = Label(name=name)

    def lay_out(self, panel: Panel) -> None:
        """Put the buttons side by side, and below them which number is which class."""
        panel.add_line([self.controls["new_strokes"], self.controls["freeze"]])
        panel.add_row(self.controls["strokes"])
        panel.add_text(self.controls["stroke_classes"])
        panel.add_wide(self.controls["paint_background"])
        self.doubtful.lay_out(panel)
        panel.add_text(self.controls["frozen"])

    def connect(self) -> None:
        """Listen to the buttons and their keys."""
        self.controls["new_strokes"].changed.connect(self._new_strokes)
        self.controls["paint_background"].changed.connect(self._paint_background)
        self.fold.reveal(self.controls["paint_background"].native, False)
        for name in ("freeze", "keep_refined"):
            self.controls[name].changed.connect(self._freeze)
        self.session.chosen_changed.connect(self._say_keys)
        self.session.result_written.connect(self._say_keys)
        self.doubtful.fold = self.fold
        self.doubtful.connect()
        self._keys.bind("n", self._new_strokes)
        self._keys.bind("k", self._freeze)

    def close(self) -> None:
        """Give the keys back."""
        super().close()
        self.doubtful.close()
        self._keys.release()

    def _new_strokes(self, *_: object) -> None:
        if new_strokes(self.session) is not None:
            self.fold.open_by_user()

    def _paint_background(self) -> None:
        layer = self.session.chosen.strokes
        if layer is not None:
            self.session.viewer.layers.selection.active = layer
            layer.selected_label = background_stroke(layer.dtype)
            layer.mode = "paint"

    def _say_keys(self, *_: object) -> None:
        """Say how to paint, while there are strokes."""
        layer, problem = self.session.chosen.painted, self.session.problem
        on_objects = layer is not None and problem is not None and problem.objects
        self.fold.reveal(self.controls["paint_background"].native, on_objects)
        said = "" if layer is None else words.PAINT_KEYS
        if layer is not None and on_objects:
            said = words.paint_objects(background_stroke(layer.dtype))
        set_text(self.controls["stroke_classes"], said)

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
        self.session.results.contours.add(frozen, like=layer)
        self.session.viewer.add_layer(frozen)
        layers.selection.active = active
        set_text(self.controls["frozen"], words.frozen(frozen.name, self.session.results.extent(layer)))
        if not self.session.results.extent(layer).is_complete:
            self.fold.open_by_user()


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
