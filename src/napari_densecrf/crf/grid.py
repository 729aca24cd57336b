"""The grid of an image: the only place that knows axes and spacing. Behind it are points alone, (n_points, ...)."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.numba.memory import whole_empty
from napari_densecrf.door.missing import without_mask
from napari_densecrf.params import Sigma


@dataclass(frozen=True)
class Grid:
    """A regular grid of pixels; its points are the pixels in C order.

    Parameters
    ----------
    shape : tuple of int
        Pixels along each spatial axis.
    spacing : tuple of float
        Size of a pixel along each axis.
    origin : tuple of int
        Index of the first pixel within the whole image, where the grid is a part of one.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[int, ...]

    @property
    def n_points(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    def position_sigmas(self, sigma: Sigma) -> NDArray[np.float64]:
        """Return (n_axes,) sigmas in the unit of spacing."""
        return _one_each(sigma, len(self.shape), "position_sigma", "spatial axis")

    def pixel_sigmas(self, sigma: Sigma) -> NDArray[np.float64]:
        """Return (n_axes,) sigmas in pixels."""
        sigmas: NDArray[np.float64] = self.position_sigmas(sigma) / np.array(self.spacing)
        return sigmas

    def values(self, points: NDArray[np.generic]) -> NDArray[np.generic]:
        """Lay (n_points,) values out as (*spatial)."""
        return points.reshape(self.shape)

    def matches(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape has one value a pixel."""
        return tuple(shape) == self.shape

    def __str__(self) -> str:
        """Name the shape as errors do: ``512, 512``."""
        return ", ".join(map(str, self.shape))


def intensity_sigmas(sigma: Sigma, n_channels: int) -> NDArray[np.float64]:
    """Return (n_channels,) sigmas in the image's own units."""
    return _one_each(sigma, n_channels, "intensity_sigma", "channel")


def of_shape(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    origin: Sequence[int] | None = None,
) -> Grid:
    """Return the grid of an image whose pixels need not be at hand; parameters and errors are those of `from_image`."""
    if dtype.kind not in "iuf":
        raise ValueError(f"the image holds {dtype} values: expected integers or floating-point numbers")
    n_axes = len(shape) - (channel_axis is not None)
    if not 1 <= n_axes <= 3:
        channels = "" if channel_axis is None else f" with channels on axis {channel_axis}"
        raise ValueError(f"the image has shape {shape}{channels}: expected 2 or 3 spatial axes")
    if 0 in shape:
        raise ValueError(f"the image is empty, of shape {shape}: expected at least one pixel")
    if channel_axis is not None:
        if not -len(shape) <= channel_axis < len(shape):
            raise ValueError(f"channel_axis is {channel_axis}: the image has axes 0 to {len(shape) - 1}")
        channel_axis %= len(shape)
        shape = shape[:channel_axis] + shape[channel_axis + 1 :]
    return Grid(shape, _spacing(spacing, n_axes), _origin(origin, n_axes))


def robust_range(intensities: ArrayLike) -> float:
    """Return what 255 is to an 8-bit image: the span of intensities without the rarest 0.5 % at either end.

    Parameters
    ----------
    intensities : array_like
        Of any shape; NaN and infinite ones do not count. A few ten thousand are enough.

    Returns
    -------
    float
        Positive; 1 where all intensities are equal, or there are none.
    """
    sample = np.asarray(intensities)
    sample = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    low, high = np.percentile(sample, [0.5, 99.5]) if sample.size else (0.0, 0.0)
    return float(high - low) or 1.0


def from_image(
    image: ArrayLike,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    origin: Sequence[int] | None = None,
) -> tuple[Grid, NDArray[np.float32], NDArray[np.bool_] | None]:
    """Split an image into its grid, its intensities, and which of its pixels have a value.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; one to three spatial axes, any integer or float dtype. Pixels
        that are NaN or masked in any channel have no value.
    spacing : float or sequence of float, optional
        Size of a pixel, one number or one per spatial axis. None = 1.
    channel_axis : int, optional
    origin : sequence of int, optional
        Index of the first pixel within the whole image; None = zeros.

    Returns
    -------
    grid : Grid
    intensities : (n_points, n_channels) float32
        The least of each channel where a pixel has no value.
    valid : (n_points,) bool, optional
        Where there is a value; None = everywhere.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    array = without_mask(image)
    grid = of_shape(array.shape, array.dtype, spacing, channel_axis, origin)
    if channel_axis is not None:
        array = np.moveaxis(array, channel_axis, -1)
    if array.dtype == np.float32:
        intensities = np.ascontiguousarray(array)
    else:
        intensities = whole_empty(array.shape, np.float32)
        intensities[...] = array
    intensities = intensities.reshape(grid.n_points, -1)
    if array.dtype.kind == "f" and not np.isfinite(intensities).all():
        return grid, *_with_gaps(intensities)
    return grid, intensities, None


def _with_gaps(intensities: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return intensities that are finite everywhere, and where there is a value."""
    valid: NDArray[np.bool_] = np.logical_not(np.isnan(intensities).any(axis=1))
    n_infinite = np.count_nonzero(np.isinf(intensities[valid]).any(axis=1))
    if n_infinite:
        raise ValueError(
            f"the image has infinite values at {n_infinite:,} of {len(intensities):,} pixels: expected finite ones, or "
            "NaN where a region has no value"
        )
    # Within the range of the others, so that the lattice reaches no farther.
    least = intensities[valid].min(axis=0) if valid.any() else np.float32(0)
    return np.where(valid[:, None], intensities, least), valid


def _spacing(spacing: Sequence[float] | float | None, n_axes: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * n_axes
    sizes = np.asarray(spacing, dtype=float)
    if sizes.ndim == 0:
        sizes = np.full(n_axes, sizes)
    if sizes.shape != (n_axes,):
        raise ValueError(f"spacing has {sizes.size} numbers: expected {n_axes}, one per spatial axis")
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError(f"spacing is {tuple(sizes.tolist())}: expected positive, finite sizes")
    return tuple(sizes.tolist())


def _origin(origin: Sequence[int] | None, n_axes: int) -> tuple[int, ...]:
    if origin is None:
        return (0,) * n_axes
    indices = tuple(operator.index(index) for index in origin)
    if len(indices) != n_axes:
        raise ValueError(f"origin has {len(indices)} numbers: expected {n_axes}, one per spatial axis")
    return indices


def _one_each(sigma: Sigma, count: int, name: str, what: str) -> NDArray[np.float64]:
    sigmas = np.atleast_1d(np.asarray(sigma, dtype=float))
    if not isinstance(sigma, tuple):
        return np.full(count, sigmas[0])
    if len(sigmas) != count:
        raise ValueError(f"{name} has {len(sigmas)} numbers: expected one, or {count}, one per {what}")
    return sigmas
