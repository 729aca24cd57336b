"""The problem that tiles solve: lazy inputs with checked shapes, and the values that all tiles share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.choose.start import first_params
from napari_densecrf.crf import grid
from napari_densecrf.crf.grid import Grid
from napari_densecrf.crf.meanfield import compatibility_arrays
from napari_densecrf.crf.probe import Probe, take_probe
from napari_densecrf.crf.refine import Refiner
from napari_densecrf.crf.unary import check_strokes, check_values, count_labels
from napari_densecrf.params import CRFParams

from .dask_arrays import lazy


@dataclass(frozen=True, eq=False)
class Common:
    """Values that all tiles of an image share."""

    params: CRFParams
    spacing: tuple[float, ...]
    channel_axis: int | None
    probe: Probe

    def refiner(self, image: NDArray[Any], origin: tuple[int, ...]) -> Refiner:
        """Return the refiner of a part of the image."""
        return Refiner(image, spacing=self.spacing, channel_axis=self.channel_axis, origin=origin, probe=self.probe)


@dataclass(frozen=True, eq=False)
class Problem:
    """An image, its map and its strokes, lazy and checked; channels are on the last axis of the image.

    Parameters
    ----------
    image : dask array
        (*spatial), or with channels last.
    probabilities : dask array
        (n_labels, *spatial), or (*spatial).
    strokes : dask array, optional
        (*spatial).
    params : CRFParams
    grid : Grid
        Of the whole image.
    n_labels : int
    has_channels : bool
    probe : Probe
        Of the whole image.
    """

    image: da.Array
    probabilities: da.Array
    strokes: da.Array | None
    params: CRFParams
    grid: Grid
    n_labels: int
    has_channels: bool
    probe: Probe

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels."""
        return -1 if self.has_channels else None

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.image.shape[-1]) if self.has_channels else 1

    @property
    def foreground(self) -> bool:
        """Whether the map is the foreground of two classes, without an axis of classes."""
        return self.grid.matches(self.probabilities.shape)

    @property
    def common(self) -> Common:
        """Values that its tiles share."""
        return Common(self.params, self.grid.spacing, self.channel_axis, self.probe)

    def part(self, where: tuple[slice, ...]) -> tuple[da.Array, da.Array, da.Array | None]:
        """Return a part of the image, of the map and of the strokes."""
        of_map = where if self.foreground else (slice(None), *where)
        return self.image[where], self.probabilities[of_map], None if self.strokes is None else self.strokes[where]


def problem_of(
    image: Any,
    probabilities: Any,
    params: CRFParams | None,
    spacing: Sequence[float] | float | None,
    channel_axis: int | None,
    strokes: Any,
    *,
    is_part: bool,
) -> Problem:
    """Check the shapes of the inputs, and read the probe; parameters are those of `refine_tiles`.

    What the numbers of the map are is looked at too, unless it is a part, as a frame is: that does not tell.
    """
    lazy_image, lazy_map = lazy(image), lazy(probabilities)
    lazy_strokes = None if strokes is None else lazy(strokes)
    if params is None:
        params = first_params(image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=is_part)
    whole = grid.of_shape(lazy_image.shape, lazy_image.dtype, spacing, channel_axis)
    if not is_part:
        check_values(probabilities if hasattr(probabilities, "dtype") else lazy_map, whole)
    n_labels = count_labels(lazy_map.shape, lazy_map.dtype, whole)
    compatibility_arrays(params, n_labels)
    if lazy_strokes is not None:
        check_strokes(lazy_strokes.shape, lazy_strokes.dtype, whole)
    # Slicing an array in memory is much faster than slicing its lazy array.
    probe = take_probe(image if isinstance(image, np.ndarray) else lazy_image, channel_axis)
    if channel_axis is not None:
        lazy_image = da.moveaxis(lazy_image, channel_axis, -1)
    problem = Problem(lazy_image, lazy_map, lazy_strokes, params, whole, n_labels, channel_axis is not None, probe)
    for kernel in params.kernels:
        whole.position_sigmas(kernel.position_sigma)
        if kernel.intensity_sigma is not None:
            grid.intensity_sigmas(kernel.intensity_sigma, problem.n_channels)
    return problem
