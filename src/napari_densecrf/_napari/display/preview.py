"""A preview on the canvas: drawn over what a result layer shows, while its data stay the exact ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_densecrf._napari.problem.region import Region

from .result_layer import redraw


def draw_preview(layer: Labels, region: Region, values: NDArray[Any]) -> bool:
    """Draw labels of a region in place of those that a layer has there; return whether that could be done.

    napari is told that a part of the picture was painted on: that part alone goes to the canvas, at once, and nothing
    of the layer changes. Whatever draws the layer anew, as `clear_preview` does, shows its data again.
    """
    shown = layer._slice.image.raw
    if shown.ndim != 2 or not layer.visible:
        return False
    level = layer.data_level if layer.multiscale else 0
    corner = layer.corner_pixels[0, -2:] if layer.multiscale else np.zeros(2, int)
    part, offset = _placed(region, values, level, (int(corner[0]), int(corner[1])), shown.shape)
    if part.size:
        drawn = layer._raw_to_displayed(np.ascontiguousarray(part))
        layer.events.labels_update(data=drawn, offset=list(offset))
    return bool(part.size)


def clear_preview(layer: Labels) -> None:
    """Show the data of a layer again."""
    redraw(layer)


def _placed(
    region: Region, values: NDArray[Any], level: int, corner: tuple[int, int], shape: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return labels at the resolution of a level, cut to a picture of it, and where they lie in that.

    Parameters
    ----------
    region : Region
    values : (height, width) array
        Of the region.
    level : int
        Each pixel of the picture is 2**level wide.
    corner : (int, int)
        The picture's first pixel among those of its level.
    shape : (int, int)
        Of the picture.
    """
    pixel, offsets = 1 << level, []
    for axis, (first, _) in enumerate((region.y, region.x)):
        values, start = _at_pixel(values, axis, first, region.step, pixel)
        begin = start - corner[axis]
        inner = slice(max(0, -begin), max(0, shape[axis] - begin))
        values = values[inner] if axis == 0 else values[:, inner]
        offsets.append(max(0, begin))
    return values, (offsets[0], offsets[1])


def _at_pixel(values: NDArray[Any], axis: int, first: int, step: int, pixel: int) -> tuple[NDArray[Any], int]:
    """Return labels along an axis, repeated or left out to lie a pixel apart, and the number of the first pixel."""
    if step >= pixel:
        return values.repeat(step // pixel, axis=axis), first // pixel
    start = -first % pixel // step
    kept = slice(start, None, pixel // step)
    return values[kept] if axis == 0 else values[:, kept], (first + start * step) // pixel
