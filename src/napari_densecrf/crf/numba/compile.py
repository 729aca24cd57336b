"""How every Numba kernel here is compiled, and that one parallel kernel runs at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

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
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "reassoc"},
}
_said: list[str] = []


def _compiled(*, cache: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function, and keep it on disk where that can be written."""

    def compile_it(function: Callable[..., Any]) -> Any:
        if not cache:
            return nb.njit(**_OPTIONS, **options)(function)
        try:
            made = nb.njit(cache=True, **_OPTIONS, **options)(function)
        except (RuntimeError, OSError) as error:
            # In containers and on clusters neither the package nor the home may be writable.
            _say_uncached(error)
            return nb.njit(**_OPTIONS, **options)(function)
        made._cache = _ForgivingCache(made._cache)
        return made

    return compile_it


class CacheWarning(RuntimeWarning):
    """Compiled code cannot be kept on disk."""


class _ForgivingCache:
    """Numba's cache of a kernel, without which all works: a full disk or a damaged file is no reason to fail."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        """Return what Numba's own has."""
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled kernel, or None where there is none that can be used."""
        try:
            return self._cache.load_overload(signature, target_context)
        except Exception as error:
            _say_uncached(error)
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep a compiled kernel, where that is possible."""
        try:
            self._cache.save_overload(signature, data)
        except OSError as error:
            _say_uncached(error)


def _say_uncached(error: Exception) -> None:
    """Say once that kernels are compiled anew in this process."""
    if not _said:
        _said.append(" ".join(str(error).split()))
        warnings.warn(
            f"compiled code cannot be kept on disk ({_said[0]}): napari-densecrf compiles it anew in each process, "
            "which takes up to a minute; set NUMBA_CACHE_DIR to a folder that can be written",
            CacheWarning,
            stacklevel=2,
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


class ParallelKernel(Generic[P, R]):
    """A parallel kernel that holds `one_at_a_time` while it runs, so that no caller has to.

    Other kernels cannot call it: Numba does not know the type. So no parallel loop runs inside another.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self._compiled = _compiled_parallel()(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wait until no other parallel kernel runs, then run.

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
