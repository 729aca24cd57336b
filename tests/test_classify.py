"""A first map from strokes: it knows the classes again, says the same twice, and names what is wrong."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

import napari_densecrf as ndc
from cases import cells, tissue, volume
from napari_densecrf.choose import classify

pytest.importorskip("sklearn")


def few_strokes(truth, n_a_class=4, length=12, seed=0):
    """Return strokes along the last axis that stay within their class."""
    rng = np.random.default_rng(seed)
    strokes = np.zeros(truth.shape, np.uint8)
    for label in range(truth.max() + 1):
        inside = np.argwhere(truth == label)
        for *place, start in rng.permutation(inside)[:n_a_class]:
            row = truth[tuple(place)][start : start + length]
            end = start + (np.argmax(row != label) if (row != label).any() else len(row))
            strokes[(*place, slice(start, end))] = label + 1
    return strokes


def texture():
    """Return stripes of two directions and the same gray levels: only the Hessian tells them apart."""
    y, x = np.indices((96, 96))
    truth = (x >= 48).astype(int)
    stripes = np.where(truth, np.sin(x / 2.0), np.sin((x + y) / 2.8) * np.sin((x - y) / 2.8))
    return (100 + 50 * stripes + np.random.default_rng(0).normal(0, 5, truth.shape)).astype(np.float32), truth


def disks(noise=25):
    """Return bright disks on a darker ground, under noise."""
    y, x = np.indices((96, 96))
    truth = np.zeros((96, 96), int)
    for cy, cx, r in [(20, 20, 11), (25, 65, 15), (60, 30, 13), (72, 75, 14), (85, 10, 8)]:
        truth[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 1
    return 100 + 40 * truth + np.random.default_rng(0).normal(0, noise, truth.shape), truth


CASES = {
    "disks": (*disks(), {}, 0.9),
    "gray": (*cells(128), {}, 0.9),
    "rgb": (*tissue(128), {"channel_axis": -1}, 0.85),
    "channels first": (np.moveaxis(tissue(128)[0], -1, 0), tissue(128)[1], {"channel_axis": 0}, 0.85),
    "volume": (*volume(), {"spacing": (2.0, 1.0, 1.0)}, 0.9),
    "texture": (*texture(), {}, 0.9),
}


@pytest.mark.parametrize("name", CASES)
def test_a_few_strokes_tell_the_classes(name):
    image, truth, options, bar = CASES[name]
    strokes = few_strokes(truth)
    assert (strokes > 0).mean() < 0.05
    probabilities = ndc.probabilities_from_strokes(image, strokes, **options)
    assert probabilities.shape == (truth.max() + 1, *truth.shape)
    assert probabilities.dtype == np.float32
    assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    free = strokes == 0
    assert (probabilities.argmax(axis=0) == truth)[free].mean() > bar


def test_the_map_is_one_that_refine_takes_and_moves():
    image, truth = disks()
    strokes = few_strokes(truth)
    probabilities = ndc.probabilities_from_strokes(image, strokes)
    assert probabilities.min() > 0.005
    params = ndc.CRFParams((ndc.PairwiseKernel(1.0, 10.0, 40.0), ndc.PairwiseKernel(3.0, 1.5)))
    refined = ndc.refine(image, probabilities, params, strokes=strokes).labels
    assert (refined != truth).mean() < 0.8 * (probabilities.argmax(axis=0) != truth).mean()


def test_confidence_is_about_how_often_it_is_right():
    image, truth = disks(40)
    probabilities = ndc.probabilities_from_strokes(image, few_strokes(truth, 6))
    confidence, right = probabilities.max(axis=0), probabilities.argmax(axis=0) == truth
    assert abs(confidence.mean() - right.mean()) < 0.1
    assert right[confidence > 0.9].mean() > right[confidence < 0.7].mean() + 0.1


def test_the_same_strokes_give_the_same_map(monkeypatch):
    image, truth = cells(192)
    strokes = few_strokes(truth)
    classifier = classify.PixelClassifier(image)
    first = classifier.probabilities(strokes)
    classifier.probabilities(few_strokes(truth, seed=1))
    assert_array_equal(classifier.probabilities(strokes), first)
    monkeypatch.setattr(classify, "n_threads", lambda: 5)
    monkeypatch.setattr(classify, "PIXELS_A_RUN", 1000)
    assert_array_equal(ndc.probabilities_from_strokes(image, strokes), first)


def test_features_are_made_once(monkeypatch):
    made = []
    build = classify._features
    monkeypatch.setattr(classify, "_features", lambda *args: made.append(1) or build(*args))
    image, truth = tissue(32)
    classifier = classify.PixelClassifier(image, channel_axis=-1)
    for seed in range(3):
        classifier.probabilities(few_strokes(truth, seed=seed))
    assert len(made) == 3
    assert classifier.features.shape == (32 * 32, 3 * (1 + 4 * 4))


def test_features_follow_the_spacing():
    stack, _ = volume()
    fine = ndimage.zoom(stack.astype(np.float32), (2, 1, 1), order=1)
    whole = classify.PixelClassifier(fine).features.reshape(20, 20, 20, -1)[::2]

    def agreement(spacing):
        half = classify.PixelClassifier(fine[::2], spacing=spacing).features.reshape(whole.shape)
        return np.array([np.corrcoef(half[..., k].ravel(), whole[..., k].ravel())[0, 1] for k in range(21)])

    assert agreement((2.0, 1.0, 1.0)).min() > 0.85
    # At the larger scales sampling half as often changes little: what is left is the spacing.
    assert agreement((2.0, 1.0, 1.0))[11:].mean() > agreement(None)[11:].mean() + 0.02
    assert_allclose(agreement((0.5, 0.25, 0.25)), agreement((2.0, 1.0, 1.0)))


def test_many_strokes_are_thinned():
    strokes = np.ones((200, 200), np.uint8)
    strokes[:, :3] = 2
    taught = classify._taught(strokes.ravel())
    assert np.bincount(strokes.ravel()[taught]).tolist() == [0, classify.MOST_PIXELS_A_CLASS, 600]


def test_classes_may_be_left_out():
    image, truth = cells(32)
    strokes = np.where(few_strokes(truth) == 2, 3, few_strokes(truth))
    probabilities = ndc.probabilities_from_strokes(image, strokes, n_labels=4)
    assert probabilities.shape == (4, 32, 32)
    assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert probabilities[[1, 3]].max() < 0.01
    assert len(ndc.probabilities_from_strokes(image, strokes)) == 3


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (3, 1, 4), (12,)])
def test_the_smallest_images_work(shape):
    image = np.arange(np.prod(shape)).reshape(shape)
    strokes = np.zeros(shape, int)
    strokes.flat[0] = 1
    strokes.flat[-1] = 2
    assert np.isfinite(ndc.probabilities_from_strokes(image, strokes)).all()


def test_what_is_wrong_is_named():
    image, truth = cells(32)
    strokes = few_strokes(truth)
    with pytest.raises(ValueError, match="class 1 alone: expected strokes of at least two classes"):
        ndc.probabilities_from_strokes(image, np.where(strokes == 1, 1, 0))
    with pytest.raises(ValueError, match="no class: expected strokes of at least two classes"):
        ndc.probabilities_from_strokes(image, np.zeros_like(strokes))
    with pytest.raises(ValueError, match=r"strokes have shape \(31, 32\): expected \(32, 32\)"):
        ndc.probabilities_from_strokes(image, strokes[1:])
    with pytest.raises(ValueError, match="strokes hold float64"):
        ndc.probabilities_from_strokes(image, strokes.astype(float))
    with pytest.raises(ValueError, match=r"strokes hold 2: expected 0 \(free\) to 1"):
        ndc.probabilities_from_strokes(image, strokes, n_labels=1)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    image, truth = cells(32)
    with pytest.raises(ImportError, match=r'pip install "napari-densecrf\[classify\]"'):
        ndc.probabilities_from_strokes(image, few_strokes(truth))
