"""Make the pictures of docs/walk.md by driving the real window: python docs/make_walk_pictures.py [FOLDER]."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QApplication

WAIT_SECONDS = 180
COLOURS = 256


def wait(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Run the event loop until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")


def pause(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


class Walk:
    """The window, and where its pictures go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(1280, 720)
        self.viewer.open_sample("napari-densecrf", "tissue")
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
        self.settle_after(lambda: None)

    def settle_after(self, change: Callable[[], Any]) -> None:
        """Make a change, and wait for the labels that follow."""
        got: list[Any] = []
        self.widget.refined.connect(got.append)
        change()
        wait(lambda: got and self.widget.session.idle)
        self.widget.refined.disconnect(got.append)
        pause(0.5)

    def picture(self, name: str, *folds: str, scrolled: bool = False) -> None:
        """Save the window with these folds open, the last one in view if ``scrolled``."""
        for title, fold in self.widget.panel.folds.items():
            fold.open = title in folds
            fold.opened_by_user = scrolled and fold.open
            fold.come_into_view()
        pause(0.7)
        pixels = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        pixels.quantize(COLOURS, dither=Image.Dither.NONE).save(self.folder / f"walk-{name}.png", optimize=True)

    def part(self, name: str) -> Any:
        """Return the part of a section that has a control of this name."""
        parts = (part for section in self.widget.sections for part in getattr(section, "parts", ()))
        return next(part for part in parts if name in part.controls)

    def stroke(self, points: list[tuple[int, int]], label: int) -> None:
        """Paint one stroke."""
        layer = self.widget.strokes.value
        layer.selected_label = label

        def paint() -> None:
            with layer.block_history():
                for point in points:
                    layer.paint(point, label)

        self.settle_after(paint)


def main(folder: Path) -> None:
    """Walk: map, live, influence, strokes, nine, fit, freeze, copy."""
    walk = Walk(folder)
    viewer, widget = walk.viewer, walk.widget
    viewer.layers["tissue refined"].visible = False
    viewer.layers["tissue probabilities"].visible = True
    viewer.dims.set_current_step(0, 1)
    walk.picture("map")

    viewer.layers["tissue refined"].visible = True
    viewer.layers["tissue probabilities"].visible = False
    # As the page says: fewer specks.
    walk.settle_after(lambda: setattr(widget.appearance_weight, "value", 4.0))
    walk.settle_after(lambda: setattr(widget.appearance_position_sigma, "value", 15.0))
    walk.picture("live")

    widget.influence.value = True
    walk.part("influence").pin((255, 210))
    wait(lambda: "tissue influence" in viewer.layers)
    walk.picture("influence", "Why?")
    widget.influence.value = False

    widget.new_strokes.changed.emit(True)
    layer = widget.strokes.value
    layer.brush_size = 9
    names = list(widget.last_result.inputs.names)
    for y, x, name in [
        (120, 80, "epithelium"), (75, 420, "epithelium"), (410, 300, "epithelium"), (340, 100, "epithelium"),
        (290, 200, "stroma"), (215, 490, "stroma"), (415, 205, "stroma"), (300, 345, "stroma"),
        (330, 20, "background"), (450, 445, "background"),
    ]:  # fmt: skip
        walk.stroke([(y, int(step)) for step in np.arange(x - 12, x + 12, 3)], names.index(name) + 1)
    walk.picture("strokes", "Correct")

    widget.panel.folds["Choose numbers"].open_by_user()
    widget.try_nine.changed.emit(True)
    wait(lambda: widget.session.idle)
    walk.picture("nine", "Choose numbers", scrolled=True)

    widget.fit.changed.emit(True)
    wait(lambda: widget.session.idle)
    walk.picture("fit", "Choose numbers")

    widget.freeze.changed.emit(True)
    widget.copy_python.changed.emit(True)
    wait(lambda: widget.session.idle)
    walk.picture("copy", "Correct", "Save and script")
    viewer.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as forgotten:
        # The numbers of the last time would be there again.
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, forgotten)
        main(target)
