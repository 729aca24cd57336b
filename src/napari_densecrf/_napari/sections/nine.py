"""Nine settings around those of now: what each would do, without a window and without a widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.runner import Done, Stage, Steps
from napari_densecrf._napari.work.worker import Engine, Result
from napari_densecrf.numbers import Numbers, Units

CENTRE = 4
# By how much a strength or a reach is multiplied, and a contrast; log-odds for a class.
TIMES, CONTRAST_TIMES, FAVOUR = 2.0, 1.6, 0.5
# Of the visible part at most so many pixels are refined, or nine would take too long to wait for.
MOST_PIXELS = 300_000
# The part that is cut out: so much of the visible part, but no fewer pixels.
SHARE, LEAST_SIDE = 0.4, 96
OPACITY = 0.5


@dataclass(frozen=True)
class Setting:
    """Numbers, and in what they differ from those of now."""

    numbers: Numbers
    words: str


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """What one setting does.

    Parameters
    ----------
    setting : Setting
    picture : (side, side, 3) uint8
        The image with the labels over it, where the nine differ most.
    differs : float
        0..1: share of the pixels that have another class than with the numbers of now.
    """

    setting: Setting
    picture: NDArray[np.uint8]
    differs: float


def settings_around(numbers: Numbers, units: Units, names: Sequence[str], favoured: int | None) -> list[Setting]:
    """Return nine settings in the order of a grid of three rows, those of now in the middle.

    Parameters
    ----------
    numbers : Numbers
        Those of now. Where both strengths are 0, the others have weak ones.
    units : Units
        Of the image.
    names : sequence of str
        Of the classes.
    favoured : int, optional
        Which class one of the nine favours; None where none can be.
    """
    there = numbers
    if not (numbers.appearance_weight or numbers.smoothness_weight):
        weak = Numbers(0.75, 6.0, 12.5, 0.5, 1.0).in_units(units)
        there = numbers.changed(**{name: getattr(weak, name) for name in _KERNELS})

    def times(words: str, factor: float, *changed: str) -> Setting:
        values = {name: factor * getattr(there, name) for name in changed}
        return Setting(there.changed(**values).shortened(), words)

    strengths = ("appearance_weight", "smoothness_weight")
    last = times(words.FOLLOW_LESS, 1 / TIMES, "appearance_weight")
    if favoured is not None and len(names) >= 2:
        last = Setting(there.favouring(favoured, len(names), FAVOUR), words.more_of(names[favoured]))
    return [
        times(words.HALF_STRENGTH, 1 / TIMES, *strengths),
        times(words.DOUBLE_STRENGTH, TIMES, *strengths),
        times(words.SMOOTHER, 2 * TIMES, "smoothness_weight"),
        times(words.HALF_REACH, 1 / TIMES, "appearance_position_sigma"),
        Setting(numbers, words.AS_NOW),
        times(words.DOUBLE_REACH, TIMES, "appearance_position_sigma"),
        times(words.LESS_CONTRAST, 1 / CONTRAST_TIMES, "appearance_intensity_sigma"),
        times(words.MORE_CONTRAST, CONTRAST_TIMES, "appearance_intensity_sigma"),
        last,
    ]


_KERNELS = (
    "appearance_weight",
    "appearance_position_sigma",
    "appearance_intensity_sigma",
    "smoothness_weight",
    "smoothness_position_sigma",
)


def trying(
    engine: Engine, request: Request, settings: Sequence[Setting], colours: Callable[[Any], NDArray[np.floating]]
) -> Steps:
    """Refine with each setting, and give the nine thumbnails.

    Parameters
    ----------
    engine : Engine
    request : Request
        For the part that is looked at.
    settings : sequence of Setting
    colours : callable
        ``colours(labels)`` gives (..., 4), 0..1, of the labels of a result.
    """
    results: list[Result] = []
    for k, setting in enumerate(settings):
        yield Stage(words.TRYING_NINE, k / len(settings))
        params = setting.numbers.params_for(request.problem.n_balanced)
        for step in engine.steps(replace(request, params=params, extras=frozenset())):
            if isinstance(step, Done):
                results.append(step.result)
            else:
                # So that it ends soon where something else is asked for.
                yield Stage(words.TRYING_NINE, k / len(settings))
    yield Done(thumbnails(results, settings, colours))


def thumbnails(
    results: Sequence[Result], settings: Sequence[Setting], colours: Callable[[Any], NDArray[np.floating]]
) -> list[Thumbnail]:
    """Return pictures of the square where the results differ most, each with how much it differs as a whole."""
    labels = np.stack([result.labels for result in results])
    now = labels[CENTRE]
    cut = most_disputed((labels != now).sum(axis=0))
    inner = results[0].request.region.within(results[0].request.read)
    inputs = results[0].inputs
    shown = picture_of(inputs.image[inner], has_channels=inputs.channel_axis is not None)[cut]
    made = []
    for setting, one in zip(settings, labels, strict=True):
        over = np.asarray(colours(one[cut]), np.float32)
        opacity = OPACITY * over[..., 3:]
        mixed = (1 - opacity) * shown + opacity * 255 * over[..., :3]
        made.append(Thumbnail(setting, np.ascontiguousarray(mixed.astype(np.uint8)), float((one != now).mean())))
    return made


def most_disputed(differ: NDArray[np.integer]) -> tuple[slice, slice]:
    """Return the square of a picture with the most differences; its middle where there are none."""
    side = min(*differ.shape, max(LEAST_SIDE, round(SHARE * min(differ.shape))))
    # Sums over squares by their upper left corner.
    total = np.pad(differ.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    if not sums.any():
        y, x = ((size - side) // 2 for size in differ.shape)
    return slice(int(y), int(y) + side), slice(int(x), int(x) + side)


def picture_of(pixels: NDArray[Any], *, has_channels: bool) -> NDArray[np.float32]:
    """Return (height, width, 3), 0..255, of an image as one looks at it: RGB as it is, else its range in gray."""
    pixels = np.nan_to_num(np.asarray(pixels, np.float32))
    if has_channels and pixels.shape[-1] == 3 and pixels.min(initial=0) >= 0 and 1 < pixels.max(initial=0) <= 255:
        return pixels
    gray = pixels.mean(axis=-1) if has_channels else pixels
    low, high = np.percentile(gray, [0.5, 99.5])
    scaled = np.clip((gray - low) / max(high - low, 1e-9), 0, 1) * 255
    return np.repeat(scaled[..., None], 3, axis=-1).astype(np.float32)
