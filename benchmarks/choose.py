"""Change of mean IoU by numbers that the program chooses, over data sets of which each is left out in turn.

    python benchmarks/choose.py FOLDER [FOLDER ...] [--strokes 10 30] [--sigmas 0.5 1 2]

A folder holds one folder an item, as `tuning.items` reads them; `set` in meta.json names the data set, else the item is
one of its own. What is compared with the map as it is: the reference defaults, the first result, Auto, Fit from the
widget's start and from Python's, and in hindsight, with the truth, ten settings, thresholds, and both together.

Strokes are made from the truth in two ways. *At errors*: short, where the map is wrong, in the largest wrong region of
each class in turn. *Anywhere*: in each class in turn. Results are scored without strokes, on all pixels.

Fit has one number that trades gain for safety: by how many standard deviations a gain must be sure. With --sigmas it is
chosen for each data set by all others, as the one with the largest mean of those whose worst is above -0.015, and what
it does to the set that was left out is what counts.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tuning import Item, items, mean_iou, strokes_inside, wander

import napari_densecrf as ndc
from napari_densecrf.choose.suggest import SETTINGS
from napari_densecrf.choose.trials import Subject, units_of, whole

# The package has a function of this name.
fit_module: Any = importlib.import_module("napari_densecrf.choose.fit")
ERROR_STROKE_LENGTH = 12
# Ten of the settings, weak to strong, and thresholds, for what hindsight can do.
TEN = tuple(SETTINGS[number] for number in (1, 4, 8, 11, 12, 15, 16, 19, 20, 22))
BALANCES = (-2.0, -1.2, -0.6, 0.6, 1.2, 2.0)
WORST = -0.015
# Below this a change is none.
CHANGE = 0.002
# Between the name of a row and its variant.
SEPARATOR = "|"


def strokes_at_errors(truth: NDArray[np.integer], labels: NDArray[np.integer], n_strokes: int) -> NDArray[np.uint8]:
    """Return short strokes in the largest wrong regions, the classes in turn; in a volume each lies in one slice."""
    rng = np.random.default_rng(0)
    strokes = np.zeros(truth.shape, np.uint8)
    within_slice = ndimage.generate_binary_structure(truth.ndim, 2)
    if truth.ndim == 3:
        within_slice[[0, 2]] = False
    regions = {}
    for label in np.unique(truth):
        wrong, count = ndimage.label((truth == label) & (labels != label), within_slice)
        regions[label] = wrong, list(np.argsort(np.bincount(wrong.ravel(), minlength=count + 1)[1:], kind="stable") + 1)
    n_drawn = 0
    while n_drawn < n_strokes and any(left for _, left in regions.values()):
        for label, (wrong, left) in regions.items():
            if left and n_drawn < n_strokes:
                _in_region(wrong == left.pop(), strokes, int(label) + 1, rng)
                n_drawn += 1
    return strokes


def _in_region(region: NDArray[np.bool_], strokes: NDArray[np.uint8], value: int, rng: np.random.Generator) -> None:
    z = int(np.argwhere(region)[0][0]) if region.ndim == 3 else 0
    plane, drawn = (region[z], strokes[z]) if region.ndim == 3 else (region, strokes)
    depth = ndimage.distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1]
    wander(plane, drawn, value, rng, np.array(np.unravel_index(depth.argmax(), depth.shape)), ERROR_STROKE_LENGTH)


def gains(item: Item, numbers_of_strokes: list[int], sigmas: list[float]) -> Iterator[tuple[str, float]]:
    """Yield what is compared, and the change of mean IoU."""
    given = {"spacing": item.spacing, "channel_axis": item.channel_axis}
    everywhere = np.ones(item.truth.shape, bool)
    labels = item.probabilities.argmax(axis=0)
    raw = mean_iou(item.truth, labels, everywhere)
    refiner = ndc.Refiner(item.image, **given)

    def gain(params: ndc.CRFParams | None) -> float:
        if params is None:
            return 0.0
        return mean_iou(item.truth, refiner.refine(item.probabilities, params).labels, everywhere) - raw

    yield "`refine` with CRFParams()", gain(ndc.CRFParams())
    first = ndc.refine(item.image, item.probabilities, **given).params
    yield "the first result", gain(first)
    yield "Auto", gain(ndc.suggest(item.image, item.probabilities, **given).params)
    for n_strokes in numbers_of_strokes:
        at_errors = strokes_at_errors(item.truth, labels, n_strokes)
        anywhere = strokes_inside(item.truth, n_strokes=n_strokes)
        for where, strokes in (("at errors", at_errors), ("anywhere", anywhere)):
            # From the widget's start, which is the first result, and from Python's, which is none: the same search.
            fits = fitted(item, strokes, sigmas)
            for n_sigmas, params in zip(sigmas, fits, strict=True):
                yield f"Fit, {n_strokes} strokes {where}{SEPARATOR}{n_sigmas}", gain(params)
    yield from hindsight(item, gain)


def fitted(item: Item, strokes: NDArray[np.uint8], sigmas: list[float]) -> list[ndc.CRFParams]:
    """Return what Fit finds where a gain must be sure by so many standard deviations; all are tried on the same."""
    judges = []

    class Remembered(fit_module._Judge):  # type: ignore[misc, name-defined]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            judges.append(self)

    with mock.patch.object(fit_module, "_Judge", Remembered):
        given = {"spacing": item.spacing, "channel_axis": item.channel_axis}
        found = ndc.fit(item.image, item.probabilities, strokes, **given)
    if not judges:
        return [found.params] * len(sigmas)
    choices = []
    for n_sigmas in sigmas:
        with mock.patch.object(fit_module, "N_SIGMAS", n_sigmas):
            choices.append(judges[0].best().params)
    return choices


def hindsight(item: Item, gain: Callable[[ndc.CRFParams], float]) -> Iterator[tuple[str, float]]:
    """Yield what the truth would choose."""
    subject = Subject(item.image, item.probabilities, item.spacing, item.channel_axis)
    units = units_of([subject.cut(whole(subject.shape))])
    settings = [setting.in_units(units).params for setting in TEN]
    biases = [(0.0, balance) for balance in BALANCES] if subject.n_labels == 2 else []
    of_ten = [gain(params) for params in settings]
    thresholds = [gain(ndc.CRFParams(kernels=(), n_iterations=0, label_bias=bias)) for bias in biases]
    both = [gain(replace(params, label_bias=bias)) for params in settings for bias in biases]
    yield "best of ten settings, in hindsight", max(0.0, *of_ten)
    yield "best threshold, in hindsight", max([0.0, *thresholds])
    yield "best of both, in hindsight", max([0.0, *of_ten, *thresholds, *both])


def main(folders: list[Path], numbers_of_strokes: list[int], sigmas: list[float]) -> None:
    """Print each item, and then the tables."""
    # Of each row, of each data set, the gains of its items.
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in (item for folder in folders for item in items(folder)):
        started = time.perf_counter()
        for row, gain in gains(item, numbers_of_strokes, sigmas):
            rows[row][item.set].append(gain)
            print(f"{item.set}, {item.name}: {row}: {gain:+.3f}", file=sys.stderr, flush=True)
        print(f"{item.set}, {item.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    chosen = {row.split(SEPARATOR)[0]: {} for row in rows}
    for name in chosen:
        chosen[name] = left_out([of_sets for row, of_sets in rows.items() if row.split(SEPARATOR)[0] == name])
    print("| | mean | improved | worst |\n|---|---|---|---|")
    for name, of_sets in chosen.items():
        values = np.concatenate(list(of_sets.values()))
        print(f"| {name} | {values.mean():+.3f} | {(values > CHANGE).mean():.0%} | {values.min():+.3f} |")
    names = [name for name in chosen if name == "Auto" or name.startswith("Fit")]
    print("\n| data set | items | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    for name_of_set, values in chosen["Auto"].items():
        of_rows = [chosen[name][name_of_set] for name in names]
        cells = [f"{np.mean(of_row):+.3f} (worst {min(of_row):+.3f})" for of_row in of_rows]
        print(f"| {name_of_set} | {len(values)} | " + " | ".join(cells) + " |")


def left_out(variants: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return of each data set what the variant does that all other sets choose."""

    def worth(variant: dict[str, list[float]], without: str) -> tuple[bool, float]:
        others = [gain for name, of_set in variant.items() if name != without for gain in of_set] or [0.0]
        return min(others) > WORST, float(np.mean(others))

    return {name: max(variants, key=lambda variant: worth(variant, name))[name] for name in variants[0]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--strokes", nargs="+", type=int, default=[10, 30])
    parser.add_argument("--sigmas", nargs="+", type=float, default=[fit_module.N_SIGMAS])
    given = parser.parse_args()
    main(given.folders, given.strokes, given.sigmas)
