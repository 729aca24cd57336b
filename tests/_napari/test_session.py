"""The session without a window: its loop is turned by hand. What is done once is not done twice."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import picture
from hand_loop import rest
from napari_densecrf._napari import session as sessions
from napari_densecrf._napari.problem.problem import Misfit, Problem
from napari_densecrf._napari.problem.request import VISIBLE
from napari_densecrf._napari.session import IMAGE, PROGRAM, USER
from napari_densecrf._napari.work import reading, runner, worker
from napari_densecrf.crf.lattice.lattice import Lattice
from napari_densecrf.numbers import Numbers


@pytest.fixture
def start(start_on):
    """Return a function that starts a session on layers and waits for what they give."""

    def start(*layers):
        viewer = ViewerModel()
        for layer in layers:
            viewer.add_layer(layer)
        return start_on(viewer)

    return start


def layers(shape=(40, 50), n_labels=2):
    image, probabilities = picture(shape, n_labels)
    return Image(image, name="image"), Image(probabilities, name="map")


def counted(monkeypatch, owner, name):
    """Count the calls of a function."""
    calls, function = [], getattr(owner, name)

    def counting(*args, **options):
        calls.append(args)
        return function(*args, **options)

    monkeypatch.setattr(owner, name, counting)
    return calls


@pytest.mark.first_numbers
def test_the_first_result_is_that_of_a_script(start):
    rng = np.random.default_rng(0)
    truth = np.zeros((64, 64), bool)
    truth[16:48, 16:48] = True
    image = (100 + 80 * truth + rng.normal(0, 10, truth.shape)).astype(np.float32)
    noisy = np.where(truth, 1.5, -1.5) + rng.normal(0, 1.2, truth.shape)
    source = (1 / (1 + np.exp(-noisy))).astype(np.float32)
    session = start(Image(image, name="image"), Image(source, name="map"))
    assert session.numbers == session.proposed
    scripted = ndc.refine(image, source)
    assert_array_equal(session.result.labels, scripted.labels)
    assert session.numbers.appearance_weight > 0


@pytest.mark.first_numbers
def test_a_map_that_nothing_improves_is_shown_as_it_is(start):
    image = np.random.default_rng(0).normal(0, 1, (48, 48)).astype(np.float32)
    source = np.full(image.shape, 0.1, np.float32)
    source[:, 24:] = 0.9
    session = start(Image(image, name="image"), Image(source, name="map"))
    assert_array_equal(session.result.labels, source > 0.5)
    assert session.numbers.appearance_weight == session.numbers.smoothness_weight == 0


@pytest.mark.first_numbers
def test_the_next_image_begins_with_its_own_numbers_unless_others_were_chosen(start):
    session = start(*layers())
    session.set_numbers(session.numbers.changed(appearance_weight=7.0), by=USER)
    rest(session)
    other, _ = layers()
    other.name = "other"
    session.viewer.add_layer(other)
    session.choose(by=USER, image=other)
    rest(session)
    assert session.numbers.appearance_weight == 7.0


def test_layers_in_labels_out(start):
    image, source = layers()
    session = start(image, source)
    expected = ndc.refine(image.data, source.data, session.numbers.params).labels
    assert_array_equal(session.result.labels, expected)
    assert_array_equal(session.result_layer.data, expected)
    assert not source.visible


def test_a_slider_is_one_request_and_one_result(start, monkeypatch):
    session = start(*layers())
    resolved = counted(monkeypatch, sessions, "resolve")
    built = counted(monkeypatch, Lattice, "_build")
    results = []
    session.result_written.connect(results.append)
    for weight in (2.0, 3.5, 5.0):
        # Several controls that change in one turn of the loop.
        session.set_numbers(session.numbers.changed(appearance_weight=weight), by=USER)
    session.set_numbers(session.numbers.changed(smoothness_weight=0.5), by=USER)
    rest(session)
    assert len(resolved) == len(results) == 1
    assert results[0].request.params == session.numbers.params
    # Only weights have moved.
    assert not built


def test_a_sigma_builds_one_lattice_and_a_number_set_again_does_nothing(start, monkeypatch):
    session = start(*layers())
    built = counted(monkeypatch, Lattice, "_build")
    numbers = session.numbers.changed(appearance_position_sigma=7.0)
    session.set_numbers(numbers, by=USER)
    rest(session)
    assert len(built) == 1
    resolved = counted(monkeypatch, sessions, "resolve")
    session.set_numbers(numbers, by=USER)
    rest(session)
    assert not resolved


def test_nothing_of_a_lazy_image_is_read_twice(start, monkeypatch):
    import dask.array as da

    image, probabilities = picture((4, 40, 50))
    reads = []

    def block(array, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return array

    lazy = da.from_array(image, chunks=(1, 40, 50)).map_blocks(block, dtype=image.dtype, meta=image[:0])
    session = start(Image(lazy, name="image", contrast_limits=(0, 255)), Image(probabilities, name="map"))
    reads.clear()
    for weight in (2.0, 6.0):
        session.set_numbers(session.numbers.changed(appearance_weight=weight), by=USER)
        rest(session)
    # napari itself slices the image when a result is added; a slider reads nothing.
    assert not reads


def test_a_slice_that_was_visited_is_kept_ready(start, monkeypatch):
    session = start(*layers((3, 40, 50)))
    # Axis 0 of the world is that of the map's classes.
    session.viewer.dims.set_current_step(1, 1)
    rest(session)
    built = counted(monkeypatch, Lattice, "_build")
    session.viewer.dims.set_current_step(1, 2)
    rest(session)
    assert len(built) == 1
    session.viewer.dims.set_current_step(1, 1)
    rest(session)
    assert session.result.request.region.index == (1,)
    assert len(built) == 1


def test_extras_are_counted_by_owner(start):
    session = start(*layers())
    assert session.result.counts.sum() == session.result.labels.size
    assert session.result.confidence is None
    one, two = object(), object()
    session.request_extra(worker.CONFIDENCE, by=one)
    session.request_extra(worker.CONFIDENCE, by=two)
    rest(session)
    assert session.result.confidence is not None
    session.release_extra(by=one)
    assert session.extras == {worker.CONFIDENCE}
    session.release_extra(by=two)
    session.release_extra(by=two)
    assert session.extras == frozenset()


def test_who_changed_the_numbers_is_told(start):
    image, source = layers()
    session = start(image, source)
    told = []
    session.numbers_changed.connect(lambda numbers, by: told.append(by))
    session.set_numbers(session.numbers.changed(damping=0.5), by=USER)
    session.set_numbers(Numbers())
    rest(session)
    assert told == [USER, PROGRAM]
    bright = Image(image.data.astype(np.float32) * 1000, name="bright")
    session.viewer.add_layer(bright)
    session.layers_changed()
    session.choose(image=bright)
    rest(session)
    assert told[-1] == IMAGE
    assert session.numbers.appearance_intensity_sigma > 1000


def test_what_was_understood_is_told_and_what_does_not_fit(start):
    session = start()
    told = []
    session.inputs_changed.connect(told.append)
    image, source = layers()
    session.viewer.add_layer(image)
    session.layers_changed()
    rest(session)
    assert isinstance(told[-1], Misfit)
    session.viewer.add_layer(source)
    session.layers_changed()
    rest(session)
    assert isinstance(told[-1], Problem)
    assert session.request().problem == session.problem


def test_a_map_of_several_layers_stays_chosen_when_others_are_selected(start):
    image, source = layers(n_labels=3)
    planes = [Image(plane, name=f"class {k}") for k, plane in enumerate(source.data)]
    session = start(image, *planes)
    session.choose(by=USER, image=image, map=tuple(planes))
    session.viewer.layers.selection = {image}
    session.viewer.add_layer(Labels(np.zeros((40, 50), int)))
    session.layers_changed()
    rest(session)
    assert session.chosen.map == tuple(planes)
    session.viewer.layers.remove(planes[0])
    session.layers_changed()
    assert session.chosen.map != tuple(planes)


def test_a_longer_piece_of_work_reports_to_who_began_it_and_its_results_are_shown(start):
    session = start(*layers())
    request = session.request()
    done, found, results = [], [], []
    session.result_written.connect(results.append)

    def work():
        yield runner.Stage("looking", 0.0)
        yield runner.Found("something")
        for step in session.engine.steps(request):
            if isinstance(step, runner.Done):
                yield runner.Found(step.result)
        yield runner.Done("all")

    session.run(work, done.append, found.append)
    rest(session)
    assert (done, found) == (["all"], ["something"])
    assert len(results) == 1


def test_a_closed_session_does_nothing(start, monkeypatch):
    image, source = layers()
    session = start(image, source)
    session.close()
    session.close()
    read = counted(monkeypatch, reading, "read_image")
    image.data = 255 - image.data
    session.set_numbers(Numbers(), by=USER)
    session.choose(region=VISIBLE)
    session.layers_changed()
    assert session.idle
    assert not read
