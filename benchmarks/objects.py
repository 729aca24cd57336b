"""Objects: how much better their borders are, beside what a user would do otherwise; and speed and memory.

python benchmarks/objects.py FOLDER     folders in it hold image.tif and objects.tif, true objects
python benchmarks/objects.py --speed
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from memory import Peak
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage import data
from skimage.draw import polygon2mask
from skimage.feature import peak_local_max
from skimage.filters import rank, threshold_otsu
from skimage.measure import find_contours
from skimage.segmentation import random_walker, relabel_sequential, watershed

import napari_densecrf as ndc
from napari_densecrf._napari.contributions.sample_data import rough_objects

Objects = NDArray[np.int32]
SMALLEST = 20
# Of seeds: objects without their outermost pixels, and background as far from all objects.
SEED_DEPTH = 3
OVERLAPS = (0.5, 0.6, 0.7, 0.8, 0.9)


# ---- rough objects


def moved(truth: Objects, pixels: float, seed: int) -> Objects:
    """Return objects whose borders a smooth random field has moved by so many pixels: a network, or a hurried hand."""
    rng = np.random.default_rng(seed)
    fields = [ndi.gaussian_filter(rng.normal(size=truth.shape), 4) for _ in truth.shape]
    places = [
        np.clip(np.rint(at + pixels * field / field.std()), 0, n - 1).astype(int)
        for at, field, n in zip(np.indices(truth.shape), fields, truth.shape, strict=True)
    ]
    return truth[tuple(places)]


def outlined(truth: Objects, every: int = 10) -> Objects:
    """Return polygons through every tenth point of the outlines: good masks, which must not get worse."""
    objects = np.zeros_like(truth)
    for number, box in enumerate(ndi.find_objects(truth), 1):
        if box is None:
            continue
        mask = np.pad(truth[box] == number, 1)
        outline = max(find_contours(mask.astype(float), 0.5), key=len)
        corners = outline[:: every if len(outline) > 4 * every else max(1, len(outline) // 5)]
        inside = polygon2mask(mask.shape, corners)[1:-1, 1:-1]
        part = objects[box]
        part[inside & (part == 0)] = number
    return objects


def thresholded(image: NDArray) -> Objects:
    """Return objects from the image alone: Otsu's threshold, cut by a watershed on the distance."""
    gray = ndi.gaussian_filter(image.astype(float).mean(axis=-1) if image.ndim == 3 else image.astype(float), 1)
    if np.median(gray) > gray.mean():
        gray = -gray
    mask = gray > threshold_otsu(gray)
    depth = ndi.gaussian_filter(ndi.distance_transform_edt(mask), 1)
    peaks = peak_local_max(depth, min_distance=4, labels=ndi.label(mask)[0])
    seeds = np.zeros(mask.shape, int)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    objects = watershed(-depth, seeds, mask=mask)
    objects[np.bincount(objects.ravel())[objects] < SMALLEST] = 0
    return relabel_sequential(objects)[0].astype(np.int32)


def rough(image: NDArray, truth: Objects) -> dict[str, Objects]:
    """Return rough objects of each kind."""
    return {
        "moved2": moved(truth, 2.0, 0),
        "moved1": moved(truth, 1.0, 1),
        "good": outlined(truth),
        "watershed": thresholded(image),
    }


# ---- what a user would do


def seeds_of(objects: Objects) -> Objects:
    """Return 1 for background and k + 1 for object k, where these are certain; 0 elsewhere."""
    seeds = np.zeros_like(objects)
    differs = np.zeros(objects.shape, bool)
    for axis in range(objects.ndim):
        edge = np.diff(objects, axis=axis) != 0
        low, high = [slice(None)] * objects.ndim, [slice(None)] * objects.ndim
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        differs[tuple(low)] |= edge
        differs[tuple(high)] |= edge
    depth = ndi.distance_transform_edt(~differs)
    seeds[depth >= SEED_DEPTH] = objects[depth >= SEED_DEPTH] + 1
    # One that is too thin keeps its deepest pixel.
    for number in np.setdiff1d(objects, [*np.unique(seeds - 1), 0]):
        own = objects == number
        if own.any():
            seeds[np.unravel_index(np.argmax(np.where(own, depth, -1)), own.shape)] = number + 1
    return seeds


def slope(image: NDArray) -> NDArray:
    """Return how much the image changes, all channels together."""
    channels = image[..., None] if image.ndim == 2 else image
    planes = [channels[..., c].astype(float) for c in range(channels.shape[-1])]
    return np.sqrt(np.sum([ndi.gaussian_gradient_magnitude(plane, 1) ** 2 for plane in planes], axis=0))


def by_watershed(image: NDArray, objects: Objects) -> Objects:
    """Let seeds grow over the gradient."""
    return (watershed(slope(image), seeds_of(objects)) - 1).astype(np.int32)


def by_random_walker(image: NDArray, objects: Objects) -> Objects:
    """Let walkers reach the seeds, over the gray image from 0 to 1."""
    gray = image.astype(float).mean(axis=-1) if image.ndim == 3 else image.astype(float)
    seeds, _, names = relabel_sequential(seeds_of(objects))
    walked = random_walker((gray - gray.min()) / max(np.ptp(gray), 1), seeds, beta=500, mode="cg_j", prob_tol=0.1)
    return (names[walked.astype(int)] - 1).astype(np.int32)


def by_majority(_: NDArray, objects: Objects) -> Objects:
    """Give each pixel the label that most have in 5 x 5."""
    return rank.majority(objects.astype(np.uint16), np.ones((5, 5), np.uint8)).astype(np.int32)


def by_objects(image: NDArray, objects: Objects) -> Objects:
    """Refine with the numbers that the program chooses."""
    return ndc.refine_objects(image, objects, channel_axis=-1 if image.ndim == 3 else None).labels


METHODS: dict[str, Callable[[NDArray, Objects], Objects]] = {
    "refine_objects": by_objects,
    "seeded watershed": by_watershed,
    "random walker": by_random_walker,
    "majority 5 x 5": by_majority,
}


# ---- the score


def score(truth: Objects, objects: Objects) -> tuple[float, float]:
    """Return the mean over true objects of their best IoU, and AP, its mean over `OVERLAPS`."""
    n = int(objects.max()) + 1
    pairs = truth.ravel().astype(np.int64) * n + objects.ravel()
    both = np.bincount(pairs, minlength=(int(truth.max()) + 1) * n).reshape(-1, n)
    of_truth, of_objects = both.sum(axis=1)[1:], both.sum(axis=0)[1:]
    overlap = both[1:, 1:] / np.maximum(of_truth[:, None] + of_objects - both[1:, 1:], 1)
    overlap = overlap[of_truth > 0][:, of_objects > 0]
    if not overlap.size:
        return 0.0, 0.0
    hits = [int((overlap >= least).any(axis=1).sum()) for least in OVERLAPS]
    return float(overlap.max(axis=1).mean()), float(np.mean([hit / (sum(overlap.shape) - hit) for hit in hits]))


def lost_and_broken(before: Objects, after: Objects) -> tuple[int, int]:
    """Return how many objects are gone, and how many that were one piece are no longer."""
    touching = np.ones((3,) * before.ndim)
    broken = 0
    for number, box in enumerate(ndi.find_objects(after), 1):
        if box is not None and ndi.label(after[box] == number, touching)[1] > 1:
            broken += ndi.label(before == number, touching)[1] == 1
    return len(np.setdiff1d(before, after)), int(broken)


class Row(NamedTuple):
    """What a method did to the objects of one image."""

    iou: float
    ap: float
    lost: int
    broken: int


def items(folder: Path) -> Iterator[tuple[NDArray, Objects]]:
    """Yield images, channels last, with their true objects."""
    for path in sorted(folder.glob("*/objects.tif")):
        image, truth = tifffile.imread(path.with_name("image.tif")), tifffile.imread(path)
        if image.ndim == 3 and image.shape[0] < 5:
            image = np.moveaxis(image, 0, -1)
        yield image, relabel_sequential(truth)[0].astype(np.int32)


def table(folder: Path) -> None:
    """Print the change of the score for each kind of rough objects and each method."""
    rows: dict[tuple[str, str], list[Row]] = {}
    raw: dict[str, list[tuple[float, float]]] = {}
    n_images = 0
    for image, truth in items(folder):
        n_images += 1
        for kind, objects in rough(image, truth).items():
            before = score(truth, objects)
            raw.setdefault(kind, []).append(before)
            for name, method in METHODS.items():
                after = method(image, objects)
                iou, ap = np.subtract(score(truth, after), before)
                rows.setdefault((kind, name), []).append(Row(iou, ap, *lost_and_broken(objects, after)))
    print(f"{n_images} images; change of mean best IoU / AP (worst IoU of an image; objects lost, broken)\n")
    print("| | " + " | ".join(METHODS) + " |")
    print("|---" * (len(METHODS) + 1) + "|")
    for kind, before in raw.items():
        cells = []
        for name in METHODS:
            values = np.array(rows[kind, name])
            iou, ap = values[:, :2].mean(axis=0)
            lost, broken = values[:, 2:].sum(axis=0).astype(int)
            cells.append(f"{iou:+.3f} / {ap:+.3f} (worst {values[:, 0].min():+.3f}; {lost}, {broken})")
        iou, ap = np.mean(before, axis=0)
        print(f"| {kind} ({iou:.3f} / {ap:.3f}) | " + " | ".join(cells) + " |")


# ---- speed and memory


def cells(side: int, step: int = 29) -> tuple[NDArray, Objects]:
    """Return a gray image of cells, and the cells with moved borders."""
    rng = np.random.default_rng(0)
    truth = np.zeros((side, side), np.int32)
    y, x = np.indices((step + 8, step + 8)) - (step + 8) // 2
    number = 0
    for top in range(0, side - step - 8, step):
        for left in range(0, side - step - 8, step):
            number += 1
            a, b = rng.uniform(8, 15, 2)
            truth[top : top + step + 8, left : left + step + 8][(y / a) ** 2 + (x / b) ** 2 <= 1] = number
    image = 60 + 80 * ndi.gaussian_filter((truth > 0).astype(np.float32), 1.5) + rng.normal(0, 6, truth.shape)
    return image.astype(np.uint8), moved(truth, 1.5, 0)


def timed(what: str, work: Callable[[], object], n: int = 7) -> None:
    """Print the least time of some runs in ms, and the least of processors, which other work hardly changes."""
    times, processor = [], []
    for _ in range(n):
        started, cpu = time.perf_counter(), time.process_time()
        work()
        times.append(1e3 * (time.perf_counter() - started))
        processor.append(1e3 * (time.process_time() - cpu))
    print(f"  {what}: {min(times):.0f} ms, {min(processor):.0f} ms of processors", flush=True)


def speed_of(name: str, image: NDArray, objects: Objects, channel_axis: int | None) -> None:
    """Print times and memory of objects, and of two classes on the same image with the same kernels."""
    chosen = ndc.suggest_for_objects(image, objects, channel_axis=channel_axis)
    params, border = chosen.params, chosen.border
    print(f"{name}, {len(np.unique(objects)) - 1} objects, border {border:.2f} px")

    def cold() -> NDArray:
        return ndc.ObjectRefiner(image, objects, channel_axis=channel_axis).refine(params, border).labels

    with Peak() as peak:
        cold()
    print(f"  most memory beyond the inputs: {(peak.most - peak.start) / objects.size:.0f} bytes a pixel")
    timed("objects, cold", cold)
    appearance, smoothness = params.kernels
    heavier = replace(params, kernels=(replace(appearance, weight=appearance.weight + 1), smoothness))
    kept = ndc.ObjectRefiner(image, objects, channel_axis=channel_axis)
    kept.refine(params, border)
    timed("objects, another weight", lambda: kept.refine(heavier, border).labels)
    borders = itertools.cycle([1.5, 2.5])
    timed("objects, another border", lambda: kept.refine(params, next(borders)).labels)
    timed("numbers chosen", lambda: ndc.suggest_for_objects(image, objects, channel_axis=channel_axis), 3)
    foreground = np.where(objects > 0, 0.9, 0.1).astype(np.float32)
    classes = replace(params, label_bias=None)
    timed("two classes, cold", lambda: ndc.refine(image, foreground, classes, channel_axis=channel_axis).labels)
    two = ndc.Refiner(image, channel_axis=channel_axis)
    two.refine(foreground, classes)
    timed("two classes, another weight", lambda: two.refine(foreground, replace(heavier, label_bias=None)).labels)


def speed() -> None:
    """Print the figures of two images."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rgb = data.immunohistochemistry()
    speed_of("512 x 512 RGB", rgb, rough_objects(255 - rgb[..., 0]), -1)
    speed_of("2048 x 2048 gray", *cells(2048), None)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="with folders of image.tif and objects.tif")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.folder is not None:
        table(options.folder)
    if options.speed:
        speed()
    if options.folder is None and not options.speed:
        parser.error("expected a folder, or --speed")


if __name__ == "__main__":
    main()
