"""Small problems with a known exact answer: what the accuracy of the engine is measured on."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from skimage import data

from napari_densecrf import CRFParams, PairwiseKernel


@dataclass(frozen=True)
class Case:
    """One refinement: what goes in."""

    name: str
    image: np.ndarray
    probabilities: np.ndarray
    params: CRFParams
    options: dict = field(default_factory=dict)


def kernels(w1, position, intensity, w2=3.0, smooth=3.0):
    """Return the appearance and the smoothness kernel."""
    return (PairwiseKernel(w1, position, intensity), PairwiseKernel(w2, smooth))


def noisy_map(truth, n_labels, seed, blur=1.5, noise=0.35):
    """Return a map as a classifier gives it: blurred truth and noise, (n_labels, *spatial) float32."""
    rng = np.random.default_rng(seed)
    planes = [ndimage.gaussian_filter((truth == label).astype(float), blur) for label in range(n_labels)]
    planes = np.stack(planes) + noise * rng.random((n_labels, *truth.shape)) + 0.02
    return (planes / planes.sum(axis=0)).astype(np.float32)


def tissue(size=48, at=(200, 180)):
    """Return a crop of an RGB section and its classes by colour: background, brown, blue."""
    y, x = at
    image = data.immunohistochemistry()[y : y + size, x : x + size]
    brown = image[..., 0].astype(int) - image[..., 2]
    truth = np.where(brown > 30, 1, np.where(image.mean(axis=-1) < 150, 2, 0))
    return image, truth


def cells(size=48, at=(230, 230)):
    """Return a crop of a gray image and the pixels above its mean."""
    y, x = at
    image = data.cell()[y : y + size, x : x + size]
    return image, (image > image.mean()).astype(int)


def volume():
    """Return two noisy balls in (10, 20, 20), voxels twice as long in z."""
    rng = np.random.default_rng(5)
    z, y, x = np.indices((10, 20, 20))
    first = ((2 * z - 8) ** 2 + (y - 7) ** 2 + (x - 7) ** 2) < 30
    second = ((2 * z - 12) ** 2 + (y - 13) ** 2 + (x - 13) ** 2) < 25
    truth = np.where(first, 1, np.where(second, 2, 0))
    image = 400 + 300 * truth + rng.normal(0, 60, truth.shape)
    return image.astype(np.uint16), truth


def all_cases():
    """Return at least eight cases: gray, RGB, 3D; 2 to 5 labels; sharp to wide theta_beta; noise."""
    rgb, rgb_truth = tissue()
    gray, gray_truth = cells()
    stack, stack_truth = volume()
    rng = np.random.default_rng(1)
    noise = np.clip(gray + rng.normal(0, 25, gray.shape), 0, 255).astype(np.uint8)
    five = np.digitize(gray, np.percentile(gray, [20, 40, 60, 80]))
    hot = gray.copy()
    hot[rng.random(gray.shape) < 0.05] = 255
    return [
        Case("rgb, readme", rgb, noisy_map(rgb_truth > 0, 2, 1), CRFParams(), {"channel_axis": -1}),
        Case("rgb, 3 labels", rgb, noisy_map(rgb_truth, 3, 2), CRFParams(kernels(5, 20, 10)), {"channel_axis": -1}),
        Case("rgb, sharp", rgb, noisy_map(rgb_truth, 3, 3), CRFParams(kernels(5, 15, 5)), {"channel_axis": -1}),
        Case("gray, sharp", gray, noisy_map(gray_truth, 2, 4), CRFParams(kernels(10, 20, 5))),
        Case("gray, wide", gray, noisy_map(gray_truth, 2, 5), CRFParams(kernels(10, 30, 30))),
        Case("gray, 5 labels", gray, noisy_map(five, 5, 6), CRFParams(kernels(4, 15, 10))),
        Case("noise", noise, noisy_map(gray_truth, 2, 7), CRFParams(kernels(10, 5, 3))),
        Case("hot pixels", hot, noisy_map(gray_truth, 2, 8), CRFParams(kernels(6, 10, 8, 1.0, 1.5))),
        Case(
            "rgb noise",
            rgb[::2, ::2],
            noisy_map(rgb_truth[::2, ::2] > 0, 2, 9),
            CRFParams(kernels(8, 6, 4)),
            {"channel_axis": -1},
        ),
        Case(
            "volume",
            stack,
            noisy_map(stack_truth, 3, 10),
            CRFParams(kernels(5, 6.0, 80.0, 2, 2)),
            {"spacing": (2.0, 1.0, 1.0)},
        ),
    ]
