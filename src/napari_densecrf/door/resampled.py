"""A map on the pixels of an image that has others: coarser, finer, cropped, or moved along its axes.

Nothing is read before a part is asked for, and then only the part of the map that lies under it. So the same object
serves one slice on the screen, all frames of a long run, and a script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from .values import probabilities_of

# Positions this near to a pixel of the map, in its pixels, are on it: what is left is rounding.
ON_PIXEL = 1e-3
# Logits are those of probabilities clipped to this, as the model clips them.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Along:
    """Where the pixels of an image lie among those of its map, along one axis: pixel i lies at ``scale * i + offset``.

    Parameters
    ----------
    scale : float
        Pixels of the map a pixel of the image: 0.5 for a map at half resolution. Not 0.
    offset : float
        Where the first pixel of the image lies.
    """

    scale: float = 1.0
    offset: float = 0.0

    def at(self, pixels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return where pixels of the image lie; on a pixel of the map where they are near."""
        places = self.scale * pixels + self.offset
        return np.where(np.abs(places - np.round(places)) < ON_PIXEL, np.round(places), places)

    def covers(self, pixels: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
        """Tell which pixels of the image a map of so many pixels covers.

        From half a pixel before its first pixel to one behind its last: the levels of a pyramid are often placed
        without the half pixel by which their centres are shifted.
        """
        places = self.at(pixels)
        return np.logical_and(places >= -0.5 - ON_PIXEL, places < size)

    def is_same(self, size: int) -> bool:
        """Tell whether each of so many pixels lies on the pixel of its number, to within a quarter of one."""
        ends = self.at(np.array([0, size - 1])) - (0, size - 1)
        return bool(np.abs(ends).max() < 0.25)

    def share(self, size: int, map_size: int) -> float:
        """Return 0..1: how much of an axis of an image of so many pixels a map covers."""
        return float(self.covers(np.arange(size), map_size).mean())


@dataclass(frozen=True, eq=False)
class MapOnImage:
    """A map as an array on the pixels of an image; slicing it reads and computes the part.

    Parameters
    ----------
    source : array_like
        The map: has a shape, a dtype and slices. Floats from 0 to 1 or unsigned integers, whose largest number is 1;
        or labels of any integers.
    shape_on_image : tuple of int
        (*spatial) of the image.
    along : sequence of Along
        One for each of these axes.
    axes : sequence of int, optional
        Which axis of the source each of these is, -1 for one of a single pixel that the source lacks; None = all but
        ``class_axis``, in their order.
    class_axis : int, optional
        Axis of the classes in the source; None for the foreground of two classes, or labels.
    none : int, optional
        The source holds labels, and this stands where it does not cover the image.

    Notes
    -----
    Probabilities are interpolated linearly along each axis as logits, ``log p`` of each class: what the model adds up.
    They come as float32, classes first, and are NaN where the map does not cover the image. Of labels the nearest is
    taken. Where pixels lie on pixels, as in a crop, nothing is interpolated.
    """

    source: Any
    shape_on_image: tuple[int, ...]
    along: Sequence[Along]
    axes: Sequence[int] | None = None
    class_axis: int | None = None
    none: int | None = None
    _token: str = field(default_factory=lambda: uuid4().hex, repr=False)

    def __post_init__(self) -> None:
        """Check that there is one axis of the map for each of the image's."""
        if not len(self.along) == len(self._axes) == len(self.shape_on_image):
            raise ValueError(
                f"the map has {len(self._axes)} spatial axes, and {len(self.along)} places along them: expected "
                f"{len(self.shape_on_image)}, as the image has"
            )

    @property
    def _axes(self) -> tuple[int, ...]:
        if self.axes is not None:
            return tuple(self.axes)
        classes = None if self.class_axis is None else self.class_axis % len(self.source.shape)
        return tuple(axis for axis in range(len(self.source.shape)) if axis != classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_classes, *spatial), or (*spatial)."""
        classes = () if self.class_axis is None else (int(self.source.shape[self.class_axis]),)
        return *classes, *self.shape_on_image

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, or the type of the labels."""
        if self.none is None:
            return np.dtype(np.float32)
        return np.dtype(np.uint8) if self.source.dtype == bool else np.dtype(self.source.dtype).newbyteorder("=")

    @property
    def share(self) -> float:
        """0..1: how much of the image the map covers."""
        sizes = [self._size(axis) for axis in self._axes]
        return math.prod(
            one.share(size, map_size)
            for one, size, map_size in zip(self.along, self.shape_on_image, sizes, strict=True)
        )

    def __dask_tokenize__(self) -> str:
        """Name it for Dask, which would else read all of it for that."""
        return self._token

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Return a part: integers and slices, one for each axis."""
        return self.resampled(self.under(index), index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Compute all."""
        return np.asarray(self[...], dtype)

    def under(self, index: Any) -> NDArray[Any]:
        """Read the pixels of the map that lie under a part, as they are: (n_classes, *spatial), 1 for no classes."""
        slabs = [line.slab for line in self._lines(index)]
        there = {axis: slab for axis, slab in zip(self._axes, slabs, strict=True) if axis >= 0}
        if self.class_axis is not None:
            there[self.class_axis % len(self.source.shape)] = slice(None)
        # All other axes are of one pixel.
        part = self.source[tuple(there.get(axis, 0) for axis in range(len(self.source.shape)))]
        pixels: NDArray[Any] = np.asanyarray(part.compute(scheduler="threads") if hasattr(part, "compute") else part)
        kept = sorted(there)
        wanted = [axis for axis in self._axes if axis >= 0]
        classes = [] if self.class_axis is None else [self.class_axis % len(self.source.shape)]
        pixels = pixels.transpose([kept.index(axis) for axis in (*classes, *wanted)])
        spatial = (slice(None) if axis >= 0 else None for axis in self._axes)
        whole: NDArray[Any] = pixels[(slice(None) if classes else None, *spatial)]
        return whole

    def resampled(self, under: NDArray[Any], index: Any) -> NDArray[Any]:
        """Return a part from the pixels of the map under it, which `under` has read."""
        lines = self._lines(index)
        covered = _outer([line.covered for line in lines])
        if not under.size:
            planes: NDArray[Any] = np.zeros((len(under), *covered.shape), self.dtype)
        elif self.none is not None:
            planes = _taken(under.astype(self.dtype), lines)
        else:
            planes = _interpolated(probabilities_of(under), lines)
        if not covered.all():
            planes[:, ~covered] = np.nan if self.none is None else self.none
        classes, *picks = self._picks(index)
        part: NDArray[Any] = planes[(slice(None), *(slice(None) if isinstance(pick, slice) else 0 for pick in picks))]
        chosen: NDArray[Any] = part[0] if self.class_axis is None else part[classes]
        return chosen

    def _lines(self, index: Any) -> list[_Line]:
        _, *picks = self._picks(index)
        return [
            _line(one, np.atleast_1d(np.arange(size)[pick]), self._size(axis), nearest=self.none is not None)
            for one, size, axis, pick in zip(self.along, self.shape_on_image, self._axes, picks, strict=True)
        ]

    def _picks(self, index: Any) -> list[Any]:
        """Return one pick for the classes, and one for each spatial axis."""
        picks = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in picks:
            at = picks.index(Ellipsis)
            picks[at : at + 1] = [slice(None)] * (self.ndim - len(picks) + 1)
        picks += [slice(None)] * (self.ndim - len(picks))
        return picks if self.class_axis is not None else [slice(None), *picks]

    def _size(self, axis: int) -> int:
        return int(self.source.shape[axis]) if axis >= 0 else 1


@dataclass(frozen=True, eq=False)
class Stacked:
    """Arrays of one shape as one, each a plane along a new first axis; a part is read when it is sliced.

    Parameters
    ----------
    planes : tuple of array_like
    as_masks : bool
        Whether all that matters is what is 0: others are 1.
    """

    planes: tuple[Any, ...]
    as_masks: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_planes, *shape)."""
        return len(self.planes), *self.planes[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds the values of all."""
        if self.as_masks:
            return np.dtype(np.uint8)
        return np.result_type(*(plane.dtype for plane in self.planes))

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Read a part: slices or integers, the first of them a slice of the planes."""
        which, *where = index
        parts = [plane[tuple(where)] for plane in self.planes[which]]
        read = [part.compute(scheduler="threads") if hasattr(part, "compute") else np.asarray(part) for part in parts]
        return np.stack([(part != 0).astype(np.uint8) for part in read] if self.as_masks else read)


class _Line(NamedTuple):
    """Which pixels of the map lie around those of the image, along one axis; all (n_pixels,).

    covered : bool
    low, high : int, within the slab
    share : float32
        0..1, of the higher.
    slab : slice
        What of the map is read.
    """

    covered: NDArray[np.bool_]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]
    slab: slice


def _line(along: Along, pixels: NDArray[np.integer], size: int, *, nearest: bool) -> _Line:
    covered = along.covers(pixels, size)
    places = np.clip(along.at(pixels), 0, size - 1)
    if nearest:
        places = np.floor(places + 0.5)
    low = np.floor(places).astype(np.intp)
    share = (places - low).astype(np.float32)
    high = low + (share > 0)
    if not covered.any():
        return _Line(covered, low, high, share, slice(0, 0))
    first, last = int(min(low[covered])), int(max(high[covered]))
    within = [np.clip(one - first, 0, last - first) for one in (low, high)]
    return _Line(covered, within[0], within[1], share, slice(first, last + 1))


def _outer(along: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return (*spatial): where all axes say so."""
    covered: NDArray[np.bool_] = reduce(np.logical_and.outer, along)
    return covered


def _taken(planes: NDArray[Any], lines: Sequence[_Line]) -> NDArray[Any]:
    for axis, line in enumerate(lines, start=1):
        planes = planes.take(line.low, axis=axis)
    return planes


def _interpolated(planes: NDArray[np.float32], lines: Sequence[_Line]) -> NDArray[np.float32]:
    """Return probabilities at the pixels of the image: (n_classes, *spatial), or (1, *spatial) of the foreground."""
    planes = planes.astype(np.float32, copy=False)
    if not any(line.share.any() for line in lines):
        return _taken(planes, lines)
    foreground = len(planes) == 1
    both = np.concatenate([1 - planes, planes]) if foreground else planes
    logs: NDArray[np.float32] = np.log(np.clip(both, np.float32(SMALLEST), 1))
    for axis, line in enumerate(lines, start=1):
        share = line.share.reshape(-1, *(1,) * (logs.ndim - 1 - axis))
        low = logs.take(line.low, axis=axis)
        logs = low + share * (logs.take(line.high, axis=axis) - low)
    logs -= logs.max(axis=0)
    np.exp(logs, out=logs)
    logs /= logs.sum(axis=0)
    return logs[1:] if foreground else logs
