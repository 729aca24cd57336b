"""Which region is wanted, and at which resolution: what the canvas shows, with the margin that its labels need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray

from .problem import Problem
from .region import Region

# Up to so many pixels a slice is refined whole, and a part of one at full resolution.
WHOLE_PIXELS = 2_000_000
# A slab of more voxels is shown more coarsely.
SLAB_VOXELS = 6_000_000
# A margin of so many reaches: what lies farther changes 2 labels in 10,000 on real images.
MARGIN_REACHES = 5
MAX_MARGIN = 512


@dataclass(frozen=True)
class View:
    """What the canvas shows.

    Parameters
    ----------
    point : tuple of float
        In the world: where the sliders of the axes stand.
    displayed : tuple of int
        Axes of the world that are shown.
    zoom : float
        Pixels of the canvas a world unit.
    centre : tuple of float
        Of the canvas, in the world: the shown axes.
    canvas : (int, int)
        Height and width of the canvas in pixels.
    """

    point: tuple[float, ...]
    displayed: tuple[int, ...]
    zoom: float
    centre: tuple[float, ...]
    canvas: tuple[int, int]

    @classmethod
    def of(cls, viewer: ViewerModel) -> View:
        """Return what a viewer shows now."""
        camera, dims = viewer.scene.camera, viewer.dims
        height, width = viewer.canvas.size
        return cls(tuple(dims.point), tuple(dims.displayed), camera.zoom, tuple(camera.center), (height, width))


def whole_slice(problem: Problem, point: Sequence[float]) -> Region:
    """Return the slice at a point of the world."""
    here = problem.image.world_to_data(point)
    shape = problem.shape
    index = tuple(
        int(np.clip(round(float(here[axis])), 0, size - 1))
        for axis, size in zip(problem.spatial_axes[:-2], shape, strict=False)
    )
    return Region(index, (0, shape[-2]), (0, shape[-1]))


def whole_of(problem: Problem, region: Region) -> Region:
    """Return the whole slice, or volume, that a region is a part of, at its step."""
    z = None if region.z is None else (0, problem.shape[-3])
    return replace(region, y=(0, problem.shape[-2]), x=(0, problem.shape[-1]), z=z)


def visible_part(problem: Problem, view: View, depth: int = 1) -> Region:
    """Return what the canvas shows of the slice, at full resolution or, where that is too much, at the canvas's own.

    With ``depth``, so many slices are refined for it: where those are too much, more coarsely still.
    """
    whole = whole_slice(problem, view.point)
    low, high = _shown_box(problem, view)
    height, width = problem.shape[-2:]
    y0, x0 = max(0, int(low[0]) - 1), max(0, int(low[1]) - 1)
    y1, x1 = min(height, int(high[0]) + 2), min(width, int(high[1]) + 2)
    part = Region(whole.index, (y0, y1), (x0, x1)) if y1 > y0 and x1 > x0 else whole
    data_pixels = 1 / (view.zoom * max(problem.spacing))
    step = 1
    while part.at_step(step).n_pixels > WHOLE_PIXELS and 2 * step <= data_pixels:
        step *= 2
    while depth > 1 and part.at_step(step).n_pixels * depth > SLAB_VOXELS:
        step *= 2
    return part.at_step(step)


def shown_of(problem: Problem, view: View, region: Region) -> Region:
    """Return what of a region is on the canvas, on the region's pixels; all of it where nothing is."""
    low, high = _shown_box(problem, view)
    step, sides = region.step, []
    for first, last, (begin, end) in zip(low, high, (region.y, region.x), strict=True):
        inner = max(begin, int(first) // step * step), min(end, int(last) + 2)
        if inner[0] >= inner[1]:
            return region
        sides.append(inner)
    return replace(region, y=sides[0], x=sides[1])


def _shown_box(problem: Problem, view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest (y, x) of the image's data on the canvas.

    Taken from the camera: a layer's own ``corner_pixels`` follow only when it is drawn.
    """
    half = np.array(view.canvas, float) / (2 * view.zoom)
    shown = list(view.displayed[-2:])
    corners = []
    for signs in product((-1, 1), repeat=2):
        point = np.array(view.point, float)
        point[shown] = np.array(view.centre[-2:]) + half * signs
        corners.append(np.asarray(problem.image.world_to_data(point))[list(problem.spatial_axes[-2:])])
    return np.min(corners, axis=0), np.max(corners, axis=0)


def slab_margin(reach: float) -> int:
    """Return how many slices before and behind one its labels depend on, for kernels that reach over so many."""
    return min(MAX_MARGIN, math.ceil(MARGIN_REACHES * reach))


def margins(problem: Problem, region: Region, reach: float) -> tuple[int, int]:
    """Return how many pixels around a region its labels depend on, for kernels of such a reach in world units.

    None where the region is the whole slice.
    """
    if (region.y, region.x) == ((0, problem.shape[-2]), (0, problem.shape[-1])):
        return 0, 0
    y, x = (min(MAX_MARGIN, int(np.ceil(MARGIN_REACHES * reach / (size * region.step)))) for size in problem.spacing)
    return y, x
