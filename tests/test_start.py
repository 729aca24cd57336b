"""Numbers to begin with: in the image's own units, and none that harm."""

import numpy as np
import pytest
from scipy import ndimage as ndi

import napari_densecrf as ndc
from napari_densecrf.choose import suggest


def discs(n=96, noise=1.2, seed=0):
    """Return an image of bright discs, a noisy map, and the truth."""
    rng = np.random.default_rng(seed)
    at = np.indices((n, n))
    truth = np.zeros((n, n), bool)
    for y in range(16, n, 32):
        for x in range(16, n, 32):
            truth |= (at[0] - y) ** 2 + (at[1] - x) ** 2 < 100
    image = 100.0 + 80 * truth + rng.normal(0, 10, truth.shape)
    foreground = 1 / (1 + np.exp(-(np.where(truth, 1.5, -1.5) + rng.normal(0, noise, truth.shape))))
    return image, foreground.astype(np.float32), truth


def vessels(n=96, seed=0):
    """Return an image of faint lines two pixels wide, a smooth map that has them right, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((n, n), bool)
    for k in range(6, n, 16):
        truth[k : k + 2] = True
    image = 100.0 + 8 * truth + rng.normal(0, 10, truth.shape)
    foreground = np.clip(ndi.gaussian_filter(truth.astype(float), 0.6) + 0.08, 0.02, 0.98)
    return image, foreground.astype(np.float32), truth


def errors(truth, labels):
    return np.count_nonzero((labels == 1) != truth)


def test_the_first_result_mends_specks():
    image, foreground, truth = discs()
    result = ndc.refine(image, foreground)
    assert errors(truth, result.labels) < 0.5 * errors(truth, foreground > 0.5)
    assert any(kernel.weight > 0 for kernel in result.params.kernels)
    again = ndc.refine(image, foreground, result.params)
    assert np.array_equal(again.labels, result.labels)


def test_the_first_result_keeps_thin_structures():
    image, foreground, truth = vessels()
    before = errors(truth, foreground > 0.5)
    assert errors(truth, ndc.refine(image, foreground).labels) <= before + 0.01 * truth.sum()
    found = ndc.suggest(image, foreground)
    if found.params is not None:
        assert errors(truth, ndc.refine(image, foreground, found.params).labels) <= before + 0.01 * truth.sum()


@pytest.mark.parametrize("factor", [1e-3, 256.0])
def test_the_range_of_the_image_does_not_matter(factor):
    image, foreground, _ = discs()
    plain = ndc.refine(image, foreground)
    scaled = ndc.refine(image * factor, foreground)
    assert (plain.labels != scaled.labels).mean() < 0.002
    sigmas = [ndc.safe_params(one).kernels[0].intensity_sigma for one in (image, image * factor)]
    assert sigmas[1] == pytest.approx(factor * sigmas[0], rel=0.01)


def test_the_size_of_a_pixel_does_not_matter():
    image, foreground, _ = discs()
    plain = ndc.refine(image, foreground)
    small = ndc.refine(image, foreground, spacing=0.01)
    assert (plain.labels != small.labels).mean() < 0.002
    assert ndc.safe_params(image, spacing=0.01).kernels[0].position_sigma == pytest.approx(0.03)


def test_nothing_begins_with_the_reference_numbers():
    image, foreground, _ = discs()
    assert ndc.refine(image, foreground).params.kernels != ndc.CRFParams().kernels
    assert ndc.safe_params(image).kernels != ndc.CRFParams().kernels


def test_tiles_begin_with_the_same_numbers():
    image, foreground, _ = discs()
    whole = ndc.refine(image, foreground)
    tiled = ndc.refine_tiles(image, foreground).compute()
    assert np.array_equal(tiled, whole.labels)


def test_a_map_that_nothing_improves_is_given_back():
    image = np.random.default_rng(0).normal(0, 1, (64, 64))
    foreground = np.full(image.shape, 0.1, np.float32)
    foreground[:, 32:] = 0.9
    result = ndc.refine(image, foreground)
    assert np.array_equal(result.labels, foreground > 0.5)


def test_shapes_tell_thin_classes_and_edges():
    gradient = np.zeros((40, 40), np.float32)
    gradient[:, 20] = 1.0
    before = np.zeros((40, 40), np.intp)
    before[:, 22:25] = 1
    look = suggest.Look(np.empty((1, 0)), np.empty((2, 1, 0)), 1.0, 1.0, gradient, before)
    towards = np.zeros_like(before)
    towards[:, 20:23] = 1
    shapes = suggest._Shapes(2)
    shapes.add(look, towards)
    assert shapes.edges > 0.5
    assert shapes.thin_change == 0
    thinner = np.zeros_like(before)
    thinner[:, 23:25] = 1
    shapes = suggest._Shapes(2)
    shapes.add(look, thinner)
    assert shapes.thin_change == pytest.approx(1 / 3)


def test_specks_are_no_part_of_a_shape():
    labels = np.zeros((40, 40), np.intp)
    labels[10:30, 10:30] = 1
    specked = labels.copy()
    specked[3:6, 3:6] = 1
    specked[15:18, 15:18] = 0
    assert np.array_equal(suggest._without_specks(specked), labels)
