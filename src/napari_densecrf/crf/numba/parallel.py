"""Parallel kernels: one loop that calls each of them by its address, and the lock that lets one run at a time.

A loop over all threads is slow to compile, and so is whatever stands in it. So there is one, `_drive`, and a parallel
kernel is a plain function that does one piece of the work:

    @parallel_kernel()
    def halve(given, piece):
        values, length = arguments_of(given)
        part = values[piece * length : (piece + 1) * length]
        ...

    halve(n_pieces, values, length)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import update_wrapper
from typing import Any

import numba as nb
import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numba.core.cpu_options import ParallelOptions

from .addresses import address_of, call_with
from .by_type import CompiledByType, known_address
from .compile import reached_by_address, serial_kernel
from .watch import checkpoint

# A thread that waits for the others spins for some microseconds, then sleeps. By default GNU OpenMP spins long: where
# other programs or the window want the cores, it takes them from the very thread it waits for, and 512 x 512 took 5 to
# 30 times as long. Where nothing else runs this costs nothing. It is read when Numba first loads OpenMP; what the user
# has set stands.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Held while a parallel kernel runs: Numba's workqueue layer aborts the process where two Python threads run one at
# once. A thread that holds it may take it again.
one_at_a_time = threading.RLock()


_forked_from_openmp = False


def _before_fork() -> None:
    one_at_a_time.acquire()


def _after_fork_in_parent() -> None:
    one_at_a_time.release()


def _after_fork_in_child() -> None:
    """Make the lock anew, which a thread may hold that the child has not, and note what threads the parent had."""
    global one_at_a_time, _forked_from_openmp
    one_at_a_time = threading.RLock()
    with suppress(ValueError):
        _forked_from_openmp = _forked_from_openmp or nb.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# Of what Numba can do to parallel code only the loops handed out: the rest is never used here, and slow to compile.
_UNUSED = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")


def _drive(function, given, n_steps, n_pieces):
    """Call a function for all pieces of each step; a step begins when the one before is done."""
    for step in range(n_steps):
        for piece in nb.prange(n_pieces):
            call_with(function, (given, step * n_pieces + np.int64(piece)))


@serial_kernel()
def _launch(drive, known, n_steps, n_pieces, given):
    """Drive the function that is known for the type of what is given; tell whether there is one."""
    address = known_address(known, given)
    if address:
        call_with(drive, (address, address_of(given), n_steps, n_pieces))
    return address != 0


_compiled_drive: list[CFunc] = []


def _address_of_drive() -> int:
    if not _compiled_drive:
        parallel = ParallelOptions({"prange": True, **dict.fromkeys(_UNUSED, False)})
        signature = types.void(*[types.int64] * 4)
        _compiled_drive.append(reached_by_address(_drive, signature, parallel=parallel))
    address: int | None = _compiled_drive[0].address
    assert address is not None
    return address


class ParallelKernel:
    """A function of one piece of the work, run for all of them on all threads.

    Parameters
    ----------
    function : callable
        ``function(given, piece)``, compiled for each type of the tuple ``arguments_of(given)``. With
        several steps the pieces are numbered on from one step to the next.

    Notes
    -----
    It holds `one_at_a_time` while it runs, so that no caller has to. Other kernels cannot call it.
    """

    def __init__(self, function: Callable[[Any, int], None]) -> None:
        self._by_type = CompiledByType(function, n_more=1)
        update_wrapper(self, function)

    def __call__(self, n_pieces: int, *given: Any, n_steps: int = 1) -> None:
        """Wait until no other parallel kernel runs, then run, unless the thread's watch ends the work before.

        Raises
        ------
        RuntimeError
            In a process that was forked from one that has threads of OpenMP, which Numba would end without a word.
        """
        if _forked_from_openmp:
            raise RuntimeError(
                "this process was forked after napari-densecrf or other Numba code had run in parallel, and the "
                'threads of OpenMP are not forked: start processes with multiprocessing.get_context("spawn")'
            )
        checkpoint()
        with one_at_a_time:
            while not _launch(_address_of_drive(), self._by_type.known, n_steps, n_pieces, given):
                self._by_type.compile_for(nb.typeof(given))


def parallel_kernel() -> Callable[[Callable[[Any, int], None]], ParallelKernel]:
    """Compile a function whose pieces run on all threads: the only way to do so in this package."""
    return ParallelKernel


def n_threads() -> int:
    """Return how many threads the parallel kernels use."""
    return int(nb.config.NUMBA_NUM_THREADS)


@contextmanager
def threads_at_most(count: int | None) -> Iterator[None]:
    """Let the parallel kernels that this thread starts use so many threads at most; None = all."""
    with one_at_a_time:
        before = nb.get_num_threads()
        nb.set_num_threads(before if count is None else max(1, min(count, before)))
    try:
        yield
    finally:
        with one_at_a_time:
            nb.set_num_threads(before)
