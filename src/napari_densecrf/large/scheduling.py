"""Computes delayed values: in this process a few at a time, on a cluster all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

# Tiles that are being read, or wait to be written, beside the one that is refined.
WAITING = 1

Key = TypeVar("Key")


def finished(tasks: Iterable[tuple[Key, Any]], address: str | None = None) -> Iterator[tuple[Key, Any]]:
    """Compute delayed values, and yield each as soon as it is done.

    Parameters
    ----------
    tasks : iterable of (key, dask array or delayed value)
        In this process they are taken one by one, as there is room for them; a cluster is given all at once.
    address : str, optional
        Of a scheduler of `dask.distributed`; None = this process, which reads one tile while it refines another.

    Yields
    ------
    (key, value)
        In the order in which they are done.
    """
    return _finished_here(tasks) if address is None else _finished_there(list(tasks), address)


def _finished_here(tasks: Iterable[tuple[Key, Any]]) -> Iterator[tuple[Key, Any]]:
    running: dict[Future[Any], Key] = {}
    waiting = iter(tasks)
    with ThreadPoolExecutor(WAITING + 1) as pool:
        try:
            while True:
                for key, task in islice(waiting, WAITING + 1 - len(running)):
                    running[pool.submit(_compute_here, task)] = key
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished_there(tasks: list[tuple[Key, Any]], address: str) -> Iterator[tuple[Key, Any]]:
    import distributed

    with distributed.Client(address) as client:
        # All at once, as tiles share tasks that read what their halos have in common. If such a task came again in a
        # later call, while the scheduler is about to delete its result, the run could hang.
        futures = client.compute([task for _, task in tasks])
        running = dict(zip(futures, (key for key, _ in tasks), strict=True))
        del futures
        for future, value in distributed.as_completed(list(running), with_results=True):
            yield running.pop(future), value


def _compute_here(task: Any) -> Any:
    return task.compute(scheduler="synchronous")


def least_worker_memory(address: str) -> int | None:
    """Return the least memory limit of the workers of a cluster, in bytes; None where none has a limit."""
    import distributed

    with distributed.Client(address) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [int(worker["memory_limit"]) for worker in workers if worker["memory_limit"]]
    return min(limits, default=None)
