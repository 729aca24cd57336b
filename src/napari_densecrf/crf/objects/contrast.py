"""How much each object differs from what lies around it, and the image brought to one contrast everywhere.

How different two pixels may look and still pull on each other (``intensity_sigma``) is one number for the image, but a
dim nucleus beside a bright one has a tenth of its contrast. So the image is divided by the contrast of the objects
around, a smooth field, and multiplied by that of the typical object: its unit stays that of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.compile import kernel
from napari_densecrf.crf.numba.parallel import parallel_kernel

from .distances import MOST_CHUNKS, Band
from .source import Source, chunks

# In pixels. What is nearer to the border of an object is neither its core nor its ring, as borders may be off.
UNSURE = 2.0
RING = 5.0
# Of the depth of a thin object: what is deeper is its core.
CORE = 0.6
FEWEST_RING_PIXELS = 5
# Of the median contrast: no object counts as less.
LEAST_CONTRAST = 0.1
# How many standard deviations lie between core and ring of an object whose border the image can tell.
TOLD_APART = 0.5
# The field of contrasts is smooth over so much of an object's diameter.
SMOOTH = 0.25
# The weight of the typical contrast where no object is near.
FAR_WEIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class Typical:
    """The typical object of a whole image: to its contrast all parts of the image are brought.

    Parameters
    ----------
    contrast : float
        The median.
    ring : (n_channels,) float64
        The median intensity around objects.
    diameter : float
        In pixels: the side of a square, or a cube, of the median area.
    """

    contrast: float
    ring: NDArray[np.float64]
    diameter: float


@dataclass(frozen=True, eq=False)
class Contrast:
    """What the image tells about each object.

    Parameters
    ----------
    core, ring : (n_objects, n_channels) float32
        Mean intensities; the ring of an object without one is that of the typical object.
    contrast : (n_objects,) float32
        The distance between them, at least a tenth of the median.
    separation : (n_objects,) float32
        The same in standard deviations of core and ring; NaN where there is no ring.
    of_typical : Typical
        The typical object, of the whole image where this is a part of one.
    """

    core: NDArray[np.float32]
    ring: NDArray[np.float32]
    contrast: NDArray[np.float32]
    separation: NDArray[np.float32]
    of_typical: Typical

    @property
    def untold(self) -> NDArray[np.bool_]:
        """(n_objects,): those that look like what lies around them."""
        return np.less(self.separation, TOLD_APART)

    @property
    def typical(self) -> float:
        """The median contrast."""
        return self.of_typical.contrast


@kernel()
def _sums_of_object(number, pixels, distances, numbers, intensities, unsure, ring, core_part, means, counts):
    """Write the mean of core and ring, (2, n_channels), and how many pixels each has."""
    depth = np.float32(0.0)
    for n in range(pixels.size):
        if numbers[pixels[n]] == number:
            depth = max(depth, -distances[n])
    core = min(unsure, core_part * depth)
    n_channels = means.shape[1]
    for n in range(pixels.size):
        pixel = pixels[n]
        if numbers[pixel] == number and -distances[n] >= core:
            counts[0] += 1
            for c in range(n_channels):
                means[0, c] += np.float64(intensities[pixel, c])
        elif numbers[pixel] == 0 and distances[n] >= unsure and distances[n] <= ring:
            counts[1] += 1
            for c in range(n_channels):
                means[1, c] += np.float64(intensities[pixel, c])
    for k in range(2):
        for c in range(n_channels):
            means[k, c] /= max(counts[k], 1)
    return core


@kernel()
def _spread_of_object(number, core, pixels, distances, numbers, intensities, unsure, ring, means, counts):
    """Return the standard deviation along the line from ring to core, of both together."""
    n_channels = means.shape[1]
    length = 0.0
    for c in range(n_channels):
        length += (means[0, c] - means[1, c]) ** 2
    length = np.sqrt(length)
    if length == 0.0:
        return 1.0
    sums = np.zeros(2)
    for n in range(pixels.size):
        pixel = pixels[n]
        is_core = numbers[pixel] == number and -distances[n] >= core
        is_ring = numbers[pixel] == 0 and distances[n] >= unsure and distances[n] <= ring
        if is_core or is_ring:
            side = 0 if is_core else 1
            along = 0.0
            for c in range(n_channels):
                along += (intensities[pixel, c] - means[side, c]) * (means[0, c] - means[1, c])
            sums[side] += (along / length) ** 2
    return np.sqrt(0.5 * (sums[0] / max(counts[0], 1) + sums[1] / max(counts[1], 1)))


@parallel_kernel()
def _measure(given, chunk):
    """Measure every object, chunk by chunk."""
    starts, pixels, distances, numbers, intensities, split, unsure, ring, core_part, means, counts, spreads = (
        arguments_of(given)
    )
    for k in range(split[chunk], split[chunk + 1]):
        here, there = starts[k], starts[k + 1]
        own = (pixels[here:there], distances[here:there], numbers, intensities, unsure, ring)
        core = _sums_of_object(k + 1, *own, core_part, means[k], counts[k])
        spreads[k] = _spread_of_object(k + 1, core, *own, means[k], counts[k])


def measure_contrast(
    source: Source, band: Band, intensities: NDArray[np.float32], pixel: float, typical: Typical | None = None
) -> Contrast:
    """Measure how much each object differs from what lies around it.

    Parameters
    ----------
    source : Source
    band : Band
        Whose reach is `RING` pixels at least.
    intensities : (n_points, n_channels) float32
    pixel : float
        The size of a pixel, in the unit of the band's distances.
    typical : Typical, optional
        That of the whole image, where this is a part of one; None = of these objects.
    """
    n_objects, n_channels = source.n_objects, intensities.shape[1]
    means = np.zeros((n_objects, 2, n_channels))
    counts = np.zeros((n_objects, 2), np.int64)
    spreads = np.zeros(n_objects)
    split = chunks(np.diff(band.starts), MOST_CHUNKS)
    lengths = (np.float32(UNSURE * pixel), np.float32(RING * pixel), np.float32(CORE))
    in_band = (band.starts, band.pixels, band.distances)
    _measure(split.size - 1, *in_band, source.numbers.ravel(), intensities, split, *lengths, means, counts, spreads)
    core, ring = means[:, 0], means[:, 1]
    has_ring = (counts[:, 1] >= FEWEST_RING_PIXELS) & (counts[:, 0] > 0)
    if typical is None:
        usual = np.median(ring[has_ring], axis=0) if has_ring.any() else intensities.mean(axis=0, dtype=np.float64)
    else:
        usual = typical.ring
    ring[~has_ring] = usual
    contrast: NDArray[np.float64] = np.linalg.norm(core - ring, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        separation = np.where(has_ring, contrast / spreads, np.nan)
    if typical is None:
        typical = _typical(source, contrast[counts[:, 0] > 0], usual)
    contrast = np.where(counts[:, 0] > 0, np.maximum(contrast, LEAST_CONTRAST * typical.contrast), typical.contrast)
    return Contrast(
        core.astype(np.float32),
        ring.astype(np.float32),
        contrast.astype(np.float32),
        separation.astype(np.float32),
        typical,
    )


def _typical(source: Source, contrast: NDArray[np.float64], ring: NDArray[np.float64]) -> Typical:
    """Return the typical of these objects, whose contrast is more than 0."""
    least = float(np.finfo(np.float32).tiny) / LEAST_CONTRAST
    areas = source.areas[source.areas > 0]
    n_axes = source.numbers.ndim - (len(source.numbers) == 1)
    median = float(np.median(contrast)) if contrast.size else 1.0
    return Typical(max(median, least), ring, float(np.median(areas)) ** (1 / n_axes))


def to_one_contrast(source: Source, contrast: Contrast, intensities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image with the typical contrast everywhere, (n_points, n_channels) float32.

    The ring's intensity around each object becomes 0, its core's the median contrast.
    """
    numbers = source.numbers
    plane = numbers[0] if len(numbers) == 1 else numbers
    typical = contrast.of_typical
    sigma = max(1.0, SMOOTH * typical.diameter)
    # A smooth field needs few pixels.
    factors = tuple(int(min(max(1, sigma / 2), size)) for size in plane.shape)
    weight = _coarse(plane > 0, factors, sigma)

    def field(values: NDArray[np.float32], usual: float) -> NDArray[np.float32]:
        """Return a smooth field from one value for each object."""
        table = np.concatenate([np.zeros(1, np.float32), values.astype(np.float32)])
        coarse = _coarse(np.take(table, plane), factors, sigma)
        smooth = (coarse + FAR_WEIGHT * usual) / (weight + FAR_WEIGHT)
        return _stretched(smooth.astype(np.float32), factors, plane.shape)

    scale = np.exp(-field(np.log(contrast.contrast / np.float32(typical.contrast)), 0.0)).ravel()
    equal = np.empty_like(intensities)
    for c in range(intensities.shape[1]):
        equal[:, c] = (intensities[:, c] - field(contrast.ring[:, c], float(typical.ring[c])).ravel()) * scale
    return equal


def _coarse(values: NDArray[Any], factors: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Return block means, blurred by sigma pixels of the whole image."""
    means = values.astype(np.float32)
    for axis, factor in enumerate(factors):
        # Slice by slice, which takes a tenth of the time of scikit-image's block_reduce; what is missing counts as 0.
        ahead = np.moveaxis(means, axis, 0)
        sums = ahead[::factor] / np.float32(factor)
        for k in range(1, factor):
            others = ahead[k::factor]
            sums[: len(others)] += others / np.float32(factor)
        means = np.moveaxis(sums, 0, axis)
    blurred: NDArray[np.float32] = gaussian_filter(means, [sigma / factor for factor in factors])
    return blurred


def _stretched(coarse: NDArray[np.float32], factors: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return block means as a whole image again, linear between the middles of the blocks."""
    for axis, (factor, size) in enumerate(zip(factors, shape, strict=True)):
        places = np.clip((np.arange(size) + 0.5) / factor - 0.5, 0, coarse.shape[axis] - 1)
        below = np.floor(places).astype(np.intp)
        above = np.minimum(below + 1, coarse.shape[axis] - 1)
        part = (places - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(coarse.ndim)])
        coarse = np.take(coarse, below, axis) * (1 - part) + np.take(coarse, above, axis) * part
    return coarse
