"""What is compiled while somebody waits: counted, and a place to stop."""

import numba as nb
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_densecrf import CRFParams, PairwiseKernel, Refiner
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.separate import call_separate, separate_kernel
from napari_densecrf.crf.numba.watch import Watch, watching
from napari_densecrf.crf.objects.refine import ObjectRefiner


@kernel(cache=False)
def _twice(values, k):
    return 2 * values[k]


def doubling():
    """Return a parallel kernel that nobody has called yet."""

    @parallel_kernel()
    def double(given, piece):
        values, out = arguments_of(given)
        out[piece] = _twice(values, piece)

    return double


def test_each_piece_is_done_once_and_steps_wait_for_each_other():
    @parallel_kernel()
    def add_all_so_far(given, piece):
        n_pieces, counts, seen = arguments_of(given)
        step = piece // n_pieces
        counts[step, piece % n_pieces] += 1
        if step:
            seen[piece % n_pieces] = counts[step - 1].sum()

    counts, seen = np.zeros((3, 50), np.int64), np.zeros(50, np.int64)
    add_all_so_far(50, 50, counts, seen, n_steps=3)
    assert (counts == 1).all()
    assert (seen == 50).all()


def test_what_is_compiled_is_counted_and_timed():
    double, told = doubling(), []
    values, out = np.arange(5.0), np.empty(5)
    with watching(Watch(told=lambda watch: told.append(watch.n_functions))) as watch:
        double(5, values, out)
    assert out.tolist() == [0, 2, 4, 6, 8]
    assert watch.n_functions >= 1
    assert watch.seconds > 0
    assert told == list(range(1, watch.n_functions + 1))
    with watching(Watch()) as again:
        double(5, values, out)
    assert again.n_functions == 0


def test_work_may_end_between_two_kernels_and_what_is_compiled_is_kept():
    class EnoughError(Exception):
        pass

    asked = []

    def stop_when_compiled():
        asked.append(True)
        if len(asked) == 2:
            raise EnoughError

    double = doubling()
    values, out = np.arange(5), np.zeros(5, np.int64)
    with watching(Watch(between=stop_when_compiled)) as watch, pytest.raises(EnoughError):
        double(5, values, out)
    assert watch.n_functions >= 1
    assert not out.any()
    with watching(Watch()) as again:
        double(5, values, out)
    assert again.n_functions == 0
    assert out.tolist() == [0, 2, 4, 6, 8]


def test_a_separate_kernel_is_called_with_its_own_types_only():
    @separate_kernel()
    def write_sum(given):
        values, out = arguments_of(given)
        out[0] = values.sum()

    @parallel_kernel()
    def call_it(given, piece):
        known, values, out, done = arguments_of(given)
        done[piece] = call_separate(known, (values, out))

    values, out, done = np.arange(4.0), np.zeros(1), np.ones(1, np.bool_)
    call_it(1, write_sum.known, values, out, done)
    assert not done[0]
    write_sum.compile_for(nb.typeof((values, out)))
    call_it(1, write_sum.known, values, out, done)
    assert done[0]
    assert out[0] == 6
    # Of another type it is not called, whatever it would do with the bytes.
    call_it(1, write_sum.known, values.astype(np.float32), out, done)
    assert not done[0]
    with pytest.raises(RuntimeError, match="other types"):
        write_sum.compile_for(nb.typeof((values, out)))


class Stopped(BaseException):
    """Ends work, as a window's runner does."""


@pytest.mark.parametrize("objects", [False, True])
def test_work_that_is_ended_between_any_two_kernels_leaves_nothing_half_done(objects):
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 50))
    rough = ((y // 13) * 4 + x // 13 + 1) * ((y % 13 < 9) & (x % 13 < 9))
    image = rng.integers(0, 60, (40, 50, 3)).astype(np.float32) + 80.0 * (rough > 0)[..., None]
    params = CRFParams((PairwiseKernel(4, 8, 20), PairwiseKernel(1, 2)))
    other = CRFParams((PairwiseKernel(4, 2, 2), PairwiseKernel(1, 3)))

    def made():
        if objects:
            refiner = ObjectRefiner(image, rough, channel_axis=-1)
            return lambda numbers: refiner.refine(numbers, 3.0).labels
        refiner = Refiner(image, channel_axis=-1)
        foreground = np.where(rough > 0, 0.7, 0.3).astype(np.float32)
        return lambda numbers: refiner.refine(foreground, numbers).labels

    expected = [made()(numbers) for numbers in (params, other)]
    refine, n_ended = made(), 0
    while True:
        left = n_ended

        def count_down():
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped

        # In turn, so that each run builds anew.
        turn = n_ended % 2
        try:
            with watching(Watch(between=count_down)):
                refine((params, other)[turn])
            break
        except Stopped:
            n_ended += 1
        assert_array_equal(refine((params, other)[turn]), expected[turn])
    assert n_ended > 15
