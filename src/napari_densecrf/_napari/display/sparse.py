"""Labels of a large stack or slide of which little has been refined: memory for that part alone."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Larger arrays are sparse: filling one takes all its memory at once, however little of it is ever refined.
SPARSE_BYTES = 2**28
# Sides of a tile along y and x; along all other axes it has one pixel.
SIDE = 1024


def filled(shape: tuple[int, ...], dtype: DTypeLike, value: float) -> Any:
    """Return an array of one value: in memory where it is small, else sparse. Zeros cost nothing until they change."""
    dtype = np.dtype(dtype)
    if value == 0:
        return np.zeros(shape, dtype)
    if math.prod(shape) * dtype.itemsize <= SPARSE_BYTES:
        return np.full(shape, value, dtype)
    return SparseLabels(shape, dtype, value)


class SparseLabels:
    """An array of which the tiles that were written take memory; all else is one value.

    It is read and written with integers and slices, as napari's layers do; NumPy gets all of it by ``np.asarray``.

    Parameters
    ----------
    shape : tuple of int
        Of two axes or more.
    dtype : numpy dtype
    value : float
        A number of that type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, value: float) -> None:
        self.shape, self.dtype, self.value = tuple(shape), np.dtype(dtype), value
        self._sides = (1,) * (len(shape) - 2) + (SIDE, SIDE)
        self._tiles: dict[tuple[int, ...], NDArray[Any]] = {}

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def n_bytes_held(self) -> int:
        """Memory of what has been written."""
        return sum(tile.nbytes for tile in self._tiles.values())

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return a part, as an array in memory."""
        ranges, dropped = self._ranges(index)
        # Upwards; what was asked for downwards is turned at the end.
        upward = [along if along.step > 0 else along[::-1] for along in ranges]
        part = np.full([len(along) for along in upward], self.value, self.dtype)
        for key, here, there in self._overlaps(upward):
            if key in self._tiles:
                part[there] = self._tiles[key][here]
        part = part[tuple(slice(None, None, -1 if along.step < 0 else 1) for along in ranges)]
        found = part[tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))]
        return found if isinstance(found, np.ndarray) else self.dtype.type(found)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Write a part."""
        ranges, dropped = self._ranges(index)
        if any(along.step < 0 for along in ranges):
            raise IndexError("sparse labels are written upwards")
        kept = [len(along) for axis, along in enumerate(ranges) if axis not in dropped]
        whole = np.broadcast_to(np.asarray(values), kept).reshape([len(along) for along in ranges])
        for key, here, there in self._overlaps(ranges):
            if key not in self._tiles:
                sizes = (
                    min(side, size - number * side)
                    for number, side, size in zip(key, self._sides, self.shape, strict=True)
                )
                self._tiles[key] = np.full(tuple(sizes), self.value, self.dtype)
            self._tiles[key][here] = whole[there]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it in memory."""
        return np.asarray(self[(...,)], dtype)

    def _ranges(self, index: Any) -> tuple[list[range], set[int]]:
        """Return which pixels an index takes along each axis, and the axes that it takes one pixel of."""
        picks = list(index) if isinstance(index, tuple) else [index]
        if any(pick is Ellipsis for pick in picks):
            at = next(k for k, pick in enumerate(picks) if pick is Ellipsis)
            picks[at : at + 1] = [slice(None)] * (self.ndim - len(picks) + 1)
        picks += [slice(None)] * (self.ndim - len(picks))
        ranges, dropped = [], set()
        for axis, (pick, size) in enumerate(zip(picks, self.shape, strict=True)):
            if isinstance(pick, slice):
                ranges.append(range(size)[pick])
            else:
                # Raises where it is no integer, or outside.
                at = range(size)[int(pick)]
                ranges.append(range(at, at + 1))
                dropped.add(axis)
        return ranges, dropped

    def _overlaps(self, ranges: list[range]) -> Any:
        """Yield the number of each tile that has some of the pixels, their place in it, and in what is taken."""
        along_axes = []
        for along, side in zip(ranges, self._sides, strict=True):
            parts = []
            for number in range(along[0] // side, along[-1] // side + 1) if along else ():
                first = max(0, -((along.start - number * side) // along.step))
                last = min(len(along), -((along.start - (number + 1) * side) // along.step))
                if first < last:
                    start = along[first] - number * side
                    here = slice(start, along[last - 1] - number * side + 1, along.step)
                    parts.append((number, here, slice(first, last)))
            along_axes.append(parts)
        for chosen in product(*along_axes):
            yield tuple(one[0] for one in chosen), tuple(one[1] for one in chosen), tuple(one[2] for one in chosen)
