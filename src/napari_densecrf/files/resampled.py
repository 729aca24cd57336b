"""Brings a map onto the pixels of its image, where both files show one field of view in pixels of different sizes."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.refusals import COMMAND, refusal
from napari_densecrf.door.resampled import Along, MapOnImage
from napari_densecrf.door.spread import look_through

from .read import BadInput, Contents, in_unit

# Two pixel sizes are taken as equal if they differ by less than this share: two programs may have rounded them.
SAME_SIZE = 0.01


def on_image(image: Contents, probabilities: Contents, *, rough: bool, none: int | None = None) -> Contents:
    """Return a map on the pixels of an image, where both files say how large their pixels are and these differ.

    A map of the image's shape is returned as it is, with a warning where it says other pixel sizes.

    Parameters
    ----------
    image, probabilities : Contents
    rough : bool
        Whether the map holds classes or objects: the nearest number is taken, and none is interpolated.
    none : int, optional
        What pixels of the image hold that such a map does not cover; None = the largest number of its type.

    Raises
    ------
    BadInput
        Where the two do not show the same field of view, or the map holds no probabilities.
    """
    letters = _shared(image, probabilities)
    if not {"Y", "X"} <= set(letters):
        return probabilities
    assert image.axes is not None
    assert probabilities.axes is not None
    own = dict(zip(image.axes, image.pixels.shape, strict=True))
    its = dict(zip(probabilities.axes, probabilities.pixels.shape, strict=True))
    ratios = {letter: image.sizes[letter] / in_unit(probabilities, letter, image.unit) for letter in letters}
    differ = any(abs(ratio - 1) > SAME_SIZE for ratio in ratios.values())
    if all(own[letter] == its[letter] for letter in letters):
        if differ:
            warnings.warn(
                f"{probabilities.path} has other pixel sizes than {image.path}; as it has as many pixels, it is taken "
                "pixel by pixel",
                InputWarning,
                2,
            )
        return probabilities
    for letter, ratio in ratios.items():
        if abs(own[letter] * ratio - its[letter]) >= 1:
            raise BadInput(
                f"{probabilities.path} has {its[letter]} pixels along {letter}, and {image.path} is as long as "
                f"{own[letter] * ratio:.4g} of these: expected the same field of view; crop or pad the map"
            )
    if not rough:
        _check(probabilities)
    rest = [letter for letter in probabilities.axes if letter != "C"]
    along = [Along(ratios[one], (ratios[one] - 1) / 2) if one in ratios else Along() for one in rest]
    shape = tuple(own[letter] if letter in ratios else its[letter] for letter in rest)
    axes = [probabilities.axes.index(letter) for letter in rest]
    class_axis = probabilities.axes.index("C") if "C" in its else None
    is_integer = probabilities.pixels.dtype.kind in "iu"
    if none is None and rough and is_integer:
        none = int(np.iinfo(probabilities.pixels.dtype).max)
    if rough and (class_axis is not None or not is_integer):
        raise BadInput(f"{probabilities.path} has other pixels than {image.path}: expected one integer a pixel there")
    warnings.warn(f"{probabilities.path} is brought onto the pixels of {image.path}, by their sizes", InputWarning, 2)
    pixels = MapOnImage(probabilities.pixels, shape, along, axes, class_axis, none)
    return replace(probabilities, pixels=pixels, axes="C" * (class_axis is not None) + "".join(rest))


def _shared(image: Contents, probabilities: Contents) -> list[str]:
    """Return the letters of the axes whose pixel sizes both files say."""
    if image.axes is None or probabilities.axes is None:
        return []
    sized = set(image.sizes) & set(probabilities.sizes) & set(image.axes) & set(probabilities.axes)
    comparable = image.unit == probabilities.unit or in_unit(probabilities, "", image.unit) > 0
    return [letter for letter in "ZYX" if letter in sized and comparable]


def _check(probabilities: Contents) -> None:
    """Raise `BadInput` where a map holds no probabilities. After interpolation, a mask could be taken for a map."""
    assert probabilities.axes is not None
    class_axis = probabilities.axes.index("C") if "C" in probabilities.axes else None
    if probabilities.pixels.dtype.kind in "biuf":
        refused = refusal(look_through(probabilities.pixels, class_axis), COMMAND)
        if refused is not None:
            raise BadInput(f"{probabilities.path}: {refused}")
