"""A few windows of a whole image, by which all its parts choose the same lattice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.door.missing import without_mask

# Windows of a probe along each axis, and their size: 16 to 18 windows of about a thousand pixels.
PROBE_WINDOWS = {1: (16,), 2: (4, 4), 3: (2, 3, 3)}
PROBE_SIZE = {1: 1024, 2: 32, 3: 10}


@dataclass(frozen=True)
class Probe:
    """A few windows, spread over a whole image, by which its parts choose how fine their lattice is.

    Parameters
    ----------
    shape : tuple of int
        Pixels of the whole image along each spatial axis.
    window : tuple of int
        Pixels of a window along each axis.
    origins : tuple of tuple of int
        Index of the first pixel of each window within the whole image.
    intensities : (n_windows, n_window_points, n_channels) float32
        The least of each channel where a pixel has no value: so many vertices have few.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    origins: tuple[tuple[int, ...], ...]
    intensities: NDArray[np.float32]


def take_probe(image: Any, channel_axis: int | None = None) -> Probe:
    """Take the probe out of a whole image, as `Refiner` and `refine` want it for a part of that image.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; one to three spatial axes. It is only sliced, so that of a
        lazy array some 16 thousand pixels are read.
    channel_axis : int, optional
        Axis of the channels; None = gray.
    """
    array = image if hasattr(image, "shape") else np.asarray(image)
    if channel_axis is None:
        return read_probe(array.shape, lambda slices: array[slices])
    channel = channel_axis % len(array.shape)

    def read(slices: tuple[slice, ...]) -> Any:
        picks = (*slices[:channel], slice(None), *slices[channel:])
        return np.moveaxis(np.asanyarray(array[picks]), channel, -1)

    return read_probe((*array.shape[:channel], *array.shape[channel + 1 :]), read)


def read_probe(shape: tuple[int, ...], read: Callable[[tuple[slice, ...]], Any]) -> Probe:
    """Take the probe of an image of this shape that ``read`` reads by slices, with channels last if it has any."""
    window = tuple(min(size, PROBE_SIZE[len(shape)]) for size in shape)
    starts = []
    for size, width, count in zip(shape, window, PROBE_WINDOWS[len(shape)], strict=True):
        # In the middle of each of ``count`` equal shares of the axis.
        middles = ((2 * k + 1) * size // (2 * count) for k in range(count))
        starts.append([min(max(middle - width // 2, 0), size - width) for middle in middles])
    origins = tuple(itertools.product(*starts))
    windows = []
    for origin in origins:
        slices = tuple(slice(start, start + width) for start, width in zip(origin, window, strict=True))
        windows.append(without_mask(read(slices)).astype(np.float32).reshape(math.prod(window), -1))
    return Probe(tuple(shape), window, origins, _filled(np.stack(windows)))


def _filled(intensities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the least of each channel where numbers are not finite."""
    finite = np.isfinite(intensities)
    if finite.all():
        return intensities
    least = np.where(finite, intensities, np.inf).min(axis=(0, 1))
    return np.where(finite, intensities, np.where(np.isfinite(least), least, np.float32(0)))
