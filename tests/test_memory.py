"""Where large arrays get their memory."""

from pathlib import Path

import numpy as np
import pytest

from napari_densecrf.memory import LARGE, sparse_empty, sparse_zeros, whole_empty


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
