r"""The appearance kernel summed pixel by pixel within a window (Numba): for previews, whose windows hold few pixels.

    k(i, j) = exp(-|p_i - p_j|^2 / (2 theta_alpha^2) - |I_i - I_j|^2 / (2 theta_beta^2))    for j in the window of i,

normalised like all kernels, k~(i, j) = k(i, j) / sqrt(n_i n_j) with n_i = sum_j k(i, j), and j = i left out of the
messages. Where a position sigma is a few pixels, hardly two pixels meet at a vertex of the lattice: this is quicker.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import inlined
from napari_densecrf.crf.numba.parallel import parallel_kernel
from napari_densecrf.crf.numba.vectormath import expf

# Farther than so many sigmas of position, pixels count nothing.
REACH_SIGMAS = 2.5


def window_of(sigmas: NDArray[np.float64]) -> tuple[int, ...]:
    """Return how many pixels a window reaches along each axis, with these sigmas of position in pixels."""
    return tuple(math.ceil(REACH_SIGMAS * sigma) for sigma in sigmas)


def pixels_in_window(sigmas: NDArray[np.float64]) -> int:
    """Return how many pixels a window holds."""
    return math.prod(2 * reach + 1 for reach in window_of(sigmas))


@inlined()
def _weigh_row(features, y, dy, dx, exponent, out):
    """Write k(i, j) from the pixels of a row to those that lie (dy, dx) away; 0 where there is none."""
    n_channels, height, width = features.shape
    out[:] = np.float32(0.0)
    first, last = max(0, -dx), min(width, width - dx)
    if y + dy >= height or first >= last:
        return
    here = out[first:last]
    for c in range(n_channels):
        mine, other = features[c, y, first:last], features[c, y + dy, first + dx : last + dx]
        for x in range(here.size):
            here[x] += (mine[x] - other[x]) * (mine[x] - other[x])
    for x in range(here.size):
        here[x] = expf(exponent - np.float32(0.5) * here[x])


@parallel_kernel()
def _weigh(given, row):
    """Write k(i, j) of a row of pixels, (n_offsets, height, width)."""
    features, offsets, exponents, kernel = arguments_of(given)
    for k in range(len(offsets)):
        _weigh_row(features, row, offsets[k, 0], offsets[k, 1], exponents[k], kernel[k, row])


@inlined()
def _add_product(weights, values, out):
    for x in range(out.size):
        out[x] += weights[x] * values[x]


@parallel_kernel()
def _send(given, row):
    """Write ``sum_{j != i} k(i, j) v_j`` of a row of pixels; values and sums are (n_channels, height, width)."""
    kernel, offsets, values, sums = arguments_of(given)
    _, height, width = kernel.shape
    for c in range(len(values)):
        sums[c, row] = np.float32(0.0)
        for k in range(len(offsets)):
            dy, dx = offsets[k]
            first, last = max(0, -dx), min(width, width - dx)
            if first >= last:
                continue
            # Each pair is kept once, with the pixel of the two that comes first.
            if row + dy < height:
                there = values[c, row + dy, first + dx : last + dx]
                _add_product(kernel[k, row, first:last], there, sums[c, row, first:last])
            if row - dy >= 0:
                before = values[c, row - dy, first:last]
                _add_product(kernel[k, row - dy, first:last], before, sums[c, row, first + dx : last + dx])


@parallel_kernel()
def _normalise(given, row):
    """Turn k(i, j) of a row of pixels into ``k(i, j) r_i r_j``."""
    kernel, offsets, roots = arguments_of(given)
    height, width = roots.shape
    for k in range(len(offsets)):
        dy, dx = offsets[k]
        first, last = max(0, -dx), min(width, width - dx)
        if row + dy < height and first < last:
            mine, other = roots[row, first:last], roots[row + dy, first + dx : last + dx]
            here = kernel[k, row, first:last]
            for x in range(here.size):
                here[x] *= mine[x] * other[x]


class WindowedGaussian:
    """The appearance kernel within windows of the pixels of a plane: a `PairwiseTerm`.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    sigmas : (2,) float64
        Of position, in pixels.
    features : (n_points, n_channels) float32
        Intensities over their sigmas.
    valid : (n_points,) bool, optional
        The pixels that take part. None = all.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        sigmas: NDArray[np.float64],
        features: NDArray[np.float32],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        self.shape = shape
        reach_y, reach_x = (min(reach, size - 1) for reach, size in zip(window_of(sigmas), shape, strict=True))
        dy, dx = (one.ravel() for one in np.mgrid[0 : reach_y + 1, -reach_x : reach_x + 1])
        half = (dy > 0) | (dx > 0)
        self._offsets = np.ascontiguousarray(np.stack([dy, dx], axis=1)[half], np.int64)
        exponents = (-0.5 * ((self._offsets / sigmas) ** 2).sum(axis=1)).astype(np.float32)
        planes = np.ascontiguousarray(features.T, np.float32).reshape(-1, *shape)
        takes_part = np.ones(shape, np.float32) if valid is None else valid.reshape(shape).astype(np.float32)
        # What takes no part may be NaN.
        planes = planes if valid is None else np.where(takes_part > 0, planes, np.float32(0.0))
        self._kernel = np.empty((len(self._offsets), *shape), np.float32)
        _weigh(shape[0], planes, self._offsets, exponents, self._kernel)
        # The pixel itself counts in n_i.
        row_sums = 1 + self._sums(takes_part[None])[0]
        _normalise(shape[0], self._kernel, self._offsets, takes_part / np.sqrt(row_sums))

    @property
    def nbytes(self) -> int:
        """Bytes of the kernel's values, which are kept."""
        return self._kernel.nbytes

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        return self._sums(np.ones((1, *self.shape), np.float32)).ravel()

    def add_messages(self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32]) -> None:
        """Add ``weight * sum_{j != i} k~(i, j) Q_j``; see `PairwiseTerm`."""
        planes = np.ascontiguousarray(marginals.T).reshape(-1, *self.shape)
        messages += np.float32(weight) * self._sums(planes).reshape(len(planes), -1).T

    def _sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``sum_{j != i} k(i, j) v_j``, both (n_channels, height, width), of what the kernel is now."""
        sums = np.empty_like(values)
        _send(self.shape[0], self._kernel, self._offsets, values, sums)
        return sums
