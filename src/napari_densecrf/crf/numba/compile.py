"""How every Numba kernel here is compiled, and that one parallel kernel runs at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

import numba as nb

# A thread that waits for the others spins for some microseconds, then sleeps. By default GNU OpenMP spins long: where
# other programs or the window want the cores, it takes them from the very thread it waits for, and 512 x 512 took 5 to
# 30 times as long. Where nothing else runs this costs nothing. It is read when Numba first loads OpenMP; what the user
# has set stands.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

P = ParamSpec("P")
R = TypeVar("R")

# No GIL, so that a window stays alive; on disk, so that compiling is met once; numpy's division, as Python's check for
# zero keeps loops from becoming vector code; and only those liberties with floats that cost no accuracy and still give
# the same bits every time: fused multiply-add, sums in the order of the vector lanes, no care for the sign of 0. No
# wrapper for C, which nothing calls and which takes its time to compile.
_compiled = partial(
    nb.njit,
    nogil=True,
    cache=True,
    no_cfunc_wrapper=True,
    error_model="numpy",
    fastmath={"contract", "nsz", "reassoc"},
)
# Inlined where they are called: LLVM orders such sums in one way where it compiles a kernel by itself, in another where
# it compiles its caller, and which of the two runs would depend on what a process compiled and what it found on disk.
kernel = partial(_compiled, forceinline=True)
# Of what Numba can do to parallel code only the loops handed out: the rest is never used here, and slow to compile.
_UNUSED = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
parallel_kernel = partial(_compiled, parallel={"prange": True, **dict.fromkeys(_UNUSED, False)})
inlined = partial(_compiled, inline="always")


class _OneAtATime:
    """A process-wide lock, to hold around parallel kernels: a context manager and a decorator.

    Two of them at once, from two Python threads, abort the process under Numba's workqueue layer.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def alone(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return alone


one_at_a_time = _OneAtATime()


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
