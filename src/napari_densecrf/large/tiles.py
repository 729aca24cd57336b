"""Images of any size in tiles on Dask, lazily, from threads to a cluster.

A tile is refined with a halo of its surroundings, on the lattice of the whole image (one origin, one choice of
fineness), and its halo is cut off.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize
from numpy.typing import NDArray

from napari_densecrf.blank import label_type
from napari_densecrf.crf.numba.parallel import threads_at_most
from napari_densecrf.crf.refine import Refinement
from napari_densecrf.door.missing import check_missing
from napari_densecrf.door.values import probabilities_of
from napari_densecrf.params import CRFParams

from . import planning
from .problem import Common, Problem, problem_of
from .tiling import GIB, Tile, TilePlan

# With what is read and waits to be written, a process then stays below 2 GB.
TILE_MEMORY = 3 * GIB // 4
AGREEMENT = 0.999
RESULTS = ("labels", "marginals", "entropy")
# Marginals as uint8, rounded, as files may hold them.
IN_255THS = "marginals in 255ths"

# One tile has all threads of its process, and the memory of one is what a plan states.
_one_tile = threading.Lock()


def _after_fork_in_child() -> None:
    """Make the lock anew: a thread that the child does not have may hold it."""
    global _one_tile
    _one_tile = threading.Lock()


def one_tile() -> threading.Lock:
    """Return the lock of the tile that is refined in this process."""
    return _one_tile


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def refine_tiles(
    image: Any,
    probabilities: Any,
    params: CRFParams | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    strokes: Any = None,
    result: str | Sequence[str] = "labels",
    agreement: float = AGREEMENT,
    tile_memory: int = TILE_MEMORY,
    plan: TilePlan | None = None,
) -> Any:
    """Refine an image that may be larger than the memory: lazy arrays in, lazy arrays out.

    A few small windows of the image are read at once, to plan; all else waits for ``compute``, on whatever scheduler.

    Parameters
    ----------
    image, probabilities, params, spacing, channel_axis, strokes
        As `refine` takes them; Dask arrays, or what has a shape, a dtype and slices (NumPy, zarr, HDF5).
    result : str or sequence of str
        "labels", "marginals", "entropy", or several, which then share the work.
    agreement : float
        Share of the labels that are those of the whole image refined at once, at least. Above 0.5 and below 1.
    tile_memory : int
        Bytes that a tile may take while it is refined. Each process refines one tile at a time.
    plan : TilePlan, optional
        From `plan_tiles`, in place of one made here from ``agreement`` and ``tile_memory``.

    Returns
    -------
    dask.array.Array, or a tuple of them
        labels (*spatial) uint8, or uint16 past 255 classes; marginals (n_labels, *spatial) float32; entropy
        (*spatial) float32. One chunk is one tile. Pixels without a value as `Refinement` has them.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected; what only the values show, at ``compute``.
    MemoryError
        Where no tile fits ``tile_memory`` with its halo; says what would.

    Notes
    -----
    The same bits on every scheduler and any number of threads, for the same plan. An image that fits one tile gives
    the bits of `refine`.
    """
    problem = problem_of(image, probabilities, params, spacing, channel_axis, strokes, is_part=False)
    wanted = _wanted(result)
    if plan is None:
        plan = planning.plan(problem, agreement, tile_memory)
    tasks = dict(tile_tasks(problem, plan, wanted, alone=False))
    arrays = tuple(_array(tasks, k, kind, problem, plan) for k, kind in enumerate(wanted))
    return arrays[0] if isinstance(result, str) else arrays


def plan_tiles(
    image: Any,
    probabilities: Any,
    params: CRFParams | None = None,
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    agreement: float = AGREEMENT,
    tile_memory: int = TILE_MEMORY,
) -> TilePlan:
    """Plan what `refine_tiles` does with the same arguments: refine three small windows, and see what they cost.

    Returns
    -------
    TilePlan
        Which depends on nothing but the arguments, but for its prediction of seconds.

    Raises
    ------
    ValueError, MemoryError
        As `refine_tiles`.
    """
    problem = problem_of(image, probabilities, params, spacing, channel_axis, None, is_part=False)
    return planning.plan(problem, agreement, tile_memory)


def _wanted(result: str | Sequence[str]) -> tuple[str, ...]:
    wanted = (result,) if isinstance(result, str) else tuple(result)
    for name in wanted:
        if name not in RESULTS:
            raise ValueError(f"result is {name!r}: expected {', '.join(RESULTS)}")
    return wanted


def tile_tasks(
    problem: Problem, plan: TilePlan, wanted: tuple[str, ...], *, alone: bool
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield for each tile its number along each axis, and the delayed tuple of its results.

    With ``alone``, each is to be computed by itself: it reads its own pixels and no more. Else tiles share what they
    read, and what that is computed from.
    """
    if plan.shape != problem.grid.shape:
        raise ValueError(f"the plan is for shape {plan.shape}: expected ({problem.grid}) to match the image")
    inputs = (problem.image, problem.probabilities, problem.strokes)
    token = tokenize(*inputs, problem.params, problem.grid, plan.tile_shape, plan.halo, wanted)
    # A task of its own, so that a cluster is sent it once.
    common = delayed(problem.common, name=f"common-{token}", traverse=False)
    for index, tile in plan.tiles():
        # One chunk each, so that a task gets the array and not what it is put together from.
        pieces = [None if part is None else part.rechunk(-1) for part in problem.part(tile.outer)]
        chunks = [None if piece is None else piece.to_delayed(optimize_graph=alone).item() for piece in pieces]
        refine = delayed(partial(_refine_tile, tile, wanted), nout=len(wanted), traverse=False)
        yield index, refine(common, *chunks, dask_key_name=f"refine-tile-{token}-{'-'.join(map(str, index))}")


def _array(tasks: dict[tuple[int, ...], Any], k: int, kind: str, problem: Problem, plan: TilePlan) -> da.Array:
    """Return one result of all tiles as a lazy array."""
    leading = (problem.n_labels,) if kind == "marginals" else ()
    dtype: Any = np.float32
    if kind == "labels":
        dtype = label_type(problem.n_labels)
    blocks = np.empty((1,) * len(leading) + plan.counts, object)
    for index, task in tasks.items():
        shape = tuple(part.stop - part.start for part in plan.tile(index).inner)
        blocks[(0,) * len(leading) + index] = da.from_delayed(task[k], (*leading, *shape), dtype)
    return da.block(blocks.tolist())


def _refine_tile(
    tile: Tile,
    wanted: tuple[str, ...],
    common: Common,
    image: NDArray[Any],
    probabilities: NDArray[Any],
    strokes: NDArray[Any] | None,
) -> tuple[NDArray[Any], ...]:
    """Refine one tile in any kind of worker, and cut its halo off."""
    with _one_tile, threads_at_most(fair_threads()):
        try:
            refiner = common.refiner(image, tile.origin)
            refinement = refiner.refine(probabilities_of(probabilities), common.params, strokes=strokes)
            if refinement.n_missing:
                check_missing(image, common.channel_axis, "the image has", is_part=True)
                class_axis = None if probabilities.ndim == refinement.labels.ndim else 0
                check_missing(probabilities, class_axis, "the probabilities have", is_part=True)
        except (ValueError, MemoryError) as error:
            raise type(error)(f"in the tile [{tile}]: {error}") from None
        # Copies, as a view would keep the halo.
        return tuple(_taken(refinement, name, tile.cut).copy() for name in wanted)


def _taken(refinement: Refinement, name: str, part: tuple[slice, ...]) -> NDArray[Any]:
    whole: Any = refinement.marginals if name == IN_255THS else getattr(refinement, name)
    taken: NDArray[Any] = whole[(..., *part)]
    return np.round(np.nan_to_num(taken) * 255).astype(np.uint8) if name == IN_255THS else taken


def fair_threads() -> int | None:
    """Return how many threads a tile may use, where this process is one worker of several; None = all.

    A worker of `dask.distributed` knows how many are its own. One of Dask's process pool, which has a process for
    each core and runs tasks in their main threads, has one.
    """
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return int(distributed.get_worker().state.nthreads)
        except ValueError:
            pass
    alone = multiprocessing.parent_process() is None or threading.current_thread() is not threading.main_thread()
    return None if alone else 1
