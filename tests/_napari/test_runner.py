"""One thread, one slot: who gives way to whom."""

import threading

import pytest

from napari_densecrf._napari.work.runner import Done, Runner
from napari_densecrf.crf.refine import Step

WAIT_MS = 10_000


@pytest.fixture
def runner(qtbot):
    made = Runner()
    yield made
    made.close()
    made.join(5)
    assert not made._thread.is_alive()


def gated(result, begun, gate, n_steps=3):
    """Return work that tells when it has begun, waits at a gate, and then takes some steps."""

    def steps():
        begun.set()
        gate.wait(5)
        for k in range(n_steps):
            yield Step("working", k / n_steps)
        yield Done(result)

    return steps


def collect(runner):
    got = []
    runner.finished.connect(lambda number, result: got.append((number, result)))
    return got


def test_another_subject_takes_over_at_the_next_step(runner, qtbot):
    got, begun, gate = collect(runner), threading.Event(), threading.Event()
    runner.submit(gated("old", begun, gate), "one image")
    assert begun.wait(5)
    number = runner.submit(gated("new", threading.Event(), gate), "another")
    gate.set()
    qtbot.waitUntil(lambda: bool(got), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not runner.busy, timeout=WAIT_MS)
    assert got == [(number, "new")]


def test_the_same_subject_lets_a_short_run_finish_and_skips_what_lies_between(runner, qtbot):
    got, begun, gate = collect(runner), threading.Event(), threading.Event()
    first = runner.submit(gated("first", begun, gate), "image")
    assert begun.wait(5)
    for k in range(20):
        last = runner.submit(gated(k, threading.Event(), gate), "image")
    gate.set()
    qtbot.waitUntil(lambda: len(got) == 2, timeout=WAIT_MS)
    assert got == [(first, "first"), (last, 19)]


def test_a_long_run_gives_way_but_not_twice_in_a_row(runner, qtbot, monkeypatch):
    monkeypatch.setattr("napari_densecrf._napari.work.runner.PATIENCE", 0.0)
    got = collect(runner)
    begun = [threading.Event() for _ in range(3)]
    gate = [threading.Event() for _ in range(3)]
    runner.submit(gated(0, begun[0], gate[0]), "image")
    assert begun[0].wait(5)
    for k in (1, 2):
        # One more waits before the one that runs may go on.
        runner.submit(gated(k, begun[k], gate[k]), "image")
        gate[k - 1].set()
        assert begun[k].wait(5)
    gate[2].set()
    qtbot.waitUntil(lambda: len(got) == 2, timeout=WAIT_MS)
    assert [result for _, result in got] == [1, 2]


def test_cancel_leaves_nothing(runner, qtbot):
    got, begun, gate = collect(runner), threading.Event(), threading.Event()
    runner.submit(gated("never", begun, gate), "image")
    assert begun.wait(5)
    runner.cancel()
    gate.set()
    qtbot.waitUntil(lambda: not runner.busy, timeout=WAIT_MS)
    assert not got


def test_an_error_is_told_with_its_number(runner, qtbot):
    told = []
    runner.failed.connect(lambda number, error: told.append((number, str(error))))

    def broken():
        raise ValueError("no")
        yield

    number = runner.submit(broken)
    qtbot.waitUntil(lambda: bool(told), timeout=WAIT_MS)
    assert told == [(number, "no")]
