"""Objects of images of any size, in tiles on Dask; an object that lies in several tiles keeps its id.

A tile is refined with a halo in which the objects that it cuts are whole, with the numbers, the typical contrast and
the lattice of the whole image; then its halo is cut off. What an object is certain to keep is the same in all tiles
that see it whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize
from numpy.typing import NDArray

from napari_densecrf.crf.numba.parallel import threads_at_most
from napari_densecrf.crf.objects.refine import ObjectRefiner
from napari_densecrf.crf.objects.report import counts_type, report_of, together
from napari_densecrf.crf.objects.source import as_strokes
from napari_densecrf.params import CRFParams

from .object_problem import (
    Choice,
    ObjectCommon,
    ObjectProblem,
    choose,
    margins_of,
    object_problem_of,
    sample_of,
    with_probe,
)
from .tiles import AGREEMENT, TILE_MEMORY, fair_threads, one_tile
from .tiling import GIB, Tile, TilePlan, cut

RESULTS = ("labels", "confidence", "report")
# Of a tile's side, where objects are as large as tiles: more halo than that is not worth its time.
MOST_HALO = 0.25
# Pixels that are refined to see what one costs.
TIMED_POINTS = 2**17


def refine_objects_tiles(
    image: Any,
    objects: Any,
    params: CRFParams | None = None,
    *,
    border: float | None = None,
    foreground: Any = None,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    strokes: Any = None,
    one_contrast: bool | None = None,
    result: str | Sequence[str] = "labels",
    agreement: float = AGREEMENT,
    tile_memory: int = TILE_MEMORY,
) -> Any:
    """Refine the objects of an image that may be larger than the memory: lazy arrays in, lazy arrays out.

    A part of the image is read at once, to choose numbers and to plan; all else waits for ``compute``.

    Parameters
    ----------
    image, objects, params, border, foreground, spacing, channel_axis, strokes, one_contrast
        As `refine_objects` takes them; Dask arrays, or what has a shape, a dtype and slices (NumPy, zarr, HDF5). An
        object has one id in all of the image. What is None is chosen on the part with most borders, of 2^21 pixels over
        the number of channels, and so is the typical contrast.
    result : str or sequence of str
        "labels", "confidence", "report", or several, which then share the work.
    agreement : float
        Share of the labels that are those of the whole image refined at once, at least. Above 0.5 and below 1.
    tile_memory : int
        Bytes that a tile may take while it is refined. Each process refines one tile at a time.

    Returns
    -------
    dask.array.Array, dask.delayed.Delayed, or a tuple of them
        labels (*spatial), in the type of the objects; confidence (*spatial) float32, one chunk a tile; report a delayed
        value, as `ObjectRefinement.report` has it.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected; what only the values show, at ``compute``.
    MemoryError
        Where no tile fits ``tile_memory`` with its halo; says what would.

    Notes
    -----
    The same bits on every scheduler and any number of threads. An image that fits one tile, and on all of which numbers
    are chosen, gives the bits of `refine_objects`.
    """
    wanted = (result,) if isinstance(result, str) else tuple(result)
    for name in wanted:
        if name not in RESULTS:
            raise ValueError(f"result is {name!r}: expected {', '.join(RESULTS)}")
    problem = object_problem_of(image, objects, foreground, strokes, spacing, channel_axis)
    choice = choose(sample_of(lambda _: problem, ()), params, border, one_contrast)
    plan = plan_objects(choice, agreement, tile_memory)
    tasks = dict(object_tasks(problem, choice.common, plan, alone=False))
    made = tuple(_result(tasks, name, problem, plan) for name in wanted)
    return made[0] if isinstance(result, str) else made


def plan_objects(choice: Choice, agreement: float, tile_memory: int) -> TilePlan:
    """Plan the tiles: a halo that the kernels need and in which objects are whole, sides that the memory allows."""
    if not 0.5 < agreement < 1:
        raise ValueError(f"agreement is {agreement!r}: expected a share above 0.5 and below 1")
    common, whole = choice.common, choice.sample.problem.grid
    bytes_a_point, seconds_a_point = _cost(choice)
    sigmas = [whole.pixel_sigmas(kernel.position_sigma) for kernel in common.params.kernels if kernel.weight]
    reach = np.max([np.zeros(len(whole.shape)), *sigmas], axis=0)
    most_points = tile_memory / bytes_a_point
    halo = np.minimum(choice.object_size + margins_of(common), MOST_HALO * most_points ** (1 / len(whole.shape)))
    sides, halos, n_points, tile_points = cut(
        whole.shape, reach, common.params.n_iterations, agreement, most_points, halo
    )
    if tile_points * bytes_a_point > tile_memory:
        raise MemoryError(
            f"the smallest tile takes {tile_points * bytes_a_point / GIB:.1f} GiB with its halo of "
            f"{' x '.join(map(str, halos))} pixels, above the {tile_memory / GIB:.1f} GiB of tile_memory: allow more "
            "memory or take a smaller position sigma"
        )
    return TilePlan(whole.shape, sides, halos, math.ceil(tile_points * bytes_a_point), n_points * seconds_a_point)


def _cost(choice: Choice) -> tuple[float, float]:
    """Return bytes and seconds of a point, of the sample."""
    refiner, common = choice.refiner, choice.common
    refiner.refine(common.params, common.border)
    bytes_a_point = _bytes_of(refiner) / refiner.grid.n_points
    image, objects, foreground, strokes = choice.sample.pixels
    shape = refiner.grid.shape
    side = math.ceil(TIMED_POINTS ** (1 / len(shape)))
    middle = tuple(slice(max(0, (n - side) // 2), (n + side) // 2 + 1) for n in shape)
    if not objects[middle].any():
        middle = (slice(None),) * len(shape)
    started = time.perf_counter()
    others = [None if one is None else one[middle] for one in (foreground, strokes)]
    part = common.refiner(image[middle], objects[middle], (0,) * len(shape), *others)
    part.refine(common.params, common.border)
    return bytes_a_point, (time.perf_counter() - started) / part.grid.n_points


def _bytes_of(refiner: ObjectRefiner) -> float:
    """Return the most bytes that a refiner takes, inputs and results included; checked against what processes took."""
    n, channels = refiner.grid.n_points, refiner.intensities.shape[1]
    # Inputs, ids, numbers, pieces, regions, borders and counts; intensities as they came and at one contrast.
    beside = n * (72 + 12 * channels)
    return float(beside + 1.5 * refiner.n_bytes)


def object_tasks(
    problem: ObjectProblem, common: ObjectCommon, plan: TilePlan, *, alone: bool
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield for each tile its number along each axis, and the delayed tuple of labels, confidence and counts.

    With ``alone``, each is to be computed by itself: it reads its own pixels and no more. Else tiles share what they
    read.
    """
    if plan.shape != problem.grid.shape:
        raise ValueError(f"the plan is for shape {plan.shape}: expected ({problem.grid}) to match the image")
    if plan.n_tiles > 1:
        common = with_probe(common, problem)
    token = tokenize(*problem.inputs, common.params, common.border, problem.grid, plan.tile_shape, plan.halo)
    # A task of its own, so that a cluster is sent it once.
    shared = delayed(common, name=f"common-{token}", traverse=False)
    for index, tile in plan.tiles():
        # One chunk each, so that a task gets the array and not what it is put together from.
        pieces = [None if part is None else part.rechunk(-1) for part in problem.part(tile.outer)]
        chunks = [None if piece is None else piece.to_delayed(optimize_graph=alone).item() for piece in pieces]
        refine = delayed(partial(_refine_tile, tile), nout=3, traverse=False)
        name = f"refine-objects-{token}-{'-'.join(map(str, index))}"
        yield index, refine(shared, *chunks, dask_key_name=name)


def _result(tasks: dict[tuple[int, ...], Any], name: str, problem: ObjectProblem, plan: TilePlan) -> Any:
    """Return one result of all tiles, lazily."""
    ids = problem.objects.dtype.newbyteorder("=")
    if name == "report":
        return delayed(_report)([task[2] for task in tasks.values()], ids)
    k, dtype = (0, ids) if name == "labels" else (1, np.dtype(np.float32))
    blocks = np.empty(plan.counts, object)
    for index, task in tasks.items():
        shape = tuple(part.stop - part.start for part in plan.tile(index).inner)
        blocks[index] = da.from_delayed(task[k], shape, dtype)
    return da.block(blocks.tolist())


def _report(counts: list[NDArray[Any]], ids: np.dtype[Any]) -> NDArray[Any]:
    return report_of(together(counts, ids))


def _holds_objects(objects: NDArray[Any], strokes: NDArray[Any] | None) -> bool:
    """Tell whether there is an object, with what strokes add and take."""
    if strokes is None:
        return bool(objects.any())
    marks, background = as_strokes(strokes, objects.shape)
    return bool(((marks != 0) | (objects != 0))[~background].any())


def _refine_tile(
    tile: Tile,
    common: ObjectCommon,
    image: NDArray[Any],
    objects: NDArray[Any],
    foreground: NDArray[Any] | None,
    strokes: NDArray[Any] | None,
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[Any]]:
    """Refine one tile in any kind of worker, and cut its halo off."""
    objects = np.ma.filled(objects, 0)
    ids = objects.dtype.newbyteorder("=")
    shape = tuple(part.stop - part.start for part in tile.inner)
    if not _holds_objects(objects, strokes):
        return np.zeros(shape, ids), np.ones(shape, np.float32), np.empty(0, counts_type(ids))
    with one_tile(), threads_at_most(fair_threads()):
        try:
            refiner = common.refiner(image, objects, tile.origin, foreground, strokes)
            refinement = refiner.refine(common.params, common.border)
        except (ValueError, MemoryError) as error:
            raise type(error)(f"in the tile [{tile}]: {error}") from None
        counts = refinement.counts(tile.cut)
        if counts.dtype["id"] != ids:
            raise ValueError(
                f"in the tile [{tile}]: strokes make an object {int(refinement.labels.max())}, which {ids} of the "
                "objects does not hold: expected an id of that type"
            )
        # Copies, as a view would keep the halo.
        return refinement.labels[tile.cut].astype(ids), refinement.confidence[tile.cut].copy(), counts
