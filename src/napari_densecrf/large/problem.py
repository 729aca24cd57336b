"""The refinement of an image and its map that is done in tiles, and what all tiles share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.choose.start import first_params
from napari_densecrf.crf.meanfield import compatibility_arrays
from napari_densecrf.crf.probe import Probe, take_probe
from napari_densecrf.crf.refine import Refiner
from napari_densecrf.crf.unary import check_strokes, check_values, count_labels
from napari_densecrf.params import CRFParams

from .dask_arrays import lazy
from .inputs import Inputs, lazy_image


@dataclass(frozen=True, eq=False)
class Common:
    """What all tiles of an image share.

    Parameters
    ----------
    params : CRFParams
    spacing : tuple of float
        Size of a pixel along each spatial axis.
    channel_axis : int, optional
    probe : Probe
        Of the whole image.
    """

    params: CRFParams
    spacing: tuple[float, ...]
    channel_axis: int | None
    probe: Probe

    def refiner(self, image: NDArray[Any], origin: tuple[int, ...]) -> Refiner:
        """Return the refiner of a part of the image; ``origin`` is the index of its first pixel in the whole."""
        return Refiner(image, spacing=self.spacing, channel_axis=self.channel_axis, origin=origin, probe=self.probe)


@dataclass(frozen=True, eq=False)
class Problem(Inputs):
    """An image, its map and its strokes, lazy and checked.

    Parameters
    ----------
    image, grid
        As `Inputs` has them.
    probabilities : dask array
        (n_labels, *spatial), or (*spatial): the foreground of two classes.
    strokes : dask array, optional
        (*spatial).
    params : CRFParams
    n_labels : int
        Number of classes.
    probe : Probe
        Of the whole image.
    """

    probabilities: da.Array
    strokes: da.Array | None
    params: CRFParams
    n_labels: int
    probe: Probe

    @property
    def others(self) -> tuple[da.Array, da.Array | None]:
        """Map and strokes."""
        return self.probabilities, self.strokes

    @property
    def common(self) -> Common:
        """What its tiles share."""
        return Common(self.params, self.grid.spacing, self.channel_axis, self.probe)


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
    """Check the shapes of the inputs, and read the probe.

    Parameters
    ----------
    image, probabilities, params, spacing, channel_axis, strokes
        As `refine_tiles` takes them.
    is_part : bool
        Whether they are one frame of several. One frame does not tell whether numbers are probabilities, so this is
        checked only where it is False.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    lazy_map, lazy_strokes = lazy(probabilities), None if strokes is None else lazy(strokes)
    if params is None:
        params = first_params(image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=is_part)
    pixels, whole = lazy_image(image, spacing, channel_axis)
    if not is_part:
        check_values(probabilities if hasattr(probabilities, "dtype") else lazy_map, whole)
    n_labels = count_labels(lazy_map.shape, lazy_map.dtype, whole)
    compatibility_arrays(params, n_labels)
    if lazy_strokes is not None:
        check_strokes(lazy_strokes.shape, lazy_strokes.dtype, whole)
    # Slicing an array in memory is much faster than slicing its lazy array.
    probe = take_probe(image if isinstance(image, np.ndarray) else lazy(image), channel_axis)
    problem = Problem(pixels, whole, lazy_map, lazy_strokes, params, n_labels, probe)
    problem.check_sigmas(params)
    return problem
