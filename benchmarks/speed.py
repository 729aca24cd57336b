"""Speed beside pydensecrf2: the two in turn on the same inputs, medians, ratios. Run by `make bench`."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import geometric_mean, median

import numba
import numpy as np
import pydensecrf.densecrf as densecrf
from scipy import ndimage
from skimage import data, transform

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel

N_ITERATIONS = 5
W1, W2, SMOOTHNESS = 10.0, 3.0, 3.0


@dataclass(frozen=True)
class Case:
    """An image, a map and the sigmas of the appearance kernel."""

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


def noisy_map(gray: np.ndarray, n_labels: int, seed: int = 0) -> np.ndarray:
    """Return a map of gray bands, blurred and noisy: (n_labels, *spatial) float32."""
    rng = np.random.default_rng(seed)
    bands = np.digitize(gray, np.percentile(gray, np.linspace(0, 100, n_labels + 1)[1:-1]))
    planes = np.stack([ndimage.gaussian_filter((bands == k).astype(np.float32), 2) for k in range(n_labels)])
    planes += 0.3 * rng.random(planes.shape, dtype=np.float32) + 0.02
    return planes / planes.sum(axis=0)


def cases(large: bool) -> list[Case]:
    """Return the cases of 512 x 512, and larger ones where asked."""
    rgb = data.immunohistochemistry()
    gray = rgb.mean(axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise = np.clip(gray + rng.normal(0, 20, gray.shape), 0, 255).astype(np.uint8)
    found = [
        Case("512^2 RGB L2 (80, 13)", rgb, noisy_map(gray, 2), 80, 13, -1),
        Case("512^2 gray L2 (20, 5)", gray, noisy_map(gray, 2), 20, 5),
        Case("512^2 RGB L4 (40, 10)", rgb, noisy_map(gray, 4), 40, 10, -1),
        Case("512^2 RGB L21 (80, 13)", rgb, noisy_map(gray, 21), 80, 13, -1),
        Case("512^2 noise L2 (5, 3)", noise, noisy_map(gray, 2), 5, 3),
    ]
    if large:
        big = (255 * transform.resize(gray, (2048, 2048))).astype(np.uint8)
        stack = np.stack([np.roll(gray[:256, :256], z, axis=0) for z in range(32)])
        found += [
            Case("2048^2 gray L2 (20, 10)", big, noisy_map(big, 2), 20, 10),
            Case("32x256x256 gray L2 (10, 10)", stack, noisy_map(stack, 2), 10, 10),
        ]
    return found


def pydensecrf_labels(case: Case) -> np.ndarray:
    """Return the labels of the reference implementation, from image to labels."""
    n_labels, *spatial = case.probabilities.shape
    positions = np.indices(spatial, dtype=np.float32).reshape(len(spatial), -1)
    channels = case.image.reshape(positions.shape[1], -1).T.astype(np.float32)
    solver = densecrf.DenseCRF(positions.shape[1], n_labels)
    solver.setUnaryEnergy(np.ascontiguousarray(-np.log(case.probabilities).reshape(n_labels, -1)))
    appearance = np.concatenate([positions / case.position_sigma, channels / case.intensity_sigma])
    solver.addPairwiseEnergy(np.ascontiguousarray(appearance, dtype=np.float32), compat=W1)
    solver.addPairwiseEnergy(np.ascontiguousarray(positions / SMOOTHNESS, dtype=np.float32), compat=W2)
    return np.array(solver.inference(N_ITERATIONS)).argmax(axis=0).reshape(spatial)


def timed(function: object) -> tuple[float, np.ndarray]:
    """Return milliseconds and the result of a call."""
    started = time.perf_counter()
    result = function()
    return 1e3 * (time.perf_counter() - started), result


def measure(case: Case, n_rounds: int) -> dict[str, float]:
    """Return medians in milliseconds and the share of labels that agree."""
    rows: dict[str, list[float]] = {"pydensecrf2": [], "cold": [], "cached": [], "smoothness": []}
    ndc.refine(case.image, case.probabilities, case.params(), channel_axis=case.channel_axis)
    for k in range(n_rounds):
        elapsed, theirs = timed(lambda: pydensecrf_labels(case))
        rows["pydensecrf2"].append(elapsed)
        made = []

        def cold(made: list = made) -> np.ndarray:
            refiner = ndc.Refiner(case.image, channel_axis=case.channel_axis)
            made.append(refiner)
            return refiner.refine(case.probabilities, case.params()).labels

        elapsed, ours = timed(cold)
        rows["cold"].append(elapsed)
        refiner = made[0]
        weight, reach = W1 - 1 - 0.1 * k, SMOOTHNESS + 0.1 + 0.1 * k
        rows["cached"].append(timed(lambda r=refiner, w=weight: r.refine(case.probabilities, case.params(w)).labels)[0])
        rows["smoothness"].append(
            timed(lambda r=refiner, s=reach: r.refine(case.probabilities, case.params(W1, s)).labels)[0]
        )
    return {name: median(values) for name, values in rows.items()} | {"agree": float((ours == theirs).mean())}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="2048 x 2048 and a volume too")
    options = parser.parse_args()
    print(f"{numba.get_num_threads()} threads, medians of {options.rounds}; ms")
    print(f"{'':28}{'pydensecrf2':>12}{'cold':>8}{'x':>6}{'cached':>8}{'x':>6}{'gamma':>8}{'x':>6}{'agree':>8}")
    ratios: dict[str, list[float]] = {"cold": [], "cached": []}
    for case in cases(options.large):
        row = measure(case, options.rounds)
        line = f"{case.name:28}{row['pydensecrf2']:12.0f}"
        for name in ("cold", "cached", "smoothness"):
            ratio = row["pydensecrf2"] / row[name]
            line += f"{row[name]:8.1f}{ratio:6.1f}"
            if name in ratios:
                ratios[name].append(ratio)
        print(f"{line}{100 * row['agree']:7.2f}%", flush=True)
    print("geometric mean: " + ", ".join(f"{name} {geometric_mean(values):.1f} x" for name, values in ratios.items()))


if __name__ == "__main__":
    main()
