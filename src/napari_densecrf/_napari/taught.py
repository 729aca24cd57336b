"""The map that strokes make where there is no other: learned from all painted slices, kept until one is painted on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.classify import PixelClassifier, Samples

from .layers import read_image, read_strokes
from .plan import FromStrokes, Misfit, Plan
from .window import Window

# Slices whose features and samples are kept.
MAX_KEPT = 6


@dataclass
class _Slice:
    """What is known of one window of one slice."""

    classifier: PixelClassifier
    image: NDArray[Any]
    strokes: NDArray[np.int64]
    samples: Samples


@dataclass
class TaughtMaps:
    """Makes maps from strokes. Used by the worker thread alone."""

    _slices: dict[Hashable, _Slice] = field(default_factory=dict)
    _last: tuple[Hashable, list[NDArray[np.int64]], NDArray[np.float32]] | None = None

    def probabilities(
        self, a_plan: Plan, window: Window, image: NDArray[Any], strokes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (n_classes, height, width) of a window.

        Raises
        ------
        Misfit
            Where fewer than two classes have been painted.
        """
        here = self._slice(a_plan, window, image, strokes)
        painted = [here, *self._others(a_plan, window)]
        n_classes = max(int(one.strokes.max(initial=0)) for one in painted)
        if len(np.unique(np.concatenate([one.samples.classes for one in painted]))) < 2:
            raise Misfit("Paint a few strokes of at least two classes: keys 1 and 2 choose the class.")
        key = (id(here.classifier), n_classes)
        known = [one.strokes for one in painted]
        if self._last is None or self._last[0] != key or not _equal(self._last[1], known):
            made = here.classifier.probabilities_like([one.samples for one in painted], n_classes)
            self._last = (key, known, made)
        return self._last[2]

    def _others(self, a_plan: Plan, window: Window) -> Iterator[_Slice]:
        """Give the other slices that have strokes."""
        if not window.index or not isinstance(a_plan.map, FromStrokes):
            return
        data = np.asarray(a_plan.map.layer.data).reshape(*a_plan.shape)
        for index in np.argwhere(data.any(axis=(-2, -1))).tolist():
            other = replace(window, index=tuple(index), z=None)
            if window.z is None and other != window:
                yield self._slice(
                    a_plan, other, read_image(a_plan, other), read_strokes(a_plan.map.layer, a_plan, other)
                )

    def _slice(self, a_plan: Plan, window: Window, image: NDArray[Any], strokes: NDArray[np.int64]) -> _Slice:
        """Return what is known of a window, computing what has changed."""
        key = (id(a_plan.image), a_plan.channel_axis, a_plan.spacing, window)
        known = self._slices.pop(key, None)
        if known is None or not np.array_equal(known.image, image):
            channel_axis = None if a_plan.channel_axis is None else -1
            spacing = [size * window.step for size in a_plan.spacing]
            if window.z is not None:
                spacing.insert(0, a_plan.volume_spacing[0])
            classifier = PixelClassifier(image, spacing=spacing, channel_axis=channel_axis)
            known = _Slice(classifier, np.array(image), strokes, classifier.samples(strokes, _highest(strokes)))
        elif not np.array_equal(known.strokes, strokes):
            known = replace(known, strokes=strokes, samples=known.classifier.samples(strokes, _highest(strokes)))
        self._slices[key] = known
        while len(self._slices) > MAX_KEPT:
            self._slices.pop(next(iter(self._slices)))
        return known


def _highest(strokes: NDArray[np.int64]) -> int:
    return max(2, int(strokes.max(initial=0)))


def _equal(some: list[NDArray[np.int64]], others: list[NDArray[np.int64]]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))
