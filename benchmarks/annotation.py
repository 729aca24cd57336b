"""Strokes that it takes to segment an image from nothing, by way of working.

python benchmarks/annotation.py [FOLDER ...] [--figure FILE]

Folders hold image.tif and labels.tif (classes), or image.tif and objects.tif (taken as foreground and background), or
folders of these. Without a folder: images that are made of scikit-image's, whose truth is known by construction.

The annotator is simulated. A first stroke in each class, then one after the other a stroke in the largest region where
the result that is shown is wrong: at the place that lies deepest in it, 3 pixels wide, up to 12 pixels long, never over
the border of its class. Each way of working sees its own result, so the strokes differ after the first ones.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage import data
from skimage.draw import line
from skimage.segmentation import random_walker

import napari_densecrf as ndc
from napari_densecrf._napari.sections.doubtful import DOUBT, doubtful_places

GOALS = (0.8, 0.85, 0.9)
LENGTH = 12
# Regions of fewer wrong pixels are no place for a stroke.
FEWEST_WRONG = 9
SIDE = 224
ALONE_WEIGHT = 8.0
# Numbers are chosen anew after so many strokes, as one would click Auto.
EVERY = 3


class Item(NamedTuple):
    """An image, channels last, and its true classes 0..n - 1."""

    name: str
    image: NDArray
    truth: NDArray[np.intp]

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels, if there are any."""
        return -1 if self.image.ndim == 3 else None


# ---- images


def part_with_most_borders(image: NDArray, truth: NDArray, side: int) -> tuple[NDArray, NDArray]:
    """Return the square part that has most borders, so that no item is nearly all of one class."""
    edge = np.zeros(truth.shape)
    edge[1:] += truth[1:] != truth[:-1]
    edge[:, 1:] += truth[:, 1:] != truth[:, :-1]
    tops = range(0, max(truth.shape[0] - side, 0) + 1, 16)
    lefts = range(0, max(truth.shape[1] - side, 0) + 1, 16)
    _, top, left = max((edge[t : t + side, x : x + side].sum(), -t, -x) for t in tops for x in lefts)
    where = slice(-top, -top + side), slice(-left, -left + side)
    return image[where], truth[where]


def made_of_textures() -> Item:
    """Return three textures side by side with a wavy border: the truth is known, and gray values alone do not tell."""
    textures = [getattr(data, name)()[:SIDE, :SIDE] for name in ("brick", "grass", "gravel")]
    y, x = np.indices((SIDE, SIDE))
    truth = np.digitize(x + 12 * np.sin(y / 17), [SIDE / 3, 2 * SIDE / 3])
    return Item("textures", np.choose(truth, textures).astype(np.uint8), truth)


def made_of_blobs() -> Item:
    """Return bright blobs on a dark ground with noise and a shade across the image."""
    truth = data.binary_blobs(SIDE, blob_size_fraction=0.12, volume_fraction=0.4, rng=3).astype(int)
    rng = np.random.default_rng(0)
    shade = np.linspace(0, 40, SIDE)
    image = 70 + 50 * ndi.gaussian_filter(truth.astype(float), 1.2) + shade + rng.normal(0, 18, truth.shape)
    return Item("noisy blobs", np.clip(image, 0, 255).astype(np.uint8), truth)


def items_in(folder: Path) -> Iterator[Item]:
    """Yield the images of a folder and of the folders in it; of stacks and films a slice, of channels last."""
    for path in sorted([*folder.rglob("labels.tif"), *folder.rglob("objects.tif")]):
        image, truth = tifffile.imread(path.with_name("image.tif")), tifffile.imread(path)
        if path.name == "objects.tif":
            truth = truth > 0
        if truth.ndim == 3:
            middle = truth.shape[0] // 2
            image, truth = image[middle], truth[middle]
        if image.ndim == 3 and image.shape[0] < 5:
            image = np.moveaxis(image, 0, -1)
        image, truth = part_with_most_borders(image, truth, SIDE)
        yield Item(path.parent.name, image, np.unique(truth, return_inverse=True)[1].reshape(truth.shape))


# ---- the annotator


def stroke_at(point: tuple[int, int], truth: NDArray, label: int) -> NDArray[np.bool_]:
    """Return a stroke through a point: of eight directions, the one that stays longest in the class."""
    inside = truth == label
    best = np.zeros(truth.shape, bool)
    best[point] = True
    longest = 0
    for angle in np.arange(8) * np.pi / 8:
        dy, dx = LENGTH / 2 * np.sin(angle), LENGTH / 2 * np.cos(angle)
        rows, columns = line(round(point[0] - dy), round(point[1] - dx), round(point[0] + dy), round(point[1] + dx))
        seen = (rows >= 0) & (columns >= 0) & (rows < truth.shape[0]) & (columns < truth.shape[1])
        rows, columns = rows[seen], columns[seen]
        parts, _ = ndi.label(inside[rows, columns])
        at = np.flatnonzero((rows == point[0]) & (columns == point[1]))
        if not len(at) or not parts[at[0]]:
            continue
        kept = parts == parts[at[0]]
        if kept.sum() > longest:
            longest = int(kept.sum())
            best = np.zeros(truth.shape, bool)
            best[rows[kept], columns[kept]] = True
    return ndi.binary_dilation(best, np.ones((3, 3), bool)) & inside


def deepest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the place in a mask that is farthest from its border."""
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(y), int(x)


def first_strokes(truth: NDArray) -> NDArray[np.intp]:
    """Return a stroke in the largest part of each class: k is class k - 1."""
    strokes = np.zeros(truth.shape, int)
    for label in range(int(truth.max()) + 1):
        parts, _ = ndi.label(truth == label)
        largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
        strokes[stroke_at(deepest(largest), truth, label)] = label + 1
    return strokes


def largest_wrong(truth: NDArray, labels: NDArray) -> tuple[int, int] | None:
    """Return the deepest place of the largest part of a true class that is wrong; None where all are small."""
    best, most = None, FEWEST_WRONG
    for label in range(int(truth.max()) + 1):
        parts, n_parts = ndi.label((labels != label) & (truth == label))
        if n_parts:
            sizes = np.bincount(parts.ravel())[1:]
            if sizes.max() > most:
                most, best = int(sizes.max()), parts == sizes.argmax() + 1
    return None if best is None else deepest(best)


def doubtful(marginals: NDArray, drawn: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return where *Next doubtful place* leads: the largest doubtful part at which no stroke has been drawn."""
    highest = np.partition(marginals, -2, axis=0)
    for place in doubtful_places(highest[-1] - highest[-2] < DOUBT):
        y, x = round(place.at[0]), round(place.at[1])
        if all(np.hypot(y - row, x - column) > LENGTH for row, column in drawn):
            return y, x
    return None


# ---- ways of working


class Shown(NamedTuple):
    """What a way of working shows after a stroke."""

    labels: NDArray
    marginals: NDArray


class Ways:
    """The ways of working on one image."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.n_labels = int(item.truth.max()) + 1
        self.classifier = ndc.PixelClassifier(item.image, channel_axis=item.channel_axis)
        self.refiner = ndc.Refiner(item.image, channel_axis=item.channel_axis)
        self._chosen: dict[str, tuple[int, ndc.CRFParams | None]] = {}

    def begin(self) -> None:
        """Forget the numbers of an earlier way."""
        self._chosen = {}

    def _refined(self, chances: NDArray, strokes: NDArray, choose: Callable[[], ndc.CRFParams | None]) -> Shown:
        """Refine with numbers that are chosen at the first stroke and every few; None leaves the map as it is."""
        n_calls, params = self._chosen.get("now", (0, None))
        if n_calls % EVERY == 0:
            params = choose()
        self._chosen["now"] = n_calls + 1, params
        if params is None:
            params = ndc.safe_params(self.item.image, channel_axis=self.item.channel_axis)
            params = replace(params, kernels=tuple(replace(kernel, weight=0.0) for kernel in params.kernels))
        result = self.refiner.refine(chances, params, strokes=strokes)
        return Shown(result.labels, result.marginals)

    def forest(self, strokes: NDArray) -> Shown:
        """Classify pixels, as ilastik and Labkit do."""
        chances = self.classifier.probabilities(strokes, n_labels=self.n_labels)
        return Shown(chances.argmax(axis=0), chances)

    def crf(self, strokes: NDArray) -> Shown:
        """Refine the forest's map with the numbers that `refine` and the window begin with."""
        chances = self.forest(strokes).marginals
        axis = self.item.channel_axis
        return self._refined(chances, strokes, lambda: ndc.refine(self.item.image, chances, channel_axis=axis).params)

    def auto(self, strokes: NDArray) -> Shown:
        """Refine the forest's map with the numbers of *Auto*."""
        chances = self.forest(strokes).marginals
        axis = self.item.channel_axis
        return self._refined(chances, strokes, lambda: ndc.suggest(self.item.image, chances, channel_axis=axis).params)

    def safe(self, strokes: NDArray) -> Shown:
        """Refine the forest's map with the same weak numbers all the time."""
        chances = self.forest(strokes).marginals
        params = ndc.safe_params(self.item.image, channel_axis=self.item.channel_axis)
        result = self.refiner.refine(chances, params, strokes=strokes)
        return Shown(result.labels, result.marginals)

    def walker(self, strokes: NDArray) -> Shown:
        """Let random walkers reach the strokes."""
        image = self.item.image.astype(float)
        image = (image - image.min()) / max(np.ptp(image), 1)
        channel_axis = self.item.channel_axis
        chances = random_walker(
            image, strokes, beta=500, mode="cg_j", prob_tol=0.1, channel_axis=channel_axis, return_full_prob=True
        )
        return Shown(chances.argmax(axis=0), chances)

    def alone(self, strokes: NDArray) -> Shown:
        """Give a CRF strokes and nothing else; far reach, so that they are felt everywhere."""
        image = self.item.image.astype(float)
        chances = np.full((self.n_labels, *strokes.shape), 1 / self.n_labels, np.float32)
        contrast = 0.1 * float(np.subtract(*np.percentile(image, [99, 1])))
        kernels = (ndc.PairwiseKernel(ALONE_WEIGHT, 40.0, contrast), ndc.PairwiseKernel(1.0, 2.0))
        result = self.refiner.refine(chances, ndc.CRFParams(kernels=kernels, n_iterations=20), strokes=strokes)
        return Shown(result.labels, result.marginals)


METHODS: dict[str, tuple[Callable[[Ways, NDArray], Shown], bool]] = {
    "forest alone": (Ways.forest, False),
    "forest and CRF": (Ways.crf, False),
    "forest and CRF, Auto": (Ways.auto, False),
    "forest and CRF, weak numbers": (Ways.safe, False),
    "forest and CRF, doubtful places": (Ways.crf, True),
    "random walker": (Ways.walker, False),
    "CRF from strokes alone": (Ways.alone, False),
}


def mean_iou(truth: NDArray, labels: NDArray) -> float:
    """Return the mean over the true classes of the intersection over the union."""
    values = []
    for label in range(int(truth.max()) + 1):
        either = (truth == label) | (labels == label)
        values.append(((truth == label) & (labels == label)).sum() / either.sum())
    return float(np.mean(values))


def curve(item: Item, ways: Ways, name: str, most: int) -> list[float]:
    """Return the mean IoU after n strokes, n from 0; NaN before each class has one."""
    method, goes_to_doubt = METHODS[name]
    truth = item.truth
    ways.begin()
    strokes = first_strokes(truth)
    n = int(truth.max()) + 1
    drawn = [deepest(strokes == k) for k in range(1, n + 1)]
    values = [np.nan] * n
    while True:
        shown = method(ways, strokes)
        values.append(mean_iou(truth, shown.labels))
        if n == most:
            return values
        point = doubtful(shown.marginals, drawn) if goes_to_doubt else None
        point = point or largest_wrong(truth, shown.labels)
        if point is None:
            return values + [values[-1]] * (most - n)
        drawn.append(point)
        label = int(truth[point])
        strokes[stroke_at(point, truth, label)] = label + 1
        n += 1


# ---- tables


def strokes_until(values: list[float], goal: float) -> int | None:
    """Return how many strokes reach a goal for the first time."""
    reached = np.flatnonzero(np.asarray(values) >= goal)
    return int(reached[0]) if len(reached) else None


def print_tables(curves: dict[str, dict[str, list[float]]], most: int) -> None:
    """Print the mean IoU after some strokes, and strokes until a goal."""
    n_items = len(next(iter(curves.values())))
    steps = [n for n in (6, 12, 20, 30, 40) if n <= most]
    print(f"\n{n_items} images\n")
    head = [f"IoU after {n}" for n in steps] + [f"strokes to {goal} (reached)" for goal in GOALS]
    print("| way | " + " | ".join(head) + " |\n" + "|---" * (len(head) + 1) + "|")
    for name, by_item in curves.items():
        cells = [f"{np.nanmean([values[n] for values in by_item.values()]):.3f}" for n in steps]
        for goal in GOALS:
            found = [strokes_until(values, goal) for values in by_item.values()]
            # Where the goal was not reached, one more than were drawn: a lower bound.
            counts = [most + 1 if n is None else n for n in found]
            middle = np.median(counts)
            cells.append(f"{f'> {most}' if middle > most else f'{middle:g}'} ({sum(n is not None for n in found)})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\nmean IoU after {min(12, most)} strokes\n\n| image | " + " | ".join(curves) + " |")
    print("|---" * (len(curves) + 1) + "|")
    for item in next(iter(curves.values())):
        values = [by_item[item][min(12, most)] for by_item in curves.values()]
        print(f"| {item} | " + " | ".join(f"**{v:.3f}**" if v == max(values) else f"{v:.3f}" for v in values) + " |")


def draw(curves: dict[str, dict[str, list[float]]], file: Path) -> None:
    """Draw the mean curves: the ways that the question is about in colour."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (axes, bars) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained", width_ratios=[3, 2])
    colours = {
        "forest alone": "#444444",
        "forest and CRF": "#0072b2",
        "forest and CRF, Auto": "#56b4e9",
        "forest and CRF, doubtful places": "#009e73",
        "random walker": "#d55e00",
        "CRF from strokes alone": "#cc79a7",
    }
    shown = [name for name in colours if name in curves]
    n_items = len(curves[shown[0]])
    for k, name in enumerate(shown):
        by_item = curves[name]
        width = 2.5 if name.startswith("forest and CRF") else 1.8
        axes.plot(np.mean(list(by_item.values()), axis=0), color=colours[name], lw=width, label=name)
        most = len(next(iter(by_item.values()))) - 1
        for at, goal in enumerate(GOALS):
            counts = [strokes_until(values, goal) for values in by_item.values()]
            middle = np.median([most + 1 if n is None else n for n in counts])
            place = at + (k - (len(shown) - 1) / 2) * 0.13
            is_reached = middle <= most
            bars.bar(place, min(middle, most), 0.12, color=colours[name], alpha=1.0 if is_reached else 0.35)
            bars.text(
                place, min(middle, most) + 0.5, f"{middle:g}" if is_reached else f">{most}", ha="center", fontsize=6
            )
    axes.set(xlabel="strokes", ylabel=f"mean IoU, mean of {n_items} images", xlim=(3, None), ylim=(0.4, None))
    axes.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    bars.set(ylabel="strokes, median of the images", xlabel="to reach a mean IoU of")
    bars.set_xticks(range(len(GOALS)), [str(goal) for goal in GOALS])
    for panel in (axes, bars):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Draw strokes on all images in all ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="with image.tif and labels.tif or objects.tif")
    parser.add_argument("--strokes", type=int, default=30, help="how many are drawn at most (30)")
    parser.add_argument("--ways", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--figure", type=Path, help="a picture of the curves")
    parser.add_argument("--keep", type=Path, help="a JSON of all curves, to draw or compare later")
    options = parser.parse_args()
    items = [made_of_textures(), made_of_blobs()]
    items += [item for folder in options.folders for item in items_in(folder)]
    curves: dict[str, dict[str, list[float]]] = {name: {} for name in options.ways}
    for item in items:
        ways = Ways(item)
        for name in options.ways:
            started = time.perf_counter()
            curves[name][item.name] = curve(item, ways, name, options.strokes)
            seconds = time.perf_counter() - started
            last = curves[name][item.name]
            print(f"{item.name} {item.truth.shape}: {name}: {last[12]:.3f} {last[-1]:.3f}, {seconds:.0f} s", flush=True)
        if options.keep:
            options.keep.write_text(json.dumps(curves), encoding="utf-8")
    print_tables(curves, options.strokes)
    if options.figure:
        draw(curves, options.figure)


if __name__ == "__main__":
    main()
