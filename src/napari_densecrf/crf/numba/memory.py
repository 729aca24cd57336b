"""Memory for large arrays: taken page by page as it is written, or used again from earlier arrays."""

from __future__ import annotations

import mmap
import weakref
from contextlib import suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)

# From so many bytes on it pays to leave pages untaken; below, to use the memory of earlier arrays again.
LARGE = 2**25
# Blocks from this size on are kept for the next array of the same size, up to so many bytes together.
SMALLEST_KEPT = 2**18
MOST_KEPT = 2**26


def sparse_zeros(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros, of which large ones take memory only where they are written."""
    if _n_bytes(shape, dtype) >= LARGE:
        return _sparse(shape, dtype)
    zeros = whole_empty(shape, dtype)
    zeros[...] = 0
    return zeros


def sparse_empty(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return an array that is not set; a large one takes memory only where it is written."""
    return _sparse(shape, dtype) if _n_bytes(shape, dtype) >= LARGE else whole_empty(shape, dtype)


def whole_empty(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return an array that is not set and will be written whole: in the memory of an earlier one, where there is any.

    The system takes a microsecond or more for each page that it hands out, as long as we take for the work on it; so
    the next slice or frame takes the memory of the last. No more than `MOST_KEPT` bytes wait for it.
    """
    n_bytes = _n_bytes(shape, dtype)
    if n_bytes < SMALLEST_KEPT:
        return np.empty(shape, dtype)
    size = -(-n_bytes // SMALLEST_KEPT) * SMALLEST_KEPT
    block = _take(size)
    # The block must come back when its last view is gone. numpy would let views refer to the block itself; behind a
    # memoryview they refer to ``lent``.
    lent = np.frombuffer(memoryview(block), np.uint8)  # type: ignore[arg-type]
    weakref.finalize(lent, _keep, block).atexit = False
    return lent[:n_bytes].view(dtype).reshape(shape)


# In the order in which they came back. Finalizers may run in any thread and at any time, so each step must be atomic.
_kept: dict[int, NDArray[np.uint8]] = {}


def _take(size: int) -> NDArray[np.uint8]:
    """Return a block of this size, one that waits if there is one."""
    for key, block in list(_kept.items()):
        if block.size == size and _kept.pop(key, None) is not None:
            return block
    return np.empty(size, np.uint8)


def _keep(block: NDArray[np.uint8]) -> None:
    """Let a block wait for its next use; those that have waited longest go."""
    if block.size <= MOST_KEPT // 2:
        _kept[id(block)] = block
        while sum(other.size for other in list(_kept.values())) > MOST_KEPT:
            _kept.pop(next(iter(list(_kept)), 0), None)


def _n_bytes(shape: int | tuple[int, ...], dtype: type[Number]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _sparse(shape: int | tuple[int, ...], dtype: type[Number]) -> NDArray[Number]:
    """Return zeros from the system, in small pages: in numpy's huge ones, a byte written takes two megabytes."""
    n_bytes = _n_bytes(shape, dtype)
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.frombuffer(mmap.mmap(-1, n_bytes), dtype).reshape(shape)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A system may be built without them.
        with suppress(OSError):
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)
