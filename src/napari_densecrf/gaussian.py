"""The smoothness kernel on a regular grid (Numba): an exact separable convolution, cut where it no longer counts.

A Gaussian of positions is a product over the axes. So are its row sums n_i on a grid, the folded 1 / sqrt(n_i) and
the sums of k~: nothing of the size of the image is kept.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

from .kernels import kernel, one_at_a_time, parallel_kernel

# Past this many sigmas a Gaussian is below 4e-4 of its centre, and holds less than 1e-4 of its mass.
REACH_SIGMAS = 4.0
ROWS_A_RUN = 16


@kernel()
def _add_scaled(target, source, factor):
    for k in range(target.size):
        target[k] += factor * source[k]


@kernel()
def _add_pair(out, left, right, weight):
    for k in range(out.size):
        out[k] += weight * (left[k] + right[k])


@kernel()
def _convolve_row(taps, row, n_channels, out):
    """Convolve one row, padded with zeros by the taps' reach on both sides, into ``out`` (n_values,)."""
    pad = (taps.size - 1) * n_channels
    out[:] = np.float32(0.0)
    _add_scaled(out, row[pad : pad + out.size], taps[0])
    for tap in range(1, taps.size):
        left = pad - tap * n_channels
        right = pad + tap * n_channels
        _add_pair(out, row[left : left + out.size], row[right : right + out.size], taps[tap])


@kernel()
def _convolve_plane(taps, fold, values, z, first, last, out):
    """Sum the planes around plane z: out = sum_k taps_|k| fold_(z+k) values_(z+k)."""
    reach = taps.size - 1
    out[:] = np.float32(0.0)
    for other in range(max(0, z - reach), min(len(values), z + reach + 1)):
        _add_scaled(out, values[other, first:last], taps[abs(other - z)] * fold[other])


@parallel_kernel()
def _convolve_planes(taps, fold, values, out):
    """Convolve values (depth, plane) along the first axis, its normalisation folded in."""
    depth, size = values.shape
    n_runs = max(1, size // 4096)
    for job in nb.prange(depth * n_runs):
        z, run = job // n_runs, job % n_runs
        first, last = size * run // n_runs, size * (run + 1) // n_runs
        _convolve_plane(taps, fold, values, z, first, last, out[z, first:last])


@kernel()
def _add_row(out, fold_row, scale, weight, values, messages, accumulate):
    """Scale a convolved row by its folded normalisation, leave its own pixels out, and add it to the messages."""
    for k in range(out.size):
        fold = scale * fold_row[k]
        message = weight * fold * (out[k] - fold * values[k])
        messages[k] = messages[k] + message if accumulate else message


@kernel()
def _add_rows(height, n_channels, taps, folds, source, values, weight, accumulate, messages, first, last):
    """Do what `_add_messages` does for the rows ``first`` to ``last``."""
    taps_y, taps_x = taps
    fold_z, fold_y, fold_x = folds
    size = values.shape[1]
    reach = taps_y.size - 1
    pad = (taps_x.size - 1) * n_channels
    row = np.zeros(size + 2 * pad, np.float32)
    inside = row[pad : pad + size]
    out = np.empty(size, np.float32)
    for line in range(first, last):
        z, y = line // height, line % height
        inside[:] = np.float32(0.0)
        for other in range(max(0, y - reach), min(height, y + reach + 1)):
            _add_scaled(inside, source[z * height + other], taps_y[abs(other - y)] * fold_y[other])
        for k in range(size):
            inside[k] *= fold_x[k]
        _convolve_row(taps_x, row, n_channels, out)
        _add_row(out, fold_x, fold_z[z] * fold_y[y], weight, values[line], messages[line], accumulate)


@parallel_kernel()
def _add_messages(height, n_channels, taps, folds, source, values, weight, accumulate, messages):
    """Convolve along y and x, normalise, and add ``weight * sum_{j != i} k~(i, j) values_j`` to the messages.

    Parameters
    ----------
    height, n_channels : int
    taps : (taps_y, taps_x), float32
        Gaussians from their centre on.
    folds : (fold_z, fold_y, fold_x), float32
        1 / sqrt of the row sums along each axis; ``fold_x`` repeats each pixel's for its channels.
    source : (depth * height, width * n_channels) float32
        The values convolved along z, its normalisation folded in.
    values, messages : like ``source``
    accumulate : bool
        Whether to add to the messages or to set them.
    """
    n_rows = len(values)
    n_runs = max(1, n_rows // ROWS_A_RUN)
    for run in nb.prange(n_runs):
        first, last = n_rows * run // n_runs, n_rows * (run + 1) // n_runs
        _add_rows(height, n_channels, taps, folds, source, values, weight, accumulate, messages, first, last)


class GridGaussian:
    """The kernel ``exp(-|p_i - p_j|^2 / (2 sigma^2))`` on a grid, normalised symmetrically, j = i left out.

    Parameters
    ----------
    shape : tuple of int
        One to three axes.
    sigmas : (n_axes,) float64
        In pixels.
    """

    def __init__(self, shape: tuple[int, ...], sigmas: NDArray[np.float64]) -> None:
        self.shape = (1,) * (3 - len(shape)) + shape
        padded = np.concatenate([np.ones(3 - len(shape)), sigmas])
        self.taps = [_taps(sigma, size) for sigma, size in zip(padded, self.shape, strict=True)]
        row_sums = [_convolve(taps, np.ones(size)) for taps, size in zip(self.taps, self.shape, strict=True)]
        self.folds = [1 / np.sqrt(sums) for sums in row_sums]

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        along = [fold * _convolve(taps, fold) for taps, fold in zip(self.taps, self.folds, strict=True)]
        own = [fold**2 for fold in self.folds]
        whole: NDArray[np.float64] = np.einsum("i,j,k->ijk", *along) - np.einsum("i,j,k->ijk", *own)
        return whole.astype(np.float32).ravel()

    def add_messages(
        self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32], *, accumulate: bool
    ) -> None:
        """Add (or set) ``weight * sum_{j != i} k~(i, j) Q_j``.

        Parameters
        ----------
        marginals, messages : (n_points, n_channels) float32
        """
        depth, height, _ = self.shape
        n_channels = marginals.shape[1]
        values = marginals.reshape(depth * height, -1)
        taps_z, taps_y, taps_x = (taps.astype(np.float32) for taps in self.taps)
        fold_z, fold_y, fold_x = (fold.astype(np.float32) for fold in self.folds)
        with one_at_a_time:
            source = values
            if depth > 1:
                source = np.empty_like(values)
                _convolve_planes(taps_z, fold_z, values.reshape(depth, -1), source.reshape(depth, -1))
            _add_messages(
                height,
                n_channels,
                (taps_y, taps_x),
                (fold_z, fold_y, np.repeat(fold_x, n_channels)),
                source,
                values,
                np.float32(weight),
                accumulate,
                messages.reshape(values.shape),
            )


def _taps(sigma: float, size: int) -> NDArray[np.float64]:
    """Return the Gaussian at 0, 1, 2, ... pixels, up to its reach or the end of the axis."""
    reach = min(math.ceil(REACH_SIGMAS * sigma), size - 1)
    return np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)


def _convolve(taps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = np.concatenate([taps[:0:-1], taps])
    return np.convolve(values, kernel)[len(taps) - 1 : len(taps) - 1 + len(values)]
