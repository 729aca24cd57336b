"""Presets: numbers with a name, in pixels and 255ths of the robust range, so that they mean the same on every image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_densecrf._napari import words
from napari_densecrf.numbers import NAMES, Numbers

from . import stored

SETTINGS_KEY = "presets"
# Numbers on the sliders have six digits.
SAME = 1e-5


@dataclass(frozen=True)
class Preset:
    """Numbers with a name.

    Parameters
    ----------
    name : str
    numbers : mapping
        By the names of the sliders, relative, as `Session.relative_numbers` has them.
    source : str
        Where they come from, in a sentence for the user.
    """

    name: str
    numbers: Mapping[str, Any]
    source: str

    def same_as(self, numbers: Mapping[str, Any]) -> bool:
        """Tell whether these are the numbers, as far as sliders tell them apart."""
        return all(
            name in numbers and math.isclose(value, numbers[name], rel_tol=SAME) for name, value in self.numbers.items()
        )


def _built_in(name: str, numbers: Numbers, source: str) -> Preset:
    # The reach in time depends on the film, not on what it shows.
    return Preset(name, {key: value for key, value in numbers.as_dict().items() if key != "time_sigma"}, source)


# What is said of mean IoU is what `benchmarks/presets.py` prints of the nine data sets it was written on: 13 images and
# volumes of nuclei, cells, grains and membranes, their maps from small random forests and U-Nets.
BUILT_IN = (
    _built_in(
        "Careful, any map",
        Numbers(0.75, 45.5, 12.5, 1.54, 1.13),
        "Weak and far: of the settings tried on 31 images in 2D such ones did the least harm. On 13 others the mean "
        "IoU changed by -0.026 to +0.049, and 10 gained.",
    ),
    _built_in(
        "Nuclei and grains",
        Numbers(8.0, 6.0, 12.0, 1.0, 1.0),
        "Strong and near, one of the settings of Auto: mean IoU +0.022 to +0.091 on four 2D images of nuclei and one "
        "of sandstone. Not for thin gaps: -0.097 on nuclei that touch.",
    ),
    _built_in(
        "Thin structures",
        Numbers(1.5, 3.0, 20.0, 0.5, 1.0),
        "Weak and near, one of the settings of Auto, which leaves in place what is thin: mean IoU +0.01 on membranes "
        "in electron microscopy, -0.001 at worst on 13 images of all kinds.",
    ),
    _built_in(
        "Noise: smooth only",
        Numbers(0.0, 3.0, 12.0, 3.0, 1.0),
        "Smooths the map and does not look at the image (w1 = 0): mean IoU +0.005 on noisy nuclei that touch, "
        "-0.010 to +0.019 on 13 images of all kinds.",
    ),
    _built_in(
        "Photographs",
        Numbers(10.0, 80.0, 13.0, 3.0, 3.0),
        "The README of pydensecrf, which wraps the code of Krähenbühl and Koltun (2011), for colour photographs. Too "
        "strong for much of microscopy: 9 of 13 images lost, up to 0.32 of mean IoU.",
    ),
)


def last_used() -> list[Preset]:
    """Return the numbers of an earlier session as a preset, if there are any."""
    numbers = stored.load().get("numbers")
    if not isinstance(numbers, dict) or not _are_numbers(numbers):
        return []
    usable = Numbers().updated(numbers).as_dict()
    return [Preset(words.LAST_USED, {name: usable[name] for name in numbers if name in usable}, words.LAST_USED_FROM)]


def own_presets() -> list[Preset]:
    """Return what the user has saved, by name."""
    return [
        Preset(name, saved["numbers"], str(saved.get("source", "")))
        for name, saved in sorted(stored.load(SETTINGS_KEY).items())
        if isinstance(saved, dict) and _are_numbers(saved.get("numbers"))
    ]


def keep(preset: Preset) -> None:
    """Save a preset, in place of one of that name.

    Raises
    ------
    ValueError
        Where the name is that of a preset that is built in.
    """
    if preset.name == words.LAST_USED or any(preset.name == built_in.name for built_in in BUILT_IN):
        raise ValueError(f"“{preset.name}” is built in: choose another name.")
    # Anew from where they are kept, as another window may have saved some meanwhile.
    saved = {"numbers": dict(preset.numbers), "source": preset.source}
    stored.save({**stored.load(SETTINGS_KEY), preset.name: saved}, SETTINGS_KEY)


def forget(name: str) -> None:
    """Remove a preset of the user."""
    saved = stored.load(SETTINGS_KEY)
    saved.pop(name, None)
    stored.save(saved, SETTINGS_KEY)


def _are_numbers(saved: Any) -> bool:
    """Tell whether what was saved has a number for every slider."""
    return isinstance(saved, dict) and all(isinstance(saved.get(name), (int, float)) for name in NAMES)
