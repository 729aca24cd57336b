"""Numbers to begin with, that do no harm: for whatever map, or tried on the map at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from napari_densecrf.crf.probe import Probe, take_probe
from napari_densecrf.crf.refine import Refinement, Refiner
from napari_densecrf.params import CRFParams

from .suggest import WEAKEST, suggest_steps
from .trials import units_of_probe


def safe_params(
    image: ArrayLike, *, spacing: Sequence[float] | float | None = None, channel_axis: int | None = None
) -> CRFParams:
    """Return weak parameters in an image's own range and pixels, which harm little whatever the map.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype. Of a lazy one a few
        windows are read.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis; sigmas of position are in its unit. None = pixels.
    channel_axis : int, optional
        Axis of the channels; None = gray.

    Returns
    -------
    CRFParams
    """
    probe = take_probe(image, channel_axis)
    sizes = np.atleast_1d(1.0 if spacing is None else spacing)
    dtype = getattr(image, "dtype", None)
    colours = channel_axis is not None and dtype == np.uint8
    return WEAKEST.in_units(units_of_probe(probe, float(sizes.min()), colours=colours)).params


def first_params(
    image: ArrayLike,
    probabilities: ArrayLike,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    is_part: bool = False,
) -> CRFParams:
    """Return the best of a few settings for a map, tried on a part of it; without strength where none is better.

    Parameters and errors are those of `suggest_steps`.
    """
    *_, last = suggest_steps(
        image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=is_part, quick=True
    )
    if last.best is not None:
        return last.best
    weak = safe_params(image, spacing=spacing, channel_axis=channel_axis)
    return replace(weak, kernels=tuple(replace(kernel, weight=0.0) for kernel in weak.kernels))


def refine(
    image: ArrayLike,
    probabilities: ArrayLike,
    params: CRFParams | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    strokes: ArrayLike | None = None,
    origin: Sequence[int] | None = None,
    probe: Probe | None = None,
) -> Refinement:
    """Refine a probability map with a fully connected CRF on its image.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype.
    probabilities : array_like
        (n_labels, *spatial), or (*spatial): the foreground of two classes.
    params : CRFParams, optional
        None = the best of a few settings in this image's own range and pixels, or none of them where the map is better
        as it is; ``params`` of the result says which. `suggest` tries more of them.
    spacing, channel_axis, origin, probe
        As `Refiner` takes them.
    strokes : (*spatial) array_like of int, optional
        0 = free, k = this pixel is class k - 1.

    Returns
    -------
    Refinement

    Raises
    ------
    ValueError, MemoryError
        With one sentence that names what came and what is expected.

    Notes
    -----
    Mean field of the model of Kraehenbuehl and Koltun (NIPS 2011), with j != i as written; docs/model.md.
    """
    refiner = Refiner(image, spacing=spacing, channel_axis=channel_axis, origin=origin, probe=probe)
    if params is None:
        is_part = origin is not None or probe is not None
        params = first_params(image, probabilities, spacing=spacing, channel_axis=channel_axis, is_part=is_part)
    return refiner.refine(probabilities, params, strokes=strokes)
