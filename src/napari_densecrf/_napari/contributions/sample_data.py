"""File > Open Sample > Dense CRF: real microscopy with a map, or objects, as rough as a user's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import color, data, feature, filters, segmentation, transform

Box = tuple[int, int, int, int]  # first and behind-last row, first and behind-last column

# A few strokes on each picture: boxes inside what they name.
TISSUE_STROKES: dict[str, list[Box]] = {
    "background": [(300, 380, 5, 40), (430, 470, 435, 455)],
    "epithelium": [(100, 130, 60, 110), (60, 90, 400, 440), (390, 430, 280, 320), (330, 350, 80, 130)],
    "stroma": [(280, 300, 170, 230), (200, 240, 480, 500), (400, 430, 190, 220), (290, 310, 330, 360)],
}
CELL_STROKES: dict[str, list[Box]] = {
    "background": [(50, 70, 100, 300), (560, 580, 100, 300), (300, 310, 360, 380)],
    "cell": [(350, 390, 400, 450)],
}


# The part of the section that is shown, in which nuclei lie apart, and in clusters.
NUCLEI = (slice(192, 448), slice(150, 406))
# Rough objects are found on an image that is coarser by this factor; those of fewer coarse pixels are dropped.
QUARTER, SMALLEST = 4, 6


def tissue() -> list[tuple[Any, ...]]:
    """Return an immunohistochemistry section (512 x 512 RGB) and a map of three classes."""
    image = data.immunohistochemistry()
    return _layers(image, True, "tissue", TISSUE_STROKES)


def cell() -> list[tuple[Any, ...]]:
    """Return a cell in bright field (660 x 550 gray) and a map of two classes."""
    return _layers(data.cell(), False, "cell", CELL_STROKES)


def nuclei() -> list[tuple[Any, ...]]:
    """Return the haematoxylin of an immunohistochemistry section (256 x 256 gray) and rough objects, one a nucleus."""
    haematoxylin = color.rgb2hed(data.immunohistochemistry())[..., 0]
    low, high = np.percentile(haematoxylin, [0.5, 99.8])
    image = np.clip(255 * (haematoxylin - low) / (high - low), 0, 255).astype(np.uint8)[NUCLEI]
    return [
        (image, {"name": "nuclei", "colormap": "gray"}, "image"),
        (rough_objects(image), {"name": "rough nuclei"}, "labels"),
    ]


def rough_objects(image: NDArray[Any]) -> NDArray[np.int32]:
    """Return objects as a hurried tool leaves them: found at a quarter of the resolution, their borders are blocks."""
    coarse = transform.downscale_local_mean(ndimage.gaussian_filter(image.astype(float), 1), (QUARTER, QUARTER))
    mask = ndimage.binary_opening(coarse > filters.threshold_local(coarse, 31, offset=-6))
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 0.7)
    peaks = feature.peak_local_max(depth, min_distance=2, labels=ndimage.label(mask)[0])
    seeds = np.zeros(mask.shape, int)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    objects = segmentation.watershed(-depth, seeds, mask=mask)
    objects[np.bincount(objects.ravel())[objects] < SMALLEST] = 0
    objects, _, _ = segmentation.relabel_sequential(objects)
    enlarged: NDArray[np.int32] = np.kron(objects, np.ones((QUARTER, QUARTER), int)).astype(np.int32)
    return enlarged[tuple(slice(n) for n in image.shape)]


def _layers(image: NDArray[Any], rgb: bool, name: str, strokes: dict[str, list[Box]]) -> list[tuple[Any, ...]]:
    probabilities = classify(image if rgb else image[..., None], list(strokes.values()))
    return [
        (image, {"name": name, "rgb": rgb}, "image"),
        (
            probabilities,
            {"name": f"{name} probabilities", "metadata": {"classes": list(strokes)}, "colormap": "magma"},
            "image",
        ),
    ]


def classify(image: NDArray[Any], strokes: list[list[Box]]) -> NDArray[np.float32]:
    """Return (n_classes, height, width) probabilities of a small pixel classifier, trained on strokes.

    One Gaussian a class, with the spread all classes share (linear discriminant analysis), over intensities at two
    scales; and the noise of a camera, so that the map has the specks that maps have.
    """
    rng = np.random.default_rng(0)
    noisy = image + rng.normal(0, 12, image.shape)
    features = np.concatenate([noisy, ndimage.gaussian_filter(noisy, (1.0, 1.0, 0))], axis=-1)
    samples = [
        np.concatenate([features[y0:y1, x0:x1].reshape(-1, features.shape[-1]) for y0, y1, x0, x1 in boxes])
        for boxes in strokes
    ]
    means = np.stack([sample.mean(axis=0) for sample in samples])
    centred = np.concatenate([sample - mean for sample, mean in zip(samples, means, strict=True)])
    spread = np.cov(centred.T) + 4.0 * np.eye(features.shape[-1])
    weights = np.linalg.solve(spread, means.T)
    scores = features @ weights - 0.5 * (means.T * weights).sum(axis=0)
    # Few strokes make a classifier too sure of itself; dividing its scores is the usual remedy.
    scores /= 3.0
    probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    return np.moveaxis(probabilities, -1, 0).astype(np.float32)
