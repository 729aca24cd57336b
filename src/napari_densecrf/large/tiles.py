"""Images of any size in tiles on Dask, lazily, from threads to a cluster. The only file that knows Dask.

A tile is refined with a halo of its surroundings, on the lattice of the whole image (one origin, one choice of
fineness), and its halo is cut off.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from napari_densecrf.crf import grid
from napari_densecrf.crf.grid import Grid
from napari_densecrf.crf.meanfield import compatibility_arrays
from napari_densecrf.crf.numba.compile import threads_at_most
from napari_densecrf.crf.probe import Probe, take_probe
from napari_densecrf.crf.refine import Refiner
from napari_densecrf.crf.unary import (
    InputWarning,
    check_strokes,
    count_labels,
    probabilities_from_labels,
    refuse_labels,
    scaled,
)
from napari_densecrf.params import CRFParams

from .tiling import GIB, Tile, TilePlan, cut, where

# With what is read and waits to be written, a process then stays below 2 GB.
TILE_MEMORY = 3 * GIB // 4
AGREEMENT = 0.999
RESULTS = ("labels", "marginals", "entropy")

# Windows that are refined to see what a point costs.
WINDOW_POINTS = 2**18
N_WINDOWS = 3
# Bytes of a file that are read at once; beside the tile that is refined, so many are read or wait to be written.
PIECE_BYTES = 2**23
WAITING = 1

Key = TypeVar("Key")

# One tile has all threads of its process, and the memory of one is what a plan states.
_one_tile = threading.Lock()


@dataclass(frozen=True)
class _Common:
    """What all tiles of an image share."""

    params: CRFParams
    spacing: tuple[float, ...]
    channel_axis: int | None
    probe: Probe

    def refiner(self, image: NDArray[Any], origin: tuple[int, ...]) -> Refiner:
        """Return the refiner of a part of the image."""
        return Refiner(image, spacing=self.spacing, channel_axis=self.channel_axis, origin=origin, probe=self.probe)


@dataclass(frozen=True)
class _Problem:
    """What was asked, lazy and checked; channels are on the last axis of the image."""

    image: da.Array
    probabilities: da.Array
    strokes: da.Array | None
    params: CRFParams
    grid: Grid
    n_labels: int
    has_channels: bool
    probe: Probe

    @property
    def channel_axis(self) -> int | None:
        return -1 if self.has_channels else None

    @property
    def n_channels(self) -> int:
        return int(self.image.shape[-1]) if self.has_channels else 1

    @property
    def foreground(self) -> bool:
        """Whether the map is the foreground of two classes, without an axis of classes."""
        return self.grid.matches(self.probabilities.shape)

    @property
    def common(self) -> _Common:
        return _Common(self.params, self.grid.spacing, self.channel_axis, self.probe)

    def part(self, where: tuple[slice, ...]) -> tuple[da.Array, da.Array, da.Array | None]:
        """Return a part of the image, of the map and of the strokes."""
        of_map = where if self.foreground else (slice(None), *where)
        return self.image[where], self.probabilities[of_map], None if self.strokes is None else self.strokes[where]


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
    """Refine an image that need not fit the memory: lazy arrays in, lazy arrays out.

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
        labels (*spatial) uint8, or uint16 past 256 classes; marginals (n_labels, *spatial) float32; entropy
        (*spatial) float32. One chunk is one tile.

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
    problem = _problem(image, probabilities, params, spacing, channel_axis, strokes)
    wanted = _wanted(result)
    if plan is None:
        plan = _plan(problem, agreement, tile_memory)
    elif plan.shape != problem.grid.shape:
        raise ValueError(f"the plan is for shape {plan.shape}: expected ({problem.grid}) to match the image")
    arrays = _graph(problem, plan, wanted)
    return arrays[0] if isinstance(result, str) else tuple(arrays)


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
    return _plan(_problem(image, probabilities, params, spacing, channel_axis, None), agreement, tile_memory)


def _problem(
    image: Any,
    probabilities: Any,
    params: CRFParams | None,
    spacing: Sequence[float] | float | None,
    channel_axis: int | None,
    strokes: Any,
) -> _Problem:
    lazy_image, lazy_map = lazy(image), lazy(probabilities)
    lazy_strokes = None if strokes is None else lazy(strokes)
    params = CRFParams() if params is None else params
    whole = grid.of_shape(lazy_image.shape, lazy_image.dtype, spacing, channel_axis)
    n_labels = count_labels(lazy_map.shape, lazy_map.dtype, whole)
    compatibility_arrays(params, n_labels)
    if lazy_strokes is not None:
        check_strokes(lazy_strokes.shape, lazy_strokes.dtype, whole)
    if channel_axis is not None:
        lazy_image = da.moveaxis(lazy_image, channel_axis, -1)
    probe = take_probe(lazy_image, None if channel_axis is None else -1)
    problem = _Problem(lazy_image, lazy_map, lazy_strokes, params, whole, n_labels, channel_axis is not None, probe)
    for kernel in params.kernels:
        whole.position_sigmas(kernel.position_sigma)
        if kernel.intensity_sigma is not None:
            grid.intensity_sigmas(kernel.intensity_sigma, problem.n_channels)
    return problem


def _wanted(result: str | Sequence[str]) -> tuple[str, ...]:
    wanted = (result,) if isinstance(result, str) else tuple(result)
    for name in wanted:
        if name not in RESULTS:
            raise ValueError(f"result is {name!r}: expected {', '.join(RESULTS)}")
    return wanted


def _graph(problem: _Problem, plan: TilePlan, wanted: tuple[str, ...]) -> list[da.Array]:
    """Return the lazy results: one task a tile, one more for each result of it."""
    inputs = (problem.image, problem.probabilities, problem.strokes)
    token = tokenize(*inputs, problem.params, problem.grid, plan.tile_shape, plan.halo, wanted)
    name = f"refine-tiles-{token}"
    # A task of its own, so that a cluster is sent it once.
    common = f"common-{name}"
    tasks: dict[Any, Any] = {common: problem.common}
    parts: list[da.Array] = []
    for index, tile in plan.tiles():
        # One chunk each, so that one key names all of it.
        pieces = [None if part is None else part.rechunk(-1) for part in problem.part(tile.outer)]
        parts += [piece for piece in pieces if piece is not None]
        keys = [None if piece is None else (piece.name, *(0,) * piece.ndim) for piece in pieces]
        tasks[(name, *index)] = (_refine_tile, *keys, common, tile, wanted)
    layers = HighLevelGraph.from_collections(name, tasks, dependencies=parts)
    return [_result(layers, name, k, kind, problem, plan) for k, kind in enumerate(wanted)]


def _result(layers: HighLevelGraph, name: str, k: int, kind: str, problem: _Problem, plan: TilePlan) -> da.Array:
    """Return one of the results that the tiles' tasks hold together."""
    chunks = plan.chunks()
    dtype: Any = np.float32
    leading: tuple[int, ...] = ()
    if kind == "marginals":
        chunks = ((problem.n_labels,), *chunks)
        leading = (0,)
    elif kind == "labels":
        dtype = np.uint8 if problem.n_labels <= 256 else np.uint16
    own = f"{kind}-{name}"
    picks = {(own, *leading, *index): (_pick, (name, *index), k) for index in np.ndindex(plan.counts)}
    graph = HighLevelGraph({**layers.layers, own: picks}, {**layers.dependencies, own: {name}})
    return da.Array(graph, own, chunks=chunks, dtype=dtype)


def _pick(results: tuple[NDArray[Any], ...], k: int) -> NDArray[Any]:
    return results[k]


def _refine_tile(
    image: NDArray[Any],
    probabilities: NDArray[Any],
    strokes: NDArray[Any] | None,
    common: _Common,
    tile: Tile,
    wanted: tuple[str, ...],
) -> tuple[NDArray[Any], ...]:
    """Refine one tile, in a worker of whatever kind, and cut its halo off."""
    with _one_tile, threads_at_most(_fair_threads()):
        try:
            refiner = common.refiner(image, tile.origin)
            refinement = refiner.refine(scaled(probabilities), common.params, strokes=strokes)
        except (ValueError, MemoryError) as error:
            raise type(error)(f"in the tile [{tile}]: {error}") from None
        # Copies, as a view would keep the halo.
        return tuple(getattr(refinement, name)[(..., *tile.cut)].copy() for name in wanted)


def _fair_threads() -> int | None:
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


def _plan(problem: _Problem, agreement: float, tile_memory: int) -> TilePlan:
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


def _reach(problem: _Problem) -> NDArray[np.float64]:
    """Return (n_axes,): the largest sigma in pixels of the kernels in use."""
    sigmas = [problem.grid.pixel_sigmas(kernel.position_sigma) for kernel in problem.params.kernels if kernel.weight]
    reach: NDArray[np.float64] = np.max([np.zeros(len(problem.grid.shape)), *sigmas], axis=0)
    return reach


def _cost(problem: _Problem) -> tuple[float, float]:
    """Return the bytes that a point takes, the most of a few windows spread over the image, and its seconds."""
    windows = list(_windows(problem.grid.shape))
    images = [_read(problem.image[window]) for window in windows]
    maps = [_read(problem.part(window)[1]) for window in windows]
    if problem.foreground:
        refuse_labels(max(int(part.max()) for part in maps), problem.probabilities.dtype)
    sizes, seconds = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        # What is compiled or loaded on the way is no part of the cost: the first window is refined twice. Nor is what
        # other programs do meanwhile: the quickest counts.
        for k in (0, *range(len(windows))):
            started = time.perf_counter()
            refiner = problem.common.refiner(images[k], tuple(part.start for part in windows[k]))
            try:
                refiner.refine(scaled(maps[k]), problem.params)
            except ValueError as error:
                raise ValueError(f"in the window [{where(windows[k])}]: {error}") from None
            seconds.append((time.perf_counter() - started) / refiner.grid.n_points)
            sizes.append(_bytes_a_point(problem, refiner))
    return max(sizes), min(seconds[1:])


def _read(part: da.Array) -> NDArray[Any]:
    return np.asarray(part.compute(scheduler="threads"))


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield windows along the diagonal, together at most a part of a small image."""
    side = math.ceil(min(WINDOW_POINTS, math.prod(shape) / 4) ** (1 / len(shape)))
    for k in range(N_WINDOWS):
        starts = [(size - min(side, size)) * (k + 1) // (N_WINDOWS + 1) for size in shape]
        yield tuple(slice(start, start + min(side, size)) for start, size in zip(starts, shape, strict=True))


def _bytes_a_point(problem: _Problem, refiner: Refiner) -> float:
    """Return what a point takes at most: its inputs, the state of the iterations, its share of the lattices.

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


def finished(blocks: Iterable[tuple[Key, Any]], address: str | None = None) -> Iterator[tuple[Key, Any]]:
    """Compute lazy arrays, a few at a time, and yield each as soon as it is done.

    Parameters
    ----------
    blocks : iterable of (key, dask array or what `together` gives)
        Here they are asked for one by one as there is room; a cluster is given all at once.
    address : str, optional
        Of a scheduler of `dask.distributed`; None = here, where one tile is refined while the next is read.

    Yields
    ------
    (key, array)
        In the order in which they are done.
    """
    return _finished_here(blocks) if address is None else _finished_there(list(blocks), address)


def _finished_here(blocks: Iterable[tuple[Key, Any]]) -> Iterator[tuple[Key, Any]]:
    running: dict[Future[Any], Key] = {}
    waiting = iter(blocks)
    with ThreadPoolExecutor(WAITING + 1) as pool:
        try:
            while True:
                for key, block in islice(waiting, WAITING + 1 - len(running)):
                    running[pool.submit(_compute_here, block)] = key
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished_there(blocks: list[tuple[Key, Any]], address: str) -> Iterator[tuple[Key, Any]]:
    import distributed

    with distributed.Client(address) as client:
        # At once, as tiles share what is read for their halos: a scheduler that is given a task again while it forgets
        # its result may lose its way.
        futures = client.compute([block for _, block in blocks])
        running = dict(zip(futures, (key for key, _ in blocks), strict=True))
        del futures
        for future, array in distributed.as_completed(list(running), with_results=True):
            yield running.pop(future), array


def least_worker_memory(address: str) -> int | None:
    """Return the bytes that the smallest worker of a cluster may take; None where none has a limit."""
    import distributed

    with distributed.Client(address) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [int(worker["memory_limit"]) for worker in workers if worker["memory_limit"]]
    return min(limits, default=None)


def _compute_here(block: Any) -> Any:
    return block.compute(scheduler="synchronous")


def lazy(array: Any) -> da.Array:
    """Return a Dask array of what has a shape, a dtype and slices, read in pieces smaller than a tile."""
    if isinstance(array, da.Array):
        return array
    if not hasattr(array, "chunks"):
        array = np.asarray(array) if not isinstance(array, np.ndarray) else array
        return da.from_array(array, chunks=array.shape)
    chunks = da.core.normalize_chunks(
        "auto" if array.chunks else array.shape, array.shape, limit=PIECE_BYTES, dtype=array.dtype,
        previous_chunks=array.chunks or None,
    )  # fmt: skip
    return da.from_array(array, chunks=chunks)


def labels_in(labels: Any) -> NDArray[np.int64]:
    """Return the different values of a lazy array of integers, sorted."""
    found: NDArray[np.int64] = da.unique(lazy(labels)).compute(scheduler="threads").astype(np.int64)
    return found


def together(*blocks: da.Array) -> Any:
    """Return lazy arrays as one, which gives a tuple: what they share is done once."""
    return delayed(blocks)


def in_255ths(marginals: da.Array) -> da.Array:
    """Return lazy probabilities as uint8, rounded."""
    return (marginals * 255).round().astype(np.uint8)


def renamed(labels: da.Array, values: Sequence[int], dtype: Any) -> da.Array:
    """Return lazy labels with values in place of the indices of classes."""
    names = np.asarray(values, dtype)
    return labels.map_blocks(names.__getitem__, dtype=names.dtype)


def map_of_labels(labels: Any, confidence: float, values: Sequence[int] | None = None) -> da.Array:
    """Return the lazy map of a rough segmentation, with the classes of the whole: its largest label is read first.

    Parameters
    ----------
    labels : (*spatial) lazy array of bool or int
    confidence : float
        As `probabilities_from_labels` takes it.
    values : sequence of int, optional
        What stands for each class, sorted; None = the index of the class.

    Returns
    -------
    (n_labels, *spatial) dask array of float32
    """
    pixels = lazy(labels)
    if pixels.dtype.kind not in "biu":
        raise ValueError(f"labels hold {pixels.dtype} values: expected integers, the index of the class")
    if values is not None:
        known = np.asarray(values)
        pixels = pixels.map_blocks(lambda block: np.searchsorted(known, block), dtype=np.intp)
    n_labels = len(values) if values else max(2, int(pixels.max().compute(scheduler="threads")) + 1)
    # Complains about what it does not accept.
    probabilities_from_labels(np.zeros((1,), np.uint8), confidence, n_labels)
    return da.map_blocks(
        probabilities_from_labels,
        pixels,
        confidence,
        n_labels,
        dtype=np.float32,
        new_axis=0,
        chunks=((n_labels,), *pixels.chunks),
    )
