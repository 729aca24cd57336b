"""Where large arrays get their memory: page by page as they are written, or in huge pages."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)

# Below so many bytes a process gets memory that it has had before, without asking the system page by page.
LARGE = 2**25
HUGE_PAGE = 2**21


def sparse_zeros(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros."""
    return _sparse(shape, dtype) if _n_bytes(shape, dtype) >= LARGE else np.zeros(shape, dtype)


def sparse_empty(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return an array of anything."""
    return _sparse(shape, dtype) if _n_bytes(shape, dtype) >= LARGE else np.empty(shape, dtype)


def whole_empty(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return an array of anything, all of which will be written: in huge pages where the system has them.

    The system takes a microsecond for each page that it hands out, as long as we take for the work on it. numpy asks
    for huge ones from 4 MB on, but allocators align few of them, and hand them back when something large is freed.
    """
    n_bytes = _n_bytes(shape, dtype)
    if n_bytes < HUGE_PAGE // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(shape, dtype)
    # The last page whole, and room to begin where one begins.
    everything = _pages((-(-n_bytes // HUGE_PAGE) + 1) * HUGE_PAGE, mmap.MADV_HUGEPAGE)
    first = -everything.ctypes.data % HUGE_PAGE
    return everything[first : first + n_bytes].view(dtype).reshape(shape)


def _n_bytes(shape: int | tuple[int, ...], dtype: type[Number]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _sparse(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros in small pages: in numpy's huge ones, a byte written takes two megabytes."""
    return _pages(_n_bytes(shape, dtype), getattr(mmap, "MADV_NOHUGEPAGE", None)).view(dtype).reshape(shape)


def _pages(n_bytes: int, advice: int | None) -> NDArray[np.uint8]:
    """Return zeros straight from the system, which hears what they are for, if it has words for that."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.frombuffer(mmap.mmap(-1, n_bytes), np.uint8)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if advice is not None:
        with suppress(OSError):
            pages.madvise(advice)
    return np.frombuffer(pages, np.uint8)
