"""Objects of images of any size in tiles, lazily; an object that lies in several tiles keeps its id.

The objects that a tile cuts are whole within its halo. All tiles have the parameters and the typical contrast of the
whole image, so the pixels that an object is certain to keep are the same in all tiles that see it whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from dask import delayed
from numpy.typing import NDArray

from napari_densecrf.crf.objects.report import counts_type, report_of, together
from napari_densecrf.crf.objects.source import as_strokes
from napari_densecrf.params import CRFParams

from .object_choice import choose, sample_of
from .object_planning import plan_objects
from .object_problem import ObjectCommon, ObjectProblem, object_problem_of, with_probe
from .tile_tasks import delayed_tiles, joined, refining, wanted_of
from .tiling import AGREEMENT, TILE_MEMORY, Tile, TilePlan

RESULTS = ("labels", "confidence", "report")


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

    A part of the image is read at once, to choose parameters and to plan. All else is read and refined when ``compute``
    is called, on any scheduler.

    Parameters
    ----------
    image, objects, params, border, foreground, spacing, channel_axis, strokes, one_contrast
        As `refine_objects` takes them; Dask arrays, or what has a shape, a dtype and slices (NumPy, zarr, HDF5). An
        object has one id in all of the image. What is None, and the typical contrast, is chosen on the part of the
        image that has most border pixels. That part has 2^21 pixels, divided by the number of channels, but at least
        2^18.
    result : str or sequence of str
        "labels", "confidence" or "report", or several of them; each tile is then refined once for all.
    agreement : float
        At least this share of the labels is the same as if the whole image were refined at once. Above 0.5 and below 1.
    tile_memory : int
        Bytes that a tile may take while it is refined. Each process refines one tile at a time.

    Returns
    -------
    dask.array.Array, dask.delayed.Delayed, or a tuple of them
        In the order of ``result``: labels (*spatial), in the type of ``objects``; confidence (*spatial) float32; report
        a delayed structured array, as `ObjectRefinement.report` describes it. Each tile is one chunk.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected. Faults that only the values of pixels show are
        raised at ``compute``.
    MemoryError
        Where even the smallest tile, with its halo, takes more than ``tile_memory``; says what would help.

    Notes
    -----
    The results have the same bits on every scheduler and for any number of threads. Those of an image that fits one
    tile, and is looked at as a whole to choose parameters, have the bits of `refine_objects`.
    """
    wanted = wanted_of(result, RESULTS)
    problem = object_problem_of(image, objects, foreground, strokes, spacing, channel_axis)
    choice = choose(sample_of(lambda _: problem, ()), params, border, one_contrast)
    plan = plan_objects(choice, agreement, tile_memory)
    tasks = dict(object_tasks(problem, choice.common, plan, alone=False))
    ids = problem.objects.dtype.newbyteorder("=")
    made = {"labels": joined(tasks, 0, plan, ids), "confidence": joined(tasks, 1, plan, np.float32)}
    made["report"] = delayed(_report)([task[2] for task in tasks.values()], ids)
    return made[result] if isinstance(result, str) else tuple(made[name] for name in wanted)


def object_tasks(
    problem: ObjectProblem, common: ObjectCommon, plan: TilePlan, *, alone: bool
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield for each tile its number along each axis, and its delayed results: labels, confidence and counts.

    Parameters
    ----------
    problem : ObjectProblem
    common : ObjectCommon
    plan : TilePlan
    alone : bool
        As `delayed_tiles` takes it.
    """
    if plan.n_tiles > 1:
        common = with_probe(common, problem)
    return delayed_tiles(_refine_tile, 3, problem, plan, common, alone=alone)


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
    with refining(tile):
        refiner = common.refiner(image, objects, tile.origin, foreground, strokes)
        refinement = refiner.refine(common.params, common.border)
        counts = refinement.counts(tile.cut)
        if counts.dtype["id"] != ids:
            raise ValueError(
                f"strokes make an object {int(refinement.labels.max())}, which {ids} of the objects does not hold: "
                "expected an id of that type"
            )
        # Copies, as a view would keep the halo.
        return refinement.labels[tile.cut].astype(ids), refinement.confidence[tile.cut].copy(), counts
