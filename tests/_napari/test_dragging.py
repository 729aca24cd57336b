"""While a slider moves: previews are drawn and written nowhere, and the exact result comes when the hand rests."""

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import WAIT_MS, after, picture, result_of, settle
from hand_loop import rest
from napari_densecrf._napari import words
from napari_densecrf._napari.display.preview import _placed
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.session import USER
from napari_densecrf._napari.work import pace, preview
from napari_densecrf._napari.work.preview import cuts, thinned
from napari_densecrf._napari.work.smoothed import repeated, smoothed_labels


@pytest.fixture
def previews(monkeypatch):
    """Have each move of a slider show a preview of every fourth pixel, however quick the exact run."""
    monkeypatch.setattr(pace, "QUICK_PIXELS", 0)
    monkeypatch.setattr(pace, "SMALL_FRAME_S", 0.0)
    monkeypatch.setattr(preview, "FACTORS", (1, 2, 4))
    monkeypatch.setattr(preview, "FEWEST_PIXELS", 1)


@pytest.fixture
def start(start_on, previews):
    def start(*layers):
        viewer = ViewerModel()
        for layer in layers:
            viewer.add_layer(layer)
        # All of it is on the canvas.
        viewer.canvas.size = (400, 400)
        viewer.reset_view()
        return start_on(viewer)

    return start


def layers(shape=(61, 82), n_labels=2):
    image, probabilities = picture(shape, n_labels)
    return Image(image, name="image"), Image(probabilities, name="map")


def move(session, **numbers):
    session.set_numbers(session.numbers.changed(**numbers), by=USER)


def test_a_preview_comes_first_and_is_written_nowhere(start):
    session = start(*layers())
    before, layer = session.result, session.result_layer
    data, metadata = layer.data.copy(), dict(layer.metadata)
    events, said = [], []
    session.status_changed.connect(lambda status: said.append(status.words))

    def on_preview(result):
        assert_array_equal(layer.data, data)
        assert layer.metadata == metadata
        assert session.result is before
        assert session.shown is result
        events.append(result)

    session.previewed.connect(on_preview)
    session.result_written.connect(events.append)
    move(session, appearance_weight=9.0)
    rest(session)
    shown, exact = events
    assert (shown.request.is_preview, exact.request.is_preview) == (True, False)
    assert shown.request.region.step == 4
    assert shown.drawn.labels.shape == exact.labels.shape
    assert shown.request.params == exact.request.params == session.numbers.balanced_params
    assert said[0].startswith(words.PREVIEW)
    assert words.PREVIEW not in said[-1]
    assert session.shown is session.result is exact
    image, source = layers()
    assert_array_equal(layer.data, ndc.refine(image.data, source.data, session.numbers.balanced_params).labels)


def test_what_wants_the_result_waits_until_it_is_exact(start):
    session = start(*layers())
    got = []
    session.when_exact(lambda: got.append(session.result))
    assert got == [session.result]
    session.previewed.connect(lambda _: session.when_exact(lambda: got.append(session.result)))
    move(session, appearance_weight=9.0)
    rest(session)
    assert len(got) == 2
    assert got[1] is session.result
    assert got[1].request.params == session.numbers.balanced_params


def test_a_drag_that_is_cancelled_shows_the_result_again(start):
    session = start(*layers())
    before, data = session.result, session.result_layer.data.copy()
    shown, never = [], []

    def cancel(result):
        shown.append(result)
        if result.request.is_preview:
            session.when_exact(lambda: never.append(result))
            session.cancel()

    session.previewed.connect(cancel)
    move(session, appearance_weight=9.0)
    rest(session)
    assert [result.request.is_preview for result in shown] == [True, False]
    assert session.shown is session.result is before
    assert_array_equal(session.result_layer.data, data)
    assert not never


def test_values_that_come_during_a_preview_are_passed_over_for_the_last(start):
    session = start(*layers())
    exact = []
    session.result_written.connect(exact.append)
    weights = iter((4.0, 5.0, 6.0))

    def next_value(result):
        if result.request.is_preview:
            weight = next(weights, None)
            if weight is not None:
                move(session, appearance_weight=weight)

    session.previewed.connect(next_value)
    move(session, appearance_weight=9.0)
    rest(session)
    assert exact[-1].request.params.kernels[0].weight == 6.0
    assert session.preview is None


def test_previews_of_one_drag_build_one_lattice_and_read_nothing(start, monkeypatch):
    from napari_densecrf._napari.work import worker
    from napari_densecrf.crf.lattice.lattice import Lattice

    session = start(*layers())
    move(session, appearance_weight=4.0)
    rest(session)
    built, read, build = [], [], Lattice._build
    monkeypatch.setattr(Lattice, "_build", lambda *args: built.append(args) or build(*args))
    live = session._live
    request = session.request()
    monkeypatch.setattr(worker, "read", lambda *args: read.append(args))
    for weight in (5.0, 6.0):
        asked = replace(request, params=session.numbers.changed(appearance_weight=weight).balanced_params)
        shown = next(step.value for step in live.steps(asked) if hasattr(step, "value"))
        assert shown.request.is_preview
    assert not built
    assert not read


def test_objects_are_previewed_too(start):
    image = np.zeros((64, 64), np.uint8)
    image[16:48, 16:48] = 200
    objects = np.zeros((64, 64), np.int32)
    objects[14:46, 18:50] = 7
    session = start(Image(image, name="image"), Labels(objects, name="objects"))
    shown = []
    session.previewed.connect(shown.append)
    move(session, appearance_weight=session.numbers.appearance_weight + 2)
    rest(session)
    assert [result.request.is_preview for result in shown] == [True]
    assert set(np.unique(shown[0].drawn.labels)) == {0, 7}
    scripted = ndc.refine_objects(image, objects, session.numbers.balanced_params, border=session.numbers.border)
    assert_array_equal(session.result.labels, scripted.labels)


def test_cuts_hold_what_is_shown_in_coarser_and_coarser_pixels(start):
    session = start(*layers((64, 96)))
    request = session.request()
    source = session.engine.source(request)
    assert [cut.n_pixels for cut in cuts(request, source.read)] == [64 * 96, 32 * 48, 16 * 24]
    part = replace(request, shown=Region((), (16, 40), (20, 60)))
    for factor, cut in zip((1, 2, 4), cuts(part, source.read), strict=True):
        region = cut.request.region
        assert (region.y, region.x, region.step) == ((16, 40), (20, 60), factor)
        inputs = cut.of(thinned(source.inputs, source.read, factor))
        assert inputs.image.shape == cut.request.read.shape
        inner = region.within(cut.request.read)
        assert_array_equal(inputs.probabilities[:, *inner], source.inputs.probabilities[:, 16:40:factor, 20:60:factor])
        whole = source.inputs.image[16:40, 20:60].astype(float)
        if factor == 2:
            # The mean of four pixels, of which the sample is the last.
            assert inputs.image[inner][1, 1] == pytest.approx(whole[1:3, 1:3].mean())
    # What was read for another slice or a smaller part holds nothing of it.
    assert not cuts(request, replace(source.read, y=(0, 32)))


def test_borders_between_samples_are_straight():
    first = np.array([[0.9, 0.9, 0.2, 0.2]] * 2, np.float32)
    labels = smoothed_labels(np.stack([first, 1 - first]), 4, (7, 15))
    # Between the samples at 4 and 8, nearer to the one that is less sure.
    assert_array_equal(labels, np.tile(np.arange(15) > 6, (7, 1)))
    rng = np.random.default_rng(0)
    many = rng.dirichlet(np.ones(5), (6, 7)).transpose(2, 0, 1).astype(np.float32)
    assert_array_equal(smoothed_labels(many, 3, (18, 21))[::3, ::3], many.argmax(axis=0))
    assert_array_equal(smoothed_labels(many, 3, (18, 21))[15:, 18:], many.argmax(axis=0)[-1, -1])


def test_ids_are_repeated_around_their_samples():
    assert_array_equal(repeated(np.array([[1, 2, 3]]), 4, (2, 11)), [[1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]] * 2)


def test_a_preview_is_placed_on_the_picture_of_any_level():
    values = np.arange(12).reshape(3, 4)
    part, offset = _placed(Region((), (8, 14), (4, 12), 2), values, 0, (0, 0), (12, 20))
    assert offset == (8, 4)
    assert_array_equal(part, values.repeat(2, axis=0).repeat(2, axis=1)[:4])
    # Pixels of a level that are twice as wide, on a picture that begins within the region.
    part, offset = _placed(Region((), (8, 14), (4, 12), 2), values, 2, (2, 2), (5, 5))
    assert offset == (0, 0)
    assert_array_equal(part, values[::2, ::2][:, 1:])


def test_a_window_draws_a_preview_and_calls_only_the_exact_result_refined(previews, dock, qtbot):
    image, probabilities = picture((64, 80))
    viewer, widget = dock(Image(image, name="image"), Image(probabilities, name="map"))
    layer = result_of(viewer)
    drawn, shown, refined = [], [], []
    layer.events.labels_update.connect(lambda event: drawn.append(event.data.copy()))
    widget.result_shown.connect(lambda result: shown.append(result.request.is_preview))
    widget.refined.connect(refined.append)
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.5))
    assert shown == [True, False]
    assert len(drawn) == len(refined) == 1
    assert_array_equal(layer._slice.image.raw, layer.data)
    assert widget.last_result.request.params == widget.params
    frozen_before = [one.name for one in viewer.layers]

    def freeze(result):
        if result.request.is_preview:
            widget.result_shown.disconnect(freeze)
            widget.freeze.changed.emit(True)
            assert [one.name for one in viewer.layers] == frozen_before

    widget.result_shown.connect(freeze)
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 2.5))
    qtbot.waitUntil(lambda: "image frozen" in viewer.layers, timeout=WAIT_MS)
    settle(qtbot, widget)
    assert viewer.layers["image frozen"].metadata["napari-densecrf"]["params"] == widget.params.to_dict()
    assert_array_equal(viewer.layers["image frozen"].data, layer.data)
