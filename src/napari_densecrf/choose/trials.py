"""What parameters are tried on: parts of an image that are quick to refine, with sigmas in units that suit it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_densecrf.crf.grid import Grid, robust_range
from napari_densecrf.crf.probe import Probe
from napari_densecrf.crf.refine import Refinement, Refiner
from napari_densecrf.crf.unary import check_values, is_foreground
from napari_densecrf.door.missing import check_missing, without_mask
from napari_densecrf.numbers import Units
from napari_densecrf.params import CRFParams

# Where a part begins and ends along each spatial axis of the whole.
Box = tuple[slice, ...]

# Intensities that the robust range is taken from, at most.
SAMPLE = 1 << 16
# Gives back the probabilities as they enter the model: checked, clipped, summing to one.
AS_THEY_ARE = CRFParams(kernels=(), n_iterations=0)


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an image with its map.

    Parameters
    ----------
    image : (*spatial) array, or with channels on ``channel_axis``
    channel_axis : int, optional
    refiner : Refiner
        Of the part, on the lattice of the whole.
    probabilities : (n_labels, *spatial) float32
        Sums to 1 over the labels; all are equal where a pixel has no value.
    box : tuple of slice
    valid : (*spatial) bool
        Pixels that have a value.
    """

    image: NDArray[Any]
    channel_axis: int | None
    refiner: Refiner
    probabilities: NDArray[np.float32]
    box: Box
    valid: NDArray[np.bool_]

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """(*spatial): what the map says."""
        labels: NDArray[np.intp] = self.probabilities.argmax(axis=0)
        return labels

    def channels(self) -> NDArray[np.float32]:
        """Return (n_channels, *spatial) float32 intensities; their mean where a pixel has no value."""
        image = self.image[None] if self.channel_axis is None else np.moveaxis(self.image, self.channel_axis, 0)
        channels = np.ascontiguousarray(without_mask(image), dtype=np.float32)
        if self.is_complete:
            return channels
        if not self.valid.any():
            return np.zeros_like(channels)
        means = channels[:, self.valid].mean(axis=1).reshape(-1, *(1,) * self.valid.ndim)
        return np.where(self.valid, channels, means)

    @cached_property
    def is_complete(self) -> bool:
        """Whether all pixels have a value."""
        return bool(self.valid.all())

    @cached_property
    def _map(self) -> NDArray[np.float32]:
        """The map as it came: NaN where a pixel has no value."""
        return self.probabilities if self.is_complete else np.where(self.valid, self.probabilities, np.float32(np.nan))

    def refine(self, params: CRFParams, strokes: ArrayLike | None = None) -> Refinement:
        """Refine the part."""
        return self.refiner.refine(self._map, params, strokes=strokes)

    def labels_of(self, refined: Refinement) -> NDArray[np.integer]:
        """Return the labels of a refinement of this part; what the map says where a pixel has no value."""
        return refined.labels if self.is_complete else np.where(self.valid, refined.labels, self.labels)

    def marginals_of(self, refined: Refinement) -> NDArray[np.float32]:
        """Return the marginals of a refinement of this part; what the map says where a pixel has no value."""
        return refined.marginals if self.is_complete else np.where(self.valid, refined.marginals, self.probabilities)

    @cached_property
    def margin(self) -> NDArray[np.float32]:
        """(*spatial), 0..1: how much more probable the map calls its first label than its second."""
        highest = np.partition(self.probabilities, -2, axis=0)
        margin: NDArray[np.float32] = highest[-1] - highest[-2]
        return margin


class Subject:
    """An image and its map, from which parts are cut; only what is cut is read.

    Parameters
    ----------
    image, probabilities : array_like
    spacing : float or sequence of float, optional
    channel_axis : int, optional
        As `refine` takes them.
    is_part : bool
        Whether these are a part of an image and of its map, whose numbers alone do not tell what the map holds.

    Raises
    ------
    ValueError
        Where the shapes do not fit each other, or the map is none of probabilities.
    """

    def __init__(
        self,
        image: ArrayLike,
        probabilities: ArrayLike,
        spacing: Sequence[float] | float | None,
        channel_axis: int | None,
        *,
        is_part: bool = False,
    ) -> None:
        self._image: Any = image if hasattr(image, "shape") else np.asarray(image)
        self._probabilities: Any = probabilities if hasattr(probabilities, "shape") else np.asarray(probabilities)
        self._spacing = spacing
        self._is_part = is_part
        self._channel_axis = channel_axis
        self.shape = self._spatial_shape()
        grid = Grid(self.shape, (1.0,) * len(self.shape), (0,) * len(self.shape))
        foreground = is_foreground(tuple(self._probabilities.shape), grid)
        self.n_labels: int = 2 if foreground else self._probabilities.shape[0]
        if not is_part:
            check_values(self._probabilities, grid)

    @property
    def n_points(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def n_channels(self) -> int:
        """Number of channels of the image."""
        return 1 if self._channel_axis is None else int(self._image.shape[self._channel_axis])

    def cut(self, box: Box) -> Part:
        """Return the part in a box; raises what `refine` raises."""
        of_image = list(box)
        if self._channel_axis is not None:
            of_image.insert(self._channel_axis % self._image.ndim, slice(None))
        image = np.asanyarray(self._image[tuple(of_image)])
        refiner = Refiner(
            image,
            spacing=self._spacing,
            channel_axis=self._channel_axis,
            origin=[along.start for along in box],
        )
        marginals = refiner.refine(np.asanyarray(self._probabilities[(..., *box)]), AS_THEY_ARE).marginals
        valid = np.isfinite(marginals[0])
        if not valid.all():
            marginals = np.where(valid, marginals, np.float32(1 / len(marginals)))
            if not self._is_part:
                check_missing(image, self._channel_axis, "the image has", is_part=box != whole(self.shape))
        return Part(image, self._channel_axis, refiner, marginals, box, valid)

    def _spatial_shape(self) -> tuple[int, ...]:
        shape = list(self._image.shape)
        axis = self._channel_axis
        if axis is not None:
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"channel_axis is {axis}: the image has axes 0 to {len(shape) - 1}")
            del shape[axis]
        if 0 in shape:
            raise ValueError(f"the image is empty, of shape {self._image.shape}: expected at least one pixel")
        return tuple(shape)


def units_of(parts: Sequence[Part]) -> Units:
    """Return the units that suit an image of which these are parts."""
    pixel = min(parts[0].refiner.grid.spacing)
    if parts[0].channel_axis is not None and parts[0].image.dtype == np.uint8:
        # Colours are as bright as they are shown, however few of them there are.
        return Units(pixel, 1.0)
    step = max(1, sum(part.image.size for part in parts) // SAMPLE)
    sample = np.concatenate([without_mask(part.image).ravel()[::step] for part in parts])
    return Units(pixel, robust_range(sample) / 255)


def units_of_probe(probe: Probe, pixel: float, *, colours: bool) -> Units:
    """Return the units that suit the image of a probe.

    Parameters
    ----------
    probe : Probe
    pixel : float
        Size of a pixel along its shortest side.
    colours : bool
        Whether these are 8-bit colours.
    """
    return Units(pixel, 1.0 if colours else robust_range(probe.intensities) / 255)


def affordable(subject: Subject, n_points: int) -> int:
    """Return how many pixels take as long as ``n_points`` of a gray slice with two labels.

    A lattice of more dimensions has more vertices a pixel, and every further label is one more channel to filter.
    """
    n_dims = len(subject.shape) + min(subject.n_channels, 3)
    by_lattice = {1: 1, 2: 1, 3: 1, 4: 2}.get(n_dims, 3)
    return max(1, n_points // max(by_lattice, subject.n_labels // 2, subject.n_labels * subject.n_channels // 8))


def whole(shape: Sequence[int]) -> Box:
    """Return the box of the whole image."""
    return tuple(slice(0, size) for size in shape)


def box_shape(shape: Sequence[int], n_points: int) -> tuple[int, ...]:
    """Return the shape of a box of at most ``n_points``, as near to a cube as the image allows."""

    def points_within(longest: int) -> int:
        return math.prod(min(size, longest) for size in shape)

    longest = bisect.bisect_right(range(1, max(shape) + 1), n_points, key=points_within)
    return tuple(min(size, max(1, longest)) for size in shape)


def box_around(centre: Sequence[float], size: Sequence[int], shape: Sequence[int]) -> Box:
    """Return the box of a size whose middle is as near to a point as the image's edges allow."""
    firsts = [
        min(max(0, round(at - extent / 2)), whole_size - extent)
        for at, extent, whole_size in zip(centre, size, shape, strict=True)
    ]
    return tuple(slice(first, first + extent) for first, extent in zip(firsts, size, strict=True))
