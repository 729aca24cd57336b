"""Plans tiles: a few windows of the image are refined to measure bytes and seconds of a point."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.refine import Refiner
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.values import probabilities_of

from .problem import Problem
from .tiling import GIB, TilePlan, cut, where

# Windows that are refined to see what a point costs.
WINDOW_POINTS = 2**18
N_WINDOWS = 3


def plan(problem: Problem, agreement: float, tile_memory: int) -> TilePlan:
    """Plan the tiles of a problem.

    Bytes and seconds of a point depend on the pixels. The halo does not; the size of tiles does only where the memory
    limits it.
    """
    if not 0.5 < agreement < 1:
        raise ValueError(f"agreement is {agreement!r}: expected a share above 0.5 and below 1")
    bytes_a_point, seconds_a_point = _cost(problem)
    sigmas = _reach(problem)
    sides, halo, n_points, tile_points = cut(
        problem.grid.shape, sigmas, problem.params.n_iterations, agreement, tile_memory / bytes_a_point
    )
    if tile_points * bytes_a_point > tile_memory:
        raise MemoryError(
            f"the smallest tile takes {tile_points * bytes_a_point / GIB:.1f} GiB with its halo of "
            f"{' x '.join(map(str, halo))} pixels, above the {tile_memory / GIB:.1f} GiB of tile_memory: allow more "
            "memory or take a smaller position sigma"
        )
    return TilePlan(problem.grid.shape, sides, halo, math.ceil(tile_points * bytes_a_point), n_points * seconds_a_point)


def _reach(problem: Problem) -> NDArray[np.float64]:
    """Return (n_axes,): the largest sigma in pixels of the kernels in use."""
    sigmas = [problem.grid.pixel_sigmas(kernel.position_sigma) for kernel in problem.params.kernels if kernel.weight]
    reach: NDArray[np.float64] = np.max([np.zeros(len(problem.grid.shape)), *sigmas], axis=0)
    return reach


def _cost(problem: Problem) -> tuple[float, float]:
    """Return bytes and seconds of a point: the most bytes, and the fewest seconds, of a few windows."""
    windows = list(_windows(problem.grid.shape))
    images = [_read(problem.image[window]) for window in windows]
    maps = [_read(problem.part(window)[1]) for window in windows]
    sizes, seconds = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        # The first window is refined twice, so that compiling is not measured; the quickest counts, as other programs
        # may run meanwhile.
        for k in (0, *range(len(windows))):
            started = time.perf_counter()
            refiner = problem.common.refiner(images[k], tuple(part.start for part in windows[k]))
            try:
                refiner.refine(probabilities_of(maps[k]), problem.params)
            except ValueError as error:
                raise ValueError(f"in the window [{where(windows[k])}]: {error}") from None
            seconds.append((time.perf_counter() - started) / refiner.grid.n_points)
            sizes.append(_bytes_a_point(problem, refiner))
    return max(sizes), min(seconds[1:])


def _read(part: da.Array) -> NDArray[Any]:
    return np.asanyarray(part.compute(scheduler="threads"))


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield windows along the diagonal, together at most a part of a small image."""
    side = math.ceil(min(WINDOW_POINTS, math.prod(shape) / 4) ** (1 / len(shape)))
    for k in range(N_WINDOWS):
        starts = [(size - min(side, size)) * (k + 1) // (N_WINDOWS + 1) for size in shape]
        yield tuple(slice(start, start + min(side, size)) for start, size in zip(starts, shape, strict=True))


def _bytes_a_point(problem: Problem, refiner: Refiner) -> float:
    """Return the most bytes that a point takes: its inputs, the state of the iterations, its share of the lattices.

    Counted from the arrays of grid, unary, lattice and mean field, and checked against what processes took.
    """
    channels = problem.n_labels - 1
    inputs = problem.n_channels * problem.image.dtype.itemsize
    inputs += problem.probabilities.dtype.itemsize * math.prod(problem.probabilities.shape) / problem.grid.n_points
    state = 8 * problem.n_channels + 24 * channels + 9
    lattices = 0.0
    for lattice in refiner.lattices:
        corners = lattice.n_dims + 1
        slots = len(lattice.runs.slot_vertices) / lattice.n_points
        vertices = lattice.n_vertices / lattice.n_points
        lattices += 6 * corners + 8 + slots * (12 + 4 * channels) + vertices * (32 + 8 * corners + 8 * channels)
    return float(inputs + state + lattices)
