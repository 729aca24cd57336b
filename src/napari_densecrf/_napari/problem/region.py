"""Which part of a slice is wanted, and at which resolution: what the canvas shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray

from .axes import Problem

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


@dataclass(frozen=True)
class Region:
    """A part of one slice, every ``step``-th pixel of it; or the same part of several, a slab of a volume or film.

    Parameters
    ----------
    index : tuple of int
        Of the leading axes.
    y, x : (int, int)
        First pixel and the one behind the last, at full resolution; the first is a multiple of ``step``.
    step : int
        A power of 2. Regions of one step lie on one grid of pixels, wherever they are.
    z : (int, int), optional
        Of a slab: its first slice along the last leading axis, and the one behind its last. The last of ``index`` is
        the slice that is shown.
    """

    index: tuple[int, ...]
    y: tuple[int, int]
    x: tuple[int, int]
    step: int = 1
    z: tuple[int, int] | None = None

    @property
    def slices(self) -> tuple[slice, slice]:
        """Along y and x of the data at full resolution."""
        return slice(*self.y, self.step), slice(*self.x, self.step)

    @property
    def leading(self) -> tuple[int | slice, ...]:
        """Along the leading axes of the data."""
        return self.index if self.z is None else (*self.index[:-1], slice(*self.z))

    @property
    def n_single(self) -> int:
        """Leading axes along which it is one slice."""
        return len(self.index) - (self.z is not None)

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of it along y and x."""
        return -(-(self.y[1] - self.y[0]) // self.step), -(-(self.x[1] - self.x[0]) // self.step)

    @property
    def n_pixels(self) -> int:
        """Pixels of it."""
        return self.shape[0] * self.shape[1] * (1 if self.z is None else self.z[1] - self.z[0])

    @property
    def origin(self) -> tuple[int, ...]:
        """Index of its first pixel among those of its step; along z too where it is a slab."""
        first = self.y[0] // self.step, self.x[0] // self.step
        return first if self.z is None else (self.z[0], *first)

    def at_step(self, step: int) -> Region:
        """Return it with another step, grown to begin where that step has a pixel."""
        (y0, y1), (x0, x1) = self.y, self.x
        return replace(self, y=(y0 - y0 % step, y1), x=(x0 - x0 % step, x1), step=step)

    def grown(self, margins: tuple[int, int], shape: tuple[int, ...]) -> Region:
        """Return it with margins in pixels of its step, within the slice."""
        (y0, y1), (x0, x1) = self.y, self.x
        height, width = shape[-2:]
        my, mx = (margin * self.step for margin in margins)
        return replace(self, y=(max(0, y0 - my), min(height, y1 + my)), x=(max(0, x0 - mx), min(width, x1 + mx)))

    def slab(self, margin: int, depth: int) -> Region:
        """Return it with so many slices before and behind it, of ``depth`` that there are."""
        here = self.index[-1]
        return replace(self, z=(max(0, here - margin), min(depth, here + margin + 1)))

    def within(self, outer: Region) -> tuple[int | slice, ...]:
        """Return what cuts this one, of one slice, out of an outer one of the same step."""
        (y, x), (oy, ox), (height, width) = self.origin[-2:], outer.origin[-2:], self.shape
        inner = slice(y - oy, y - oy + height), slice(x - ox, x - ox + width)
        return inner if outer.z is None else (self.index[-1] - outer.z[0], *inner)


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
