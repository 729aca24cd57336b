"""Make the pictures of docs/model.md from the real lattice: python docs/make_model_figures.py [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr

import napari_densecrf as ndc

mpl.use("Agg")
from matplotlib import pyplot as plt

EXTENT = 6.0
N_SIDE = 120


def grid_points() -> np.ndarray:
    """Return (n_points, 2): points of a fine square, in sigmas."""
    axis = np.linspace(0, EXTENT, N_SIDE)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def vertex_numbers(lattice: ndc.Lattice) -> np.ndarray:
    """Return (n_points, 3): the number of each corner in the whole lattice."""
    runs = lattice.runs
    run = np.arange(lattice.n_points) // runs.points_a_run
    return runs.slot_vertices[runs.run_slots[run][:, None] + runs.vertices].astype(int)


def vertex_positions(lattice: ndc.Lattice, points: np.ndarray) -> np.ndarray:
    """Return (n_touched, 2): where the vertices lie, as each point is the weighted mean of its corners."""
    numbers = vertex_numbers(lattice)
    rows = np.repeat(np.arange(len(points)), numbers.shape[1])
    shape = (len(points), lattice.n_vertices)
    weights = csr_array((lattice.runs.weights.ravel().astype(float), (rows, numbers.ravel())), shape=shape)
    return np.stack([lsqr(weights, points[:, axis], atol=1e-10, btol=1e-10)[0] for axis in range(2)], axis=1)


def draw(path: Path) -> None:
    """Draw splat, blur, slice, and the Gaussian they stand for."""
    points = grid_points()
    lattice = ndc.Lattice(points)
    positions = vertex_positions(lattice, points)
    middle = int(np.argmin(((points - [3.2, 3.0]) ** 2).sum(axis=1)))
    impulse = np.zeros((len(points), 1), np.float32)
    impulse[middle] = 1
    n_touched = len(positions)
    splatted = np.zeros(n_touched)
    np.add.at(splatted, vertex_numbers(lattice)[middle], lattice.runs.weights[middle])
    blurred = lattice.gather_and_blur(lattice.splat(impulse))[:n_touched, 0] * lattice.alpha
    sliced = lattice.filter(impulse).reshape(N_SIDE, N_SIDE)
    exact = np.exp(-0.5 * ((points - points[middle]) ** 2).sum(axis=1)).reshape(N_SIDE, N_SIDE)

    figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), sharex=True, sharey=True, layout="constrained")
    shown = {"cmap": "magma", "vmin": 0, "vmax": 1}
    extent = {"extent": (0, EXTENT, 0, EXTENT), "origin": "lower"}
    for axis, values, title in (
        (axes[0], splatted, "splat: a point to its 3 corners"),
        (axes[1], blurred, "blur: along 3 axes, twice"),
    ):
        axis.triplot(positions[:, 1], positions[:, 0], color="0.85", linewidth=0.5)
        axis.scatter(positions[:, 1], positions[:, 0], c=values, s=45, edgecolors="0.5", linewidths=0.4, **shown)
        axis.set_title(title, fontsize=10)
    axes[0].plot(*points[middle][::-1], "x", color="tab:cyan")
    axes[2].imshow(sliced, **shown, **extent)
    axes[2].set_title("slice: back to all points", fontsize=10)
    picture = axes[3].imshow(exact, **shown, **extent)
    axes[3].set_title("the Gaussian", fontsize=10)
    for axis in axes:
        axis.set(xlim=(0, EXTENT), ylim=(0, EXTENT), aspect="equal", xlabel="position / sigma")
    figure.colorbar(picture, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "model-lattice.png")
