"""The map that strokes make where there is no other: learned from all painted slices, kept until one is painted on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.axes import FromStrokes, Misfit, Plan
from napari_densecrf._napari.problem.region import Window
from napari_densecrf.choose.classify import PixelClassifier, Samples

from .reading import read_image, read_strokes

# Slices whose features and samples are kept, and whose samples alone.
MAX_KEPT = 6
MAX_LEARNED = 100


@dataclass
class _Learned:
    """What the strokes in one window of one slice teach."""

    image: NDArray[Any]
    strokes: NDArray[np.int64]
    samples: Samples


@dataclass
class _Slice(_Learned):
    """That, and what a map of the window is made with."""

    classifier: PixelClassifier


@dataclass
class TaughtMaps:
    """Makes maps from strokes. Used by the worker thread alone."""

    _slices: dict[Hashable, _Slice] = field(default_factory=dict)
    _learned: dict[Hashable, _Learned] = field(default_factory=dict)
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

    def _others(self, a_plan: Plan, window: Window) -> Iterator[_Learned]:
        """Give the other slices that have strokes."""
        if not window.index or not isinstance(a_plan.map, FromStrokes):
            return
        data = np.asarray(a_plan.map.layer.data).reshape(*a_plan.shape)
        for index in np.argwhere(data.any(axis=(-2, -1))).tolist():
            other = replace(window, index=tuple(index), z=None)
            if window.z is None and other != window:
                yield self._learn(
                    a_plan, other, read_image(a_plan, other), read_strokes(a_plan.map.layer, a_plan, other)
                )

    def _learn(self, a_plan: Plan, window: Window, image: NDArray[Any], strokes: NDArray[np.int64]) -> _Learned:
        """Return what the strokes in a window teach; a long run over a stack asks for it again and again."""
        key = _key(a_plan, window)
        known = self._learned.pop(key, None)
        if known is None or not (np.array_equal(known.image, image) and np.array_equal(known.strokes, strokes)):
            here = self._slice(a_plan, window, image, strokes)
            known = _Learned(here.image, here.strokes, here.samples)
        _keep(self._learned, key, known, MAX_LEARNED)
        return known

    def _slice(self, a_plan: Plan, window: Window, image: NDArray[Any], strokes: NDArray[np.int64]) -> _Slice:
        """Return what is known of a window, computing what has changed."""
        key = _key(a_plan, window)
        known = self._slices.pop(key, None)
        if known is None or not np.array_equal(known.image, image):
            channel_axis = None if a_plan.channel_axis is None else -1
            spacing = [size * window.step for size in a_plan.spacing]
            if window.z is not None:
                spacing.insert(0, a_plan.volume_spacing[0])
            classifier = PixelClassifier(image, spacing=spacing, channel_axis=channel_axis)
            known = _Slice(np.array(image), strokes, classifier.samples(strokes, _highest(strokes)), classifier)
        elif not np.array_equal(known.strokes, strokes):
            known = replace(known, strokes=strokes, samples=known.classifier.samples(strokes, _highest(strokes)))
        _keep(self._slices, key, known, MAX_KEPT)
        return known


def _key(a_plan: Plan, window: Window) -> Hashable:
    return id(a_plan.image), a_plan.channel_axis, a_plan.spacing, window


def _keep(kept: dict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    """Put a value last, and forget the first ones past so many."""
    kept[key] = value
    while len(kept) > most:
        kept.pop(next(iter(kept)))


def _highest(strokes: NDArray[np.int64]) -> int:
    return max(2, int(strokes.max(initial=0)))


def _equal(some: list[NDArray[np.int64]], others: list[NDArray[np.int64]]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))
