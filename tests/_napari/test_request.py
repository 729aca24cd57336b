"""What a slider's value becomes, as a pure function: no window, no thread, no pixel is read."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_densecrf._napari.problem.axes import LayerAxes
from napari_densecrf._napari.problem.problem import FromStrokes, Misfit
from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import (
    AUTO,
    FILM,
    ONE_BY_ONE,
    VISIBLE,
    VOLUME,
    WHOLE,
    Chosen,
    Request,
    joins_of,
    resolve,
)
from napari_densecrf._napari.problem.understand import understand
from napari_densecrf._napari.problem.view import MARGIN_REACHES, View
from napari_densecrf._napari.work.reading import read, read_image
from napari_densecrf.numbers import Numbers


class Unreadable:
    """Data whose pixels must not be looked at."""

    def __init__(self, shape, dtype=np.float32):
        self.shape, self.dtype, self.ndim, self.size = shape, np.dtype(dtype), len(shape), int(np.prod(shape))

    def __getitem__(self, at):  # noqa: D105
        raise AssertionError("a pixel was read")

    __array__ = __getitem__


def image_of(shape, **options):
    layer = Image(np.zeros((2,) * len(shape), np.float32), **options)
    layer._data = Unreadable(shape)
    return layer


def view(n_axes, point=None, zoom=1.0, centre=None, canvas=(100, 100), displayed=None):
    return View(
        tuple(point or (0.0,) * n_axes),
        displayed or tuple(range(n_axes))[-2:],
        zoom,
        tuple(centre or (0.0, 50.0, 50.0)),
        canvas,
    )


def resolved(shape=(100, 120), map_shape=None, numbers=None, seen=None, scale=None, **chosen):
    image = image_of(shape, name="image", **({} if scale is None else {"scale": scale}))
    source = image_of(map_shape or (3, *shape), name="map")
    return resolve(Chosen(image, source, **chosen), numbers or Numbers(), seen or view(len(shape)))


def test_a_request_holds_the_numbers_and_the_whole_slice_and_reads_nothing():
    numbers = Numbers(appearance_weight=7.0, n_iterations=3)
    request = resolved(numbers=numbers)
    assert isinstance(request, Request)
    assert request.params == numbers.params
    assert request.region == request.read == Region((), (0, 100), (0, 120))
    assert (request.strokes, request.revision, request.extras) == (None, None, frozenset())


def test_the_same_choices_numbers_and_view_give_the_same_request():
    image, source = image_of((100, 120)), image_of((3, 100, 120))
    one, two = (resolve(Chosen(image, source), Numbers(), view(2)) for _ in range(2))
    for entry in dataclasses.fields(Request):
        assert getattr(one, entry.name) == getattr(two, entry.name)


def test_what_does_not_fit_is_a_value_not_an_exception():
    for chosen in (Chosen(), Chosen(image_of((9, 9))), Chosen(image_of((9, 9)), image_of((3, 4, 4)))):
        assert isinstance(resolve(chosen, Numbers(), view(2)), Misfit)
    for displayed in ((0, 2, 1), (1, 0, 2), (2, 1)):
        assert "other axes than y and x" in str(resolved((4, 20, 30), seen=view(3, displayed=displayed)))


def test_the_shown_slice_is_that_at_the_point_of_the_world():
    assert resolved((5, 20, 30), seen=view(3, point=(3.2, 0, 0))).region.index == (3,)
    assert resolved((5, 20, 30), scale=(2, 1, 1), seen=view(3, point=(4.0, 0, 0))).region.index == (2,)
    # Outside the image the nearest is taken.
    assert resolved((5, 20, 30), seen=view(3, point=(99, 0, 0))).region.index == (4,)


def test_a_visible_part_is_read_with_the_margin_of_its_kernels():
    numbers = Numbers(appearance_position_sigma=4.0)
    request = resolved((900, 900), numbers=numbers, region=VISIBLE, seen=view(2, centre=(0, 450.0, 450.0)))
    (y0, y1), (x0, x1) = request.region.y, request.region.x
    assert 100 <= y1 - y0 <= 104
    assert 100 <= x1 - x0 <= 104
    margin = int(MARGIN_REACHES * 4.0)
    assert request.read.y == (y0 - margin, y1 + margin)
    off = dataclasses.replace(numbers, appearance_weight=0.0, smoothness_weight=0.0)
    alone = resolved((900, 900), numbers=off, region=VISIBLE, seen=view(2, centre=(0, 450.0, 450.0)))
    assert alone.read == alone.region


@pytest.mark.parametrize(("region", "whole"), [(AUTO, False), (WHOLE, True), (VISIBLE, False)])
def test_a_large_slice_is_refined_where_it_is_shown(region, whole):
    request = resolved((3000, 3000), region=region, seen=view(2, centre=(0, 1500.0, 1500.0)))
    assert (request.region == Region((), (0, 3000), (0, 3000))) == whole


def test_far_out_it_is_refined_as_coarsely_as_it_is_shown():
    request = resolved((20000, 20000), seen=view(2, zoom=0.05, centre=(0, 10000.0, 10000.0), canvas=(1000, 1000)))
    assert request.region.step == 16
    assert request.spacing == (16.0, 16.0)


def test_slices_are_joined_to_a_slab_as_deep_as_the_kernels_reach():
    numbers = Numbers(appearance_position_sigma=2.0, smoothness_position_sigma=1.0)
    request = resolved((40, 20, 30), numbers=numbers, slices=VOLUME, scale=(2, 1, 1), seen=view(3, point=(40.0, 0, 0)))
    assert request.frame == "volume"
    assert request.read.z == (15, 26)
    assert request.spacing == (2.0, 1.0, 1.0)
    film = resolved((40, 20, 30), numbers=numbers, slices=FILM, seen=view(3, point=(20.0, 0, 0)))
    assert (film.frame, film.time_sigma, film.read.z) == ("film", 1.0, (15, 26))
    assert film.coupled(film.params).kernels[0].position_sigma == (1.0, 2.0, 2.0)
    assert resolved((40, 20, 30), slices=ONE_BY_ONE).read.z is None


def test_a_film_of_volumes_is_refused_in_a_sentence():
    image = image_of((3, 4, 20, 30), name="image")
    image.axis_labels = ("t", "z", "y", "x")
    refused = resolve(Chosen(image, image_of((2, 3, 4, 20, 30)), slices=FILM), Numbers(), view(4))
    assert "Volumes cannot be coupled in time" in str(refused)
    assert FILM in joins_of(None)


def test_requests_of_one_subject_differ_in_their_numbers_alone():
    image, source = image_of((100, 120)), image_of((3, 100, 120))
    chosen = Chosen(image, source)
    one = resolve(chosen, Numbers(), view(2))
    assert one.subject == resolve(chosen, Numbers(appearance_weight=9.0), view(2)).subject
    assert one.subject != resolve(Chosen(image, image_of((3, 100, 120))), Numbers(), view(2)).subject


def test_the_view_is_that_of_the_viewer():
    viewer = ViewerModel()
    viewer.add_layer(Image(np.zeros((4, 20, 30))))
    viewer.dims.set_current_step(0, 2)
    seen = View.of(viewer)
    assert seen.point[0] == 2
    assert seen.displayed == (1, 2)
    assert seen.zoom == viewer.scene.camera.zoom


# --- axes ----------------------------------------------------------------------------------------------------------


@given(
    n_leading=st.integers(0, 2),
    vector=st.one_of(st.none(), st.integers(0, 4)),
    bridge=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_an_index_takes_what_numpy_would_by_name(n_leading, vector, bridge, seed):
    names = [*("t", "z")[:n_leading], "y", "x"]
    picks = dict(zip(names, (*(1, 2)[:n_leading], slice(1, 4), slice(2, 6)), strict=True))
    picks |= {"v": slice(None), "one": 0}
    sizes = {"t": 3, "z": 4, "y": 5, "x": 6, "v": 2, "one": 1}
    order = list(names)
    if vector is not None:
        order.insert(min(vector, len(order)), "v")
    if bridge:
        order.insert(0, "one")
    data = np.random.default_rng(seed).normal(size=[sizes[name] for name in order])
    channels = order.index("v") if "v" in order else None
    axes = LayerAxes(Image(data), tuple(order.index(name) for name in names), channels)
    region = Region((1, 2)[:n_leading], (1, 4), (2, 6))
    wanted = data
    for axis in reversed(range(len(order))):
        # One axis after the other, the last first.
        wanted = wanted[(slice(None),) * axis + (picks[order[axis]],)]
    part = data[axes.of(region)]
    np.testing.assert_array_equal(part, wanted)
    if vector is not None:
        assert part.shape[axes.vector_in(region)] == sizes["v"]
    channel = ["v"] * (vector is not None)
    assert [order[axis] for axis in axes.order()] == [*names, *channel]
    assert [order[axis] for axis in axes.order(vector_to=0)] == [*channel, *names]


def test_reading_and_letters_come_from_one_description():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 2, 7, 8))
    problem = understand(Image(data, name="image"), Image(rng.random((3, 4, 7, 8)), name="map"))
    assert (problem.channel_axis, problem.class_axis) == (1, 1)
    region = Region((2,), (1, 6), (0, 8), step=1)
    np.testing.assert_array_equal(read_image(problem, region), np.moveaxis(data[2, :, 1:6], 0, -1))
    assert problem.image_axes.letters(problem.letters("T")) == "TCYX"
    assert problem.map_axes[0].letters(problem.letters("T")) == "TCYX"


def test_a_coarse_region_is_read_from_the_level_that_is_as_coarse():
    rng = np.random.default_rng(0)
    fine = rng.normal(size=(64, 80))
    image = Image([fine, fine[::2, ::2] + 1000], multiscale=True)
    problem = understand(image, Image(rng.random((2, 64, 80))))
    part = read_image(problem, Region((), (8, 40), (16, 60), step=4))
    np.testing.assert_array_equal(part, fine[8:40:4, 16:60:4] + 1000)


def test_strokes_on_the_grid_with_or_without_the_axis_of_channels_are_read_alike():
    rng = np.random.default_rng(0)
    image = Image(rng.normal(size=(3, 2, 7, 8)), name="image")
    drawn = rng.integers(0, 3, (3, 7, 8))
    flat, bridged = Labels(drawn), Labels(drawn[:, None])
    for layer in (flat, bridged):
        problem = understand(image, FromStrokes(layer))
        region = Region((1,), (2, 6), (1, 8))
        np.testing.assert_array_equal(layer.data[problem.axes_like_result(layer).of(region)], drawn[1, 2:6, 1:8])
    with pytest.raises(Misfit, match="expected 3 x 7 x 8"):
        problem.axes_like_result(Labels(drawn[:, :5]))


def test_inputs_of_a_map_of_several_layers_are_its_planes():
    rng = np.random.default_rng(0)
    planes = [Image(plane, name=f"class {k}") for k, plane in enumerate(rng.random((3, 9, 10)))]
    inputs = read(understand(Image(rng.random((9, 10))), tuple(planes)), Region((), (0, 9), (0, 10)))
    np.testing.assert_array_equal(inputs.probabilities, np.stack([layer.data for layer in planes]))
    assert inputs.names == ["class 0", "class 1", "class 2"]
