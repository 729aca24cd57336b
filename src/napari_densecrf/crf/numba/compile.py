"""How every Numba kernel here is compiled, and kept on disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numba as nb
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numba.core.typing import Signature

from .watch import compiling

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
        except Exception:
            # A damaged file, or an index that names what another version of this package had: it is begun anew.
            with suppress(Exception):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep a compiled kernel, where that is possible."""
        try:
            self._cache.save_overload(signature, data)
        except Exception as error:
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
# Python cannot call them: what takes its arguments apart would be a third of all that is compiled.
kernel = partial(_compiled, forceinline=True, no_cpython_wrapper=True)
# Called from Python, and by no kernel, for the same reason.
serial_kernel = partial(_compiled)
# What one place calls is put there by Numba itself: it is not compiled by itself at all.
inlined = partial(_compiled, inline="always")


def reached_by_address(function: Callable[..., None], signature: Signature, **options: Any) -> CFunc:
    """Compile a function that other code calls by the address of what is returned; see addresses.py."""
    options = {name: value for name, value in {**_OPTIONS, **options}.items() if not name.startswith("no")}

    def compiled(*, cache: bool) -> CFunc:
        made: CFunc = nb.cfunc(signature, cache=cache, **options)(function)
        return made

    with compiling():
        return _kept_on_disk(function, compiled)


def _kept_on_disk(function: Callable[..., None], compiled: Callable[..., CFunc]) -> CFunc:
    """Compile a function, or take it from the disk; keep it there where that can be written."""
    try:
        return compiled(cache=True)
    except NumbaError:
        raise
    except Exception:
        # A damaged file, or an index that names what another version of this package had: it is begun anew.
        with suppress(Exception):
            FunctionCache(function).flush()
    try:
        return compiled(cache=True)
    except Exception as error:
        # No folder for it, or a full disk: all works without.
        _say_uncached(error)
        return compiled(cache=False)
