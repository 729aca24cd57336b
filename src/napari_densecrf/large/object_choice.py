"""What is chosen once for all tiles, and all frames, of objects: parameters, border, and the typical contrast.

An image may be larger than the memory, so they are chosen on a part of it: the one with most border pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.choose.objects import balanced, standard_params, suggest_border
from napari_densecrf.crf.objects.refine import ObjectRefiner, check_object_params
from napari_densecrf.crf.objects.report import border_of
from napari_densecrf.params import CRFParams

from .dask_arrays import PIECE_BYTES
from .inputs import read
from .object_problem import ObjectCommon, ObjectProblem

# The part has at most SAMPLE_POINTS pixels, divided by the number of channels, so that it takes no more memory than a
# tile; but LEAST_SAMPLE_POINTS are always allowed. An image of no more pixels is looked at as a whole.
SAMPLE_POINTS, LEAST_SAMPLE_POINTS = 2**21, 2**18
# Borders are counted in at most MOST_FRAMES frames. In each there are at most WINDOWS windows along each axis, whose
# sides have WINDOW pixels.
WINDOWS, WINDOW = 8, 128
MOST_FRAMES = 9


@dataclass(frozen=True, eq=False)
class Sample:
    """The part of an image on which is chosen.

    Parameters
    ----------
    problem : ObjectProblem
        The image, or the frame, that it is a part of.
    where : tuple of slice
        One for each spatial axis.
    """

    problem: ObjectProblem
    where: tuple[slice, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its image."""
        return all(part.stop - part.start == n for part, n in zip(self.where, self.problem.grid.shape, strict=True))

    @cached_property
    def pixels(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Image, objects, foreground and strokes of the part."""
        image, objects, *others = self.problem.part(self.where)
        foreground, strokes = (None if part is None else read(part) for part in others)
        return read(image), np.ma.filled(read(objects), 0), foreground, strokes

    def refiner(self, *, one_contrast: bool) -> ObjectRefiner:
        """Return a refiner of the part."""
        image, objects, foreground, strokes = self.pixels
        return ObjectRefiner(
            image,
            objects,
            foreground=foreground,
            strokes=strokes,
            spacing=self.problem.grid.spacing,
            channel_axis=self.problem.channel_axis,
            one_contrast=one_contrast,
            origin=None if self.is_whole else tuple(part.start for part in self.where),
        )


def sample_of(problems: Callable[[tuple[int, ...]], ObjectProblem], counts: tuple[int, ...]) -> Sample:
    """Return the part of an image, or of the frames of a stack, that has most border pixels.

    Parameters
    ----------
    problems : callable
        Returns the problem of a frame from its index.
    counts : tuple of int
        Number of frames along each axis that counts them; empty for a single image.

    Raises
    ------
    ValueError
        Where there is no object anywhere.
    """
    n_frames = math.prod(counts)
    n_seen = min(n_frames, MOST_FRAMES)
    seen = [(2 * k + 1) * n_frames // (2 * n_seen) for k in range(n_seen)]
    indices = [tuple(map(int, np.unravel_index(k, counts))) if counts else () for k in seen]
    best = max((_busiest(problems(index), index) for index in indices), key=lambda one: one.n_borders)
    if not best.n_borders:
        every = (_first_objects(problems(index), index) for index in np.ndindex(counts))
        best = next((one for one in every if one.n_borders), best)
    if not best.n_borders:
        raise ValueError("objects hold no number but 0, the background: expected at least one object")
    return Sample(problems(best.frame), best.where)


class _Found(NamedTuple):
    """A part of the frame of this index, and how many border pixels were counted for it."""

    n_borders: int
    frame: tuple[int, ...]
    where: tuple[slice, ...]


def _sample_points(problem: ObjectProblem) -> int:
    """Return the most pixels of a sample."""
    return max(SAMPLE_POINTS // problem.n_channels, min(SAMPLE_POINTS, LEAST_SAMPLE_POINTS))


def _busiest(problem: ObjectProblem, index: tuple[int, ...]) -> _Found:
    """Return the part around the window of a frame that has most border pixels, or all of a small frame."""
    shape, n_points = problem.grid.shape, _sample_points(problem)
    if problem.grid.n_points <= n_points:
        return _Found(_count_borders(read(problem.objects)), index, tuple(slice(0, n) for n in shape))
    found = ((_count_borders(read(problem.objects[window])), window) for window in _windows(shape))
    n_borders, window = max(found, key=lambda one: one[0])
    return _Found(n_borders, index, _part_around(window, shape, n_points))


def _count_borders(objects: NDArray[Any]) -> int:
    # Only the low 32 bits of ids are compared. Where they are equal and the ids are not, which is rare, a border is
    # not counted.
    return int(np.count_nonzero(border_of(np.ma.filled(objects, 0).astype(np.uint32).view(np.int32))))


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield windows in the middles of equal shares of the image."""
    counts = [min(WINDOWS, max(1, n // WINDOW)) for n in shape]
    for index in np.ndindex(*counts):
        middles = [(2 * k + 1) * n // (2 * count) for k, n, count in zip(index, shape, counts, strict=True)]
        starts = [max(0, min(middle - WINDOW // 2, n - WINDOW)) for middle, n in zip(middles, shape, strict=True)]
        yield tuple(slice(start, min(start + WINDOW, n)) for start, n in zip(starts, shape, strict=True))


def _part_around(window: tuple[slice, ...], shape: tuple[int, ...], n_points: int) -> tuple[slice, ...]:
    """Return a part of at most ``n_points`` pixels around a window: a cube, but shorter where the image ends."""
    sides = np.zeros(len(shape), np.int64)
    for axis in np.argsort(shape):
        left = len(shape) - np.count_nonzero(sides)
        room = n_points / max(1, sides[sides > 0].prod())
        sides[axis] = min(shape[axis], int(room ** (1 / left)))
    middles = [(part.start + part.stop) // 2 for part in window]
    starts = [int(min(max(m - s // 2, 0), n - s)) for m, s, n in zip(middles, sides, shape, strict=True)]
    return tuple(slice(start, start + int(side)) for start, side in zip(starts, sides, strict=True))


def _first_objects(problem: ObjectProblem, index: tuple[int, ...]) -> _Found:
    """Return the part around the first pixel of a frame that is an object's; all before it is read piece by piece."""
    objects, shape = problem.objects, problem.grid.shape
    pieces = da.core.normalize_chunks(
        "auto", objects.shape, limit=PIECE_BYTES, dtype=objects.dtype, previous_chunks=objects.chunks
    )
    for where in da.core.slices_from_chunks(pieces):
        found = np.argwhere(np.ma.filled(read(objects[where]), 0))
        if len(found):
            first = [part.start + int(n) for part, n in zip(where, found[0], strict=True)]
            pixel = tuple(slice(n, n + 1) for n in first)
            return _Found(1, index, _part_around(pixel, shape, _sample_points(problem)))
    return _Found(0, index, tuple(slice(0, n) for n in shape))


@dataclass(frozen=True, eq=False)
class Choice:
    """What is chosen, and the sample on which it was.

    Parameters
    ----------
    sample : Sample
    refiner : ObjectRefiner
        Of the sample.
    common : ObjectCommon
    why : str
        How the border came about; empty where it was given.
    """

    sample: Sample
    refiner: ObjectRefiner
    common: ObjectCommon
    why: str

    @property
    def object_size(self) -> NDArray[np.int64]:
        """(n_axes,): the side in pixels, along each axis, of the box around an object; 99% of the objects have less."""
        sides = np.diff(self.refiner.source.boxes, axis=1)[:, 0, -len(self.refiner.grid.shape) :]
        size: NDArray[np.int64] = np.ceil(np.percentile(sides, 99, axis=0)).astype(np.int64)
        return size


def choose(
    sample: Sample,
    params: CRFParams | None,
    border: float | None,
    one_contrast: bool | None,
    adapt: Callable[[CRFParams], CRFParams] = lambda params: params,
) -> Choice:
    """Choose what is not given, on the sample, as `refine_objects` does.

    Parameters
    ----------
    sample : Sample
    params, border, one_contrast
        As `refine_objects` takes them.
    adapt : callable
        Returns parameters with some numbers replaced, of those that are given and of those that are chosen. The
        balance is chosen after that, unless they have a label bias.

    Raises
    ------
    ValueError
        Where parameters or border do not suit objects, or not the axes of the image.
    """
    one_contrast = params is None if one_contrast is None else one_contrast
    refiner = sample.refiner(one_contrast=one_contrast)
    why = ""
    if border is None:
        border, why = suggest_border(refiner)
    if params is None:
        params = adapt(standard_params(refiner))
        check_object_params(params, border)
        if params.label_bias is None:
            params = balanced(refiner, params, border)
    else:
        params = adapt(params)
    check_object_params(params, border)
    problem = sample.problem
    problem.check_sigmas(params)
    common = ObjectCommon(
        params, border, problem.grid.spacing, problem.channel_axis, one_contrast, refiner.contrast.of_typical
    )
    return Choice(sample, refiner, common, why)
