"""Sparse labels are what an array in memory is, but for the memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_densecrf._napari.display import sparse
from napari_densecrf._napari.display.sparse import SparseLabels, filled

SHAPE = (3, 9, 11)


def picks(size, *, upward):
    steps = st.sampled_from([1, 2, 3] if upward else [1, 2, 3, -1, -2])
    ends = st.none() | st.integers(-size - 2, size + 2)
    return st.builds(slice, ends, ends, steps) | st.integers(-size, size - 1)


def indices(*, upward):
    return st.tuples(*(picks(size, upward=upward) for size in SHAPE))


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    side, sparse.SIDE = sparse.SIDE, 4
    yield
    sparse.SIDE = side


@given(st.lists(indices(upward=True), max_size=4), indices(upward=False))
def test_it_reads_and_writes_like_an_array(written, read):
    array, labels = np.full(SHAPE, 255, np.uint8), SparseLabels(SHAPE, np.uint8, 255)
    for number, index in enumerate(written):
        values = np.arange(array[index].size).reshape(array[index].shape) + number
        array[index] = labels[index] = values.astype(np.uint8)
    assert_array_equal(labels[read], array[read])
    assert_array_equal(np.asarray(labels), array)
    assert_array_equal(labels[1], array[1])
    assert_array_equal(labels[..., 2], array[..., 2])
    assert (labels.shape, labels.ndim, labels.size, len(labels)) == (array.shape, 3, array.size, 3)


def test_a_huge_stack_takes_memory_for_what_is_written_alone():
    labels = filled((40, 100_000, 100_000), np.uint16, 65535)
    labels[7, 50:60, 70:80] = 3
    assert labels.n_bytes_held < 2**20
    assert_array_equal(labels[7, 49:51, 69:71], [[65535, 65535], [65535, 3]])


def test_a_small_one_is_an_array():
    labels = filled((2, 3), np.uint8, 255)
    assert isinstance(labels, np.ndarray)
    assert (labels == 255).all()


def test_what_is_not_there_is_an_error():
    labels = SparseLabels(SHAPE, np.uint8, 255)
    with pytest.raises(IndexError):
        labels[3]
    with pytest.raises(IndexError):
        labels[0, ::-1] = 1
