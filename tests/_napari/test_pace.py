"""How fine a preview may be: plain numbers, no clock."""

import pytest

from napari_densecrf._napari.work.pace import (
    EVERY,
    FIRST_PIXELS,
    FRAME_S,
    LEAST_REST_S,
    LOYALTY,
    QUICK_PIXELS,
    REST_S,
    Kind,
    Pace,
)

SIZES = [2**22, 2**20, 2**18, 2**16, 2**14]


def test_before_anything_is_known_few_pixels_are_tried_and_the_exact_run_is_not():
    pace = Pace()
    assert SIZES[pace.finest(Kind.WEIGHTS, SIZES)] <= FIRST_PIXELS
    assert pace.expected(Kind.SIGMAS, 2**20) is None
    assert not pace.fits(Kind.WEIGHTS, 2**20)
    assert pace.fits(Kind.WEIGHTS, QUICK_PIXELS)


def test_the_finest_that_fits_a_frame_is_taken():
    pace = Pace()
    pace.note(Kind.WEIGHTS, 2**22, 0.4)
    assert SIZES[pace.finest(Kind.WEIGHTS, SIZES)] == 2**18
    # One that builds takes longer.
    assert SIZES[pace.finest(Kind.SIGMAS, SIZES)] == 2**16
    pace.note(Kind.SIGMAS, 2**22, 40.0)
    assert SIZES[pace.finest(Kind.SIGMAS, SIZES)] == 2**14


def test_a_run_that_is_known_to_be_quick_needs_no_preview():
    pace = Pace()
    pace.note(Kind.WEIGHTS, 2**18, 0.02)
    assert pace.fits(Kind.WEIGHTS, 2**18)
    assert not pace.fits(Kind.WEIGHTS, 2**20)


def test_a_size_that_was_too_slow_once_is_tried_again():
    pace = Pace()
    pace.note(Kind.WEIGHTS, 2**18, 3 * FRAME_S)
    pace.note(Kind.WEIGHTS, 2**16, FRAME_S / 2)
    assert SIZES[pace.finest(Kind.WEIGHTS, SIZES)] == 2**16
    for _ in range(200):
        pace.note(Kind.WEIGHTS, 2**16, FRAME_S / 2)
    assert SIZES[pace.finest(Kind.WEIGHTS, SIZES)] == 2**18
    # The exact run is not begun for hope.
    assert pace.expected(Kind.WEIGHTS, 2**18) == 3 * FRAME_S
    assert not pace.fits(Kind.WEIGHTS, 2**18)


def test_a_size_that_takes_seconds_is_not_tried_again():
    pace = Pace()
    pace.note(Kind.SIGMAS, 2**22, 60 * FRAME_S)
    pace.note(Kind.SIGMAS, 2**18, 10 * FRAME_S)
    for _ in range(500):
        pace.note(Kind.SIGMAS, 2**16, FRAME_S / 2)
        assert SIZES[pace.finest(Kind.SIGMAS, SIZES)] == 2**16
        assert not pace.fits(Kind.SIGMAS, 2**22)


def test_one_slow_run_does_not_change_the_size():
    pace = Pace()
    pace.note(Kind.WEIGHTS, 2**18, 0.9 * FRAME_S)
    before = pace.finest(Kind.WEIGHTS, SIZES)
    pace.note(Kind.WEIGHTS, 2**18, LOYALTY * FRAME_S)
    assert pace.finest(Kind.WEIGHTS, SIZES) == before


def test_a_hand_rests_for_a_part_of_what_the_exact_run_takes():
    pace = Pace()
    assert pace.rest(Kind.WEIGHTS, 2**20, 0.0) == REST_S
    pace.note(Kind.WEIGHTS, 2**20, 0.4)
    assert pace.rest(Kind.WEIGHTS, 2**20, 0.0) == pytest.approx(0.1)
    # After a long preview still a little: the window may have been busy.
    assert pace.rest(Kind.WEIGHTS, 2**20, 5.0) == LEAST_REST_S
    pace.note(Kind.SIGMAS, 2**20, 100.0)
    assert pace.rest(Kind.SIGMAS, 2**20, 0.0) == REST_S
    # One that gives way after a few milliseconds begins at once; one that builds does not give way.
    assert pace.rest(Kind.WEIGHTS, 2**14, 0.0) == 0
    pace.note(Kind.SIGMAS, 2**14, 0.05)
    assert pace.rest(Kind.SIGMAS, 2**14, 0.0) > 0


def test_the_number_of_threads_that_was_quicker_is_taken_and_the_other_tried_now_and_then():
    pace = Pace()
    assert not pace.alone(Kind.WEIGHTS, 100)
    pace.note_threads(Kind.WEIGHTS, 100, 0.04, alone=False)
    assert pace.alone(Kind.WEIGHTS, 100)
    pace.note_threads(Kind.WEIGHTS, 100, 0.02, alone=True)
    chosen = [pace.alone(Kind.WEIGHTS, 100) for _ in range(2 * EVERY)]
    assert chosen.count(False) == 2
    for _ in range(5):
        pace.note_threads(Kind.WEIGHTS, 100, 0.01, alone=False)
    assert [pace.alone(Kind.WEIGHTS, 100) for _ in range(2)] == [False, False]
