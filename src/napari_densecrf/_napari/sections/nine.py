"""Nine settings around those of now: what each would do, without a window and without a widget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.work.runner import Done, Stage, Steps
from napari_densecrf._napari.work.worker import Engine, Result
from napari_densecrf.numbers import NAMES, Numbers, Units

from .doubtful import unsure

CENTRE = 4
# What has no strength begins with, in pixels and 255ths of the range.
WEAK = Numbers(0.75, 6.0, 12.5, 0.5, 1.0)
# Factors for strengths and reaches, and for the contrast; log-odds for a class.
TIMES, CONTRAST_TIMES, FAVOUR = 2.0, 1.6, 0.5
# The square on which settings are tried: this share of the visible part, and the least and the largest side. Nine
# results take a while.
SHARE, LEAST_SIDE, MOST_SIDE = 0.5, 96, 256
# Margins around it, in reaches: it is looked at, not kept.
REACHES = 2
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
        The image with the labels over it.
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
        Those of now. What has no strength gets a weak one where else nothing would change.
    units : Units
        Of the image.
    names : sequence of str
        Of the classes.
    favoured : int, optional
        Which class one of the nine favours; None where none can be.
    """
    weak = WEAK.in_units(units)
    image = _with(numbers, weak, "appearance") if not numbers.appearance_weight else numbers
    smooth = _with(numbers, weak, "smoothness") if not numbers.smoothness_weight else numbers
    either = image if not (numbers.appearance_weight or numbers.smoothness_weight) else numbers

    def times(words: str, factor: float, *changed: str) -> Setting:
        there = either if len(changed) > 1 else smooth if changed[0].startswith("smoothness") else image
        values = {name: factor * getattr(there, name) for name in changed}
        return Setting(there.changed(**values).shortened(), words)

    strengths = ("appearance_weight", "smoothness_weight")
    last = times(words.ROUNDER, TIMES, "smoothness_position_sigma")
    if favoured is not None and len(names) >= 2:
        last = Setting(numbers.favouring(favoured, len(names), FAVOUR), words.more_of(names[favoured]))
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


def _with(numbers: Numbers, weak: Numbers, kernel: str) -> Numbers:
    """Return numbers with one of the kernels as it is in weak ones."""
    return numbers.changed(**{name: getattr(weak, name) for name in NAMES if name.startswith(kernel)})


def trying(
    engine: Engine,
    shown: Result,
    visible: Region,
    settings: Sequence[Setting],
    colours: Callable[[Any], NDArray[np.floating]],
) -> Steps:
    """Refine with each setting where the result that is shown is most in doubt, and give the nine thumbnails.

    Parameters
    ----------
    engine : Engine
    shown : Result
    visible : Region
        What the canvas shows.
    settings : sequence of Setting
    colours : callable
        ``colours(labels)`` gives (..., 4), 0..1, of the labels of a result.
    """
    yield Stage(words.TRYING_NINE, 0.0)
    results: list[Result] = []
    request = request_for(shown, visible, max(setting.numbers.reach for setting in settings))
    for k, setting in enumerate(settings):
        yield Stage(words.TRYING_NINE, k / len(settings))
        params = setting.numbers.params_for(request.problem.n_balanced)
        for step in engine.steps(replace(request, params=params)):
            if isinstance(step, Done):
                results.append(step.result)
            else:
                # So that it ends soon where something else is asked for.
                yield Stage(words.TRYING_NINE, k / len(settings))
    yield Done(thumbnails(results, settings, colours))


def thumbnails(
    results: Sequence[Result], settings: Sequence[Setting], colours: Callable[[Any], NDArray[np.floating]]
) -> list[Thumbnail]:
    """Return a picture of each result, with how much it differs from that in the middle."""
    labels = np.stack([result.labels for result in results])
    now = labels[CENTRE]
    inner = results[0].request.region.within(results[0].request.read)
    inputs = results[0].inputs
    shown = picture_of(inputs.image[inner], has_channels=inputs.channel_axis is not None)
    made = []
    for setting, one in zip(settings, labels, strict=True):
        over = np.asarray(colours(one), np.float32)
        opacity = OPACITY * over[..., 3:]
        mixed = (1 - opacity) * shown + opacity * 255 * over[..., :3]
        made.append(Thumbnail(setting, np.ascontiguousarray(mixed.astype(np.uint8)), float((one != now).mean())))
    return made


def request_for(shown: Result, visible: Region, reach: float) -> Request:
    """Return a request for the square of the visible part where a result is most in doubt."""
    request = shown.request.alone()
    region, read, problem = request.region, request.read, request.problem
    seen = [
        slice(max(0, (first - start) // region.step), max(1, -(-(last - start) // region.step)))
        for (first, last), (start, _) in zip((visible.y, visible.x), (region.y, region.x), strict=True)
    ]
    doubtful = unsure(shown)[*seen]
    if not doubtful.size:
        seen, doubtful = [slice(0, None)] * 2, unsure(shown)
    square = most_of(doubtful)
    y, x = (
        (start + region.step * (at.start + cut.start), min(end, start + region.step * (at.start + cut.stop)))
        for (start, end), at, cut in zip((region.y, region.x), seen, square, strict=True)
    )
    part = replace(region, y=y, x=x)
    margin = math.ceil(REACHES * reach / (region.step * min(problem.spacing)))
    grown = part.grown((margin, margin), problem.shape)
    # No more than has been read: the strokes that were read with it are cut out of there.
    y, x = ((max(a, b), min(c, d)) for (a, c), (b, d) in zip((grown.y, grown.x), (read.y, read.x), strict=True))
    around = replace(read, y=y, x=x)
    strokes = request.strokes
    if strokes is not None:
        top, left = (np.array(around.origin[-2:]) - read.origin[-2:]).tolist()
        height, width = around.shape
        strokes = strokes[..., top : top + height, left : left + width]
    return replace(request, region=part, read=around, strokes=strokes, extras=frozenset())


def most_of(doubtful: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the square with the most pixels of a mask; the middle where it has none."""
    side = min(*doubtful.shape, MOST_SIDE, max(LEAST_SIDE, round(SHARE * min(doubtful.shape))))
    # Sums over squares by their upper left corner.
    total = np.pad(doubtful.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    if not sums.any():
        y, x = ((size - side) // 2 for size in doubtful.shape)
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
