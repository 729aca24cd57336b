"""What each preset that is built in does to the mean IoU, for every item with truth in a folder.

    python benchmarks/presets.py [FOLDER]

A folder is one as `tuning.py` takes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tuning import DATA, Item, items, mean_iou

import napari_densecrf as ndc
from napari_densecrf._napari.recipes.presets import BUILT_IN, Preset
from napari_densecrf.choose.trials import Subject, units_of, whole
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams


def params_for(item: Item, preset: Preset) -> CRFParams:
    """Return the numbers of a preset in the units of an image."""
    part = Subject(item.image, item.probabilities, item.spacing, item.channel_axis).cut(whole(item.truth.shape))
    return Numbers().updated(preset.numbers).in_units(units_of([part])).params


def change(item: Item, preset: Preset) -> float:
    """Return the mean IoU after a refinement, less that of the map."""
    given = {"spacing": item.spacing, "channel_axis": item.channel_axis}
    labels = ndc.refine(item.image, item.probabilities, params_for(item, preset), **given).labels
    counted = np.ones(item.truth.shape, bool)
    before = mean_iou(item.truth, item.probabilities.argmax(axis=0), counted)
    return mean_iou(item.truth, labels, counted) - before


def main(folder: Path) -> None:
    """Print the table."""
    print("| item | " + " | ".join(preset.name for preset in BUILT_IN) + " |")
    print("| --- |" + " --- |" * len(BUILT_IN))
    for item in items(folder):
        print(f"| {item.name} | " + " | ".join(f"{change(item, preset):+.3f}" for preset in BUILT_IN) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
