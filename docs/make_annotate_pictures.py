"""Make the pictures of docs/annotate-from-nothing.md: python docs/make_annotate_pictures.py [FOLDER]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import napari
import numpy as np
from make_walk_pictures import Walk, pause, wait
from qtpy.QtCore import QSettings


class Annotation(Walk):
    """The window with an image and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(1280, 720)
        self.viewer.open_sample("napari-densecrf", "cell")
        for layer in list(self.viewer.layers)[1:]:
            self.viewer.layers.remove(layer)
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
        pause(1.5)

    def picture(self, name: str, *folds: str, scrolled: bool = False) -> None:
        """Save the window as a picture of this page."""
        super().picture(name, *folds, scrolled=scrolled)
        (self.folder / f"walk-{name}.png").replace(self.folder / f"annotate-{name}.png")

    def painted(self, strokes: list[tuple[int, int, int]]) -> None:
        """Paint short strokes: row, column and class of each."""
        got: list[Any] = []
        self.widget.refined.connect(got.append)
        layer = self.widget.strokes.value
        for y, x, label in strokes:
            layer.selected_label = label
            with layer.block_history():
                for column in np.arange(x - 12, x + 12, 3):
                    layer.paint((y, int(column)), label)
        wait(lambda: got and self.widget.session.idle)
        pause(1.0)
        self.widget.refined.disconnect(got.append)


def main(folder: Path) -> None:
    """Begin, two strokes, six strokes."""
    walk = Annotation(folder)
    walk.picture("begin")
    walk.widget.paint_strokes.changed.emit(True)
    walk.widget.strokes.value.brush_size = 9
    walk.painted([(200, 200, 1), (374, 427, 2)])
    walk.picture("two")
    walk.painted([(374, 335, 1), (470, 427, 1), (325, 420, 2), (418, 440, 2)])
    walk.picture("six", "Correct")
    walk.viewer.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as forgotten:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, forgotten)
        main(target)
