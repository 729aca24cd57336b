"""What tiles are cut from: a lazy image, and the lazy arrays that have its pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf import grid
from napari_densecrf.crf.grid import Grid
from napari_densecrf.params import CRFParams

from .dask_arrays import lazy


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """A lazy image whose shape is checked.

    Parameters
    ----------
    image : dask array
        (*spatial), or (*spatial, n_channels).
    grid : Grid
        Of the whole image.
    """

    image: da.Array
    grid: Grid

    @property
    @abstractmethod
    def others(self) -> tuple[da.Array | None, ...]:
        """The arrays beside the image. The last axes of each are the spatial ones; None = not given."""

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels in the image: the last, or None."""
        return -1 if self.image.ndim > len(self.grid.shape) else None

    @property
    def n_channels(self) -> int:
        """Number of channels; 1 without an axis of channels."""
        return 1 if self.channel_axis is None else int(self.image.shape[-1])

    def part(self, where: tuple[slice, ...]) -> tuple[da.Array | None, ...]:
        """Return a part of the image, and of each of the others; ``where`` has one slice a spatial axis."""
        return self.image[where], *(None if other is None else other[(..., *where)] for other in self.others)

    def check_sigmas(self, params: CRFParams) -> None:
        """Raise `ValueError` where a kernel has sigmas for another number of axes or channels."""
        for kernel in params.kernels:
            self.grid.position_sigmas(kernel.position_sigma)
            if kernel.intensity_sigma is not None:
                grid.intensity_sigmas(kernel.intensity_sigma, self.n_channels)


def lazy_image(image: Any, spacing: Sequence[float] | float | None, channel_axis: int | None) -> tuple[da.Array, Grid]:
    """Return an image as a lazy array with channels last, and its grid; errors are those of `grid.of_shape`."""
    pixels = lazy(image)
    whole = grid.of_shape(pixels.shape, pixels.dtype, spacing, channel_axis)
    return pixels if channel_axis is None else da.moveaxis(pixels, channel_axis, -1), whole


def read(part: Any) -> NDArray[Any]:
    """Return the pixels of a lazy array: a NumPy array, masked where pixels are."""
    return np.asanyarray(part.compute(scheduler="threads"))
