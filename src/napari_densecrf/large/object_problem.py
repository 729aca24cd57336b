"""The refinement of objects that is done in tiles, and what all tiles share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf import grid
from napari_densecrf.crf.objects.contrast import RING, SMOOTH, Typical
from napari_densecrf.crf.objects.refine import ObjectRefiner
from napari_densecrf.crf.probe import Probe, read_probe
from napari_densecrf.params import CRFParams

from .dask_arrays import lazy
from .inputs import Inputs, lazy_image, read

# The smooth field of contrasts is cut off after this many of its sigmas.
FIELD_SIGMAS = 3.0


@dataclass(frozen=True, eq=False)
class ObjectCommon:
    """What all tiles of an image, or of all frames of a stack, share.

    Parameters
    ----------
    params : CRFParams
    border : float
        How far borders may be off, in the unit of the spacing.
    spacing : tuple of float
        Size of a pixel along each spatial axis.
    channel_axis : int, optional
    one_contrast : bool
        Whether the image is brought to one contrast first.
    typical : Typical
        The typical contrast, of the part on which it was chosen.
    probe : Probe, optional
        Of the whole image; None = an image that is one tile has its own.
    """

    params: CRFParams
    border: float
    spacing: tuple[float, ...]
    channel_axis: int | None
    one_contrast: bool
    typical: Typical
    probe: Probe | None = None

    def refiner(
        self,
        image: NDArray[Any],
        objects: NDArray[Any],
        origin: tuple[int, ...],
        foreground: NDArray[Any] | None = None,
        strokes: NDArray[Any] | None = None,
    ) -> ObjectRefiner:
        """Return the refiner of a part of the image; ``origin`` is the index of its first pixel in the whole."""
        return ObjectRefiner(
            image,
            objects,
            foreground=foreground,
            strokes=strokes,
            spacing=self.spacing,
            channel_axis=self.channel_axis,
            one_contrast=self.one_contrast,
            origin=origin,
            probe=self.probe,
            typical=self.typical,
        )

    @property
    def margins(self) -> NDArray[np.float64]:
        """(n_axes,): how far beyond an object its contrast has an effect, in pixels."""
        steps = np.array(self.spacing) / min(self.spacing)
        margins: NDArray[np.float64] = RING / steps + FIELD_SIGMAS * max(1.0, SMOOTH * self.typical.diameter)
        return margins


@dataclass(frozen=True, eq=False)
class ObjectProblem(Inputs):
    """An image and its objects, lazy and checked.

    Parameters
    ----------
    image, grid
        As `Inputs` has them.
    objects : dask array of int
        (*spatial).
    foreground, strokes : dask array, optional
        (*spatial).
    """

    objects: da.Array
    foreground: da.Array | None
    strokes: da.Array | None

    @property
    def others(self) -> tuple[da.Array | None, ...]:
        """Objects, foreground and strokes."""
        return self.objects, self.foreground, self.strokes


def object_problem_of(
    image: Any,
    objects: Any,
    foreground: Any,
    strokes: Any,
    spacing: Sequence[float] | float | None,
    channel_axis: int | None,
) -> ObjectProblem:
    """Check the shapes and types of the inputs, which are those of `refine_objects_tiles`.

    Raises
    ------
    ValueError
        With one sentence that names what came and what is expected.
    """
    pixels, whole = lazy_image(image, spacing, channel_axis)
    given = {"objects": objects, "foreground": foreground, "strokes": strokes}
    others = {name: lazy(other) for name, other in given.items() if name == "objects" or other is not None}
    for name, other in others.items():
        if other.shape != whole.shape:
            verb = "has" if name == "foreground" else "have"
            raise ValueError(f"{name} {verb} shape {other.shape}: expected ({whole}) to match the image")
        if name != "foreground" and other.dtype.kind not in "iu":
            raise ValueError(f"{name} hold {other.dtype} values: expected integers, 0 = background, one id an object")
    return ObjectProblem(pixels, whole, others["objects"], others.get("foreground"), others.get("strokes"))


def with_probe(common: ObjectCommon, problem: ObjectProblem) -> ObjectCommon:
    """Return what the tiles of this image share, with the probe of the whole image.

    Where the image is brought to one contrast, so are the windows of the probe.
    """
    if not common.one_contrast:
        return replace(common, probe=read_probe(problem.grid.shape, lambda where: read(problem.image[where])))
    margins = [math.ceil(margin) for margin in common.margins]

    def at_one_contrast(where: tuple[slice, ...]) -> NDArray[np.float32]:
        """Return a window at one contrast, which depends on the objects around it."""
        outer = tuple(
            slice(max(part.start - margin, 0), min(part.stop + margin, n))
            for part, margin, n in zip(where, margins, problem.grid.shape, strict=True)
        )
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(where, outer, strict=True))
        image, objects = read(problem.image[outer]), np.ma.filled(read(problem.objects[outer]), 0)
        return _one_contrast(common, image, objects)[inner]

    return replace(common, probe=read_probe(problem.grid.shape, at_one_contrast))


def _one_contrast(common: ObjectCommon, image: NDArray[Any], objects: NDArray[Any]) -> NDArray[np.float32]:
    """Return a part of an image at one contrast: (*spatial, n_channels).

    A part without any object is compared with the typical brightness around objects.
    """
    if objects.any():
        terms = common.refiner(image, objects, (0,) * objects.ndim).terms
        return terms.intensities.reshape(*objects.shape, -1)
    _, intensities, _ = grid.from_image(image, common.spacing, common.channel_axis)
    return (intensities - common.typical.ring.astype(np.float32)).reshape(*objects.shape, -1)
