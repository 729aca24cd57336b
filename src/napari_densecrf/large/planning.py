"""Plans tiles: a few windows of the image are refined to measure bytes and seconds of a pixel."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator

from napari_densecrf.crf.refine import Refiner
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.values import probabilities_of

from .inputs import read
from .problem import Problem
from .tiling import Cost, TilePlan, check_agreement, fitted, where

# Windows that are refined to see what a pixel costs, and the most pixels of each.
N_WINDOWS = 3
WINDOW_POINTS = 2**18


def plan(problem: Problem, agreement: float, tile_memory: int) -> TilePlan:
    """Plan the tiles of a problem.

    What a pixel costs depends on the values of the image. The halo does not; the size of tiles does only where the
    memory limits it.

    Parameters
    ----------
    problem : Problem
    agreement, tile_memory
        As `refine_tiles` takes them.

    Raises
    ------
    ValueError, MemoryError
        As `plan_tiles`.
    """
    check_agreement(agreement)
    return fitted(problem.grid, problem.params, agreement, tile_memory, _cost(problem))


def _cost(problem: Problem) -> Cost:
    """Return the cost of a pixel: the most bytes, and the fewest seconds, of a few windows."""
    windows = list(_windows(problem.grid.shape))
    parts = [problem.part(window)[:2] for window in windows]
    images, maps = ([read(part) for part in kind] for kind in zip(*parts, strict=True))
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
            sizes.append(_bytes_a_pixel(problem, refiner))
    return Cost(max(sizes), min(seconds[1:]))


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield windows along the diagonal; each has at most a quarter of the pixels of a small image."""
    side = math.ceil(min(WINDOW_POINTS, math.prod(shape) / 4) ** (1 / len(shape)))
    for k in range(N_WINDOWS):
        starts = [(size - min(side, size)) * (k + 1) // (N_WINDOWS + 1) for size in shape]
        yield tuple(slice(start, start + min(side, size)) for start, size in zip(starts, shape, strict=True))


def _bytes_a_pixel(problem: Problem, refiner: Refiner) -> float:
    """Return the most bytes that a pixel takes: its inputs, the state of the iterations, its share of the lattices.

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
