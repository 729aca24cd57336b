"""Maps that lie on other pixels than their image are brought onto it by place and scale. Needs no window."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels
from scipy import ndimage

import napari_densecrf as ndc
from napari_densecrf._napari.problem.problem import Misfit
from napari_densecrf._napari.problem.request import VOLUME
from napari_densecrf._napari.recipes.command import shell_command
from napari_densecrf._napari.recipes.python import python_script
from napari_densecrf._napari.runs.in_memory import start_in_memory
from napari_densecrf._napari.session import USER
from napari_densecrf._napari.status import Light
from napari_densecrf.door.resampled import Along, MapOnImage
from test_door import IMG, ROUGH, P, T, add, rest, start

__all__ = ["start"]

HALF = P.reshape(2, 32, 2, 32, 2).mean(axis=(2, 4))
# Its pixels have their centres between those of the image.
CENTRED = {"scale": (2, 2), "translate": (0.5, 0.5)}


def shown(session):
    return session.result_layer.data


def agrees(session, index=...):
    return (shown(session)[index] == T).mean()


# --- what is computed ------------------------------------------------------------------------------------------------


def test_linear_between_pixels_as_logits():
    on_image = MapOnImage(P, (127, 127), (Along(0.5), Along(0.5)), class_axis=0)
    whole = np.asarray(on_image)
    assert whole.shape == on_image.shape == (2, 127, 127)
    assert whole.dtype == on_image.dtype == np.float32
    np.testing.assert_allclose(whole[:, ::2, ::2], P, atol=1e-6)
    logits = np.log(P[1]) - np.log(P[0])
    expected = ndimage.zoom(logits, 127 / 64, order=1, grid_mode=False)
    np.testing.assert_allclose(np.log(whole[1]) - np.log(whole[0]), expected, atol=1e-4)
    # The foreground alone is the same.
    foreground = np.asarray(MapOnImage(P[1], (127, 127), (Along(0.5), Along(0.5))))
    np.testing.assert_allclose(foreground, whole[1], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float64])
def test_any_type_of_map(dtype):
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    some = np.asarray(MapOnImage((P * top).astype(dtype), (32, 32), (Along(2, 0.5), Along(2, 0.5)), class_axis=0))
    assert some.dtype == np.float32
    np.testing.assert_allclose(some.sum(axis=0), 1, atol=0.01)


def test_only_what_lies_under_a_part_is_read():
    asked = []

    class Watched:
        shape, dtype, ndim = P.shape, P.dtype, 3

        def __getitem__(self, index):
            asked.append(index)
            return P[index]

    on_image = MapOnImage(Watched(), (128, 128), (Along(0.5), Along(0.5)), class_axis=0)
    part = on_image[:, 20:30, 41:43]
    assert asked == [(slice(None), slice(10, 16), slice(20, 22))]
    np.testing.assert_array_equal(part, np.asarray(on_image)[:, 20:30, 41:43])
    np.testing.assert_array_equal(on_image[1, 20:30:2, 41], np.asarray(on_image)[1, 20:30:2, 41])


def test_what_is_not_covered_has_no_value():
    crop = MapOnImage(P, (72, 70), (Along(1, -4), Along(1, -3)), class_axis=0)
    whole = np.asarray(crop)
    np.testing.assert_array_equal(whole[:, 4:68, 3:67], P)
    assert np.isnan(whole).sum() == 2 * (72 * 70 - 64 * 64)
    assert crop.share == pytest.approx(64 * 64 / (72 * 70))
    far = MapOnImage(P, (8, 8), (Along(1, 500), Along(1, 0)), class_axis=0)
    assert np.isnan(np.asarray(far)).all()
    labels = MapOnImage(ROUGH.astype(np.uint8), (72, 64), (Along(1, -4), Along()), none=255)
    assert (np.asarray(labels)[:4] == 255).all()
    np.testing.assert_array_equal(np.asarray(labels)[4:68], ROUGH)


def test_nan_in_a_map_stays_where_it_is():
    holes = P.copy()
    holes[:, 10:20, 10:20] = np.nan
    whole = np.asarray(MapOnImage(holes, (128, 128), (Along(0.5), Along(0.5)), class_axis=0))
    assert np.isnan(whole[0, 20:39, 20:39]).all()
    assert np.isfinite(whole[0, :18]).all()


def test_axes_must_be_as_many():
    with pytest.raises(ValueError, match="3 spatial axes, and 2 places along them: expected 2"):
        MapOnImage(P, (64, 64), (Along(), Along()))


# --- in the window ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_a_map_at_half_resolution(start, lazy):
    # tf_unet #43: a network gives a map of fewer pixels.
    data = da.from_array(HALF, chunks=(2, 16, 16)) if lazy else HALF
    options = {"contrast_limits": (0, 1)} if lazy else {}
    session = start(Image(IMG, name="image"), Image(data, name="map", **CENTRED, **options))
    session.choose(by=USER, image=session.viewer.layers["image"], map=session.viewer.layers["map"])
    rest(session)
    assert "2 classes (first axis) at half resolution, brought onto the image" in str(session.problem)
    on_image = np.asarray(MapOnImage(HALF, T.shape, (Along(0.5, -0.25),) * 2, class_axis=0))
    expected = ndc.refine(IMG, on_image, session.numbers.params).labels
    np.testing.assert_array_equal(shown(session), expected)
    assert agrees(session) > 0.97
    assert session.statuses[-1].light is Light.GREEN


def test_a_map_cropped_by_a_valid_convolution(start):
    session = start(Image(IMG, name="image"), Image(P[:, 4:60, 4:60], name="map", translate=(4, 4)))
    assert "brought onto the image, of which it covers 77 %" in str(session.problem)
    inside = np.zeros(T.shape, bool)
    inside[4:60, 4:60] = True
    np.testing.assert_array_equal(shown(session) == 255, ~inside)
    assert session.result_layer.get_color(255)[-1] == 0
    alone = ndc.refine(
        np.where(inside, IMG.astype(np.float32), np.nan), P, session.numbers.params, origin=(0, 0)
    ).labels
    np.testing.assert_array_equal(shown(session), alone)


def test_a_rough_segmentation_at_half_resolution_and_cropped(start):
    rough = Labels(ROUGH[::2, ::2][2:] * np.uint8(255), name="rough", scale=(2, 2), translate=(4, 0))
    session = start(Image(IMG, name="image"), rough)
    assert shown(session).dtype == np.uint8
    assert (shown(session)[:3] == 254).all()
    assert set(np.unique(shown(session)[3:])) == {0, 255}


def test_several_layers_lie_in_one_place(start):
    planes = [Image(plane, name=f"class {k}", **CENTRED) for k, plane in enumerate(HALF)]
    session = start(Image(IMG, name="photo"), *planes)
    session.viewer.layers.selection = set(planes)
    session.layers_changed()
    rest(session)
    assert session.chosen.map == tuple(planes)
    together = np.asarray(MapOnImage(HALF, T.shape, (Along(0.5, -0.25),) * 2, class_axis=0))
    np.testing.assert_array_equal(shown(session), ndc.refine(IMG, together, session.numbers.params).labels)
    planes[1].translate = (7, 7)
    rest(session)
    assert "“class 1” lies elsewhere than “class 0”" in str(session.said[-1])


def test_a_pyramid_level_beside_a_pyramid(start):
    pyramid = [IMG, IMG[::2, ::2]]
    session = start(
        Image(pyramid, name="image", multiscale=True, scale=(0.5, 0.5), units=("um", "um")),
        Image(HALF, name="map", scale=(1, 1, 1), translate=(0, 0.25, 0.25), units=("pixel", "um", "um")),
    )
    assert "at half resolution" in str(session.problem)
    assert session.problem.along == (Along(0.5, -0.25),) * 2
    assert agrees(session) > 0.97


def test_a_coarse_level_without_its_half_pixel_still_covers_all(start):
    quarter = P.reshape(2, 16, 4, 16, 4).mean(axis=(2, 4))
    session = start(Image(IMG, name="image"), Image(quarter, name="map", scale=(4, 4)))
    assert "at 1/4 of the resolution, brought onto the image" in str(session.problem)
    assert "covers" not in str(session.problem)


def test_a_finer_map(start):
    fine = P.repeat(2, axis=1).repeat(2, axis=2)
    session = start(Image(IMG, name="image", scale=(2, 2)), Image(fine, name="map", translate=(-0.5, -0.5)))
    assert agrees(session) > 0.97


def test_a_map_of_every_second_slice(start):
    stack = np.stack([IMG] * 8)
    some = np.stack([P] * 4, axis=1)
    session = start(Image(stack, name="image"), Image(some, name="map", scale=(2, 1, 1)))
    for index in range(8):
        session.viewer.dims.set_current_step(1, index)
        rest(session)
        assert agrees(session, index) > 0.97
    session.choose(by=USER, slices=VOLUME)
    rest(session)
    assert session.result.inputs.probabilities.shape[1] == 8


def test_what_is_applied_is_what_was_shown(start):
    stack = np.stack([IMG, IMG[::-1], IMG.T])
    cropped = np.stack([HALF, HALF[:, ::-1], HALF.transpose(0, 2, 1)], axis=1)[:, :, 2:]
    session = start(Image(stack, name="image"), Image(cropped, name="map", scale=(1, 2, 2), translate=(0, 4, 0)))
    run = start_in_memory(session.request(), session.result.inputs, None, session.viewer)
    for _ in run.steps():
        run.destination.show()
    run.finish(1.0)
    applied = session.viewer.layers["image applied"].data
    for index in range(3):
        session.viewer.dims.set_current_step(1, index)
        rest(session)
        np.testing.assert_array_equal(applied[index], shown(session)[index])
    assert (applied[:, :3] == 255).all()


def test_a_slider_does_not_compute_the_map_anew_and_an_edit_does(start):
    session = start(Image(IMG, name="image"), Image(HALF.copy(), name="map", **CENTRED))
    first = session.result.inputs.probabilities
    session.set_numbers(session.numbers.changed(appearance_weight=7.0))
    rest(session)
    assert session.result.inputs.probabilities is first
    layer = session.viewer.layers["map"]
    layer.data[:, :8] = 0.5
    session.schedule()
    rest(session)
    assert not np.array_equal(session.result.inputs.probabilities, first)
    layer.translate = (8, 8)
    rest(session)
    assert "covers" in str(session.problem)


@pytest.mark.parametrize("way", ["affine", "flipped", "5D", "rgb", "classes named"])
def test_other_ways_to_say_where_a_map_lies(start, way):
    image, source = Image(IMG, name="image"), Image(HALF, name="map", **CENTRED)
    if way == "affine":
        # As registration writes it.
        affine = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])
        source = Image(HALF, name="map", affine=affine)
    elif way == "flipped":
        # As exporters write the axis of y that points up.
        source = Image(P[:, ::-1], name="map", scale=(-1, 1), translate=(63, 0))
    elif way == "5D":
        # As bioio and OMERO give all images: TCZYX.
        image = Image(IMG[None, None, None], name="image")
        source = Image(HALF[None, :, None], name="map", scale=(1, 1, 1, 2, 2), translate=(0, 0, 0, 0.5, 0.5))
    elif way == "rgb":
        image = Image(np.stack([IMG] * 3, axis=-1), name="image")
    else:
        names = ("class", "y", "x")
        source = Image(HALF, name="map", axis_labels=names, scale=(1, 2, 2), translate=(0, 0.5, 0.5))
    session = start(image, source)
    assert "brought onto the image" in str(session.problem)
    assert (session.result.labels == T).mean() > 0.97


# --- what is refused, or said ----------------------------------------------------------------------------------------


def test_a_chosen_map_that_lies_elsewhere_is_said_and_one_click_lays_it(start):
    # napari-crop #59: two regions at different places.
    maps = Image(P, name="one"), Image(P[:, ::-1], name="two", translate=(0, 500, 500))
    session = start(Image(IMG, name="a", translate=(500, 500)), *maps)
    before = shown(session).copy()
    session.choose(by=USER, map=maps[0])
    rest(session)
    misfit = session.said[-1]
    assert "“one” lies elsewhere than “a” and covers none of it" in str(misfit)
    np.testing.assert_array_equal(shown(session), before)
    assert misfit.laying.words == "Lay it on “a”"
    session.accept(misfit)
    rest(session)
    assert agrees(session) > 0.95
    assert session.chosen.map is maps[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HALF, "Stretch it over “image”"),
        (P[:, 4:60, 4:60], "Centre it on “image”"),
        (ROUGH[::2, ::2].astype(int), "Stretch it over “image”"),
    ],
)
def test_a_map_of_another_shape_that_does_not_say_where_it_lies(start, data, words):
    source = Image(data, name="map") if data.ndim == 3 else Labels(data, name="map")
    session = start(Image(IMG, name="image", scale=(0.3, 0.3)), source)
    session.choose(by=USER, map=source)
    rest(session)
    misfit = session.said[-1]
    assert isinstance(misfit, Misfit)
    assert "set scale and translate of a coarser or cropped map" in str(misfit)
    assert misfit.laying.words == words
    session.accept(misfit)
    rest(session)
    known = shown(session) != 255
    assert (shown(session)[known] == T[known]).mean() > 0.95
    assert known.sum() >= 56 * 56


def test_a_map_without_a_pixel_size_is_taken_pixel_by_pixel_and_said_to_be(start):
    session = start(Image(IMG, name="image", scale=(0.65, 0.65), units=("um", "um")), Image(P, name="map"))
    assert "taken pixel by pixel" in str(session.problem)
    assert session.problem.along == ()
    assert agrees(session) > 0.97


def test_rotated_maps_are_refused(start):
    session = start(Image(IMG, name="image", scale=(2, 2)), Image(P, name="map", scale=(1, 2, 2), rotate=30))
    session.choose(by=USER, map=session.viewer.layers["map"])
    rest(session)
    assert "“map” is rotated or sheared against “image”" in str(session.said[-1])
    # Together with the image it is not.
    session.viewer.layers["image"].rotate = 30
    rest(session)
    assert session.problem.along == ()


def test_a_map_in_other_units_lies_where_it_says(start):
    session = start(
        Image(IMG, name="image", scale=(0.5, 0.5), units=("um", "um")),
        Image(HALF, name="map", scale=(1, 1000, 1000), translate=(0, 250, 250), units=("pixel", "nm", "nm")),
    )
    assert [one.scale for one in session.problem.along] == pytest.approx([0.5, 0.5])
    assert [one.offset for one in session.problem.along] == pytest.approx([-0.25, -0.25])
    assert agrees(session) > 0.97


def test_voxels_in_several_units_are_in_one(start):
    # X and Y in nm, Z in micrometres (bioformats #4240).
    stack = np.stack([IMG] * 3)
    image = Image(stack, name="image", scale=(2, 500, 250), units=("um", "nm", "nm"))
    session = start(image, Image(np.stack([P] * 3, axis=1), name="map"))
    assert session.problem.volume_spacing == pytest.approx((2000, 500, 250))
    assert session.problem.unit == "nm"
    session.choose(by=USER, slices=VOLUME)
    rest(session)
    assert session.result.request.spacing == pytest.approx((2000, 500, 250))


def test_a_layer_that_covers_little_is_not_taken_unasked(start):
    other = Labels(ROUGH.astype(int), name="of another image", translate=(50, 50))
    session = start(Image(IMG, name="image"), other)
    assert session.result is None
    assert other.visible
    session.choose(by=USER, image=session.viewer.layers["image"], map=other)
    rest(session)
    assert "of which it covers" in str(session.problem)
    add(session, Image(P, name="map"))
    assert session.chosen.map is other


# --- copied ----------------------------------------------------------------------------------------------------------


def copied(session):
    """Return what the copied script gives."""
    space = {"viewer": session.viewer}
    exec(compile(python_script(session.result, session.chosen.painted), "copied", "exec"), space)
    return space["labels"]


@pytest.mark.filterwarnings("ignore:.* have no value")
@pytest.mark.parametrize(
    "make",
    [
        lambda: [Image(HALF, name="map", **CENTRED)],
        lambda: [Image(P[1, 4:60, 4:60], name="map", translate=(4, 4))],
        lambda: [Labels(ROUGH[::2, ::2][2:] * np.uint8(255), name="map", scale=(2, 2), translate=(4, 0))],
        lambda: [Image(plane, name=f"class {k}", **CENTRED) for k, plane in enumerate(HALF)],
        lambda: [Labels(ROUGH[4:] * 1, name=f"mask {k}", translate=(4, 0)) for k in (1, 2)],
        lambda: [Labels(ROUGH * 1, name=f"mask {k}") for k in (1, 2)],
    ],
)
def test_the_copied_script_gives_the_same_bits_and_the_command_says_why_not(start, make):
    layers = make()
    session = start(Image(IMG, name="image"), *layers)
    session.choose(by=USER, map=layers[0] if len(layers) == 1 else tuple(layers))
    rest(session)
    np.testing.assert_array_equal(copied(session), shown(session))
    with pytest.raises(Misfit, match="use Copy as Python"):
        shell_command(session.result, None)


@pytest.mark.filterwarnings("ignore:.* have no value")
def test_channels_are_copied_and_named_in_what_says_how_it_was_made(start):
    image = np.where(np.indices(IMG.shape)[1] > 50, np.nan, IMG).astype(np.float32)
    planes = Image(image, name="DAPI"), Image(image[::-1].copy(), name="GFP")
    session = start(*planes, Image(P, name="map"))
    session.choose(by=USER, image=planes)
    rest(session)
    np.testing.assert_array_equal(copied(session), shown(session))
    assert session.result_layer.metadata["napari-densecrf"]["channels"] == ["DAPI", "GFP"]
    with pytest.raises(Misfit, match="The image is 2 layers, and the command reads one file"):
        shell_command(session.result, None)
