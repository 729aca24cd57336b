"""Images of any size in tiles, lazily: two classes or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_densecrf.blank import label_type
from napari_densecrf.crf.refine import Refinement
from napari_densecrf.door.missing import check_missing
from napari_densecrf.door.values import probabilities_of
from napari_densecrf.params import CRFParams

from . import planning
from .problem import Common, Problem, problem_of
from .tile_tasks import delayed_tiles, joined, refining, wanted_of
from .tiling import AGREEMENT, TILE_MEMORY, Tile, TilePlan

RESULTS = ("labels", "marginals", "entropy")
# A result for files: marginals as uint8, p as round(255 p).
IN_255THS = "marginals in 255ths"


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

    A few small windows of the image are read at once, to plan. All else is read and refined when ``compute`` is called,
    on any scheduler.

    Parameters
    ----------
    image, probabilities, params, spacing, channel_axis, strokes
        As `refine` takes them; Dask arrays, or what has a shape, a dtype and slices (NumPy, zarr, HDF5).
    result : str or sequence of str
        "labels", "marginals" or "entropy", or several of them; each tile is then refined once for all.
    agreement : float
        At least this share of the labels is the same as if the whole image were refined at once. Above 0.5 and below 1.
    tile_memory : int
        Bytes that a tile may take while it is refined. Each process refines one tile at a time.
    plan : TilePlan, optional
        From `plan_tiles`; ``agreement`` and ``tile_memory`` then do not count. None = it is made here.

    Returns
    -------
    dask.array.Array, or a tuple of them
        In the order of ``result``: labels (*spatial) uint8, or uint16 for more than 255 classes; marginals
        (n_labels, *spatial) float32; entropy (*spatial) float32. Each tile is one chunk. Pixels without a value have
        what `Refinement` gives them.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected. Faults that only the values of pixels show are
        raised at ``compute``.
    MemoryError
        Where even the smallest tile, with its halo, takes more than ``tile_memory``; says what would help.

    Notes
    -----
    For one plan, the results have the same bits on every scheduler and for any number of threads. Those of an image
    that fits one tile have the bits of `refine`.
    """
    problem = problem_of(image, probabilities, params, spacing, channel_axis, strokes, is_part=False)
    wanted = wanted_of(result, RESULTS)
    if plan is None:
        plan = planning.plan(problem, agreement, tile_memory)
    tasks = dict(tile_tasks(problem, plan, wanted, alone=False))
    types: dict[str, DTypeLike] = {
        "labels": label_type(problem.n_labels),
        "marginals": np.float32,
        "entropy": np.float32,
    }
    leading = {"marginals": (problem.n_labels,)}
    arrays = tuple(joined(tasks, k, plan, types[kind], leading.get(kind, ())) for k, kind in enumerate(wanted))
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
    """Return the plan that `refine_tiles` makes of the same arguments; three small windows are refined to measure it.

    Parameters
    ----------
    image, probabilities, params, spacing, channel_axis, agreement, tile_memory
        As `refine_tiles` takes them.

    Returns
    -------
    TilePlan
        It depends on the arguments alone, but for the predicted seconds.

    Raises
    ------
    ValueError, MemoryError
        As `refine_tiles`.
    """
    problem = problem_of(image, probabilities, params, spacing, channel_axis, None, is_part=False)
    return planning.plan(problem, agreement, tile_memory)


def tile_tasks(
    problem: Problem, plan: TilePlan, wanted: tuple[str, ...], *, alone: bool
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield for each tile its number along each axis, and its delayed results, one for each that is wanted.

    Parameters
    ----------
    problem : Problem
    plan : TilePlan
    wanted : tuple of str
        Of `RESULTS`, or `IN_255THS`.
    alone : bool
        As `delayed_tiles` takes it.
    """
    refine = partial(_refine_tile, wanted)
    return delayed_tiles(refine, len(wanted), problem, plan, problem.common, alone=alone)


def _refine_tile(
    wanted: tuple[str, ...],
    tile: Tile,
    common: Common,
    image: NDArray[Any],
    probabilities: NDArray[Any],
    strokes: NDArray[Any] | None,
) -> tuple[NDArray[Any], ...]:
    """Refine one tile in any kind of worker, and cut its halo off."""
    with refining(tile):
        refiner = common.refiner(image, tile.origin)
        refinement = refiner.refine(probabilities_of(probabilities), common.params, strokes=strokes)
        if refinement.n_missing:
            check_missing(image, common.channel_axis, "the image has", is_part=True)
            class_axis = None if probabilities.ndim == refinement.labels.ndim else 0
            check_missing(probabilities, class_axis, "the probabilities have", is_part=True)
        # Copies, as a view would keep the halo.
        return tuple(_taken(refinement, name, tile.cut).copy() for name in wanted)


def _taken(refinement: Refinement, name: str, part: tuple[slice, ...]) -> NDArray[Any]:
    whole: Any = refinement.marginals if name == IN_255THS else getattr(refinement, name)
    taken: NDArray[Any] = whole[(..., *part)]
    return np.round(np.nan_to_num(taken) * 255).astype(np.uint8) if name == IN_255THS else taken
