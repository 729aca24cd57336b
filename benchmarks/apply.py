"""Apply in the window on frames in memory, without the drawing, beside the sum of plain refinements of the frames.

python benchmarks/apply.py
"""

from __future__ import annotations

import argparse
import time

import napari
import numpy as np
from dragging import turn_until
from numpy.typing import NDArray
from skimage import data

import napari_densecrf as ndc
from napari_densecrf._napari.runs.in_memory import start_in_memory
from napari_densecrf._napari.work.runner import Found

PARAMS = ndc.CRFParams()


def film(n_frames: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return frames of 512 x 512, each a little farther along and with its own noise, and their foreground maps."""
    rng = np.random.default_rng(0)
    camera = data.camera()
    moved = np.stack([np.roll(camera, 3 * k, axis=1) for k in range(n_frames)])
    image = (moved + rng.normal(0, 5, moved.shape)).clip(0, 255).astype(np.uint8)
    foreground = 0.25 + 0.5 * (image > image.mean()) + rng.normal(0, 0.15, image.shape)
    return image, foreground.clip(0, 1).astype(np.float32)


def refined(image: NDArray[np.uint8], foreground: NDArray[np.float32]) -> tuple[float, NDArray[np.integer]]:
    """Return the seconds and the labels of `refine` on each frame."""
    started = time.perf_counter()
    labels = [ndc.refine(one, chances, PARAMS).labels for one, chances in zip(image, foreground, strict=True)]
    return time.perf_counter() - started, np.stack(labels)


def applied(image: NDArray[np.uint8], foreground: NDArray[np.float32]) -> tuple[float, NDArray[np.integer]]:
    """Return the seconds and the labels of Apply, as its button starts it."""
    viewer = napari.Viewer(show=False)
    viewer.add_image(image, name="image")
    viewer.add_image(foreground, name="map")
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    session = widget.session
    turn_until(lambda: session.idle and session.result is not None)
    widget.set_params(PARAMS)
    turn_until(lambda: session.idle and session.result.request.params == PARAMS)
    run = start_in_memory(session.request(), session.result.inputs, None, viewer)
    started = time.perf_counter()
    for step in run.steps():
        if isinstance(step, Found):
            run.take(step.value)
    run.finish(0.0)
    seconds, labels = time.perf_counter() - started, np.array(viewer.layers["image applied"].data)
    viewer.close()
    return seconds, labels


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20)
    image, foreground = film(parser.parse_args().frames)
    refined(image[:1], foreground[:1])
    applied(image[:1], foreground[:1])
    for _ in range(3):
        plain, expected = refined(image, foreground)
        seconds, labels = applied(image, foreground)
        same = "the same labels" if np.array_equal(labels, expected) else "OTHER LABELS"
        print(f"refine {plain:.2f} s, Apply {seconds:.2f} s, {seconds / plain:.2f} x, {same}", flush=True)


if __name__ == "__main__":
    main()
