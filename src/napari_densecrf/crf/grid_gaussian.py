"""The smoothness kernel on a regular grid (Numba): an exact separable convolution, cut where it no longer counts.

A Gaussian of positions is a product over the axes. So are its row sums n_i on a grid, their inverse roots
1 / sqrt(n_i), and the sums of k~: no array has the size of the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined, kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

# Past this many sigmas a Gaussian is below 4e-4 of its centre, and holds less than 1e-4 of its mass.
REACH_SIGMAS = 4.0
ROWS_A_RUN = 16
# Along z, a run of pixels of as many planes as the taps reach stays in the second cache.
VALUES_A_RUN = 2048


# Loops run over whole slices: of an index that may be negative, as Numba sees it, LLVM makes no plain vector load.
@inlined()
def _scale(target, factors):
    for k in range(target.size):
        target[k] *= factors[k]


@inlined()
def _set_scaled(target, source, factor):
    for k in range(target.size):
        target[k] = factor * source[k]


@kernel()
def add_scaled(target, source, factor):
    """Add ``factor * source``, both (n_values,) float32."""
    for k in range(target.size):
        target[k] += factor * source[k]


@inlined()
def _add_four_scaled(target, sources, factors):
    """Add four rows at once, so that the target is read and written once for them."""
    a, b, c, d = sources
    for k in range(target.size):
        target[k] += factors[0] * a[k] + factors[1] * b[k] + factors[2] * c[k] + factors[3] * d[k]


@kernel()
def _add_lines(lines, first, last, centre, taps, inverse_root, left, right, target):
    """Add up lines from ``left`` to ``right``: target += sum_k taps_|k-centre| inverse_root_k lines_k."""
    line = first
    while line + 4 <= last:
        sources = (
            lines[line, left:right],
            lines[line + 1, left:right],
            lines[line + 2, left:right],
            lines[line + 3, left:right],
        )
        factors = (
            taps[abs(line - centre)] * inverse_root[line],
            taps[abs(line + 1 - centre)] * inverse_root[line + 1],
            taps[abs(line + 2 - centre)] * inverse_root[line + 2],
            taps[abs(line + 3 - centre)] * inverse_root[line + 3],
        )
        _add_four_scaled(target, sources, factors)
        line += 4
    for other in range(line, last):
        add_scaled(target, lines[other, left:right], taps[abs(other - centre)] * inverse_root[other])


@inlined()
def _add_pair(out, left, right, weight):
    for k in range(out.size):
        out[k] += weight * (left[k] + right[k])


@inlined()
def _add_four_pairs(out, lefts, rights, weights):
    """Add four taps on both sides at once, so that ``out`` is read and written once for them."""
    a, b, c, d = lefts
    e, f, g, h = rights
    for k in range(out.size):
        near = weights[0] * (a[k] + e[k]) + weights[1] * (b[k] + f[k])
        out[k] += near + weights[2] * (c[k] + g[k]) + weights[3] * (d[k] + h[k])


@inlined()
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


@inlined()
def _normalise_row(line_root, inverse_root_x, weight, values, out):
    """Scale a convolved row by ``1 / sqrt(n_i)`` and subtract ``k~(i, i) values_i``, as the sum is over j != i."""
    for k in range(out.size):
        root = line_root * inverse_root_x[k]
        out[k] = weight * root * (out[k] - root * values[k])


class OnGrid(NamedTuple):
    """A normalised kernel on a grid, as passes over its lines take it; its lines are ``z * height + y``.

    Parameters
    ----------
    height, width : int
    weight : float32
        0 where there is no such kernel.
    taps_y, taps_x : float32
        Gaussians from their centre on.
    inverse_root_z, inverse_root_y, inverse_root_x : float32
        1 / sqrt of the row sums along each axis; ``inverse_root_x`` is repeated for each channel of a pixel.
    sum_z, sum_y, sum_x, diagonal_z, diagonal_y, diagonal_x : float32
        ``sum_j k~(i, j)`` and ``k~(i, i)`` are products of these over the axes.
    """

    height: int
    width: int
    weight: np.float32
    taps_y: NDArray[np.float32]
    taps_x: NDArray[np.float32]
    inverse_root_z: NDArray[np.float32]
    inverse_root_y: NDArray[np.float32]
    inverse_root_x: NDArray[np.float32]
    sum_z: NDArray[np.float32]
    sum_y: NDArray[np.float32]
    sum_x: NDArray[np.float32]
    diagonal_z: NDArray[np.float32]
    diagonal_y: NDArray[np.float32]
    diagonal_x: NDArray[np.float32]


@inlined()
def smooth_part(grid, source, line, first, last, values, row, out):
    """Write ``weight * sum_{j != i} k~(i, j) values_j`` for the pixels ``first`` to ``last`` of a line.

    grid : OnGrid
    source : (depth * height, width * n_channels) float32
        The values times the inverse roots along z, convolved along z.
    line : int
        z * height + y.
    values, out : ((last - first) * n_channels,) float32
        ``values`` are those of the pixels themselves.
    row : (at least (last - first + 2 * reach along x) * n_channels,) float32
        Scratch.
    """
    height, width = grid.height, grid.width
    n_channels = grid.inverse_root_x.size // width
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
    _add_lines(lines, low, high, y, grid.taps_y, grid.inverse_root_y, left * n_channels, right * n_channels, inside)
    _scale(inside, grid.inverse_root_x[left * n_channels : right * n_channels])
    _convolve_row(grid.taps_x, padded, n_channels, out)
    line_root = grid.inverse_root_z[z] * grid.inverse_root_y[y]
    _normalise_row(line_root, grid.inverse_root_x[first * n_channels : last * n_channels], grid.weight, values, out)


@inlined()
def total_of_part(grid, line, first, total):
    """Write ``weight * sum_{j != i} k~(i, j)`` for the pixels of a line from ``first`` on."""
    z, y = line // grid.height, line % grid.height
    line_sum = grid.weight * grid.sum_z[z] * grid.sum_y[y]
    line_diagonal = grid.weight * grid.diagonal_z[z] * grid.diagonal_y[y]
    sums, diagonal = grid.sum_x[first : first + total.size], grid.diagonal_x[first : first + total.size]
    for k in range(total.size):
        total[k] = line_sum * sums[k] - line_diagonal * diagonal[k]


@inlined()
def _convolve_run(taps, inverse_root, values, first, last, out):
    """Convolve the values ``first`` to ``last`` of every plane along z, plane after plane."""
    depth = len(values)
    reach = taps.size - 1
    for z in range(depth):
        target = out[z, first:last]
        target[:] = np.float32(0.0)
        _add_lines(values, max(0, z - reach), min(depth, z + reach + 1), z, taps, inverse_root, first, last, target)


@parallel_kernel()
def _convolve_planes(given, run):
    """Convolve a part of values (depth, plane), times the inverse root of each plane, along the first axis."""
    taps, inverse_root, values, n_runs, out = arguments_of(given)
    size = values.shape[1]
    _convolve_run(taps, inverse_root, values, size * run // n_runs, size * (run + 1) // n_runs, out)


@inlined()
def _add(target, source):
    for k in range(target.size):
        target[k] += source[k]


@inlined()
def _add_rows(grid, source, values, messages, first, last):
    """Do what `_add_messages` does for the lines ``first`` to ``last``."""
    size = values.shape[1]
    row = np.empty(size + 2 * (grid.taps_x.size - 1) * (size // grid.width), np.float32)
    out = np.empty(size, np.float32)
    for line in range(first, last):
        smooth_part(grid, source, line, 0, grid.width, values[line], row, out)
        _add(messages[line], out)


@parallel_kernel()
def _add_messages(given, run):
    """Add what `smooth_part` writes, for some lines: messages like ``values``, (depth * height, width * n_channels)."""
    grid, source, values, n_runs, messages = arguments_of(given)
    n_lines = len(values)
    _add_rows(grid, source, values, messages, n_lines * run // n_runs, n_lines * (run + 1) // n_runs)


def no_kernel_on_grid(width: int) -> OnGrid:
    """Return an `OnGrid` of weight 0, for where there is no such kernel: passes then go over lines of this width."""
    one, line = np.ones(1, np.float32), np.zeros(width, np.float32)
    return OnGrid(
        height=1,
        width=width,
        weight=np.float32(0.0),
        taps_y=one,
        taps_x=one,
        inverse_root_z=one,
        inverse_root_y=one,
        inverse_root_x=line,
        sum_z=one,
        sum_y=one,
        sum_x=line,
        diagonal_z=one,
        diagonal_y=one,
        diagonal_x=line,
    )


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
        inverse_roots = [1 / np.sqrt(sums) for sums in row_sums]
        self.taps = [tap.astype(np.float32) for tap in taps]
        self.inverse_roots = [roots.astype(np.float32) for roots in inverse_roots]
        # sum_j k~(i, j) and k~(i, i), each a product of these over the axes.
        self.sums = [
            (roots * _convolve(tap, roots)).astype(np.float32) for tap, roots in zip(taps, inverse_roots, strict=True)
        ]
        self.diagonals = [(roots**2).astype(np.float32) for roots in inverse_roots]

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        whole: NDArray[np.float32] = np.einsum("i,j,k->ijk", *self.sums) - np.einsum("i,j,k->ijk", *self.diagonals)
        return whole.ravel()

    def on_grid(self, weight: float, n_channels: int) -> OnGrid:
        """Return what passes over the lines of values of so many channels take."""
        _, height, width = self.shape
        _, taps_y, taps_x = self.taps
        root_z, root_y, root_x = self.inverse_roots
        sum_z, sum_y, sum_x = self.sums
        diagonal_z, diagonal_y, diagonal_x = self.diagonals
        return OnGrid(
            height=height,
            width=width,
            weight=np.float32(weight),
            taps_y=taps_y,
            taps_x=taps_x,
            inverse_root_z=root_z,
            inverse_root_y=root_y,
            inverse_root_x=np.repeat(root_x, n_channels),
            sum_z=sum_z,
            sum_y=sum_y,
            sum_x=sum_x,
            diagonal_z=diagonal_z,
            diagonal_y=diagonal_y,
            diagonal_x=diagonal_x,
        )

    def along_z(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values, (depth * height, width * n_channels), convolved along z; the same array in a plane."""
        depth = self.shape[0]
        if depth == 1:
            return values
        source, planes = np.empty_like(values), values.reshape(depth, -1)
        n_runs = max(1, planes.shape[1] // VALUES_A_RUN)
        _convolve_planes(n_runs, self.taps[0], self.inverse_roots[0], planes, n_runs, source.reshape(depth, -1))
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
        on_grid, n_runs = self.on_grid(weight, marginals.shape[1]), max(1, len(values) // ROWS_A_RUN)
        _add_messages(n_runs, on_grid, source, values, n_runs, messages.reshape(values.shape))


class MaskedGridGaussian:
    """The kernel of `GridGaussian` among the valid pixels of a grid alone: a `PairwiseTerm`.

    With v_i = 1 for a valid pixel and 0 for another, ``n_i = sum_j k(i, j) v_j`` is no product over the axes any more,
    and ``k~(i, j) = k(i, j) r_i r_j`` with ``r_i = v_i / sqrt(n_i)``. So values are multiplied by r before and after
    the convolution, which is the same.

    Parameters
    ----------
    shape : tuple of int
        One to three axes.
    sigmas : (n_axes,) float64
        In pixels.
    valid : (n_points,) bool

    Attributes
    ----------
    plain : GridGaussian
        The Gaussian itself, not normalised.
    roots : (n_points, 1) float32
        r of the above.
    """

    def __init__(self, shape: tuple[int, ...], sigmas: NDArray[np.float64], valid: NDArray[np.bool_]) -> None:
        self.plain = GridGaussian(shape, sigmas)
        # Without factors the kernel is not normalised, and 1 at its centre.
        self.plain.inverse_roots = [np.ones_like(roots) for roots in self.plain.inverse_roots]
        ones = valid[:, None].astype(np.float32)
        row_sums = self._sums(ones) + ones
        self.roots = np.where(valid[:, None], 1 / np.sqrt(np.where(valid[:, None], row_sums, 1)), 0).astype(np.float32)

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        total: NDArray[np.float32] = (self.roots * self._sums(self.roots))[:, 0]
        return total

    def add_messages(self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32]) -> None:
        """Add ``weight * sum_{j != i} k~(i, j) Q_j``; see `PairwiseTerm`."""
        messages += np.float32(weight) * self.roots * self._sums(self.roots * marginals)

    def _sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``sum_{j != i} k(i, j) values_j``, (n_points, n_channels)."""
        sums = np.zeros_like(values)
        self.plain.add_messages(values, 1.0, sums)
        return sums


def _taps(sigma: float, size: int) -> NDArray[np.float64]:
    """Return the Gaussian at 0, 1, 2, ... pixels, up to its reach or the end of the axis."""
    reach = min(math.ceil(REACH_SIGMAS * sigma), size - 1)
    return np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)


def _convolve(taps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = np.concatenate([taps[:0:-1], taps])
    return np.convolve(values, kernel)[len(taps) - 1 : len(taps) - 1 + len(values)]
