"""The map that strokes make where there is no other: learned from all painted slices, kept until one is painted on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.problem import FromStrokes, Misfit, Problem
from napari_densecrf._napari.problem.region import Region
from napari_densecrf.choose.classify import PixelClassifier, Samples
from napari_densecrf.door.missing import same_pixels

from .reading import read_image, read_strokes

Value = TypeVar("Value")
# Slices whose features and samples are kept, and whose samples alone.
MAX_KEPT = 6
MAX_LEARNED = 100


@dataclass
class _Learned:
    """What the strokes in one region of one slice teach."""

    image: NDArray[Any]
    strokes: NDArray[np.int64]
    samples: Samples


@dataclass
class _Slice(_Learned):
    """That, and what a map of the region is made with."""

    classifier: PixelClassifier


@dataclass
class StrokeMaps:
    """Makes maps from strokes. Used by the worker thread alone."""

    _slices: dict[Hashable, _Slice] = field(default_factory=dict)
    _learned: dict[Hashable, _Learned] = field(default_factory=dict)
    _last: tuple[Hashable, list[NDArray[np.int64]], NDArray[np.float32]] | None = None

    def probabilities(
        self, problem: Problem, region: Region, image: NDArray[Any], strokes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (n_classes, height, width) of a region.

        Raises
        ------
        Misfit
            Where fewer than two classes have been painted.
        """
        here = self._slice(problem, region, image, strokes)
        painted = [here, *self._others(problem, region)]
        n_classes = max(int(one.strokes.max(initial=0)) for one in painted)
        if len(np.unique(np.concatenate([one.samples.classes for one in painted]))) < 2:
            raise Misfit(words.PAINT_TWO_CLASSES)
        key = (id(here.classifier), n_classes)
        known = [one.strokes for one in painted]
        if self._last is None or self._last[0] != key or not _equal(self._last[1], known):
            made = here.classifier.probabilities_like([one.samples for one in painted], n_classes)
            self._last = (key, known, made)
        return self._last[2]

    def _others(self, problem: Problem, region: Region) -> Iterator[_Learned]:
        """Give the other slices that have strokes."""
        if not region.index or not isinstance(problem.map, FromStrokes):
            return
        data = np.asarray(problem.map.layer.data).reshape(*problem.shape)
        for index in np.argwhere(data.any(axis=(-2, -1))).tolist():
            other = replace(region, index=tuple(index), z=None)
            if region.z is None and other != region:
                yield self._learn(
                    problem, other, read_image(problem, other), read_strokes(problem.map.layer, problem, other)
                )

    def _learn(self, problem: Problem, region: Region, image: NDArray[Any], strokes: NDArray[np.int64]) -> _Learned:
        """Return what the strokes in a region teach; a long run over a stack asks for it again and again."""
        key = _key(problem, region)
        known = self._learned.pop(key, None)
        if known is None or not (same_pixels(known.image, image) and np.array_equal(known.strokes, strokes)):
            here = self._slice(problem, region, image, strokes)
            known = _Learned(here.image, here.strokes, here.samples)
        _keep(self._learned, key, known, MAX_LEARNED)
        return known

    def _slice(self, problem: Problem, region: Region, image: NDArray[Any], strokes: NDArray[np.int64]) -> _Slice:
        """Return what is known of a region, computing what has changed."""
        key = _key(problem, region)
        known = self._slices.pop(key, None)
        if known is None or not same_pixels(known.image, image):
            channel_axis = -1 if problem.has_channels else None
            spacing = [size * region.step for size in problem.spacing]
            if region.z is not None:
                spacing.insert(0, problem.volume_spacing[0])
            classifier = PixelClassifier(image, spacing=spacing, channel_axis=channel_axis)
            known = _Slice(np.array(image), strokes, classifier.samples(strokes, _highest(strokes)), classifier)
        elif not np.array_equal(known.strokes, strokes):
            known = replace(known, strokes=strokes, samples=known.classifier.samples(strokes, _highest(strokes)))
        _keep(self._slices, key, known, MAX_KEPT)
        return known


def _key(problem: Problem, region: Region) -> Hashable:
    return tuple(map(id, problem.image_layers)), problem.channel_axis, problem.spacing, region


def _keep(kept: dict[Hashable, Value], key: Hashable, value: Value, most: int) -> None:
    """Put a value last, and forget the first ones past so many."""
    kept[key] = value
    while len(kept) > most:
        kept.pop(next(iter(kept)))


def _highest(strokes: NDArray[np.int64]) -> int:
    return max(2, int(strokes.max(initial=0)))


def _equal(some: list[NDArray[np.int64]], others: list[NDArray[np.int64]]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))
