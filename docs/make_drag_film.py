"""Record docs/images/drag.webp, a slider dragged in the real window: python docs/make_drag_film.py [FOLDER]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from make_walk_pictures import Walk, pause, wait
from PIL import Image, ImageDraw
from qtpy.QtCore import QPoint, QSettings

SIZE = 1120, 660
FILM = 896
FRAME_MS = 110
REST_MS = 1200
QUALITY = 55
POINTER = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]


class Film:
    """Pictures of the window, each with a pointer on the slider that moves."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.pictures: list[Image.Image] = []
        self.times: list[int] = []

    def take(self, slider: Any, milliseconds: int = FRAME_MS) -> None:
        """Take a picture that is shown for so long."""
        window = self.walk.viewer.window._qt_window
        picture = Image.fromarray(self.walk.viewer.screenshot(canvas_only=False, flash=False)[..., :3])
        scale = picture.width / window.width()
        at = self._handle(slider, window)
        corners = [((at.x() + x) * scale, (at.y() + y) * scale) for x, y in POINTER]
        ImageDraw.Draw(picture).polygon(corners, fill="white", outline="black")
        height = round(FILM * picture.height / picture.width)
        self.pictures.append(picture.resize((FILM, height), Image.Resampling.LANCZOS))
        self.times.append(milliseconds)

    @staticmethod
    def _handle(slider: Any, window: Any) -> QPoint:
        """Return where the handle of a slider is in the window."""
        native = next(child for child in slider.native.findChildren(object) if type(child).__name__.endswith("Slider"))
        share = (native.value() - native.minimum()) / (native.maximum() - native.minimum())
        inner = QPoint(round(6 + share * (native.width() - 12)), native.height() // 2)
        return native.mapTo(window, inner)

    def drag(self, name: str, values: list[float]) -> None:
        """Drag a slider through values; each picture shows the labels of its value."""
        slider = getattr(self.walk.widget, name)
        for value in values:
            got: list[Any] = []
            self.walk.widget.refined.connect(got.append)
            slider.value = value
            wait(lambda got=got: got and self.walk.widget.session.idle)
            self.walk.widget.refined.disconnect(got.append)
            pause(0.05)
            self.take(slider)
        self.times[-1] = REST_MS

    def save(self, path: Path) -> None:
        """Write an animated WebP."""
        first, *others = self.pictures
        first.save(path, save_all=True, append_images=others, duration=self.times, loop=0, quality=QUALITY, method=6)
        print(f"{path}: {len(self.pictures)} pictures, {path.stat().st_size / 1e6:.2f} MB")


def main(folder: Path) -> None:
    """Drag the strength from nothing to much, then that of the outlines, and back to the map."""
    walk = Walk(folder)
    walk.viewer.window._qt_window.resize(*SIZE)
    # More room for the image.
    for dock in ("dockLayerControls", "dockLayerList"):
        getattr(walk.viewer.window._qt_viewer, dock).hide()
    widget = walk.widget
    for fold in widget.panel.folds.values():
        fold.open = False
    widget.smoothness_weight.value = 0.0
    walk.settle_after(lambda: setattr(widget.appearance_weight, "value", 0.0))
    camera = walk.viewer.scene.camera
    camera.zoom *= 1.6
    pause(1.0)
    film = Film(walk)
    film.take(widget.appearance_weight, REST_MS)
    film.drag("appearance_weight", np.geomspace(0.1, 6.0, 16).round(3).tolist())
    film.drag("smoothness_weight", np.geomspace(0.1, 3.0, 9).round(3).tolist())
    film.save(folder / "drag.webp")
    walk.viewer.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as forgotten:
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, forgotten)
        main(target)
