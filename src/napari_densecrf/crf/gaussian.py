"""The smoothness kernel on a regular grid (Numba): an exact separable convolution, cut where it no longer counts.

A Gaussian of positions is a product over the axes. So are its row sums n_i on a grid, the folded 1 / sqrt(n_i) and
the sums of k~: nothing of the size of the image is kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.compile import kernel, parallel_kernel

# Past this many sigmas a Gaussian is below 4e-4 of its centre, and holds less than 1e-4 of its mass.
REACH_SIGMAS = 4.0
ROWS_A_RUN = 16
# Along z, a run of pixels of as many planes as the taps reach stays in the second cache.
VALUES_A_RUN = 2048


# Loops run over whole slices: of an index that may be negative, as Numba sees it, LLVM makes no plain vector load.
@kernel()
def _scale(target, factors):
    for k in range(target.size):
        target[k] *= factors[k]


@kernel()
def _set_scaled(target, source, factor):
    for k in range(target.size):
        target[k] = factor * source[k]


@kernel()
def add_scaled(target, source, factor):
    """Add ``factor * source``, both (n_values,) float32."""
    for k in range(target.size):
        target[k] += factor * source[k]


@kernel()
def _add_four_scaled(target, sources, factors):
    """Add four rows at once, so that the target is read and written once for them."""
    a, b, c, d = sources
    for k in range(target.size):
        target[k] += factors[0] * a[k] + factors[1] * b[k] + factors[2] * c[k] + factors[3] * d[k]


@kernel()
def _add_lines(lines, first, last, centre, taps, fold, left, right, target):
    """Add up lines from ``left`` to ``right``: target += sum_k taps_|k-centre| fold_k lines_k, first <= k < last."""
    line = first
    while line + 4 <= last:
        sources = (
            lines[line, left:right],
            lines[line + 1, left:right],
            lines[line + 2, left:right],
            lines[line + 3, left:right],
        )
        factors = (
            taps[abs(line - centre)] * fold[line],
            taps[abs(line + 1 - centre)] * fold[line + 1],
            taps[abs(line + 2 - centre)] * fold[line + 2],
            taps[abs(line + 3 - centre)] * fold[line + 3],
        )
        _add_four_scaled(target, sources, factors)
        line += 4
    for other in range(line, last):
        add_scaled(target, lines[other, left:right], taps[abs(other - centre)] * fold[other])


@kernel()
def _add_pair(out, left, right, weight):
    for k in range(out.size):
        out[k] += weight * (left[k] + right[k])


@kernel()
def _add_four_pairs(out, lefts, rights, weights):
    """Add four taps on both sides at once, so that ``out`` is read and written once for them."""
    a, b, c, d = lefts
    e, f, g, h = rights
    for k in range(out.size):
        near = weights[0] * (a[k] + e[k]) + weights[1] * (b[k] + f[k])
        out[k] += near + weights[2] * (c[k] + g[k]) + weights[3] * (d[k] + h[k])


@kernel()
def _convolve_row(taps, row, n_channels, out):
    """Convolve one row, padded with zeros by the taps' reach on both sides, into ``out`` (n_values,)."""
    size = out.size
    pad = (taps.size - 1) * n_channels
    _set_scaled(out, row[pad : pad + size], taps[0])
    tap = 1
    while tap + 4 <= taps.size:
        one, two, three, four = tap * n_channels, (tap + 1) * n_channels, (tap + 2) * n_channels, (tap + 3) * n_channels
        lefts = (
            row[pad - one : pad - one + size],
            row[pad - two : pad - two + size],
            row[pad - three : pad - three + size],
            row[pad - four : pad - four + size],
        )
        rights = (
            row[pad + one : pad + one + size],
            row[pad + two : pad + two + size],
            row[pad + three : pad + three + size],
            row[pad + four : pad + four + size],
        )
        _add_four_pairs(out, lefts, rights, (taps[tap], taps[tap + 1], taps[tap + 2], taps[tap + 3]))
        tap += 4
    for other in range(tap, taps.size):
        left = pad - other * n_channels
        right = pad + other * n_channels
        _add_pair(out, row[left : left + size], row[right : right + size], taps[other])


@kernel()
def _leave_out_own(fold, fold_row, weight, values, out):
    """Scale a convolved row by its folded normalisation and leave its own pixels out."""
    for k in range(out.size):
        own = fold * fold_row[k]
        out[k] = weight * own * (out[k] - own * values[k])


class OnGrid(NamedTuple):
    """A normalised kernel on a grid, as passes over its lines take it; its lines are ``z * height + y``.

    Parameters
    ----------
    height, width : int
    weight : float32
        0 where there is no such kernel.
    taps_y, taps_x : float32
        Gaussians from their centre on.
    fold_z, fold_y, fold_x : float32
        1 / sqrt of the row sums along each axis, ``fold_x`` for each value of a line.
    sum_z, sum_y, sum_x, own_z, own_y, own_x : float32
        ``sum_j k~(i, j)`` and ``k~(i, i)`` are products of these over the axes.
    """

    height: int
    width: int
    weight: np.float32
    taps_y: NDArray[np.float32]
    taps_x: NDArray[np.float32]
    fold_z: NDArray[np.float32]
    fold_y: NDArray[np.float32]
    fold_x: NDArray[np.float32]
    sum_z: NDArray[np.float32]
    sum_y: NDArray[np.float32]
    sum_x: NDArray[np.float32]
    own_z: NDArray[np.float32]
    own_y: NDArray[np.float32]
    own_x: NDArray[np.float32]


@kernel()
def smooth_part(grid, source, line, first, last, values, row, out):
    """Write ``weight * sum_{j != i} k~(i, j) values_j`` for the pixels ``first`` to ``last`` of a line.

    grid : OnGrid
    source : (depth * height, width * n_channels) float32
        The values convolved along z, its normalisation folded in.
    line : int
        z * height + y.
    values, out : ((last - first) * n_channels,) float32
        ``values`` are those of the pixels themselves.
    row : room for (last - first + 2 * reach along x) * n_channels float32
    """
    height, width = grid.height, grid.width
    n_channels = grid.fold_x.size // width
    z, y = line // height, line % height
    reach_x, reach_y = grid.taps_x.size - 1, grid.taps_y.size - 1
    left, right = max(0, first - reach_x), min(width, last + reach_x)
    start = (left - first + reach_x) * n_channels
    size = (right - left) * n_channels
    padded = row[: (last - first + 2 * reach_x) * n_channels]
    padded[:] = np.float32(0.0)
    inside = padded[start : start + size]
    lines = source[z * height : (z + 1) * height]
    low, high = max(0, y - reach_y), min(height, y + reach_y + 1)
    _add_lines(lines, low, high, y, grid.taps_y, grid.fold_y, left * n_channels, right * n_channels, inside)
    _scale(inside, grid.fold_x[left * n_channels : right * n_channels])
    _convolve_row(grid.taps_x, padded, n_channels, out)
    own_of_line = grid.fold_z[z] * grid.fold_y[y]
    _leave_out_own(own_of_line, grid.fold_x[first * n_channels : last * n_channels], grid.weight, values, out)


@kernel()
def total_of_part(grid, line, first, total):
    """Write ``weight * sum_{j != i} k~(i, j)`` for the pixels of a line from ``first`` on."""
    z, y = line // grid.height, line % grid.height
    all_of_line = grid.weight * grid.sum_z[z] * grid.sum_y[y]
    own_of_line = grid.weight * grid.own_z[z] * grid.own_y[y]
    along, own = grid.sum_x[first : first + total.size], grid.own_x[first : first + total.size]
    for k in range(total.size):
        total[k] = all_of_line * along[k] - own_of_line * own[k]


@kernel()
def _convolve_run(taps, fold, values, first, last, out):
    """Convolve the values ``first`` to ``last`` of every plane along z, plane after plane."""
    depth = len(values)
    reach = taps.size - 1
    for z in range(depth):
        target = out[z, first:last]
        target[:] = np.float32(0.0)
        _add_lines(values, max(0, z - reach), min(depth, z + reach + 1), z, taps, fold, first, last, target)


@parallel_kernel()
def _convolve_planes(taps, fold, values, out):
    """Convolve values (depth, plane) along the first axis, its normalisation folded in."""
    size = values.shape[1]
    n_runs = max(1, size // VALUES_A_RUN)
    for run in nb.prange(n_runs):
        _convolve_run(taps, fold, values, size * run // n_runs, size * (run + 1) // n_runs, out)


@kernel()
def _add(target, source):
    for k in range(target.size):
        target[k] += source[k]


@kernel()
def _add_rows(grid, source, values, messages, first, last):
    """Do what `_add_messages` does for the lines ``first`` to ``last``."""
    size = values.shape[1]
    row = np.empty(size + 2 * (grid.taps_x.size - 1) * (size // grid.width), np.float32)
    out = np.empty(size, np.float32)
    for line in range(first, last):
        smooth_part(grid, source, line, 0, grid.width, values[line], row, out)
        _add(messages[line], out)


@parallel_kernel()
def _add_messages(grid, source, values, messages):
    """Add what `smooth_part` writes, for all lines: messages like ``values``, (depth * height, width * n_channels)."""
    n_lines = len(values)
    n_runs = max(1, n_lines // ROWS_A_RUN)
    for run in nb.prange(n_runs):
        first, last = n_lines * run // n_runs, n_lines * (run + 1) // n_runs
        _add_rows(grid, source, values, messages, first, last)


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
        taps = [_taps(sigma, size) for sigma, size in zip(padded, self.shape, strict=True)]
        row_sums = [_convolve(taps, np.ones(size)) for taps, size in zip(taps, self.shape, strict=True)]
        folds = [1 / np.sqrt(sums) for sums in row_sums]
        self.taps = [tap.astype(np.float32) for tap in taps]
        self.folds = [fold.astype(np.float32) for fold in folds]
        # sum_j k~(i, j) and k~(i, i), each a product of these over the axes.
        self.sums = [(fold * _convolve(tap, fold)).astype(np.float32) for tap, fold in zip(taps, folds, strict=True)]
        self.own = [(fold**2).astype(np.float32) for fold in folds]

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        whole: NDArray[np.float32] = np.einsum("i,j,k->ijk", *self.sums) - np.einsum("i,j,k->ijk", *self.own)
        return whole.ravel()

    def on_grid(self, weight: float, n_channels: int) -> OnGrid:
        """Return what passes over the lines of values of so many channels take."""
        _, height, width = self.shape
        _, taps_y, taps_x = self.taps
        fold_z, fold_y, fold_x = self.folds
        along_x = np.repeat(fold_x, n_channels)
        return OnGrid(height, width, np.float32(weight), taps_y, taps_x, fold_z, fold_y, along_x, *self.sums, *self.own)

    def along_z(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values, (depth * height, width * n_channels), convolved along z; themselves in a plane."""
        depth = self.shape[0]
        if depth == 1:
            return values
        source = np.empty_like(values)
        _convolve_planes(self.taps[0], self.folds[0], values.reshape(depth, -1), source.reshape(depth, -1))
        return source

    def add_messages(self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32]) -> None:
        """Add ``weight * sum_{j != i} k~(i, j) Q_j``.

        Parameters
        ----------
        marginals, messages : (n_points, n_channels) float32
        """
        depth, height, _ = self.shape
        values = marginals.reshape(depth * height, -1)
        source = self.along_z(values)
        _add_messages(self.on_grid(weight, marginals.shape[1]), source, values, messages.reshape(values.shape))


def _taps(sigma: float, size: int) -> NDArray[np.float64]:
    """Return the Gaussian at 0, 1, 2, ... pixels, up to its reach or the end of the axis."""
    reach = min(math.ceil(REACH_SIGMAS * sigma), size - 1)
    return np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)


def _convolve(taps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = np.concatenate([taps[:0:-1], taps])
    return np.convolve(values, kernel)[len(taps) - 1 : len(taps) - 1 + len(values)]
