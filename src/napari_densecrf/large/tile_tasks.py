"""One delayed task a tile, as Dask computes it on any scheduler, from threads to a cluster.

A tile is refined with a halo of its surroundings, on the lattice of the whole image (one origin, one choice of
fineness), and its halo is cut off.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize
from numpy.typing import DTypeLike

from napari_densecrf.crf.numba.parallel import threads_at_most

from .inputs import Inputs
from .tiling import Tile, TilePlan

# Held while a tile is refined: it uses all threads of the process, and a plan states the memory of one tile.
_one_tile = threading.Lock()


def _after_fork_in_child() -> None:
    """Make the lock anew: a thread that the child does not have may hold it."""
    global _one_tile
    _one_tile = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def wanted_of(result: str | Sequence[str], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the results that are asked for; raise `ValueError` where one is not among ``names``."""
    wanted = (result,) if isinstance(result, str) else tuple(result)
    for name in wanted:
        if name not in names:
            raise ValueError(f"result is {name!r}: expected {', '.join(names)}")
    return wanted


def delayed_tiles(
    refine: Callable[..., tuple[Any, ...]],
    n_results: int,
    problem: Inputs,
    plan: TilePlan,
    common: Any,
    *,
    alone: bool,
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield for each tile its number along each axis, and its delayed results.

    Parameters
    ----------
    refine : callable
        Returns the results of a tile: it is called with the `Tile`, ``common``, and the pixels of the image and of each
        of ``problem.others`` within ``Tile.outer``, as NumPy arrays or None.
    n_results : int
        How many results it returns.
    problem : Inputs
    plan : TilePlan
    common : object
        What all tiles share.
    alone : bool
        Whether each task is computed by itself: it reads its own pixels and no more. Else tiles share what they read,
        and what that is computed from.

    Raises
    ------
    ValueError
        Where the plan is for another shape.
    """
    if plan.shape != problem.grid.shape:
        raise ValueError(f"the plan is for shape {plan.shape}: expected ({problem.grid}) to match the image")
    # Tasks of one name are computed once: all that decides what a tile gives is in its name.
    token = tokenize(refine, problem.image, *problem.others, problem.grid, plan.tile_shape, plan.halo, common)
    # A task of its own, so that a cluster is sent it once.
    shared = delayed(common, name=f"common-{token}", traverse=False)
    for index, tile in plan.tiles():
        # One chunk each, so that a task is given one array, and not the chunks of which it would be made.
        pieces = [None if part is None else part.rechunk(-1) for part in problem.part(tile.outer)]
        chunks = [None if piece is None else piece.to_delayed(optimize_graph=alone).item() for piece in pieces]
        task = delayed(partial(refine, tile), nout=n_results, traverse=False)
        yield index, task(shared, *chunks, dask_key_name=f"refine-tile-{token}-{'-'.join(map(str, index))}")


def joined(
    tasks: dict[tuple[int, ...], Any], k: int, plan: TilePlan, dtype: DTypeLike, leading: tuple[int, ...] = ()
) -> da.Array:
    """Return the ``k``-th result of all tiles as one lazy array of shape (*leading, *plan.shape)."""
    blocks = np.empty((1,) * len(leading) + plan.counts, object)
    for index, task in tasks.items():
        shape = tuple(part.stop - part.start for part in plan.tile(index).inner)
        blocks[(0,) * len(leading) + index] = da.from_delayed(task[k], (*leading, *shape), dtype)
    return da.block(blocks.tolist())


@contextmanager
def refining(tile: Tile) -> Iterator[None]:
    """Refine one tile at a time in this process, on as many threads as are its own; errors name the tile."""
    with _one_tile, threads_at_most(fair_threads()):
        try:
            yield
        except (ValueError, MemoryError) as error:
            raise type(error)(f"in the tile [{tile}]: {error}") from None


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
