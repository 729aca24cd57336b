"""Mean IoU of the raw map, the reference defaults, `suggest` and `fit`, for every item with truth in a folder.

    python benchmarks/tuning.py [FOLDER]

A folder holds one folder an item: image.tif, prob.tif, labels.tif (the truth) and meta.json, as ../shared/data does.
`fit` gets ten strokes that are drawn at random inside the truth's classes, always the same; they are left out of the
mean IoU of all columns alike, and are no constraints of the refinement that is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

import napari_densecrf as ndc

DATA = Path(__file__).parents[1].parent / "shared" / "data"
REFERENCE = ndc.CRFParams()
N_STROKES = 10
STROKE_LENGTH = 25


@dataclass(frozen=True)
class Item:
    """An image with its map and its truth, of a data set; a time-lapse is one item a frame."""

    name: str
    image: NDArray[Any]
    probabilities: NDArray[np.float32]
    truth: NDArray[np.integer]
    channel_axis: int | None
    spacing: tuple[float, ...] | None = None
    set: str = ""


def items(folder: Path) -> Iterator[Item]:
    """Yield every item that has a truth."""
    for meta in sorted(folder.glob("*/meta.json")):
        if not (meta.parent / "labels.tif").exists():
            continue
        about = json.loads(meta.read_text())
        image, probabilities, truth = (
            tifffile.imread(meta.parent / f"{name}.tif") for name in ("image", "prob", "labels")
        )
        axes = about["image"]["axes"]
        of_set = about.get("set", about["name"])
        spacing = _spacing(about)
        if axes[0] == "T":
            channel_axis = axes[1:].find("C")
            for frame in (0, len(image) - 1):
                yield Item(
                    f"{about['name']}, frame {frame}",
                    image[frame],
                    probabilities[:, frame],
                    truth[frame],
                    None if channel_axis < 0 else channel_axis,
                    set=of_set,
                )
            continue
        channel_axis = max(axes.find("S"), axes.find("C"))
        yield Item(
            about["name"], image, probabilities, truth, None if channel_axis < 0 else channel_axis, spacing, of_set
        )
        if truth.ndim == 3:
            z = len(truth) // 2
            yield Item(f"{about['name']}, slice {z}", image[z], probabilities[:, z], truth[z], None, set=of_set)


def _spacing(about: dict[str, Any]) -> tuple[float, ...] | None:
    """Return the three numbers of "(z,y,x) = 0.28, 0.13, 0.13 (...)"."""
    words = str(about.get("spacing", ""))
    if "=" not in words:
        return None
    return tuple(float(number) for number in words.split("=")[1].split("(")[0].split(","))


def strokes_inside(truth: NDArray[np.integer], seed: int = 0, n_strokes: int = N_STROKES) -> NDArray[np.uint8]:
    """Return wandering strokes inside the classes, in turn; in a volume each lies in one slice."""
    rng = np.random.default_rng(seed)
    strokes = np.zeros(truth.shape, np.uint8)
    for number in range(n_strokes):
        label = np.unique(truth)[number % len(np.unique(truth))]
        planes = truth if truth.ndim == 3 else truth[None]
        drawn = strokes if truth.ndim == 3 else strokes[None]
        z = rng.choice(np.flatnonzero((planes == label).any(axis=(1, 2))))
        inside = planes[z] == label
        eroded = ndimage.binary_erosion(inside)
        first = rng.choice(np.argwhere(eroded if eroded.any() else inside))
        wander(inside, drawn[z], int(label) + 1, rng, first, STROKE_LENGTH)
    return strokes


def wander(
    inside: NDArray[np.bool_],
    strokes: NDArray[np.uint8],
    value: int,
    rng: np.random.Generator,
    first: NDArray[np.integer],
    length: int,
) -> None:
    """Draw a stroke of so many pixels that begins at one and stays inside."""
    at = first.astype(float)
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(length):
        y, x = np.rint(at).astype(int)
        strokes[y, x] = value
        for _ in range(20):
            step = at + np.array([np.sin(angle), np.cos(angle)])
            y, x = np.rint(step).astype(int)
            if 0 <= y < inside.shape[0] and 0 <= x < inside.shape[1] and inside[y, x]:
                at = step
                break
            angle = rng.uniform(0, 2 * np.pi)
        angle += rng.normal(0, 0.3)


def mean_iou(truth: NDArray[np.integer], labels: NDArray[np.integer], counted: NDArray[np.bool_]) -> float:
    """Return the mean over the truth's classes."""
    truth, labels = truth[counted], labels[counted]
    return float(
        np.mean([((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in np.unique(truth)])
    )


def main(folder: Path) -> None:
    """Print the table."""
    print("| item | raw | reference defaults | Auto | Fit, 10 strokes | Auto s | Fit s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    gains = []
    for item in items(folder):
        strokes = strokes_inside(item.truth)
        given = {"spacing": item.spacing, "channel_axis": item.channel_axis}

        def score(params: ndc.CRFParams | None, item=item, strokes=strokes, given=given) -> float:
            refined = None if params is None else ndc.refine(item.image, item.probabilities, params, **given).labels
            labels = item.probabilities.argmax(axis=0) if refined is None else refined
            return mean_iou(item.truth, labels, strokes == 0)

        started = time.perf_counter()
        suggestion = ndc.suggest(item.image, item.probabilities, **given)
        suggested = time.perf_counter()
        fitted = ndc.fit(item.image, item.probabilities, strokes, **given)
        seconds = suggested - started, time.perf_counter() - suggested
        scores = [score(params) for params in (None, REFERENCE, suggestion.params, fitted.params)]
        gains.append([value - scores[0] for value in scores[1:]])
        print(
            f"| {item.name} | {scores[0]:.3f} | "
            + " | ".join(f"{value:.3f} ({value - scores[0]:+.3f})" for value in scores[1:])
            + f" | {seconds[0]:.1f} | {seconds[1]:.1f} |",
            flush=True,
        )
        print(f"  Auto: {suggestion.reason} {numbers(suggestion.params)}; Fit: {fitted.reason}", file=sys.stderr)
    print("| mean change | | " + " | ".join(f"{gain:+.3f}" for gain in np.mean(gains, axis=0)) + " | | |")


def numbers(params: ndc.CRFParams | None) -> str:
    """Return all numbers of the kernels in a row."""
    if params is None:
        return ""
    return ", ".join(f"({k.weight:g}, {k.position_sigma:g}, {k.intensity_sigma or 0:g})" for k in params.kernels)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
