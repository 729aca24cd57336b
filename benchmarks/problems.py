"""The seven problems that speed is measured on, and the reference implementation's answer to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pydensecrf.densecrf as densecrf
from scipy import ndimage
from skimage import data, transform

from napari_densecrf import CRFParams, PairwiseKernel

N_ITERATIONS = 5
W1, W2, SMOOTHNESS = 10.0, 3.0, 3.0


@dataclass(frozen=True)
class Problem:
    """An image, a map (n_labels, *spatial) and the sigmas of the appearance kernel."""

    name: str
    image: np.ndarray
    probabilities: np.ndarray
    position_sigma: float
    intensity_sigma: float
    channel_axis: int | None = None

    def params(self, weight: float = W1, smoothness: float = SMOOTHNESS) -> CRFParams:
        """Return the parameters, with another weight or reach where asked."""
        appearance = PairwiseKernel(weight, self.position_sigma, self.intensity_sigma)
        return CRFParams((appearance, PairwiseKernel(W2, smoothness)), n_iterations=N_ITERATIONS)

    def crop(self, size: int) -> Problem:
        """Return a part from the middle, small enough for an exact solution."""
        spatial = self.probabilities.shape[1:]
        middle = tuple(slice(max(0, n // 2 - size // 2), max(0, n // 2 - size // 2) + size) for n in spatial)
        return replace(self, image=self.image[middle], probabilities=self.probabilities[(slice(None), *middle)])


def noisy_map(gray: np.ndarray, n_labels: int, seed: int = 0) -> np.ndarray:
    """Return a map of gray bands, blurred and noisy: (n_labels, *spatial) float32."""
    rng = np.random.default_rng(seed)
    bands = np.digitize(gray, np.percentile(gray, np.linspace(0, 100, n_labels + 1)[1:-1]))
    planes = np.stack([ndimage.gaussian_filter((bands == k).astype(np.float32), 2) for k in range(n_labels)])
    planes += 0.3 * rng.random(planes.shape, dtype=np.float32) + 0.02
    return planes / planes.sum(axis=0)


def gray_image(size: int = 512) -> np.ndarray:
    """Return (size, size) uint8."""
    gray = data.immunohistochemistry().mean(axis=-1).astype(np.uint8)
    return gray if size == 512 else (255 * transform.resize(gray, (size, size))).astype(np.uint8)


def square(size: int) -> Problem:
    """Return a gray image of any size, two labels."""
    gray = gray_image(size)
    return Problem(f"{size}^2 gray L2 (20, 10)", gray, noisy_map(gray, 2), 20, 10)


def labelled(n_labels: int) -> Problem:
    """Return 512 x 512 RGB with any number of labels."""
    rgb = data.immunohistochemistry()
    return Problem(f"512^2 RGB L{n_labels} (80, 13)", rgb, noisy_map(gray_image(), n_labels), 80, 13, -1)


def problems() -> list[Problem]:
    """Return the seven."""
    rgb, gray = data.immunohistochemistry(), gray_image()
    rng = np.random.default_rng(0)
    noise = np.clip(gray + rng.normal(0, 20, gray.shape), 0, 255).astype(np.uint8)
    stack = np.stack([np.roll(gray[:256, :256], z, axis=0) for z in range(32)])
    return [
        labelled(2),
        Problem("512^2 gray L2 (20, 5)", gray, noisy_map(gray, 2), 20, 5),
        Problem("512^2 RGB L4 (40, 10)", rgb, noisy_map(gray, 4), 40, 10, -1),
        labelled(21),
        Problem("512^2 noise L2 (5, 3)", noise, noisy_map(gray, 2), 5, 3),
        square(2048),
        Problem("32x256x256 gray L2 (10, 10)", stack, noisy_map(stack, 2), 10, 10),
    ]


def pydensecrf_marginals(problem: Problem) -> np.ndarray:
    """Return what the reference implementation makes of a problem, from image to marginals."""
    n_labels, *spatial = problem.probabilities.shape
    positions = np.indices(spatial, dtype=np.float32).reshape(len(spatial), -1)
    channels = problem.image.reshape(positions.shape[1], -1).T.astype(np.float32)
    solver = densecrf.DenseCRF(positions.shape[1], n_labels)
    solver.setUnaryEnergy(np.ascontiguousarray(-np.log(problem.probabilities).reshape(n_labels, -1)))
    appearance = np.concatenate([positions / problem.position_sigma, channels / problem.intensity_sigma])
    solver.addPairwiseEnergy(np.ascontiguousarray(appearance, dtype=np.float32), compat=W1)
    solver.addPairwiseEnergy(np.ascontiguousarray(positions / SMOOTHNESS, dtype=np.float32), compat=W2)
    return np.array(solver.inference(N_ITERATIONS)).reshape(problem.probabilities.shape)
