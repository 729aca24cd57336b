"""The influence of all pixels on one: the kernels of the model themselves, no lattice (Numba).

The kernel of one pixel is a sum over the image, quick enough for every frame. Its normalisation needs the row sums n_j
of all pixels j, which are one such sum each. On a small image they are made, and kept. On a large one a few are made,
at anchors among the pixels that count, and carried to the pixels around each anchor by the moments of its own sum.
With u = f_j - f_a and weights k(f_a, f_b) / n_a over the pixels b,

    n_j = n_a exp(-|u|^2 / 2) E[exp(u . (f_b - f_a))],  so  log n_j ~ log n_a + u . mean + u . (covariance - 1) u / 2,

the first two cumulants of f_b - f_a: exact where the pixels around the anchor lie like a Gaussian in feature space.

All of it runs on one core and takes no lock, so that it never waits for a refinement that is under way.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.numba.compile import kernel, serial_kernel
from napari_densecrf.crf.numba.vectormath import expf
from napari_densecrf.params import CRFParams, PairwiseKernel, Sigma

from .grid import Grid, from_image, intensity_sigmas

# Up to so many pixels all row sums are made, within 20 ms.
EXACT_POINTS = 4096
# How many anchors a larger image gets: the most, unless that is more points to go through than this, and the least.
MOST_ANCHORS = 16
LEAST_ANCHORS = 6
MOST_VISITS = 1 << 22
# Past this many position sigmas a Gaussian is below 3e-18 of its centre. An anchor lies well within them, and finds
# there what counts for its own sum.
REACH_SIGMAS = 9.0
# A pixel without a value is put so many sigmas away from the others.
FAR_SIGMAS = 1e4
# From this self share on a pixel weighs as much as all others together: the kernel, which the model takes without it,
# pulls with half its weight or less.
STANDS_ALONE = 0.5
# Points whose differences stay in the first cache.
BLOCK = 512


class Expansion(NamedTuple):
    """The log row sums around an anchor, up to second order in u = f_j - f_a.

    Parameters
    ----------
    log_sum : float32
        log n_a.
    mean : (n_dims,) float32
    curvature : (n_dims, n_dims) float32
        (covariance - 1) / 2.
    highest : float32
        The log of the largest row sum that there can be.
    """

    log_sum: np.float32
    mean: NDArray[np.float32]
    curvature: NDArray[np.float32]
    highest: np.float32


@kernel()
def _scaled_difference(values, value, step, u):
    for p in range(u.size):
        # The difference comes first: it is exact for integers.
        u[p] = (values[p] - value) * step


# Where ``dims`` is given, (0, 1, ..., n_dims - 1), loops over the dimensions are unrolled inside those over the points,
# which makes vector code of them: five times as fast.
@kernel()
def _half_squares(dims, u, half_squares):
    for p in range(half_squares.size):
        total = np.float32(0.0)
        for c in range(len(dims)):
            total += u[c, p] * u[c, p]
        half_squares[p] = np.float32(0.5) * total


@kernel()
def _differences(dims, features, steps, pixel, first, last, u, half_squares):
    """Write u = (f_j - f_i) / sigma of the points ``first`` to ``last``, (n_dims, n), and |u|^2 / 2."""
    n = last - first
    for c in range(len(dims)):
        _scaled_difference(features[c, first:last], features[c, pixel], steps[c], u[c, :n])
    _half_squares(dims, u, half_squares[:n])


@kernel()
def _exponentials(half_squares, k):
    total = np.float32(0.0)
    for p in range(k.size):
        k[p] = expf(-half_squares[p])
        total += k[p]
    return np.float64(total)


@kernel()
def _dot(a, b):
    total = np.float32(0.0)
    for p in range(a.size):
        total += a[p] * b[p]
    return np.float64(total)


@kernel()
def _multiply(a, b, out):
    for p in range(out.size):
        out[p] = a[p] * b[p]


@serial_kernel()
def _row_sums(dims, features, steps, row_sums):
    """Write ``n_i = sum_j k(i, j)`` of all points, j = i included: (n_points,) float64, O(n_points^2)."""
    n_points = features.shape[1]
    u = np.empty((len(dims), BLOCK), np.float32)
    half_squares = np.empty(BLOCK, np.float32)
    k = np.empty(BLOCK, np.float32)
    for pixel in range(n_points):
        total = 0.0
        for first in range(0, n_points, BLOCK):
            n = min(BLOCK, n_points - first)
            _differences(dims, features, steps, pixel, first, first + n, u, half_squares)
            total += _exponentials(half_squares[:n], k[:n])
        row_sums[pixel] = total


@serial_kernel()
def _moments(dims, features, steps, pixel, k, moments):
    """Write k(pixel, j) of all points, (n_points,) float32, and the sums of k, k u and k u u^T.

    moments : (1 + n_dims + n_dims (n_dims + 1) / 2,) float64
        sum k, then for each dimension c: sum k u_c, sum k u_c u_0, ..., sum k u_c u_c.
    """
    u = np.empty((len(dims), BLOCK), np.float32)
    half_squares = np.empty(BLOCK, np.float32)
    weighted = np.empty(BLOCK, np.float32)
    moments[:] = 0.0
    for first in range(0, k.size, BLOCK):
        n = min(BLOCK, k.size - first)
        _differences(dims, features, steps, pixel, first, first + n, u, half_squares)
        moments[0] += _exponentials(half_squares[:n], k[first : first + n])
        at = 1
        for c in range(len(dims)):
            _multiply(k[first : first + n], u[c, :n], weighted[:n])
            moments[at] += _dot(k[first : first + n], u[c, :n])
            at += 1
            for other in range(c + 1):
                moments[at] += _dot(weighted[:n], u[other, :n])
                at += 1


@kernel()
def _expand(dims, expansion, u, log_sums):
    """Write ``log n_a + u . (mean + curvature u)``."""
    mean, curvature = expansion.mean, expansion.curvature
    for p in range(log_sums.size):
        total = expansion.log_sum
        for c in range(len(dims)):
            slope = mean[c]
            for other in range(len(dims)):
                slope += curvature[c, other] * u[other, p]
            total += u[c, p] * slope
        log_sums[p] = total


@kernel()
def _carry_log_sums(log_sums, half_squares, highest, carried, weights, nearest):
    """Add one anchor's log row sums of a block: weighted by exp(-|u|^2), the nearer the more."""
    for p in range(log_sums.size):
        # Never none, so that what is far from all anchors has their mean.
        weight = expf(np.float32(-2.0) * half_squares[p]) + np.float32(1e-30)
        carried[p] += weight * min(max(log_sums[p], np.float32(0.0)), highest)
        weights[p] += weight
        nearest[p] = min(nearest[p], half_squares[p])


@kernel()
def _score(k, carried, weights, nearest, scores):
    """Write how much a new anchor at each pixel would help: the more, the more it pulls and the farther all are."""
    for p in range(k.size):
        scores[p] = k[p] * expf(np.float32(-0.5) * carried[p] / weights[p]) * nearest[p] * nearest[p]


@kernel()
def _largest(bits):
    largest = np.int32(0)
    for p in range(bits.size):
        largest = max(largest, bits[p])
    return largest


@kernel()
def _first_of(values, value):
    for p in range(values.size):
        if values[p] == value:
            return p
    return -1


@serial_kernel()
def _carry(dims, features, steps, anchor, expansion, k, carried, weights, nearest):
    """Carry the row sum of one anchor to all points, and return where the next anchor helps most; -1 for nowhere.

    Parameters
    ----------
    dims : tuple of int
    features : (n_dims, n_points) float32
    steps : (n_dims,) float32
        One over sigma.
    anchor : int
    expansion : Expansion
    k : (n_points,) float32
        The kernel of the pixel in question.
    carried, weights : (n_points,) float32, in and out
        Sums of ``weight * log n_j`` and of the weights, over the anchors.
    nearest : (n_points,) float32, in and out
        Half the squared distance to the nearest anchor.
    """
    u = np.empty((len(dims), BLOCK), np.float32)
    half_squares = np.empty(BLOCK, np.float32)
    log_sums = np.empty(BLOCK, np.float32)
    scores = np.empty(BLOCK, np.float32)
    # Floats that are not negative are ordered as their bits are, of which the largest is found in vector code.
    bits = scores.view(np.int32)
    most = np.int32(0)
    where = -1
    for first in range(0, k.size, BLOCK):
        n = min(BLOCK, k.size - first)
        last = first + n
        _differences(dims, features, steps, anchor, first, last, u, half_squares)
        _expand(dims, expansion, u, log_sums[:n])
        _carry_log_sums(
            log_sums[:n],
            half_squares[:n],
            expansion.highest,
            carried[first:last],
            weights[first:last],
            nearest[first:last],
        )
        _score(k[first:last], carried[first:last], weights[first:last], nearest[first:last], scores[:n])
        score = _largest(bits[:n])
        if score > most:
            most = score
            where = first + _first_of(bits[:n], score)
    return where


# The row sums of a kernel depend on its sigmas, not on its weight.
_Sigmas = tuple[object, object]
_Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Pull:
    """Which pixels pull on one.

    Parameters
    ----------
    pixel : tuple of int
        The one.
    values : (*spatial) float32
        ``sum_m w_m k~_m(pixel, j)``, 0 at the pixel itself.
    effective_pixels : float
        How many pixels effectively count: ``sum_j values_j / max_j values_j``, as many as there would be if all that
        count did so as much as the one that counts most. 0 where none does.
    self_share : float
        ``k~(i, i) = 1 / n_i`` of the appearance kernel (the largest, where there are several that are switched on),
        from the exact row sum: 1 for a pixel that looks like none within reach, towards 0 among many alike. 0 without
        an appearance kernel.
    """

    pixel: tuple[int, ...]
    values: NDArray[np.float32]
    effective_pixels: float
    self_share: float

    @property
    def stands_alone(self) -> bool:
        """Whether the pixel is as much as all others are to it, `STANDS_ALONE`: theta_beta is below the noise."""
        return self.self_share >= STANDS_ALONE


class Influence:
    """Tells which pixels of one image pull on any of them, quickly enough for every move of a mouse or a slider.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``; 2D or 3D, any integer or float dtype. Pixels that are NaN or
        masked neither pull nor are pulled.
    spacing : float or sequence of float, optional
        Size of a pixel along each spatial axis; sigmas of position are in its unit. None = pixels.
    channel_axis : int, optional
        Axis of the channels; None = gray.
    exact_points : int, optional
        Up to so many pixels the row sums of all are made and kept; the time goes with the square.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.

    Notes
    -----
    The kernels, the row sum of the pixel itself and smoothness kernels are exact in single precision, and cut only
    9 sigmas away. Of an appearance kernel on more than ``exact_points`` pixels the row sums of the others are carried
    from anchors, up to 16, where they are exact. What that does to 40 pixels' maps on 192 x 192 crops of scikit-image's
    immunohistochemistry (RGB), cell (gray), and cell with noise of 20, for (theta_alpha, theta_beta) of (80, 13),
    (20, 5), (20, 13), (5, 3), (40, 30) and (2, 5): the largest error is 0.3 to 1.8 percent of the largest value for the
    median pixel, 5 for the worst, and the absolute errors sum to 0.2 to 1.8 percent of the map's sum. Row sums from the
    permutohedral lattice, its diagonal replaced by the exact one, would give 0.9 to 4.8, 14, and 0.5 to 3.3, and want a
    lattice with every change of a sigma. Where a kernel reaches over more than 512 x 512 pixels there are fewer
    anchors, down to 6, for which the figures are 0.5 to 2.9, 17 and 0.4 to 4.6. Carried maps are symmetric in the two
    pixels to within these errors, exact ones to within rounding.
    """

    def __init__(
        self,
        image: ArrayLike,
        *,
        spacing: Sequence[float] | float | None = None,
        channel_axis: int | None = None,
        exact_points: int = EXACT_POINTS,
    ) -> None:
        self.grid: Grid
        self.grid, intensities, valid = from_image(image, spacing, channel_axis)
        self._channels = np.ascontiguousarray(intensities.T).reshape(-1, *self.grid.shape)
        self._missing = None if valid is None else ~valid.reshape(self.grid.shape)
        self._is_exact = self.grid.n_points <= exact_points
        self._row_sums: dict[_Sigmas, NDArray[np.float64]] = {}

    def at(self, pixel: Sequence[int], params: CRFParams, *, most_anchors: int = MOST_ANCHORS) -> Pull:
        """Return which pixels pull on this one.

        Parameters
        ----------
        pixel : sequence of int
            Its index, one number per spatial axis.
        params : CRFParams
        most_anchors : int
            Fewer are quicker and less exact, see the notes on the class: for a picture that moves.

        Returns
        -------
        Pull

        Raises
        ------
        ValueError
            For a pixel outside the image, or another number of coordinates or sigmas than there are axes or channels.
        """
        index = _index(pixel, self.grid)
        values = np.zeros(self.grid.shape, np.float32)
        self_share = 0.0
        is_missing = self._missing is not None and bool(self._missing[index])
        for term in params.kernels:
            if term.weight == 0 or is_missing:
                continue
            if term.intensity_sigma is None:
                box, pull = self._smoothness(index, term.position_sigma)
            else:
                box, pull, row_sum = self._appearance(index, term, most_anchors)
                self_share = max(self_share, 1 / row_sum)
            values[box] += np.float32(term.weight) * pull
        values[index] = 0.0
        if self._missing is not None:
            values[self._missing] = 0.0
        self._forget_others(params)
        most = float(values.max())
        effective = float(values.sum(dtype=np.float64)) / most if most > 0 else 0.0
        return Pull(index, values, effective, self_share)

    def _smoothness(self, pixel: tuple[int, ...], sigma: Sigma) -> tuple[_Box, NDArray[np.float32]]:
        """Return where the smoothness kernel of the pixel reaches, and its k~ there: a product over the axes."""
        sigmas = self.grid.pixel_sigmas(sigma)
        box = self._box(pixel, sigmas)
        if self._missing is not None:
            return box, self._smoothness_among(~self._missing, pixel, box, sigma)
        along = []
        for place, size, part, pixel_sigma in zip(pixel, self.grid.shape, box, sigmas, strict=True):
            row_sums = _row_sums_along(size, pixel_sigma)
            k = _gaussian(np.arange(part.start, part.stop) - place, pixel_sigma)
            along.append(k / np.sqrt(row_sums[place] * row_sums[part]))
        return box, reduce(np.multiply.outer, along).astype(np.float32)

    def _smoothness_among(
        self, valid: NDArray[np.bool_], pixel: tuple[int, ...], box: _Box, sigma: Sigma
    ) -> NDArray[np.float32]:
        """Return the smoothness kernel of the pixel where not all others take part: row sums are no product then."""
        sigmas = self.grid.pixel_sigmas(sigma)
        key: _Sigmas = (sigma, None)
        if key not in self._row_sums:
            self._row_sums[key] = _sums_among(valid, sigmas)
        row_sums = self._row_sums[key]
        along = [
            _gaussian(np.arange(part.start, part.stop) - place, pixel_sigma)
            for place, part, pixel_sigma in zip(pixel, box, sigmas, strict=True)
        ]
        k = reduce(np.multiply.outer, along) * valid[box]
        pull: NDArray[np.float64] = k / np.sqrt(row_sums[pixel] * np.maximum(row_sums[box], 1e-30))
        return pull.astype(np.float32)

    def _appearance(
        self, pixel: tuple[int, ...], kernel: PairwiseKernel, most_anchors: int
    ) -> tuple[_Box, NDArray[np.float32], float]:
        """Return where the appearance kernel of the pixel reaches, its k~ there, and the pixel's row sum."""
        sigmas = self.grid.pixel_sigmas(kernel.position_sigma)
        assert kernel.intensity_sigma is not None
        channel_sigmas = intensity_sigmas(kernel.intensity_sigma, len(self._channels))
        # Finite in single precision: what is this far from everything else is alone.
        steps = np.minimum(1 / np.concatenate([sigmas, channel_sigmas]), 1e18).astype(np.float32)
        box = tuple(slice(0, size) for size in self.grid.shape) if self._is_exact else self._box(pixel, sigmas)
        features = self._features(box)
        if self._missing is not None:
            # So far from all others that it counts for none of them.
            first = features[len(box)]
            first[self._missing[box]] = first.max() + FAR_SIGMAS * channel_sigmas[0]
        shape = features.shape[1:]
        points = features.reshape(len(features), -1)
        here = int(np.ravel_multi_index([i - part.start for i, part in zip(pixel, box, strict=True)], shape))
        if self._is_exact:
            row_sums = self._all_row_sums(points, steps, kernel)
            k, _ = _kernel_of(points, steps, here)
            pull = k * (1 / np.sqrt(row_sums[here] * row_sums)).astype(np.float32)
            return box, pull.reshape(shape), float(row_sums[here])
        pull, row_sum = _carried(points, steps, here, most_anchors)
        return box, pull.reshape(shape), row_sum

    def _box(self, pixel: tuple[int, ...], sigmas: NDArray[np.float64]) -> _Box:
        reaches = np.ceil(np.minimum(REACH_SIGMAS * sigmas, self.grid.shape)).astype(int).tolist()
        return tuple(
            slice(max(0, place - reach), min(size, place + reach + 1))
            for place, reach, size in zip(pixel, reaches, self.grid.shape, strict=True)
        )

    def _features(self, box: _Box) -> NDArray[np.float32]:
        """Return (n_axes + n_channels, *box) float32: positions in pixels, and intensities, not yet over sigma."""
        n_axes = len(box)
        features = np.empty((n_axes + len(self._channels), *(part.stop - part.start for part in box)), np.float32)
        for axis, part in enumerate(box):
            features[axis] = np.arange(part.start, part.stop).reshape(-1, *(1,) * (n_axes - 1 - axis))
        features[n_axes:] = self._channels[:, *box]
        return features

    def _all_row_sums(
        self, points: NDArray[np.float32], steps: NDArray[np.float32], kernel: PairwiseKernel
    ) -> NDArray[np.float64]:
        sigmas = _sigmas(kernel)
        if sigmas not in self._row_sums:
            self._row_sums[sigmas] = _row_sums_of(points, steps)
        return self._row_sums[sigmas]

    def _forget_others(self, params: CRFParams) -> None:
        """Keep no row sums that these parameters do not name; a kernel switched off keeps its own."""
        named = {_sigmas(kernel) for kernel in params.kernels}
        self._row_sums = {sigmas: sums for sigmas, sums in self._row_sums.items() if sigmas in named}


def _sigmas(kernel: PairwiseKernel) -> _Sigmas:
    return kernel.position_sigma, kernel.intensity_sigma


def _index(pixel: Sequence[int], grid: Grid) -> tuple[int, ...]:
    index = tuple(operator.index(place) for place in pixel)
    if len(index) != len(grid.shape):
        raise ValueError(f"the pixel has {len(index)} coordinates: expected {len(grid.shape)}, one per spatial axis")
    if not all(0 <= place < size for place, size in zip(index, grid.shape, strict=True)):
        raise ValueError(f"the pixel {index} lies outside the image, of shape ({grid})")
    return index


def _gaussian(distances: NDArray[np.integer], sigma: float) -> NDArray[np.float64]:
    # Where it is 0 anyway, a square past what a number can hold.
    with np.errstate(over="ignore"):
        k: NDArray[np.float64] = np.exp(-0.5 * (distances / sigma) ** 2)
    return k


def _sums_among(valid: NDArray[np.bool_], sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (*spatial): ``sum_j k(i, j) v_j``, v = 1 for the valid pixels and 0 for the others."""
    from scipy import ndimage

    sums: NDArray[np.float64] = valid.astype(np.float64)
    for axis, sigma in enumerate(sigmas):
        reach = math.ceil(min(REACH_SIGMAS * sigma, valid.shape[axis]))
        taps = _gaussian(np.arange(-reach, reach + 1), sigma)
        sums = ndimage.correlate1d(sums, taps, axis=axis, mode="constant")
    return sums


def _row_sums_along(size: int, sigma: float) -> NDArray[np.float64]:
    """Return (size,): ``sum_j exp(-(i - j)^2 / (2 sigma^2))`` along an axis."""
    one_side = np.cumsum(_gaussian(np.arange(size), sigma))
    row_sums: NDArray[np.float64] = one_side + one_side[::-1] - 1
    return row_sums


def _dims(points: NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(range(len(points)))


def _row_sums_of(points: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float64]:
    row_sums = np.empty(points.shape[1])
    _row_sums(_dims(points), points, steps, row_sums)
    return row_sums


def _kernel_of(
    points: NDArray[np.float32], steps: NDArray[np.float32], pixel: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return k(pixel, j) of all points, and the moments of the others around the pixel, as `_moments` lays them out."""
    n_dims, n_points = points.shape
    k = np.empty(n_points, np.float32)
    moments = np.empty(1 + n_dims + n_dims * (n_dims + 1) // 2)
    _moments(_dims(points), points, steps, pixel, k, moments)
    return k, moments


def _expansion(moments: NDArray[np.float64], n_dims: int, n_points: int) -> Expansion:
    """Return the expansion around an anchor from its `_moments`."""
    mean = np.empty(n_dims)
    second = np.empty((n_dims, n_dims))
    at = 1
    for c in range(n_dims):
        mean[c] = moments[at]
        second[c, : c + 1] = second[: c + 1, c] = moments[at + 1 : at + 2 + c]
        at += c + 2
    mean /= moments[0]
    curvature = 0.5 * (second / moments[0] - np.outer(mean, mean) - np.eye(n_dims))
    return Expansion(
        np.float32(np.log(moments[0])),
        mean.astype(np.float32),
        curvature.astype(np.float32),
        np.float32(np.log(n_points)),
    )


def _carried(
    points: NDArray[np.float32], steps: NDArray[np.float32], pixel: int, most_anchors: int
) -> tuple[NDArray[np.float32], float]:
    """Return k~(pixel, j) of all points, their row sums carried from anchors, and the pixel's own row sum.

    The first anchor is the pixel; each further one is where it helps most, by the pull on the pixel and by how far
    the nearest anchor is.
    """
    n_dims, n_points = points.shape
    k, moments = _kernel_of(points, steps, pixel)
    row_sum = float(moments[0])
    carried, weights = np.zeros((2, n_points), np.float32)
    nearest = np.full(n_points, np.inf, np.float32)
    anchor = pixel
    for _ in range(min(most_anchors, max(LEAST_ANCHORS, MOST_VISITS // n_points))):
        if anchor != pixel:
            _, moments = _kernel_of(points, steps, anchor)
        expansion = _expansion(moments, n_dims, n_points)
        anchor = _carry(_dims(points), points, steps, anchor, expansion, k, carried, weights, nearest)
        if anchor < 0:
            break
    carried /= weights
    carried += np.float32(math.log(row_sum))
    carried *= np.float32(-0.5)
    return k * np.exp(carried), row_sum


def influence(
    image: ArrayLike,
    params: CRFParams,
    pixel: Sequence[int],
    *,
    spacing: Sequence[float] | float | None = None,
    channel_axis: int | None = None,
    exact_points: int = EXACT_POINTS,
) -> NDArray[np.float32]:
    """Return which pixels pull on this one, and how much.

    Parameters
    ----------
    image : array_like
        (*spatial), or with channels on ``channel_axis``.
    params : CRFParams
    pixel : sequence of int
        Index of the pixel, one number per spatial axis.
    spacing, channel_axis, exact_points
        As `Influence` takes them.

    Returns
    -------
    (*spatial) float32
        ``sum_m w_m k~_m(pixel, j)``, 0 at the pixel. With ``k~ = k(i, j) / sqrt(n_i n_j)`` and full row sums
        ``n_i = sum_j k(i, j)``, j = i included: the weights by which mean field hears each pixel (docs/model.md).

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    tool = Influence(image, spacing=spacing, channel_axis=channel_axis, exact_points=exact_points)
    return tool.at(pixel, params).values
