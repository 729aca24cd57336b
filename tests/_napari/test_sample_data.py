"""The samples: real pictures with maps that are rough, and better when refined."""

import numpy as np
import pytest

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
