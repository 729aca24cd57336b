"""Plans tiles of objects: the sample is refined to measure bytes and seconds of a pixel."""

from __future__ import annotations

import math
import time

import numpy as np

from napari_densecrf.crf.objects.refine import ObjectRefiner

from .object_choice import Choice
from .tiling import Cost, TilePlan, check_agreement, fitted

# The halo in which an object is whole is at most this share of the side of a tile: where objects are as large as tiles,
# a wider one is not worth its time.
MOST_HALO = 0.25
# Pixels that are refined to see how many seconds one takes.
TIMED_POINTS = 2**17


def plan_objects(choice: Choice, agreement: float, tile_memory: int) -> TilePlan:
    """Plan the tiles: halos that the kernels need and in which objects are whole, and sides that fit the memory.

    Parameters
    ----------
    choice : Choice
    agreement, tile_memory
        As `refine_objects_tiles` takes them.

    Raises
    ------
    ValueError, MemoryError
        As `refine_objects_tiles`.
    """
    check_agreement(agreement)
    whole, cost = choice.sample.problem.grid, _cost(choice)
    longest_side = (tile_memory / cost.n_bytes) ** (1 / len(whole.shape))
    halo = np.minimum(choice.object_size + choice.common.margins, MOST_HALO * longest_side)
    return fitted(whole, choice.common.params, agreement, tile_memory, cost, halo)


def _cost(choice: Choice) -> Cost:
    """Return the cost of a pixel: bytes of the sample, seconds of the middle of it."""
    refiner, common = choice.refiner, choice.common
    refiner.refine(common.params, common.border)
    image, objects, foreground, strokes = choice.sample.pixels
    shape = refiner.grid.shape
    side = math.ceil(TIMED_POINTS ** (1 / len(shape)))
    middle = tuple(slice(max(0, (n - side) // 2), (n + side) // 2 + 1) for n in shape)
    if not objects[middle].any():
        middle = (slice(None),) * len(shape)
    others = [None if one is None else one[middle] for one in (foreground, strokes)]
    started = time.perf_counter()
    part = common.refiner(image[middle], objects[middle], (0,) * len(shape), *others)
    part.refine(common.params, common.border)
    seconds = (time.perf_counter() - started) / part.grid.n_points
    return Cost(_bytes_of(refiner) / refiner.grid.n_points, seconds)


def _bytes_of(refiner: ObjectRefiner) -> float:
    """Return the most bytes that a refiner takes, inputs and results included; checked against what processes took."""
    n, channels = refiner.grid.n_points, refiner.intensities.shape[1]
    # Inputs, ids, numbers, pieces, regions, borders and counts; intensities as they came and at one contrast.
    beside = n * (72 + 12 * channels)
    return float(beside + 1.5 * refiner.n_bytes)
