"""The problem that tiles of objects solve: lazy inputs with checked shapes, and what is chosen once for all tiles.

How far borders may be off, the balance, the typical contrast and the lattice are one for the image, or for all frames
of a stack. They are chosen on the part that has most borders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.choose.objects import balanced, standard_params, suggest_border
from napari_densecrf.crf import grid
from napari_densecrf.crf.grid import Grid
from napari_densecrf.crf.objects.contrast import RING, SMOOTH, Typical
from napari_densecrf.crf.objects.refine import ObjectRefiner, check_object_params
from napari_densecrf.crf.objects.report import border_of
from napari_densecrf.crf.probe import Probe, read_probe
from napari_densecrf.params import CRFParams

from .dask_arrays import PIECE_BYTES, lazy

# What is chosen for an image of so many pixels or fewer is chosen on all of it; of a larger one, on such a part. With
# several channels it is smaller, as the lattice has more vertices, so that it takes no more memory than a tile.
SAMPLE_POINTS, LEAST_SAMPLE_POINTS = 2**21, 2**18
# Where objects are is looked for in so many windows along an axis, of so many pixels, and in so many frames.
WINDOWS, WINDOW = 8, 128
MOST_FRAMES = 9
# The smooth field of contrasts is cut off after this many of its sigmas.
FIELD_SIGMAS = 3.0


@dataclass(frozen=True, eq=False)
class ObjectCommon:
    """What all tiles of an image share.

    Parameters
    ----------
    params : CRFParams
    border : float
    spacing : tuple of float
    channel_axis : int, optional
    one_contrast : bool
    typical : Typical
        Of the part on which it was chosen.
    probe : Probe, optional
        Of the whole image; None = an image that is one tile has its own.
    """

    params: CRFParams
    border: float
    spacing: tuple[float, ...]
    channel_axis: int | None
    one_contrast: bool
    typical: Typical
    probe: Probe | None = None

    def refiner(
        self,
        image: NDArray[Any],
        objects: NDArray[Any],
        origin: tuple[int, ...],
        foreground: NDArray[Any] | None = None,
        strokes: NDArray[Any] | None = None,
    ) -> ObjectRefiner:
        """Return the refiner of a part of the image."""
        return ObjectRefiner(
            image,
            objects,
            foreground=foreground,
            strokes=strokes,
            spacing=self.spacing,
            channel_axis=self.channel_axis,
            one_contrast=self.one_contrast,
            origin=origin,
            probe=self.probe,
            typical=self.typical,
        )


@dataclass(frozen=True, eq=False)
class ObjectProblem:
    """An image and its objects, lazy and checked; channels are on the last axis of the image.

    Parameters
    ----------
    image : dask array
        (*spatial), or with channels last.
    objects : dask array of int
        (*spatial).
    foreground, strokes : dask array, optional
        (*spatial).
    grid : Grid
        Of the whole image.
    has_channels : bool
    """

    image: da.Array
    objects: da.Array
    foreground: da.Array | None
    strokes: da.Array | None
    grid: Grid
    has_channels: bool

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels."""
        return -1 if self.has_channels else None

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.image.shape[-1]) if self.has_channels else 1

    @property
    def sample_points(self) -> int:
        """Most pixels of a sample."""
        return max(SAMPLE_POINTS // self.n_channels, min(SAMPLE_POINTS, LEAST_SAMPLE_POINTS))

    @property
    def inputs(self) -> tuple[da.Array | None, ...]:
        """Image, objects, foreground, strokes."""
        return self.image, self.objects, self.foreground, self.strokes

    def part(self, where: tuple[slice, ...]) -> tuple[da.Array | None, ...]:
        """Return a part of the image, of the objects, of the foreground and of the strokes."""
        return tuple(None if one is None else one[where] for one in self.inputs)


def object_problem_of(
    image: Any,
    objects: Any,
    foreground: Any,
    strokes: Any,
    spacing: Sequence[float] | float | None,
    channel_axis: int | None,
) -> ObjectProblem:
    """Check the shapes and types of the inputs; parameters are those of `refine_objects_tiles`."""
    lazy_image, lazy_objects = lazy(image), lazy(objects)
    whole = grid.of_shape(lazy_image.shape, lazy_image.dtype, spacing, channel_axis)
    if channel_axis is not None:
        lazy_image = da.moveaxis(lazy_image, channel_axis, -1)
    others = {"objects": lazy_objects}
    for name, other in (("foreground", foreground), ("strokes", strokes)):
        if other is not None:
            others[name] = lazy(other)
    for name, other in others.items():
        if other.shape != whole.shape:
            verb = "has" if name == "foreground" else "have"
            raise ValueError(f"{name} {verb} shape {other.shape}: expected ({whole}) to match the image")
        if name != "foreground" and other.dtype.kind not in "iu":
            raise ValueError(f"{name} hold {other.dtype} values: expected integers, 0 = background, one id an object")
    return ObjectProblem(
        lazy_image, lazy_objects, others.get("foreground"), others.get("strokes"), whole, channel_axis is not None
    )


def read(part: Any) -> NDArray[Any]:
    """Return a lazy array's pixels."""
    return np.asanyarray(part.compute(scheduler="threads"))


@dataclass(frozen=True, eq=False)
class Sample:
    """A part of the image with many borders, by which choices are made for all of it.

    Parameters
    ----------
    problem : ObjectProblem
        The image, or the frame, that it is a part of.
    where : tuple of slice
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
    """Return the part of an image, or of the frames of a stack, that has most borders.

    Parameters
    ----------
    problems : callable
        Gives the problem of a frame.
    counts : tuple of int
        Frames along each axis that counts them.

    Raises
    ------
    ValueError
        Where there is no object anywhere.
    """
    n_frames = math.prod(counts)
    n_seen = min(n_frames, MOST_FRAMES)
    seen = [(2 * k + 1) * n_frames // (2 * n_seen) for k in range(n_seen)]
    indices = [tuple(map(int, np.unravel_index(k, counts))) if counts else () for k in seen]
    best = max((_busiest(problems(index), index) for index in indices), key=lambda one: one[0])
    if not best[0]:
        every = (_first_objects(problems(index), index) for index in np.ndindex(counts))
        best = next((one for one in every if one[0]), best)
    n_borders, index, where = best
    if not n_borders:
        raise ValueError("objects hold no number but 0, the background: expected at least one object")
    return Sample(problems(index), where)


_Found = tuple[int, tuple[int, ...], tuple[slice, ...]]


def _busiest(problem: ObjectProblem, index: tuple[int, ...]) -> _Found:
    """Return how many border pixels the busiest window of a frame has, the frame's index, and the part around it."""
    shape = problem.grid.shape
    if problem.grid.n_points <= problem.sample_points:
        return _count_borders(read(problem.objects)), index, tuple(slice(0, n) for n in shape)
    found = ((_count_borders(read(problem.objects[window])), window) for window in _windows(shape))
    n_borders, window = max(found, key=lambda one: one[0])
    return n_borders, index, _part_around(window, shape, problem.sample_points)


def _count_borders(objects: NDArray[Any]) -> int:
    # Ids of all integer types differ where their low 32 bits do, but for rare ones, which a count may miss.
    return int(np.count_nonzero(border_of(np.ma.filled(objects, 0).astype(np.uint32).view(np.int32))))


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield windows in the middles of equal shares of the image."""
    counts = [min(WINDOWS, max(1, n // WINDOW)) for n in shape]
    for index in np.ndindex(*counts):
        middles = [(2 * k + 1) * n // (2 * count) for k, n, count in zip(index, shape, counts, strict=True)]
        starts = [max(0, min(middle - WINDOW // 2, n - WINDOW)) for middle, n in zip(middles, shape, strict=True)]
        yield tuple(slice(start, min(start + WINDOW, n)) for start, n in zip(starts, shape, strict=True))


def _part_around(window: tuple[slice, ...], shape: tuple[int, ...], n_points: int) -> tuple[slice, ...]:
    """Return the part of so many pixels around a window: a cube, but for axes that are shorter."""
    sides = np.zeros(len(shape), np.int64)
    for axis in np.argsort(shape):
        left = len(shape) - np.count_nonzero(sides)
        room = n_points / max(1, sides[sides > 0].prod())
        sides[axis] = min(shape[axis], int(room ** (1 / left)))
    middles = [(part.start + part.stop) // 2 for part in window]
    starts = [int(min(max(m - s // 2, 0), n - s)) for m, s, n in zip(middles, sides, shape, strict=True)]
    return tuple(slice(start, start + int(side)) for start, side in zip(starts, sides, strict=True))


def _first_objects(problem: ObjectProblem, index: tuple[int, ...]) -> _Found:
    """Return the first piece of a frame that has objects; all pieces before it are read."""
    objects, shape = problem.objects, problem.grid.shape
    pieces = da.core.normalize_chunks(
        "auto", objects.shape, limit=PIECE_BYTES, dtype=objects.dtype, previous_chunks=objects.chunks
    )
    for where in da.core.slices_from_chunks(pieces):
        found = np.argwhere(np.ma.filled(read(objects[where]), 0))
        if len(found):
            places = [part.start + int(n) for part, n in zip(where, found[0], strict=True)]
            return 1, index, _part_around(tuple(slice(n, n + 1) for n in places), shape, problem.sample_points)
    return 0, index, tuple(slice(0, n) for n in shape)


@dataclass(frozen=True, eq=False)
class Choice:
    """What is chosen once for all tiles and frames.

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
        """(n_axes,): the side in pixels along each axis that all but the largest hundredth of the objects keep to."""
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
        Changes parameters, those that are chosen too: the balance is found with these, unless they have a label bias.

    Raises
    ------
    ValueError
        Where what is given is none for objects.
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
    for kernel in params.kernels:
        problem.grid.position_sigmas(kernel.position_sigma)
        if kernel.intensity_sigma is not None:
            grid.intensity_sigmas(kernel.intensity_sigma, problem.n_channels)
    common = ObjectCommon(
        params, border, problem.grid.spacing, problem.channel_axis, one_contrast, refiner.contrast.of_typical
    )
    return Choice(sample, refiner, common, why)


def with_probe(common: ObjectCommon, problem: ObjectProblem) -> ObjectCommon:
    """Return what tiles of this image share, with the probe of the whole, at one contrast where that is wanted."""
    if not common.one_contrast:
        return replace(common, probe=read_probe(problem.grid.shape, lambda where: read(problem.image[where])))
    margins = [math.ceil(margin) for margin in margins_of(common)]

    def even(where: tuple[slice, ...]) -> NDArray[np.float32]:
        """Return a window at one contrast, for which its surroundings are looked at."""
        outer = tuple(
            slice(max(part.start - margin, 0), min(part.stop + margin, n))
            for part, margin, n in zip(where, margins, problem.grid.shape, strict=True)
        )
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(where, outer, strict=True))
        image, objects = read(problem.image[outer]), np.ma.filled(read(problem.objects[outer]), 0)
        return without_objects(common, image, objects)[inner]

    return replace(common, probe=read_probe(problem.grid.shape, even))


def without_objects(common: ObjectCommon, image: NDArray[Any], objects: NDArray[Any]) -> NDArray[np.float32]:
    """Return a part at one contrast, channels last; one without any object has that of what lies around objects."""
    if objects.any():
        terms = common.refiner(image, objects, (0,) * objects.ndim).terms
        return terms.intensities.reshape(*objects.shape, -1)
    _, intensities, _ = grid.from_image(image, common.spacing, common.channel_axis)
    return (intensities - common.typical.ring.astype(np.float32)).reshape(*objects.shape, -1)


def margins_of(common: ObjectCommon) -> NDArray[np.float64]:
    """Return (n_axes,): how far in pixels the contrast of an object is felt, beyond the object."""
    steps = np.array(common.spacing) / min(common.spacing)
    margins: NDArray[np.float64] = RING / steps + FIELD_SIGMAS * max(1.0, SMOOTH * common.typical.diameter)
    return margins
