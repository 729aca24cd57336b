"""Where a region of a slice lies in the world, for layers of two axes and for lines on the canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from numpy.typing import ArrayLike, NDArray

from napari_densecrf._napari.problem.problem import Problem
from napari_densecrf._napari.problem.region import Region


def to_world(problem: Problem, index: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the (3, 3) affine from (y, x) of the image's pixels in one slice to the last two axes of the world."""
    image, axes = problem.image, list(problem.spatial_axes)

    def world(y: float, x: float) -> NDArray[np.float64]:
        point = np.zeros(image.ndim)
        point[axes] = (*index, y, x)
        return np.asarray(image.data_to_world(point))[axes[-2:]]

    matrix = np.eye(3)
    matrix[:2, 2] = world(0, 0)
    matrix[:2, 0], matrix[:2, 1] = world(1, 0) - matrix[:2, 2], world(0, 1) - matrix[:2, 2]
    return matrix


def on_canvas(problem: Problem, index: tuple[int, ...], points: ArrayLike) -> NDArray[np.float64]:
    """Return (n, 2) points of the world for (n, 2) pixels of a slice."""
    matrix = to_world(problem, index)
    pixels: NDArray[np.float64] = np.asarray(points, float) @ matrix[:2, :2].T + matrix[:2, 2]
    return pixels


def pixel_at(problem: Problem, position: ArrayLike) -> tuple[float, float]:
    """Return the (y, x) of the image's pixels at a point of the world."""
    here = np.asarray(problem.image.world_to_data(np.asarray(position, float)))
    y, x = here[list(problem.spatial_axes[-2:])]
    return float(y), float(x)


def centre_of_view(problem: Problem, viewer: ViewerModel) -> tuple[float, float]:
    """Return the (y, x) of the image's pixels in the middle of the canvas."""
    point = np.array(viewer.dims.point, float)
    point[list(viewer.dims.displayed[-2:])] = viewer.scene.camera.center[-2:]
    return pixel_at(problem, point)


def placed(problem: Problem, region: Region) -> dict[str, Any]:
    """Return what puts a layer of two axes, of the region's shape, where the region is."""
    step, middle = region.step, (region.step - 1) / 2
    within = np.array([[step, 0, region.y[0] + middle], [0, step, region.x[0] + middle], [0, 0, 1]])
    image, axes = problem.image, problem.spatial_axes[-2:]
    return {
        "affine": to_world(problem, region.index) @ within,
        "units": [image.units[axis] for axis in axes],
        "axis_labels": [image.axis_labels[axis] for axis in axes],
    }
