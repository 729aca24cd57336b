"""How every Numba kernel here is compiled, and that one parallel kernel runs at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Generic, ParamSpec, TypeVar

import numba as nb
from numba.core.cpu_options import ParallelOptions

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
# Numba empties a dictionary of options when it compiles the first kernel, and then has its defaults; these stay.
_UNUSED = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
_compiled_parallel = partial(_compiled, parallel=ParallelOptions({"prange": True, **dict.fromkeys(_UNUSED, False)}))
inlined = partial(_compiled, inline="always")

# Held while a parallel kernel runs: Numba's workqueue layer aborts the process where two Python threads run one at
# once. A thread that holds it may take it again.
one_at_a_time = threading.RLock()


class ParallelKernel(Generic[P, R]):
    """A parallel kernel that holds `one_at_a_time` while it runs, so that no caller has to.

    Other kernels cannot call it: Numba does not know the type. So no parallel loop runs inside another.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self._compiled = _compiled_parallel()(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait until no other parallel kernel runs, then run."""
        with one_at_a_time:
            result: R = self._compiled(*args, **kwargs)
        return result


def parallel_kernel() -> Callable[[Callable[P, R]], ParallelKernel[P, R]]:
    """Compile a function whose `nb.prange` loops run on all threads: the only way to do so in this package."""
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
