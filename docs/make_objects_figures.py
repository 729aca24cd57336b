"""Make the pictures of docs/objects.md from images of scikit-image: python docs/make_objects_figures.py [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, measure, transform

import napari_densecrf as ndc
from napari_densecrf._napari.contributions import sample_data

mpl.use("Agg")
from matplotlib import pyplot as plt

# Sides of the pieces that are shown enlarged.
CLOSE = 96


def coins() -> tuple[NDArray, NDArray]:
    """Return coins, and objects found at an eighth of the resolution."""
    image = data.coins()[:296, :376]
    coarse = transform.downscale_local_mean(image, (8, 8))
    coarse -= ndimage.gaussian_filter(coarse, 6)
    objects = measure.label(ndimage.binary_fill_holes(coarse > 12), connectivity=1)
    objects[np.bincount(objects.ravel())[objects] < 8] = 0
    return image, np.kron(objects, np.ones((8, 8), int))


def outline(axis: plt.Axes, objects: NDArray, where: tuple[slice, slice], colour: str) -> None:
    """Draw the outline of each object."""
    shown = objects[where]
    for number in np.unique(shown[shown > 0]):
        for line in measure.find_contours(np.pad(shown == number, 1).astype(float), 0.5):
            axis.plot(line[:, 1] - 1, line[:, 0] - 1, color=colour, linewidth=1.3)
    axis.set(xticks=[], yticks=[], xlim=(-0.5, shown.shape[1] - 0.5), ylim=(shown.shape[0] - 0.5, -0.5))


def before_and_after(path: Path) -> None:
    """Draw two images with rough and refined objects."""
    (nuclei, _, _), (rough_nuclei, _, _) = sample_data.nuclei()
    money, rough_money = coins()
    figure, axes = plt.subplots(2, 3, figsize=(8.4, 5.9), layout="constrained")
    cases = (
        (nuclei, rough_nuclei, (slice(128, 128 + CLOSE), slice(20, 20 + CLOSE))),
        (money, rough_money, (slice(160, 160 + CLOSE), slice(280, 280 + CLOSE))),
    )
    for row, (image, rough, close) in zip(axes, cases, strict=True):
        result = ndc.refine_objects(image, rough)
        whole = (slice(None), slice(None))
        for axis, objects, where, colour in (
            (row[0], rough, whole, "orange"),
            (row[1], result.labels, whole, "deepskyblue"),
            (row[2], result.labels, close, "deepskyblue"),
        ):
            axis.imshow(image[where], cmap="gray")
            if axis is row[2]:
                outline(axis, rough, where, "orange")
            outline(axis, objects, where, colour)
    for axis, title in zip(axes[0], ("rough", "refined", "a part of both"), strict=True):
        axis.set_title(title, fontsize=10)
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 85} if path.suffix == ".jpg" else None)
    plt.close(figure)


def candidates(path: Path) -> None:
    """Draw which pixels have which candidates along a line across two touching objects."""
    border = 2.0
    x = np.linspace(-12, 24, 721)
    # Two objects, of -8 to 4 and of 4 to 20.
    left, right = np.maximum(-8 - x, x - 4), np.maximum(4 - x, x - 20)
    figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
    nearest = np.minimum(left, right)
    odds = [np.maximum(1 / (1 + np.exp(np.clip(d / (border / 2), -50, 50))), 1e-3) for d in (left, right, -nearest)]
    allowed = [left <= 2 * border, right <= 2 * border, nearest >= -2 * border]
    weights = [np.where(one, odd, 0) for one, odd in zip(allowed, odds, strict=True)]
    certain = [left <= -2 * border, right <= -2 * border]
    for own, core in enumerate(certain):
        for other, weight in enumerate(weights):
            weight[core & (other != own)] = 0
    total = np.sum(weights, axis=0)
    for weight, name, colour in zip(
        weights, ("object 1", "object 2", "background"), ("tab:blue", "tab:orange", "0.5"), strict=True
    ):
        axis.plot(x, weight / total, color=colour, label=name)
    for at in (-8, 4, 20):
        axis.axvline(at, color="0.8", linewidth=0.8, zorder=0)
    axis.set(xlabel="place along a line, in pixels", ylabel="probability", ylim=(0, 1.05), xlim=(x[0], x[-1]))
    axis.legend(fontsize=8, loc="center right")
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    before_and_after(folder / "objects-before-after.png")
    candidates(folder / "objects-candidates.png")
