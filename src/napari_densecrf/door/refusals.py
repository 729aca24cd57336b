"""The sentences that refuse a map whose numbers are no probabilities: what they look like, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .values import NO_NUMBER, Kind, Values, name_of

# What to do, in a script and on the command line; {scale} is what 1 is.
PYTHON: Mapping[Kind, str] = {
    Kind.MASK: "pass probabilities_from_labels(mask > 0) in its place",
    Kind.CLASSES: "pass probabilities_from_labels of the ranks that np.unique returns as inverse",
    Kind.OBJECTS: "pass them to refine_objects, which keeps each apart, or probabilities_from_labels(ids > 0) to "
    "refine all objects as one class",
    Kind.ONE_HOT: "pass probabilities_from_labels of its argmax over the classes",
    Kind.SCALED: "divide it by {scale:g} to have floats from 0 to 1",
    Kind.OVERSHOT: "clip it to 0 to 1 with np.clip",
    Kind.PICTURE: "take one of its planes",
    Kind.LOGITS: "apply softmax over the classes first, or the sigmoid function to a foreground map",
}
COMMAND: Mapping[Kind, str] = {
    Kind.MASK: "say --from-labels 0.9",
    Kind.CLASSES: "say --from-labels 0.9, or say --objects if each number is an object",
    Kind.OBJECTS: "say --objects to refine the border of each, or say --from-labels 0.9 if each number is a class",
    Kind.ONE_HOT: "say --from-labels 0.9",
    Kind.SCALED: "divide it by {scale:g} and save it as floats from 0 to 1",
    Kind.OVERSHOT: "clip it to 0 to 1 and save it again",
    Kind.PICTURE: "save one of its planes, as a gray image",
    Kind.LOGITS: "apply softmax over the classes, or the sigmoid function to a foreground map, and save it again",
}


def refusal(values: Values, remedies: Mapping[Kind, str]) -> str | None:
    """Return the sentence for a map that is none of probabilities, or None for one that may be."""
    if values.why == NO_NUMBER:
        return "the map has no value at any pixel: all are NaN or masked"
    if values.kind is Kind.PROBABILITIES:
        return None
    remedy = remedies[values.kind].format(scale=values.scale)
    if values.kind is Kind.CLASSES and values.scale > 1:
        remedy += f", or, if these are probabilities, divide it by {values.scale:g}"
    holds = "it holds" if values.sure else "it seems to hold"
    return f"the map {values.why}: {holds} {values.kind.value}; {remedy}"


def refusal_of_objects(values: Values, dtype: np.dtype[Any]) -> str | None:
    """Return the sentence for what was given as objects and holds none, or None for what may be.

    Parameters
    ----------
    values : Values
        What the numbers were taken for.
    dtype : numpy.dtype
    """
    name = name_of(dtype)
    if dtype.kind == "b":
        return (
            "the objects hold only true and false, one mask for all: expected a number for each object, as "
            "skimage.measure.label gives"
        )
    if dtype.kind == "f" and values.kind not in (Kind.MASK, Kind.CLASSES, Kind.OBJECTS):
        return (
            f"the objects hold {name} values, and what was read {values.why}: expected whole numbers, 0 = background, "
            "one id an object; leave out --objects where these are probabilities, or give them with --foreground"
        )
    if dtype.kind not in "iuf":
        return f"the objects hold {name} values: expected whole numbers, 0 = background, one id an object"
    return None
