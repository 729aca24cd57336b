"""How live a slider is: a real window, a value every 20 ms, and what is drawn of it.

python benchmarks/dragging.py --sizes 512 1024 2048 8192
python benchmarks/dragging.py --objects --sizes 1024
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QElapsedTimer, QEventLoop, Qt, QTimer
from scipy import ndimage
from skimage import data, measure

import napari_densecrf as ndc

# What each slider is dragged over and back, as parts of what it stands at.
SLIDERS = {
    "w1": "appearance_weight",
    "theta_alpha": "appearance_position_sigma",
    "theta_beta": "appearance_intensity_sigma",
    "w2": "smoothness_weight",
    "theta_gamma": "smoothness_position_sigma",
    "border": "border",
}
RANGE = 0.6, 1.6
MOVE_MS, LOOK_MS = 20, 5
WAIT_S = 100


def picture(size: int) -> NDArray[np.uint8]:
    """Return (size, size, 3): stained tissue, repeated, with noise of its own everywhere."""
    tile = data.immunohistochemistry()
    repeats = -(-size // 512)
    image = np.tile(tile, (repeats, repeats, 1))[:size, :size]
    rng = np.random.default_rng(0)
    return (image.astype(np.int16) + rng.integers(-6, 7, image.shape, dtype=np.int8)).clip(0, 255).astype(np.uint8)


def foreground(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the map of the dark parts, blurred and noisy."""
    gray = image.mean(axis=-1, dtype=np.float32)
    rough = ndimage.gaussian_filter(gray, 3)
    noise = np.random.default_rng(1).normal(0, 20, gray.shape).astype(np.float32)
    chances: NDArray[np.float32] = ((128 - 3 * (rough - rough.mean()) + noise) / 255).clip(0.01, 0.99)
    return chances


def rough_objects(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return a number for each dark part."""
    mask = foreground(image) > 0.6
    labels: NDArray[np.int32] = measure.label(ndimage.binary_opening(mask, iterations=4)).astype(np.int32)
    return labels


class Drag:
    """Moves one control, and takes down what becomes of it."""

    def __init__(self, viewer: napari.Viewer, widget: Any, name: str) -> None:
        self.viewer, self.widget = viewer, widget
        self.control = getattr(widget, name)
        self.start = float(self.control.value)
        self.shown = self.frames = 0
        self.fresh = False
        self.steps: list[int] = []
        self.preview: Any = None
        self.turns: list[float] = []
        self.exact_at = 0.0
        self.clock = QElapsedTimer()
        self.clock.start()
        self.looked = 0.0

    def run(self, seconds: float) -> dict[str, float]:
        """Drag for so long, then wait for the exact result."""
        widget = self.widget
        canvas = self.viewer.window._qt_viewer.canvas._scene_canvas
        widget.result_shown.connect(self._on_shown)
        widget.refined.connect(self._on_exact)
        canvas.events.draw.connect(self._on_draw, position="last")
        move, look = QTimer(), QTimer()
        for timer, every, react in ((move, MOVE_MS, self._move), (look, LOOK_MS, self._look)):
            timer.setTimerType(Qt.TimerType.PreciseTimer)
            timer.setInterval(every)
            timer.timeout.connect(react)
        self.began = time.perf_counter()
        self.looked = self.clock.nsecsElapsed() / 1e6
        move.start()
        look.start()
        turn_until(lambda: time.perf_counter() - self.began > seconds)
        move.stop()
        frames, shown, took = self.frames, self.shown, time.perf_counter() - self.began
        # One value more, so that there always is something to come.
        self._rest_at(1.37 * self.start)
        exact, full = self.exact_at - self.rested, widget.last_result
        look.stop()
        widget.result_shown.disconnect(self._on_shown)
        widget.refined.disconnect(self._on_exact)
        canvas.events.draw.disconnect(self._on_draw)
        turns = np.array(self.turns)
        figures = {
            "frames": frames / took,
            "results": shown / took,
            "p50": float(np.percentile(turns, 50)),
            "p99": float(np.percentile(turns, 99)),
            "max": float(turns.max()),
            "exact": 1e3 * exact,
            "full": full.elapsed_ms,
            "step": float(np.median(self.steps)),
            "jump": jump(self.preview, full),
        }
        widget.refined.connect(self._on_exact)
        self._rest_at(self.start)
        widget.refined.disconnect(self._on_exact)
        return figures

    def _rest_at(self, value: float) -> None:
        """Set a value that is another, and wait for its exact result."""
        self.control.value = value
        self.rested = time.perf_counter()
        turn_until(self._is_exact)

    def _move(self) -> None:
        low, high = RANGE
        # There and back in two seconds.
        part = abs((time.perf_counter() - self.began) % 2 - 1)
        self.control.value = float(f"{self.start * low * (high / low) ** part:.4g}")

    def _look(self) -> None:
        now = self.clock.nsecsElapsed() / 1e6
        self.turns.append(max(0.0, now - self.looked - LOOK_MS))
        self.looked = now

    def _on_shown(self, result: Any) -> None:
        self.shown += 1
        self.fresh = True
        if result.request.is_preview:
            self.preview = result
        self.steps.append(result.request.region.step)

    def _on_exact(self, _: object) -> None:
        self.exact_at = time.perf_counter()

    def _on_draw(self, _: object) -> None:
        self.frames += self.fresh
        self.fresh = False

    def _is_exact(self) -> bool:
        made, wanted = self.widget.last_result.request, self.widget.session.numbers
        same = made.params.kernels == wanted.params.kernels and made.border == wanted.border
        return same and self.exact_at > self.rested


def jump(preview: Any, exact: Any) -> float:
    """Return the percentage of the pixels of a preview that are others in the exact result of the same numbers."""
    if preview is None or preview.request.params != exact.request.params:
        return 0.0
    drawn, whole = preview.drawn, exact.request.region
    y, x = ((mine[0] - all_[0]) // whole.step for mine, all_ in ((drawn.region.y, whole.y), (drawn.region.x, whole.x)))
    there = exact.labels[y:, x:][: drawn.labels.shape[0], : drawn.labels.shape[1]]
    return 100 * float(np.mean(drawn.labels != there))


def turn_until(condition: Callable[[], bool]) -> None:
    """Let the window live until a condition holds."""
    loop, timer = QEventLoop(), QTimer()
    until = time.perf_counter() + WAIT_S
    timer.setInterval(LOOK_MS)
    timer.timeout.connect(lambda: loop.quit() if condition() or time.perf_counter() > until else None)
    timer.start()
    loop.exec()
    if not condition():
        raise TimeoutError


def opened(size: int, *, objects: bool) -> tuple[napari.Viewer, Any]:
    """Return a window with an image, a map and the widget, which has refined once."""
    viewer = napari.Viewer()
    image = picture(size)
    viewer.add_image(image, name="image", rgb=True)
    if objects:
        viewer.add_labels(rough_objects(image), name="objects")
    else:
        viewer.add_image(foreground(image), name="map")
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    got: list[object] = []
    widget.refined.connect(got.append)
    try:
        turn_until(lambda: bool(got) and widget.session.idle)
    except TimeoutError:
        raise TimeoutError(f"{widget.understood.value} {widget.status.value}") from None
    if not objects:
        numbers = ndc.CRFParams((ndc.PairwiseKernel(10, 40, 13), ndc.PairwiseKernel(3, 3)))
        widget.set_params(numbers)
        turn_until(lambda: widget.session.idle)
    return viewer, widget


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--sliders", nargs="+", choices=SLIDERS, default=None)
    parser.add_argument("--objects", action="store_true")
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    usual = ["w1", "theta_alpha", "border"] if chosen.objects else ["w1", "theta_alpha", "theta_beta", "theta_gamma"]
    print(f"load {os.getloadavg()[0]:.1f}")
    print(
        "| size | slider | frames a s | results a s | turn p50 | p99 | max ms | to exact ms | full run ms | 1 of n "
        "| jump % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for size in chosen.sizes:
        viewer, widget = opened(size, objects=chosen.objects)
        for slider in chosen.sliders or usual:
            got = Drag(viewer, widget, SLIDERS[slider]).run(chosen.seconds)
            print(
                f"| {size}^2 | {slider} | {got['frames']:.1f} | {got['results']:.1f} | {got['p50']:.0f} | "
                f"{got['p99']:.0f} | {got['max']:.0f} | {got['exact']:.0f} | {got['full']:.0f} | "
                f"{got['step']:.0f} | {got['jump']:.2f} |",
                flush=True,
            )
        viewer.close()
        del viewer, widget
        gc.collect()


if __name__ == "__main__":
    main()
