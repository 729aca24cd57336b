"""Large arrays that take memory only where they are written."""

from __future__ import annotations

import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)

# Below so many bytes a process gets memory that it has had before, without asking the system page by page.
LARGE = 2**25


def sparse_zeros(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros."""
    return _pages(shape, dtype) if _n_bytes(shape, dtype) >= LARGE else np.zeros(shape, dtype)


def sparse_empty(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return an array of anything."""
    return _pages(shape, dtype) if _n_bytes(shape, dtype) >= LARGE else np.empty(shape, dtype)


def _n_bytes(shape: int | tuple[int, ...], dtype: type[Number]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _pages(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros that the system hands out in its smallest pages.

    numpy asks for huge ones, so that in its large arrays a byte written takes two megabytes.
    """
    pages = mmap.mmap(-1, _n_bytes(shape, dtype))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)
