"""The features of all points, and the strides of the keys that name the vertices between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .simplex import Features

MAX_KEY_BITS = 62
POINTS_IN_A_ROW = 1024


def grid_features(
    shape: tuple[int, ...],
    origin: tuple[int, ...],
    steps: NDArray[np.float64],
    intensities: NDArray[np.float32],
    channel_steps: NDArray[np.float64],
) -> Features:
    """Return the features of the pixels of a grid; parameters are those of `Lattice.on_grid`."""
    return Features(
        np.array(shape, np.int64),
        np.array(origin, np.int64),
        np.asarray(steps, np.float64),
        intensities,
        channel_steps,
    )


def key_strides(features: Features, scales: tuple[float, ...]) -> tuple[int, ...]:
    """Return the strides of the vertex keys, see simplex.py; ``scales`` are those of `Blur.scales`.

    Raises
    ------
    MemoryError
        Where the keys would not fit their bits.
    """
    d = len(scales)
    lowest, highest = (bound * np.array(scales) for bound in _bounds(features))
    extents = []
    for i in range(d):
        # Coordinate i is the sum of the features from i on, less i times feature i - 1. Rounding, the simplex and
        # a ring reach less than 3 (d + 1) beyond it on either side.
        span = (highest[i:] - lowest[i:]).sum() + (i * (highest[i - 1] - lowest[i - 1]) if i else 0.0)
        extents.append(math.ceil(span / (d + 1)) + 6)
    bits = sum(math.log2(extent) for extent in extents) + 2 * math.log2(d + 1) + 1
    if bits > MAX_KEY_BITS:
        raise MemoryError(
            f"the lattice spans {' x '.join(map(str, extents))} cells in {d} dimensions, {bits:.0f} bits to number "
            f"them where {MAX_KEY_BITS} are at hand: take larger sigmas, fewer channels or a smaller image"
        )
    strides = [1]
    for i, extent in enumerate(extents[:-1]):
        # Coordinates run in steps of d + 1; every stride but the first is a multiple of d + 1.
        strides.append(strides[-1] * (-(-extent // (d + 1)) * (d + 1) if i == 0 else extent))
    return (*strides, 0)


def _bounds(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest of each feature, before the lattice's scale; positions are from 0 on."""
    least, most = _extremes(features.intensities)
    lowest = [*(0.0 * features.steps), *(least * features.channel_steps)]
    highest = [*((features.shape - 1) * features.steps), *(most * features.channel_steps)]
    return np.array(lowest, float), np.array(highest, float)


def _extremes(intensities: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the most of each channel.

    Many points go side by side, as numpy is slow along an axis of few channels.
    """
    n_points, n_channels = intensities.shape
    n_rows = n_points // POINTS_IN_A_ROW
    in_rows = intensities[: n_rows * POINTS_IN_A_ROW].reshape(n_rows, POINTS_IN_A_ROW * n_channels)
    rest = intensities[n_rows * POINTS_IN_A_ROW :]
    found = []
    for reduce in (np.minimum.reduce, np.maximum.reduce):
        rows = reduce(in_rows, axis=0).reshape(-1, n_channels) if n_rows else rest
        found.append(reduce(np.concatenate([rows, rest]), axis=0))
    return found[0], found[1]
