"""The samples: real pictures with maps that are rough, and better when refined."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import segmentation

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf._napari.contributions import sample_data


@pytest.mark.parametrize(("sample", "n_classes"), [(sample_data.tissue, 3), (sample_data.cell, 2)])
def test_a_sample_is_an_image_and_its_map(sample, n_classes):
    (image, options, _), (probabilities, described, kind) = sample()
    spatial = image.shape[:2]
    assert options["rgb"] == (image.ndim == 3)
    assert probabilities.shape == (n_classes, *spatial)
    assert kind == "image"
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert len(described["metadata"]["classes"]) == n_classes


def test_a_map_is_noisy_and_refining_smooths_it():
    (image, _, _), (probabilities, _, _) = sample_data.tissue()
    params = CRFParams((PairwiseKernel(3, 40, 12.5), PairwiseKernel(1.5, 1.5)))
    labels = ndc.refine(image, probabilities, params, channel_axis=-1).labels

    def borders(array):
        return np.count_nonzero(np.diff(array, axis=0)) + np.count_nonzero(np.diff(array, axis=1))

    assert borders(labels) < 0.6 * borders(probabilities.argmax(axis=0))


def test_rough_objects_have_borders_of_blocks_which_the_image_mends():
    (image, _, _), (objects, described, kind) = sample_data.nuclei()
    assert (kind, described["name"]) == ("labels", "rough nuclei")
    assert image.shape == objects.shape
    assert 25 < objects.max() < 80
    # Blocks of 4 x 4 pixels.
    assert np.array_equal(objects, np.kron(objects[::4, ::4], np.ones((4, 4), int)))
    result = ndc.refine_objects(image, objects)
    assert not result.report["held"].any()

    def change_at_borders(labels):
        slope = np.hypot(*np.gradient(ndimage.gaussian_filter(image.astype(float), 1)))
        return slope[segmentation.find_boundaries(labels, mode="thick")].mean()

    assert change_at_borders(result.labels) > 1.15 * change_at_borders(objects)
