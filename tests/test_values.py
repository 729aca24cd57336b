"""What the numbers of a map are: a table of what people save, and what it is taken for."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_densecrf.door import spread
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import Kind, look_at

Y, X = np.indices((64, 64))
DISC = (Y - 32) ** 2 + (X - 32) ** 2 < 20**2
RNG = np.random.default_rng(0)
# A map as a network gives it: soft at the border of the disc, with some noise.
SOFT = np.clip(ndimage.gaussian_filter(DISC.astype(float), 3) + RNG.normal(0, 0.05, DISC.shape), 0.01, 0.99)
TWO = np.stack([1 - SOFT, SOFT])
THREE = np.stack([SOFT, 0.7 * (1 - SOFT), 0.3 * (1 - SOFT)])
IDS = (Y // 8 * 8 + X // 8 + 1) * (DISC > 0)
NAN = np.where(Y < 10, np.nan, TWO)


def scaled(planes, top, dtype):
    return np.round(planes * top).astype(dtype)


@pytest.mark.parametrize(
    ("array", "class_axis", "kind", "sure"),
    [
        # Probabilities, as they should come.
        (TWO.astype(np.float32), 0, Kind.PROBABILITIES, True),
        (np.moveaxis(THREE, 0, -1), -1, Kind.PROBABILITIES, True),
        (scaled(THREE, 255, np.uint8), 0, Kind.PROBABILITIES, True),
        (scaled(THREE, 65535, np.uint16), 0, Kind.PROBABILITIES, True),
        (scaled(THREE, 65535, ">u2"), 0, Kind.PROBABILITIES, True),
        (NAN, 0, Kind.PROBABILITIES, True),
        (SOFT, None, Kind.PROBABILITIES, True),
        (scaled(SOFT, 255, np.uint8), None, Kind.PROBABILITIES, False),
        (scaled(SOFT, 65535, np.uint16), None, Kind.PROBABILITIES, False),
        # Sigmoids of a network with several outputs: each from 0 to 1, no common sum.
        (np.stack([SOFT, np.sqrt(SOFT), SOFT**2]), 0, Kind.PROBABILITIES, False),
        # Masks and labels saved as images.
        (DISC, None, Kind.MASK, True),
        (DISC.astype(np.uint8), None, Kind.MASK, True),
        (DISC.astype(np.uint8) * 255, None, Kind.MASK, True),
        (DISC.astype(np.uint16) * 255, None, Kind.MASK, True),
        (DISC.astype(np.uint16) * 65535, None, Kind.MASK, True),
        ((DISC.astype(np.uint16) + (X > 40)), None, Kind.CLASSES, True),
        (IDS.astype(np.uint16), None, Kind.OBJECTS, True),
        (IDS.astype(np.uint16) * 900, None, Kind.OBJECTS, True),
        (IDS.astype(np.int32), None, Kind.OBJECTS, True),
        (-IDS.astype(np.int16), None, Kind.OBJECTS, True),
        (IDS.astype(np.float32), None, Kind.OBJECTS, False),
        (np.stack([~DISC, DISC]).astype(np.uint8), 0, Kind.ONE_HOT, True),
        (np.stack([~DISC, DISC]).astype(np.uint8) * 255, 0, Kind.ONE_HOT, True),
        # The same as floats: as sure as that, nothing would ever change.
        (DISC.astype(np.float32), None, Kind.MASK, True),
        (np.where(Y < 10, np.nan, DISC), None, Kind.MASK, True),
        (np.stack([~DISC, DISC]).astype(np.float16), 0, Kind.ONE_HOT, True),
        (np.where(DISC, 1, SOFT / 2), None, Kind.PROBABILITIES, True),
        (np.stack([DISC, X > 40, Y > 40]).astype(np.float32), 0, Kind.PROBABILITIES, False),
        # Other scales.
        (scaled(THREE, 100, np.uint8), 0, Kind.SCALED, True),
        (scaled(THREE, 255, np.uint16), 0, Kind.SCALED, True),
        (scaled(THREE, 4095, np.uint16), 0, Kind.SCALED, True),
        (THREE * 100, 0, Kind.SCALED, True),
        (scaled(SOFT, 100, np.uint8), None, Kind.SCALED, False),
        (scaled(SOFT, 255, np.uint16), None, Kind.SCALED, False),
        (scaled(SOFT, 4095, np.uint16), None, Kind.SCALED, False),
        (SOFT * 100, None, Kind.SCALED, False),
        (SOFT * 255, None, Kind.SCALED, False),
        # Logits.
        (np.log(TWO), 0, Kind.LOGITS, True),
        (8 * TWO - 4, 0, Kind.LOGITS, True),
        (np.log(SOFT / (1 - SOFT)), None, Kind.LOGITS, True),
        # Logits that happen to be positive everywhere.
        (np.stack([3 + SOFT, 9 * SOFT + 1, 5 + SOFT**2]), 0, Kind.LOGITS, True),
    ],
)
def test_what_people_save_is_recognised(array, class_axis, kind, sure):
    seen = look_at(array, class_axis)
    assert seen.kind is kind, seen
    assert seen.sure == sure, seen
    assert seen.why
    assert bool(seen.remedy) == (kind is not Kind.PROBABILITIES)


@pytest.mark.parametrize(("top", "dtype"), [(100, np.uint8), (255, np.uint16), (1000, np.uint16), (4095, np.uint16)])
def test_the_scale_is_named(top, dtype):
    assert look_at(scaled(THREE, top, dtype), 0).scale == top
    assert f"divide it by {top}" in look_at(scaled(THREE, top, dtype), 0).remedy


@given(
    n_classes=st.integers(2, 6),
    dtype=st.sampled_from(["f4", "f8", ">f4", "u1", "<u2", ">u2"]),
    sharpness=st.floats(0.2, 5.0),
    seed=st.integers(0, 10_000),
)
def test_maps_of_probabilities_are_always_taken(n_classes, dtype, sharpness, seed):
    rng = np.random.default_rng(seed)
    planes = np.moveaxis(rng.dirichlet(np.full(n_classes, 1 / sharpness), (32, 33)), -1, 0)
    top = 1 if dtype.endswith(("f4", "f8")) else np.iinfo(dtype).max
    seen = look_at((planes * top if top == 1 else np.round(planes * top)).astype(dtype), 0)
    assert seen.kind is Kind.PROBABILITIES, seen
    assert seen.sure
    assert seen.scale == top


INTEGERS = ["u1", "i1", "<u2", ">u2", "i2", "u4", ">i4", "i8", "u8"]


def masks(dtype, n_values, seed, *, top):
    """Return blobs of a few numbers, 0 or the largest of the type among them."""
    rng = np.random.default_rng(seed)
    most = int(np.iinfo(dtype).max)
    numbers = rng.choice(min(most, 2**40), n_values, replace=False).astype(object)
    numbers[0] = most if top else 0
    numbers = np.sort(np.unique(numbers))
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 41)), 3)
    ranks = np.digitize(noise, np.quantile(noise, np.linspace(0, 1, len(numbers) + 1)[1:-1]))
    return numbers.astype(np.dtype(dtype))[ranks]


@given(
    dtype=st.sampled_from(INTEGERS),
    n_values=st.integers(2, 12),
    seed=st.integers(0, 10_000),
    top=st.booleans(),
    lead=st.sampled_from([(), (1,), (3,)]),
)
def test_integers_of_a_mask_are_never_taken_for_a_foreground_map(dtype, n_values, seed, top, lead):
    mask = np.broadcast_to(masks(dtype, n_values, seed, top=top), (*lead, 40, 41))
    seen = look_at(mask, None)
    assert seen.kind in (Kind.MASK, Kind.CLASSES, Kind.OBJECTS), seen
    assert seen.remedy
    # In whatever way it is looked at.
    assert look_through(da.from_array(mask, chunks=(*lead, 16, 16)), None).kind is seen.kind
    if mask.max() < 2**24:
        assert look_at(mask.astype(np.float32), None).kind in (Kind.MASK, Kind.CLASSES, Kind.OBJECTS, Kind.SCALED)


@given(dtype=st.sampled_from(["u1", "u2", ">u2", "f4", "f2"]), n=st.integers(2, 6), seed=st.integers(0, 10_000))
def test_planes_of_a_mask_are_never_taken_for_a_map(dtype, n, seed):
    ranks = masks("u1", n, seed, top=False)
    ranks = np.searchsorted(np.unique(ranks), ranks)
    top = 1 if np.dtype(dtype).kind == "f" else np.random.default_rng(seed).choice([1, np.iinfo(dtype).max])
    planes = (np.arange(n)[:, None, None] == ranks).astype(dtype) * np.array(top, dtype)
    assert look_at(planes, 0).kind is Kind.ONE_HOT
    assert look_at(np.moveaxis(planes, 0, -1), -1).kind is Kind.ONE_HOT


def test_a_lazy_map_that_is_sure_but_for_its_borders_is_one(monkeypatch):
    """Most windows hold 0 and 1 alone, as of networks that saturate."""
    monkeypatch.setattr(spread, "SMALL", 0)
    monkeypatch.setattr(spread, "MORE_SIDE", 128)
    steps = np.where(np.indices((1024, 1024)).sum(axis=0) // 200 % 2, 1.0, 0.0).astype(np.float32)
    assert look_through(da.from_array(steps), None).kind is Kind.MASK
    soft = ndimage.gaussian_filter(steps, 1)
    assert look_through(da.from_array(soft), None).kind is Kind.PROBABILITIES
