"""One job: planned once, its pieces go to sinks, it stops and goes on, and gives the bits of `refine`."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import Options
from napari_densecrf.large import planning
from napari_densecrf.large.job import Frame, Job, first_plan
from napari_densecrf.large.tiles import IN_255THS
from test_tiles import Counted

MILD = CRFParams((PairwiseKernel(4.0, 4.0, 20.0), PairwiseKernel(1.0, 1.0)))
MIB = 2**20


@dataclass
class Stack:
    """Frames in memory, of which some have other maps or other labels."""

    images: np.ndarray
    maps: list
    values: list
    channel_axis: None = None
    asked: list = field(default_factory=list)

    @property
    def counts(self):
        """Frames."""
        return (len(self.images),)

    def frame(self, index):
        """Return one, and note it."""
        self.asked.append(index)
        (k,) = index
        return Frame(self.images[k], self.maps[k], values=self.values[k])


@dataclass
class Memory:
    """A sink that keeps pieces, and has room for so many in a run."""

    wants: str = "labels"
    room: int = 10**6
    pieces: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)

    def open(self):
        """Return what was kept."""
        self.calls.append("open")
        return set(self.pieces)

    def write(self, piece):
        """Keep it, where there is room."""
        if self.room == len(self.pieces):
            raise OSError("no room")
        self.pieces[piece.key] = piece

    def finish(self):
        """Note it."""
        self.calls.append("finish")

    def abandon(self):
        """Note it."""
        self.calls.append("abandon")

    def frame(self, k, shape):
        """Return the labels of a frame."""
        whole = np.zeros(shape, np.int64)
        for piece in self.pieces.values():
            if piece.frame == (k,):
                whole[piece.inner] = piece.pixels
        return whole


def stack(n_frames=4, shape=(60, 64), n_labels=(2,)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (n_frames, *shape)).astype(np.uint8)
    counts = [n_labels[k % len(n_labels)] for k in range(n_frames)]
    maps = [np.moveaxis(rng.dirichlet(np.ones(count), shape), -1, 0).astype(np.float32) for count in counts]
    return Stack(images, maps, [None] * n_frames)


@pytest.fixture
def planned(monkeypatch):
    """Return a list that gets an entry for each plan that is made."""
    calls, plan = [], planning.plan
    monkeypatch.setattr(planning, "plan", lambda *arguments: calls.append(arguments) or plan(*arguments))
    return calls


def job_of(frames, *sinks, tile_memory=10**9):
    problem, plan = first_plan(frames, MILD, None, tile_memory)
    return Job(
        frames=frames,
        params=MILD,
        spacing=None,
        plan=plan,
        n_labels=problem.n_labels,
        sinks=sinks,
        tile_memory=tile_memory,
    )


def test_a_job_is_planned_once_and_gives_the_bits_of_refine(planned):
    frames, sink = stack(), Memory()
    progress = list(job_of(frames, sink).run())
    assert len(planned) == 1
    assert progress == [(k, 4) for k in range(5)]
    assert sink.calls == ["open", "finish"]
    for k in range(4):
        whole = ndc.refine(frames.images[k], frames.maps[k], MILD).labels
        assert_array_equal(sink.frame(k, whole.shape), whole)


def test_tiles_of_a_job_are_those_of_refine_tiles(planned):
    frames, sink = stack(2, (200, 190)), Memory()
    job = job_of(frames, sink, tile_memory=MIB)
    assert job.plan.n_tiles > 1
    list(job.run())
    assert len(planned) == 1
    for k in range(2):
        tiled = ndc.refine_tiles(frames.images[k], frames.maps[k], MILD, plan=job.plan).compute()
        assert_array_equal(sink.frame(k, tiled.shape), tiled)


def test_a_tile_reads_its_own_pixels_and_no_more():
    frames, sink = stack(1, (512, 360)), Memory()
    counted = Counted(frames.images[0])
    frames.images = [counted]
    job = job_of(frames, sink, tile_memory=2 * MIB)
    counted.read[:] = 0
    steps = job.run()
    next(steps)
    # The probe and the first tiles: at most the one that is done, the one at work and the one that is read.
    next(steps)
    steps.close()
    assert job.plan.n_tiles > 4
    assert (counted.read > 0).mean() < 0.75
    counted.read[:] = 0
    list(job.run())
    assert counted.read.mean() < 2.5


def test_frames_of_more_classes_are_planned_once_more(planned):
    frames, sink = stack(4, (200, 190), n_labels=(2, 5)), Memory()
    job = job_of(frames, sink, tile_memory=3 * MIB)
    progress = list(job.run())
    assert len(planned) == 2
    larger = job._larger_plans[5]
    assert larger.n_tiles > job.plan.n_tiles
    assert progress[-1] == (2 * job.plan.n_tiles + 2 * larger.n_tiles,) * 2
    for k in range(4):
        plan = larger if k % 2 else job.plan
        tiled = ndc.refine_tiles(frames.images[k], frames.maps[k], MILD, plan=plan).compute()
        assert_array_equal(sink.frame(k, tiled.shape), tiled)


def test_classes_are_written_as_the_labels_of_their_frame():
    frames, sink = stack(2), Memory()
    frames.values = [np.array([5, 9], np.uint8), np.array([0, 300], np.uint16)]
    list(job_of(frames, sink).run())
    for k, values in enumerate(frames.values):
        whole = ndc.refine(frames.images[k], frames.maps[k], MILD).labels
        assert_array_equal(sink.frame(k, whole.shape), values[whole])


def test_a_job_that_was_stopped_or_failed_goes_on_with_what_is_left():
    frames, sink, other = stack(), Memory(room=1), Memory(IN_255THS)
    job = job_of(frames, sink, other)
    with pytest.raises(OSError, match="no room"):
        list(job.run())
    assert (len(sink.pieces), len(other.pieces)) == (1, 2)
    sink.room = 10
    steps = job.run()
    # What the first sink lacks is not done.
    assert next(steps) == (1, 4)
    next(steps)
    steps.close()
    assert sink.calls == other.calls == ["open", "abandon", "open", "abandon"]
    frames.asked.clear()
    assert [one.n_done for one in job.run()] == [2, 3, 4]
    assert len(frames.asked) == 2
    marginals = ndc.refine(frames.images[3], frames.maps[3], MILD).marginals
    assert_array_equal(other.pieces["3.0.0"].pixels, np.round(marginals * 255))
    # Nothing is left.
    assert [one.n_done for one in job.run()] == [4]


def test_files_are_planned_once_too(tmp_path, planned):
    frames = stack(3)
    np.save(tmp_path / "image.npy", frames.images)
    np.save(tmp_path / "map.npy", np.stack(frames.maps, axis=1))
    names = str(tmp_path / "image.npy"), str(tmp_path / "map.npy"), tmp_path / "labels.npy"
    job = prepare(*names, Options(MILD, axes="TYX"))
    assert [one.n_done for one in job.run()] == [0, 1, 2, 3]
    assert len(planned) == 1
