"""What people bring to the window is read right, said to be a guess, or refused in a sentence. Needs no window."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from scipy import ndimage

import napari_densecrf as ndc
from hand_loop import rest
from napari_densecrf._napari.problem import choices
from napari_densecrf._napari.problem.problem import CHANNELS, SLICES, FromStrokes, Misfit, Problem
from napari_densecrf._napari.problem.seen import look
from napari_densecrf._napari.runs.in_memory import start_in_memory
from napari_densecrf._napari.session import USER
from napari_densecrf._napari.status import Light
from napari_densecrf.door.values import Kind

T = ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 20**2
IMG = (60 + 120 * T).astype(np.uint8)
RNG = np.random.default_rng(0)
ROUGH = T ^ (RNG.random(T.shape) < 0.1)
P = np.stack([np.where(ROUGH, 0.3, 0.7), np.where(ROUGH, 0.7, 0.3)]).astype(np.float32)


@pytest.fixture
def start(start_on):
    def start(*layers):
        def listen(session):
            session.said = []
            session.inputs_changed.connect(session.said.append)
            session.statuses = []
            session.status_changed.connect(session.statuses.append)
            for layer in layers:
                session.viewer.add_layer(layer)

        return start_on(ViewerModel(), listen)

    return start


def add(session, layer):
    session.viewer.add_layer(layer)
    session.layers_changed()
    rest(session)


# --- which image, which map -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_layer_of_the_map_is_never_the_image(start, late):
    # CellProfiler tutorials #36: one file a class, selected together.
    planes = [Image(plane, name=f"class {k}") for k, plane in enumerate(P)]
    session = start(*planes, Image(IMG, name="photo")) if not late else start(*planes)
    session.viewer.layers.selection = set(planes)
    session.layers_changed()
    if late:
        add(session, Image(IMG, name="photo"))
        session.viewer.layers.selection = set(planes)
        session.layers_changed()
    rest(session)
    assert session.chosen.image.name == "photo"
    assert session.chosen.map == tuple(planes)


def test_two_channels_are_no_pair_and_nothing_is_hidden_or_added(start):
    # cellpose-napari #48: channels as layers of their own.
    second = RNG.integers(0, 255, T.shape).astype(np.uint8)
    session = start(Image(IMG, name="ch1"), Image(second, name="ch2"))
    assert isinstance(session.said[-1], Misfit)
    assert "Needs a rough segmentation" in str(session.said[-1])
    assert [layer.name for layer in session.viewer.layers] == ["ch1", "ch2"]
    assert all(layer.visible for layer in session.viewer.layers)
    # A real map that comes later is taken.
    add(session, Image(P, name="map"))
    assert session.chosen.map.name == "map"
    assert session.result is not None


def test_a_guess_gives_way_and_a_choice_of_the_users_does_not(start):
    session = start(Image(IMG, name="image"), Labels(ROUGH.astype(int), name="rough"))
    assert session.chosen.map.name == "rough"
    add(session, Image(P, name="map"))
    assert session.chosen.map.name == "map"
    rough = session.viewer.layers["rough"]
    session.choose(by=USER, map=rough)
    add(session, Image(P[:, ::-1], name="another map"))
    assert session.chosen.map is rough


@pytest.mark.parametrize("named", [None, ("c", "y", "x"), ("class", "y", "x")])
def test_channels_and_classes_of_equal_number_are_told_by_what_sums_to_one(start, named):
    three = np.stack([P[0], 0.5 * P[1], 0.5 * P[1]])
    options = {} if named is None else {"axis_labels": named}
    image = Image(np.stack([IMG, IMG[::-1], IMG[:, ::-1]]), name="image", rgb=False)
    session = start(image, Image(three, name="map", rgb=False, **options))
    assert (session.problem.channel_axis, session.problem.class_axis) == (0, 0)
    assert session.problem.doubt == ""
    assert session.result.labels.shape == T.shape


def test_where_nothing_tells_it_is_a_guess_with_a_control(start):
    # A stack of two slices with a foreground map, or two channels with two classes: sums tell for neither.
    foreground = np.stack([P[1], P[1][::-1]])
    session = start(Image(np.stack([IMG, IMG[::-1]]), name="image"), Image(foreground, name="map"))
    session.choose(by=USER, image=session.viewer.layers["image"], map=session.viewer.layers["map"])
    rest(session)
    assert "slices" in session.problem.doubt
    assert session.problem.axes_guessed
    assert session.problem.channel_axis is None
    assert session.statuses[-1].light is Light.AMBER
    session.choose(by=USER, leading=CHANNELS)
    rest(session)
    assert session.problem.channel_axis == 0
    assert session.problem.doubt == ""
    session.choose(by=USER, leading=SLICES)
    rest(session)
    assert session.problem.channel_axis is None
    assert session.problem.doubt == ""


@pytest.mark.parametrize("named", [False, True])
def test_time_and_classes_of_equal_number(start, named):
    films = np.stack([P, P[:, ::-1]])
    options = {"axis_labels": ("t", "c", "y", "x")} if named else {}
    session = start(Image(np.stack([IMG, IMG[::-1]]), name="film"), Image(films, name="map", **options))
    assert session.problem.class_axis == 1


def test_the_map_that_lies_where_the_image_lies_is_taken(start):
    # napari-crop #59: two regions at different places.
    maps = Image(P, name="one"), Image(P[:, ::-1], name="two", translate=(0, 500, 500))
    session = start(Image(IMG, name="a", translate=(500, 500)), *maps)
    assert session.chosen.map.name == "two"


def test_axes_of_one_pixel_do_not_matter(start):
    # napari-omero #110: a 5D image, 2D labels.
    session = start(Image(IMG[None, None, None], name="image"), Labels(ROUGH.astype(int), name="labels"))
    assert session.result is not None
    assert session.result.labels.shape == T.shape


def test_a_transposed_view_is_refused(start):
    session = start(Image(IMG, name="image"), Image(P, name="map"))
    before = session.result_layer.data.copy()
    session.viewer.dims.order = (0, 2, 1)
    rest(session)
    assert "other axes than y and x" in str(session.said[-1])
    np.testing.assert_array_equal(session.result_layer.data, before)


def test_an_xz_view_is_refused(start):
    session = start(Image(np.stack([IMG] * 5), name="image"), Image(np.stack([P] * 5, axis=1), name="map"))
    before = session.result_layer.data.copy()
    n_axes = session.viewer.dims.ndim
    session.viewer.dims.order = (*range(n_axes - 3), n_axes - 2, n_axes - 3, n_axes - 1)
    rest(session)
    assert "other axes than y and x" in str(session.said[-1])
    np.testing.assert_array_equal(session.result_layer.data, before)


# --- what the numbers are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ROUGH.astype(np.uint16) * 255, "mask"),
        (ROUGH.astype(np.uint8), "mask"),
        ((ROUGH.astype(np.uint16) + T), "labels, one number"),
    ],
)
def test_a_mask_saved_as_an_image_is_refused_and_one_click_makes_classes(start, data, words):
    # napari #2899.
    session = start(Image(IMG, name="image"), Image(data, name="mask"))
    assert session.result is None
    assert words in str(session.said[-1])
    session.accept(session.said[-1])
    rest(session)
    assert isinstance(session.chosen.map, Labels)
    assert session.result.inputs.values.tolist() == np.unique(data).tolist()
    assert set(np.unique(session.result_layer.data)) <= set(np.unique(data))
    assert session.result_layer.data.dtype == data.dtype


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: np.round(p * 100).astype(np.uint8), "divide it by 100"),
        (lambda p: np.round(p * 255).astype(np.uint16), "divide it by 255"),
        (lambda p: (p * 255).astype(np.float32), "divide it by 255"),
        (np.log, "softmax"),
    ],
)
def test_other_scales_and_logits_are_refused_and_one_click_makes_probabilities(start, make, words):
    session = start(Image(IMG, name="image"), Image(make(P), name="map"))
    assert session.result is None
    assert words in str(session.said[-1])
    session.accept(session.said[-1])
    rest(session)
    np.testing.assert_allclose(session.chosen.map.data, P, atol=0.006)
    assert (session.result.labels == T).mean() > 0.95


@pytest.mark.parametrize(
    "values", [(-1, 3), (0, 70000), (5, 2**40), (-(2**31), 7)], ids=["negative", "sparse", "large", "small"]
)
def test_ids_of_any_integer_stay_what_they_are(start, values):
    # napari #3647, #6077.
    labels = np.where(ROUGH, values[1], values[0]).astype(np.int64)
    session = start(Image(IMG, name="image"), Labels(labels, name="labels"))
    assert session.result_layer.data.dtype == np.int64
    assert sorted(np.unique(session.result_layer.data).tolist()) == sorted(values)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64])
def test_ids_stay_in_their_type(start, dtype):
    labels = np.where(ROUGH, 7, 3).astype(dtype)
    session = start(Image(IMG, name="image"), Labels(labels, name="labels"))
    assert session.result_layer.data.dtype == dtype
    assert sorted(np.unique(session.result_layer.data).tolist()) == [3, 7]


def test_ids_too_large_for_any_class_are_refused(start):
    labels = Labels(np.where(ROUGH, 2**64 - 2, 0).astype(np.uint64), name="labels")
    session = start(Image(IMG, name="image"), labels)
    assert "“labels” has labels up to 18446744073709551614" in str(session.said[-1])


def test_byte_order_does_not_matter(start):
    swapped = Image(IMG.astype(">u2"), name="image"), Image((P * 65535).astype(">u2"), name="map")
    session = start(*swapped)
    expected = ndc.refine(IMG, (P * 65535).astype(np.uint16), session.numbers.params).labels
    np.testing.assert_array_equal(session.result_layer.data, expected)


def test_a_number_is_one_class_on_all_slices(start):
    # ilastik #415: slice 0 has {0, 1, 2}, slice 1 {0, 2}.
    stack = np.stack([ROUGH.astype(int) + T, 2 * ROUGH]).astype(np.uint8)
    session = start(Image(np.stack([IMG, IMG]), name="image"), Labels(stack, name="labels"))
    for index in (0, 1):
        session.viewer.dims.set_current_step(0, index)
        session.schedule()
        rest(session)
        assert session.result.inputs.values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("several", [False, True])
def test_data_that_are_not_in_memory_are_looked_at_too(start, several):
    import dask.array as da

    mask = da.from_array(ROUGH.astype(np.uint16) * 255, chunks=32)
    source = Image(mask, name="mask", contrast_limits=(0, 255))
    if several:
        source = Image([mask, mask[::2, ::2]], name="mask", multiscale=True, contrast_limits=(0, 255))
    session = start(Image(IMG, name="image"), source)
    session.choose(by=USER, image=session.viewer.layers["image"], map=source)
    rest(session)
    assert session.result is None
    assert "mask" in str(session.said[-1])
    good = Image(da.from_array(P, chunks=(2, 32, 32)), name="map", contrast_limits=(0, 1))
    session.viewer.add_layer(good)
    session.choose(by=USER, map=good)
    rest(session)
    assert session.problem.values.sure
    assert (session.result.labels == T).mean() > 0.95


def test_empty_labels_are_there_to_paint_on(start):
    session = start(Image(IMG, name="image"), Labels(np.zeros(T.shape, int), name="Labels"))
    assert session.result is None
    assert session.viewer.layers["Labels"].visible


# --- what is said ---------------------------------------------------------------------------------------------------


def test_an_unfinished_stack_is_said_to_be(start):
    session = start(Image(np.stack([IMG] * 4), name="image"), Image(np.stack([P] * 4, axis=1), name="map"))
    assert "1 of 4 slices refined" in session.statuses[-1].words
    assert session.statuses[-1].light is Light.AMBER
    assert session.result_layer.metadata["napari-densecrf"]["slices"] == {"refined": 1, "of": 4}
    for index in range(4):
        session.viewer.dims.set_current_step(1, index)
        rest(session)
    assert "slices refined" not in session.statuses[-1].words
    assert session.statuses[-1].light is Light.GREEN


def test_green_says_what_changed_and_the_rest_is_in_the_tooltip(start):
    session = start(Image(IMG, name="image"), Image(P, name="map", metadata={"classes": ["stroma", "cell"]}))
    said = session.statuses[-1]
    assert said.light is Light.GREEN
    assert "% changed" in said.words
    assert "cell" in said.words
    assert "ms" in said.detail
    assert "pixels" in said.detail


def test_a_class_that_loses_much_makes_it_amber(start):
    thin = np.zeros(T.shape, bool)
    thin[::6] = True
    probabilities = np.stack([np.where(thin, 0.45, 0.9), np.where(thin, 0.55, 0.1)]).astype(np.float32)
    flat = Image(np.full(T.shape, 100, np.uint8), name="image")
    session = start(flat, Image(probabilities, name="map", metadata={"classes": ["ground", "vessel"]}))
    assert session.statuses[-1].light is Light.AMBER
    assert "vessel lost 100\N{NO-BREAK SPACE}% of its area" in session.statuses[-1].words


# --- pixels without a value ------------------------------------------------------------------------------------------


Y, X = np.indices(T.shape)
BLANK = (X > 55) | ((abs(Y - 20) < 6) & (abs(X - 20) < 6))


def test_pixels_without_a_value_take_no_part(start):
    # napari #1310: a stitched image has NaN where there is no tile.
    image = np.where(BLANK, np.nan, IMG).astype(np.float32)
    session = start(Image(image, name="image"), Image(P, name="map"))
    np.testing.assert_array_equal(session.result_layer.data == 255, BLANK)
    assert session.result_layer.metadata["napari-densecrf"]["no_label"] == 255
    assert session.result_layer.get_color(255)[-1] == 0
    assert session.result.counts.sum() == np.count_nonzero(~BLANK)
    assert "15\N{NO-BREAK SPACE}% of the pixels have no value" in session.statuses[-1].words
    assert session.statuses[-1].light is Light.GREEN
    # What is kept is compared without their NaN, which equals nothing: nothing is built anew.
    (kept,) = session.engine._kept.values()
    refiner = kept.refiner
    session.set_numbers(session.numbers.changed(appearance_weight=7.0))
    rest(session)
    (kept,) = session.engine._kept.values()
    assert kept.refiner is refiner


def test_a_mask_of_255_keeps_its_255_beside_pixels_without_a_value(start):
    image = np.where(BLANK, np.nan, IMG).astype(np.float32)
    session = start(Image(image, name="image"), Labels(ROUGH * np.uint8(255), name="rough"))
    layer = session.result_layer
    assert layer.data.dtype == np.uint8
    np.testing.assert_array_equal(layer.data == 254, BLANK)
    assert layer.get_color(254)[-1] == 0
    assert layer.get_color(255)[-1] == 1
    # Kept, it is a rough segmentation whose pixels without a label have none again.
    kept = Labels(layer.data.copy(), name="kept", metadata={"napari-densecrf": {"no_label": 254, "frozen": True}})
    session.viewer.add_layer(kept)
    session.choose(by=USER, map=kept)
    rest(session)
    assert session.result.inputs.values.tolist() == [0, 255]


@pytest.mark.parametrize("masked", ["image", "map", "planes", "labels"])
def test_masked_arrays_in_layers(start, masked):
    def mask(array):
        return np.ma.array(array, mask=np.broadcast_to(BLANK, array.shape))

    image = Image(mask(IMG) if masked == "image" else IMG, name="image")
    source = [Image(mask(np.round(P * 255).astype(np.uint8)) if masked == "map" else P, name="map")]
    if masked == "planes":
        source = [Image(mask(plane), name=f"class {k}") for k, plane in enumerate(P)]
    if masked == "labels":
        source = [Labels(mask(ROUGH.astype(int)), name="rough")]
    session = start(image, *source)
    session.choose(by=USER, image=image, map=source[0] if len(source) == 1 else tuple(source))
    rest(session)
    none = ndc.no_label(session.result_layer.data.dtype)
    np.testing.assert_array_equal(session.result_layer.data == none, BLANK)


def test_scattered_nan_is_refused_with_its_number(start):
    image = IMG.astype(np.float32)
    image[30, 31:33] = np.nan
    session = start(Image(image, name="ratio"), Image(P, name="map"))
    assert session.result is None
    assert "“ratio” has NaN at 2 of 4,096 pixels that lie scattered" in session.statuses[-1].words
    assert session.statuses[-1].light is Light.RED


def test_a_slice_without_any_value(start):
    stack = np.stack([IMG, IMG]).astype(np.float32)
    stack[0] = np.nan
    session = start(Image(stack, name="image"), Image(np.stack([P, P], axis=1), name="map"))
    assert (session.result.labels == 255).all()
    assert "no pixel here has a value" in session.statuses[-1].words
    session.viewer.dims.set_current_step(1, 1)
    rest(session)
    assert (session.result.labels == T).mean() > 0.95


# --- several layers together -----------------------------------------------------------------------------------------


def channels_of(image):
    """Return channels as napari opens them: a layer each."""
    rng = np.random.default_rng(5)
    other = np.clip(image.astype(int) + rng.integers(-20, 20, image.shape), 0, 255).astype(np.uint8)
    return Image(image, name="DAPI"), Image(other, name="GFP"), Image(image[::-1].copy(), name="RFP")


def select(session, *layers):
    session.viewer.layers.selection = set(layers)
    rest(session)


def test_selected_layers_are_proposed_as_channels_and_one_click_takes_them(start):
    # cellpose-napari #48: channels as layers of their own.
    planes = channels_of(IMG)
    session = start(*planes, Image(P, name="map"))
    assert choices.proposed_channels(session.viewer, session.chosen) == ()
    select(session, *planes)
    assert choices.proposed_channels(session.viewer, session.chosen) == planes
    assert ("DAPI + GFP + RFP", planes) in choices.pictures(session.viewer)
    session.choose(by=USER, image=planes)
    rest(session)
    assert session.chosen.picture == planes
    assert choices.proposed_channels(session.viewer, session.chosen) == ()
    assert "64 x 64, 3 channels (3 layers), 2 classes" in str(session.problem)
    together = np.stack([layer.data for layer in planes], axis=-1)
    expected = ndc.refine(together, P, session.numbers.params, channel_axis=-1).labels
    np.testing.assert_array_equal(session.result_layer.data, expected)
    # They stay it when others are selected, and when a map comes.
    select(session, planes[0])
    add(session, Image(P[:, ::-1], name="another map"))
    assert session.chosen.picture == planes


def test_an_edit_in_any_of_the_channels_is_noticed(start):
    planes = channels_of(IMG)
    session = start(*planes, Image(P, name="map"))
    session.choose(by=USER, image=planes)
    rest(session)
    before = session.result.refinement.marginals
    planes[2].data = np.full_like(IMG, 7)
    rest(session)
    assert not np.array_equal(session.result.refinement.marginals, before)
    together = np.stack([layer.data for layer in planes], axis=-1)
    expected = ndc.refine(together, P, session.numbers.params, channel_axis=-1).labels
    np.testing.assert_array_equal(session.result_layer.data, expected)


def test_channels_that_come_apart(start):
    planes = channels_of(IMG)
    session = start(*planes, Image(P, name="map"))
    session.choose(by=USER, image=planes)
    rest(session)
    planes[1].translate = (3, 3)
    rest(session)
    assert "“GFP” cannot be a channel beside “DAPI”" in str(session.said[-1])
    planes[1].translate = (0, 0)
    rest(session)
    assert isinstance(session.said[-1], Problem)
    session.viewer.layers.remove(planes[1])
    session.layers_changed()
    rest(session)
    assert session.chosen.channels == ()
    assert session.chosen.image is not None


def test_strokes_and_long_runs_take_channels(start):
    stack = np.stack([IMG, IMG[::-1]])
    planes = Image(stack, name="DAPI"), Image(stack[::-1].copy(), name="GFP")
    strokes = Labels(np.zeros(stack.shape, int), name="strokes")
    session = start(*planes, Image(np.stack([P, P[:, ::-1]], axis=1), name="map"), strokes)
    session.choose(by=USER, image=planes, strokes=strokes)
    rest(session)
    strokes.data[0, 30:34, 30:34] = 1
    session.schedule()
    rest(session)
    assert (session.result_layer.data[0, 30:34, 30:34] == 0).all()
    run = start_in_memory(session.request(), session.result.inputs, strokes, session.viewer)
    for _ in run.steps():
        run.destination.show()
    run.finish(1.0)
    applied = session.viewer.layers["DAPI applied"].data
    for index in (0, 1):
        session.viewer.dims.set_current_step(1, index)
        rest(session)
        np.testing.assert_array_equal(applied[index], session.result_layer.data[index])
    # From strokes alone, too.
    strokes.data[0, 2:6, 2:30] = 2
    session.choose(by=USER, map=FromStrokes(strokes))
    rest(session)
    assert session.result.inputs.image.shape == (64, 64, 2)


def test_one_labels_layer_a_class(start):
    ring = ROUGH & ~ndimage.binary_erosion(ROUGH, iterations=3)
    masks = Labels(ROUGH.astype(int) * 4, name="cell"), Labels(ring.astype(np.uint8), name="membrane")
    session = start(Image(IMG, name="image"), *masks)
    select(session, *masks)
    assert session.chosen.map == masks
    assert session.result.inputs.names == ["background", "cell", "membrane"]
    probabilities = ndc.probabilities_from_masks([layer.data for layer in masks])
    np.testing.assert_array_equal(session.result.inputs.probabilities, probabilities)
    expected = ndc.refine(IMG, probabilities, session.numbers.params).labels
    np.testing.assert_array_equal(session.result_layer.data, expected)
    assert "a rough segmentation (2 layers, one for each class)" in str(session.problem)
    # An edit in any of them is noticed.
    masks[1].data = np.zeros_like(masks[1].data)
    rest(session)
    assert set(np.unique(session.result_layer.data)) <= {0, 1}


def test_labels_of_several_classes_are_one_map_only_where_the_user_says_so(start):
    # Selected together to be moved, say.
    ids = Labels(ROUGH.astype(int) + T, name="rough")
    session = start(Image(IMG, name="image"), ids, Labels(ROUGH.astype(int) + 3 * T, name="other"))
    before = session.chosen.map
    select(session, *(layer for layer in session.viewer.layers if layer.name in ("rough", "other")))
    assert session.chosen.map is before
    together = next(choice for name, choice in choices.maps(session.viewer) if name == "2 layers: rough, other")
    session.choose(by=USER, map=together)
    rest(session)
    assert session.result.inputs.names == ["background", "rough", "other"]


def test_masks_at_another_place_and_in_a_long_run(start):
    stack = np.stack([IMG, IMG[::-1]])
    both = np.stack([ROUGH, ROUGH[::-1]])[:, 4:]
    masks = Labels(both.astype(int), name="cell"), Labels((both & (X[4:] > 32)).astype(int), name="right half")
    for layer in masks:
        layer.translate = (0, 4, 0)
    session = start(Image(stack, name="image"), *masks)
    session.choose(by=USER, map=masks)
    rest(session)
    assert (session.result_layer.data[session.result.request.region.index][:4] == 255).all()
    run = start_in_memory(session.request(), session.result.inputs, None, session.viewer)
    for _ in run.steps():
        run.destination.show()
    run.finish(1.0)
    applied = session.viewer.layers["image applied"].data
    for index in (0, 1):
        session.viewer.dims.set_current_step(0, index)
        rest(session)
        np.testing.assert_array_equal(applied[index], session.result_layer.data[index])


def test_probabilities_from_masks():
    masks = np.array([[1, 0, 1, 0], [0, 0, 7, 2]])
    found = ndc.probabilities_from_masks(masks, 0.8)
    expected = [[0.1, 0.8, 0.2, 0.1], [0.8, 0.1, 0.4, 0.1], [0.1, 0.1, 0.4, 0.8]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    masked = ndc.probabilities_from_masks(np.ma.masked_equal(masks, 7))
    assert np.isnan(masked[:, 2]).all()
    assert np.isfinite(masked[:, :2]).all()
    for bad, words in ((masks / 2, "float64"), (masks[0], "expected"), (masks[:0], "expected")):
        with pytest.raises(ValueError, match=words):
            ndc.probabilities_from_masks(bad)
    with pytest.raises(ValueError, match=r"confidence is 0\.2"):
        ndc.probabilities_from_masks(masks, 0.2)


def test_what_a_map_holds_is_looked_at_again_when_it_gets_other_data():
    layer = Image(np.zeros((3, 20, 22), np.float32))
    for k in range(20):
        # Arrays that are freed leave their place in memory, and so their id, to the next ones.
        rough = RNG.dirichlet(np.ones(3), (20, 22)).transpose(2, 0, 1)
        layer.data = np.array(rough if k % 2 else 200 * rough, np.float32)
        del rough
        found = look([layer], 0)
        assert found is look([layer], 0)
        assert (found.kind is Kind.PROBABILITIES) == bool(k % 2)
