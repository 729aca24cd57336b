"""One thread, one slot: who gives way to whom. Needs no window: the loop is a queue."""

import threading
import time

import pytest

from hand_loop import HandLoop
from napari_densecrf._napari.work.runner import Done, Found, Listener, Pause, Runner, Stage
from napari_densecrf.crf.numba.watch import checkpoint, compiling
from napari_densecrf.crf.refine import Step

WAIT_S = 10


@pytest.fixture
def loop():
    return HandLoop()


@pytest.fixture
def runner(loop):
    made = Runner(loop)
    yield made
    made.close()
    made.join(5)
    assert not made.alive


def gated(result, begun, gate, n_steps=3):
    """Return work that tells when it has begun, waits at a gate, and then takes some steps."""

    def steps():
        begun.set()
        gate.wait(5)
        for k in range(n_steps):
            yield Step("working", k / n_steps)
        yield Done(result)

    return steps


def test_another_subject_takes_over_at_the_next_step(runner, loop):
    got, begun, gate = [], threading.Event(), threading.Event()
    runner.submit(gated("old", begun, gate), Listener(got.append), "one image")
    assert begun.wait(5)
    runner.submit(gated("new", threading.Event(), gate), Listener(got.append), "another")
    gate.set()
    loop.turn_until(lambda: got and not runner.busy)
    assert got == ["new"]


def test_the_same_subject_lets_a_short_run_finish_and_skips_what_lies_between(runner, loop):
    got, begun, gate = [], threading.Event(), threading.Event()
    runner.submit(gated("first", begun, gate), Listener(got.append), "image")
    assert begun.wait(5)
    for k in range(20):
        runner.submit(gated(k, threading.Event(), gate), Listener(got.append), "image")
    gate.set()
    loop.turn_until(lambda: len(got) == 2 and not runner.busy)
    assert got == ["first", 19]


def test_a_long_run_gives_way_but_not_twice_in_a_row(runner, loop, monkeypatch):
    monkeypatch.setattr("napari_densecrf._napari.work.runner.PATIENCE", 0.0)
    got = []
    begun = [threading.Event() for _ in range(3)]
    gate = [threading.Event() for _ in range(3)]
    runner.submit(gated(0, begun[0], gate[0]), Listener(got.append), "image")
    assert begun[0].wait(5)
    for k in (1, 2):
        # One more waits before the one that runs may go on.
        runner.submit(gated(k, begun[k], gate[k]), Listener(got.append), "image")
        gate[k - 1].set()
        assert begun[k].wait(5)
    gate[2].set()
    loop.turn_until(lambda: len(got) == 2)
    assert got == [1, 2]


def test_cancel_leaves_nothing(runner, loop):
    got, begun, gate = [], threading.Event(), threading.Event()
    runner.submit(gated("never", begun, gate), Listener(got.append), "image")
    assert begun.wait(5)
    runner.cancel()
    gate.set()
    loop.turn_until(lambda: not runner.busy)
    assert not got


def test_what_is_cancelled_after_it_is_done_is_not_delivered(runner, loop):
    got, gate = [], threading.Event()
    gate.set()
    runner.submit(gated("late", threading.Event(), gate, n_steps=0), Listener(got.append), "image")
    # It is done, and waits to be delivered.
    until = time.monotonic() + WAIT_S
    while not runner._undelivered and time.monotonic() < until:
        time.sleep(0.001)
    assert runner.busy
    runner.cancel()
    loop.turn_until(lambda: not runner.busy)
    assert not got


def test_who_hears_of_the_last_result_finds_nothing_busy(runner, loop):
    busy, gate = [], threading.Event()
    gate.set()
    runner.submit(gated("one", threading.Event(), gate), Listener(lambda _: busy.append(runner.busy)), "image")
    loop.turn_until(lambda: bool(busy))
    assert busy == [False]


def test_an_error_is_told(runner, loop):
    told = []

    def broken():
        raise ValueError("no")
        yield

    runner.submit(broken, Listener(failed=told.append))
    loop.turn_until(lambda: bool(told))
    assert str(told[0]) == "no"
    assert not runner.busy


def test_work_says_where_it_gives_way(runner, loop):
    got = []
    begun, gate = threading.Event(), threading.Event()

    def steps():
        begun.set()
        gate.wait(5)
        yield Stage("must be done", 0.0, gives_way=lambda: False)
        yield Found("preview")
        yield Stage("may wait", 0.5, gives_way=lambda: True)
        got.append("too late")
        yield Done("old")

    runner.submit(steps, Listener(got.append, found=got.append), "image")
    assert begun.wait(5)
    runner.submit(gated("new", threading.Event(), gate), Listener(got.append), "image")
    gate.set()
    loop.turn_until(lambda: "new" in got and not runner.busy)
    assert got == ["preview", "new"]


def test_work_gives_way_between_kernels_too(runner, loop):
    got = []
    begun, gate = threading.Event(), threading.Event()
    may_end = []

    def steps():
        yield Stage("building", 0.0, gives_way=lambda: bool(may_end))
        begun.set()
        gate.wait(5)
        checkpoint()
        got.append("not yet")
        may_end.append(True)
        checkpoint()
        got.append("too late")
        yield Done("old")

    runner.submit(steps, Listener(got.append), "image")
    assert begun.wait(5)
    runner.submit(gated("new", threading.Event(), gate), Listener(got.append), "image")
    gate.set()
    loop.turn_until(lambda: "new" in got and not runner.busy)
    assert got == ["not yet", "new"]


def test_a_pause_ends_when_something_newer_comes_and_else_by_itself(runner, loop):
    got, paused = [], threading.Event()

    def steps(name, seconds):
        yield Found(name)
        paused.set()
        yield Pause(seconds)
        yield Done(f"exact {name}")

    runner.submit(lambda: steps("first", 60.0), Listener(got.append, found=got.append), "image")
    assert paused.wait(5)
    runner.submit(lambda: steps("second", 0.01), Listener(got.append, found=got.append), "image")
    loop.turn_until(lambda: len(got) == 3 and not runner.busy)
    assert got == ["first", "second", "exact second"]


def slow_kernel(seconds):
    """Do what compiling a kernel does, as the runner sees it."""
    with compiling():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    checkpoint()


def test_compiling_is_told_of_while_it_goes_on(runner, loop):
    said, got = [], []

    def work():
        for _ in range(4):
            slow_kernel(0.15)
        yield Done("result")

    runner.submit(work, Listener(got.append, progressed=lambda stage, fraction: said.append((stage, fraction))))
    loop.turn_until(lambda: got)
    assert [stage.partition(": ")[2] for stage, _ in said] == ["step 3 of about 85", "step 4 of about 85"]
    assert all(0 < fraction < 0.1 for _, fraction in said)


def test_who_waits_is_told_of_what_the_one_before_compiles(runner, loop):
    said, begun, gate = [], threading.Event(), threading.Event()

    def warming_up():
        begun.set()
        gate.wait(5)
        slow_kernel(0.5)
        yield Done(None)

    got = []
    runner.submit(warming_up, Listener())
    assert begun.wait(5)
    runner.submit(lambda: iter([Done("new")]), Listener(got.append, progressed=lambda stage, _: said.append(stage)))
    gate.set()
    loop.turn_until(lambda: got)
    assert said


def test_cancel_ends_work_between_two_kernels(runner, loop):
    compiled, begun, gate = [], threading.Event(), threading.Event()

    def work():
        for number in range(3):
            compiled.append(number)
            begun.set()
            gate.wait(5)
            slow_kernel(0.01)
        yield Done("result")

    got = []
    runner.submit(work, Listener(got.append, failed=got.append))
    assert begun.wait(5)
    runner.cancel()
    gate.set()
    loop.turn_until(lambda: not runner.busy)
    assert compiled == [0]
    assert not got
