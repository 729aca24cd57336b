"""Layers as other plugins and readers make them: read right, or refused in a sentence. Needs no window."""

import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes
from scipy import ndimage

import napari_densecrf as ndc
from napari_densecrf._napari.problem import remedies
from napari_densecrf._napari.problem.problem import Misfit, Problem
from napari_densecrf._napari.session import USER
from test_door import IMG, ROUGH, P, T, rest, start

__all__ = ["start"]

Y, X = np.indices(T.shape)
SOFT = np.clip(ndimage.gaussian_filter(T.astype(float), 3), 0.01, 0.99).astype(np.float32)
COLOUR = np.dstack([IMG, IMG[::-1], 255 - IMG])
STACK, MAPS = np.stack([IMG, IMG[::-1], IMG]), np.stack([P, P[:, ::-1], P])


class Lazy:
    """An array of another library: no NumPy, but with what napari asks for."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype, self.ndim, self.size = array.shape, array.dtype, array.ndim, array.size

    def __getitem__(self, index):
        return self._array[index]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype)

    def __len__(self):
        return len(self._array)


def zarr_of(array):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(zarr.storage.MemoryStore(), shape=array.shape, dtype=array.dtype, chunks=(32,) * 2)
    stored[...] = array
    return stored


def image(data, **options):
    return Image(data, **{"name": "image", **options})


def a_map(data, **options):
    return Image(data, **{"name": "map", "rgb": False, **options})


# What is brought, and what `refine` is to be given for it: image, map, axis of the channels.
READ = {
    "12 bit": (image(IMG.astype(np.uint16) * 16), a_map(P), (IMG.astype(np.uint16) * 16, P, None)),
    "float16": (
        image((IMG / 256).astype("f2")),
        a_map(P.astype("f2")),
        ((IMG / 256).astype("f2"), P.astype("f2"), None),
    ),
    "signed": (image(IMG.astype(np.int16) - 1000), a_map(P), (IMG.astype(np.int16) - 1000, P, None)),
    # napari #924.
    "48-bit RGB": (image(COLOUR.astype(np.uint16) * 257), a_map(P), (COLOUR.astype(np.uint16) * 257, P, -1)),
    "RGB of floats": (image((COLOUR / 255).astype("f4")), a_map(P), ((COLOUR / 255).astype("f4"), P, -1)),
    "RGBA": (image(np.dstack([COLOUR, np.full_like(IMG, 255)])), a_map(P), (COLOUR, P, -1)),
    "(C, Y, X)": (image(np.moveaxis(COLOUR, -1, 0), rgb=False), a_map(SOFT), (COLOUR, SOFT, -1)),
    "(Y, X, C)": (
        image(np.dstack([COLOUR, IMG, IMG.T]), rgb=False),
        a_map(P),
        (np.dstack([COLOUR, IMG, IMG.T]), P, -1),
    ),
    "(Y, X, class)": (image(IMG), a_map(np.moveaxis(P, 0, -1)), (IMG, P, None)),
    "8 bit": (image(IMG), a_map(np.round(P * 255).astype("u1")), (IMG, np.round(P * 255).astype("u1"), None)),
    "big-endian floats": (image(IMG.astype(">f4")), a_map(P.astype(">f8")), (IMG.astype("f4"), P.astype("f8"), None)),
    "5D, map 5D": (image(IMG[None, None, None]), a_map(P[None, :, None], axis_labels="tczyx"), (IMG, P, None)),
    "2D, map 5D": (image(IMG), a_map(P[None, :, None], axis_labels="tczyx"), (IMG, P, None)),
    "Fortran order": (image(np.asfortranarray(IMG)), a_map(np.asfortranarray(P)), (IMG, P, None)),
    "negative strides": (image(IMG[::-1]), a_map(P[:, ::-1]), (IMG[::-1].copy(), P[:, ::-1].copy(), None)),
    "read-only": (image(np.broadcast_to(IMG, IMG.shape)), a_map(np.broadcast_to(P, P.shape)), (IMG, P, None)),
    "other library": (image(Lazy(IMG), contrast_limits=(0, 255)), a_map(P), (IMG, P, None)),
    "a tenth of a pixel": (image(IMG), a_map(P, translate=(0, 0.1, 0.1)), (IMG, P, None)),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_brought_is_what_a_script_gets(start, kind):
    picture, source, (given, probabilities, channel_axis) = READ[kind]
    session = start(picture, source)
    assert isinstance(session.problem, Problem), session.said[-1]
    assert session.chosen.image is picture
    assert session.chosen.map is source
    expected = ndc.refine(given, probabilities, session.numbers.params, channel_axis=channel_axis).labels
    np.testing.assert_array_equal(session.result.labels, expected)


@pytest.mark.parametrize("what", ["image", "map", "labels"])
@pytest.mark.parametrize("library", [zarr_of, Lazy])
def test_arrays_of_other_libraries(start, what, library):
    def brought(array, name):
        return library(array) if what == name else array

    picture = Image(brought(IMG, "image"), name="image", contrast_limits=(0, 255))
    foreground = Image(brought(SOFT, "map"), name="map", contrast_limits=(0, 1))
    source = Labels(brought(ROUGH.astype(np.int32), "labels"), name="labels") if what == "labels" else foreground
    session = start(picture, source)
    session.choose(by=USER, image=picture, map=source)
    rest(session)
    assert session.result is not None, session.said[-1]
    assert (session.result.labels == T).mean() > 0.98


def test_a_pyramid_of_labels(start):
    levels = [ROUGH.astype(np.uint8), ROUGH[::2, ::2].astype(np.uint8)]
    session = start(Image(IMG, name="image"), Labels(levels, name="labels", multiscale=True))
    expected = ndc.refine(IMG, ndc.probabilities_from_labels(ROUGH), session.numbers.params).labels
    np.testing.assert_array_equal(session.result.labels, expected)


@pytest.mark.parametrize("kind", ["one channel", "map without it", "labels", "named", "map in 4D"])
def test_time_series_of_one_channel(start, kind):
    film = STACK[:, None]
    source = {
        "one channel": a_map(MAPS, axis_labels=("t", "c", "y", "x")),
        "map without it": a_map(np.stack([SOFT, SOFT[::-1], SOFT])),
        "labels": Labels(np.stack([ROUGH, ROUGH[::-1], ROUGH]).astype(np.uint8), name="map"),
        "named": a_map(np.moveaxis(MAPS, 1, 0), axis_labels=("class", "t", "y", "x")),
        "map in 4D": Labels(np.stack([ROUGH, ROUGH[::-1], ROUGH]).astype(np.uint8)[:, None], name="map"),
    }[kind]
    session = start(Image(film, name="image", axis_labels=("t", "c", "y", "x")), source)
    session.choose(by=USER, image=session.viewer.layers["image"], map=source)
    rest(session)
    assert session.result is not None, session.said[-1]
    for index in (1, 0):
        session.viewer.dims.set_point(session.viewer.dims.ndim - 4, index)
        rest(session)
        at = [one for one in session.result.request.region.index if one]
        truth = T[::-1] if at == [1] else T
        assert (session.result.labels == truth).mean() > 0.95


# What is refused, and with which words; the first of the pair is the image.
REFUSED = {
    "mask of bool": (Image(ROUGH, name="map"), "a mask", "Take it as classes"),
    # napari-itk-io #10: a binary image as floats.
    "mask of floats": (Image(ROUGH.astype(np.float32), name="map"), "a mask", "Take it as classes"),
    "planes of 0 and 1": (a_map(np.stack([~ROUGH, ROUGH]).astype(np.float32)), "one plane of 0 and 1", "Take it as"),
    # cellpose #542: the logits of its foreground.
    "cellprob": (Image(12 * SOFT - 6, name="map"), "sigmoid", "Make probabilities"),
    "percent": (a_map(100 * P), "divide it by 100", "Divide by 100"),
    "uint32 of 8 bit": (a_map(np.round(255 * P).astype(np.uint32)), "divide it by 255", "Divide by 255"),
    "ilastik, spread": (Image(np.where(ROUGH, 255, 127).astype(np.uint8), name="map"), "mask", "Take it as classes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_map_is_named_and_one_click_makes_it_one(start, kind):
    source, words, button = REFUSED[kind]
    session = start(Image(IMG, name="image"), source)
    session.choose(by=USER, image=session.viewer.layers["image"], map=source)
    rest(session)
    misfit = session.said[-1]
    assert session.result is None
    assert isinstance(misfit, Misfit)
    assert words in str(misfit)
    assert remedies.words(misfit).startswith(button)
    session.accept(misfit)
    rest(session)
    assert session.result is not None, session.said[-1]
    found = session.result.labels == session.result.labels.max()
    assert (found == T).mean() > 0.95


@pytest.mark.parametrize(
    ("brought", "words"),
    [
        (Image(SOFT[:50], name="map"), "expected 64 x 64 like “image”"),
        (Image(P, name="map", translate=(0, 900, 900)), "lies elsewhere than “image” and covers none of it"),
        (Image(P, name="map", rotate=np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])), "rotated or sheared"),
    ],
)
def test_what_fits_nowhere_is_said(start, brought, words):
    session = start(Image(IMG, name="image", scale=(2, 2), translate=(5, 5)), brought)
    session.choose(by=USER, image=session.viewer.layers["image"], map=brought)
    rest(session)
    assert session.result is None
    assert any(words in said for said in (str(session.said[-1]), session.statuses[-1].words))


def test_layers_without_pixels_are_let_alone(start):
    session = start(Points(np.zeros((3, 2)), name="points"), Shapes(name="shapes"), Image(IMG, name="image"), a_map(P))
    assert session.chosen.image.name == "image"
    assert session.chosen.map.name == "map"
    assert all(layer.visible for layer in session.viewer.layers if layer.name in ("points", "shapes"))


def test_a_map_without_any_value_gives_no_label_and_says_so(start):
    source = Image(np.full(T.shape, np.nan, np.float32), name="map", contrast_limits=(0, 1))
    session = start(Image(IMG, name="image"), source)
    session.choose(by=USER, image=session.viewer.layers["image"], map=source)
    rest(session)
    assert (session.result.labels == 255).all()
    assert "no pixel here has a value, and none gets a label" in session.statuses[-1].words


def test_a_picture_is_no_map_of_another(start):
    """Two photos, one of them RGB: neither is a map."""
    session = start(Image(IMG, name="photo"), Image(COLOUR, name="colours"))
    assert session.result is None
    assert all(layer.visible for layer in session.viewer.layers)


def test_a_constant_map_changes_nothing_and_is_no_fault(start):
    session = start(Image(IMG, name="image"), a_map(np.full((2, *T.shape), 0.5, np.float32)))
    assert session.result is not None
    assert len(np.unique(session.result.labels)) == 1
