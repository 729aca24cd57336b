"""Where large arrays get their memory."""

import gc
from pathlib import Path

import numpy as np
import pytest

from napari_densecrf.crf.numba.memory import (
    LARGE,
    MOST_KEPT,
    SMALLEST_KEPT,
    _kept,
    sparse_empty,
    sparse_zeros,
    whole_empty,
)

# Measures whole processes.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("n_bytes", [64, LARGE, 3 * LARGE])
def test_zeros_are_zero_and_can_be_written(n_bytes):
    array = sparse_zeros((2, n_bytes // 16), np.int64)
    assert array.shape == (2, n_bytes // 16)
    assert not array.any()
    array[1, -1] = 7
    assert array.sum() == 7


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from Linux")
@pytest.mark.parametrize("make", [sparse_empty, sparse_zeros])
def test_what_is_not_written_takes_no_memory(make):
    def resident():
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

    before = resident()
    array = make(2**27, np.int64)
    array[:: 2**21] = 1
    assert resident() - before < 2**25


@pytest.mark.parametrize("shape", [(3,), (2**18, 3), (1000, 1000, 5)])
def test_whole_arrays_are_like_any_others(shape):
    array = whole_empty(shape, np.float32)
    assert array.shape == shape
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[:] = np.arange(array.size, dtype=np.float32).reshape(shape)
    assert array.ravel()[-1] == np.float32(array.size - 1)


def test_memory_is_taken_again_but_not_while_any_view_is_alive():
    _kept.clear()
    size = 3 * SMALLEST_KEPT // 4
    array = whole_empty(size, np.float32)
    address = array.ctypes.data
    part = array[5:].reshape(-1)[::2]
    del array
    gc.collect()
    other = whole_empty(size, np.float32)
    assert other.ctypes.data != address
    del part
    gc.collect()
    again = whole_empty((size // 4, 4), np.uint32)
    assert again.ctypes.data == address


def test_little_memory_waits():
    arrays = [whole_empty(MOST_KEPT // 8, np.uint8) for _ in range(20)]
    huge = whole_empty(MOST_KEPT, np.uint8)
    del arrays, huge
    gc.collect()
    assert sum(block.size for block in _kept.values()) <= MOST_KEPT
