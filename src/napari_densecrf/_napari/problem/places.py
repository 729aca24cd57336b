"""Where the pixels of an image lie among those of its map: told from the places of their layers in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_densecrf.door.resampled import Along

from .axes import shape_of


class Turned(ValueError):
    """The layers are rotated or sheared against each other."""


@dataclass(frozen=True, eq=False)
class Laying:
    """Where a layer is to be put, as one click does it: scale and translate of its axes."""

    words: str
    scale: NDArray[np.float64]
    translate: NDArray[np.float64]


def size_along(layer: Layer, axis: int, unit: Any) -> float:
    """Return the size of a pixel along an axis, in a unit; in its own where the two have nothing in common."""
    size = abs(float(layer.scale[axis]))
    return size * (_factor(layer.units[axis], unit) or 1.0)


def places_along(image: Layer, image_axes: Sequence[int], layer: Layer, layer_axes: Sequence[int]) -> tuple[Along, ...]:
    """Return where the pixels of an image lie among those of a layer, for each of its spatial axes.

    Parameters
    ----------
    image, layer : Layer
    image_axes : sequence of int
        The spatial ones.
    layer_axes : sequence of int
        For each of these, that of the layer; -1 where it lacks one of a single pixel.

    Raises
    ------
    Turned
    """
    found = [Along()] * len(image_axes)
    numbers = [number for number, axis in enumerate(layer_axes) if axis >= 0]
    mine, its = [image_axes[number] for number in numbers], [layer_axes[number] for number in numbers]
    to_world, start = _matrix(image, mine)
    from_world, its_start = _matrix(layer, its)
    units = np.array([_factor(image.units[a], layer.units[b]) or 1.0 for a, b in zip(mine, its, strict=True)])
    linear = np.linalg.solve(from_world, units[:, None] * to_world)
    offset = np.linalg.solve(from_world, units * start - its_start)
    sizes = np.array([shape_of(image)[axis] for axis in mine])
    turned = np.abs(linear - np.diag(np.diag(linear))) * sizes
    if turned.max() > 0.25:
        raise Turned
    for number, scale, first in zip(numbers, np.diag(linear).tolist(), offset.tolist(), strict=True):
        found[number] = Along(scale, first)
    return tuple(found)


def _matrix(layer: Layer, axes: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the linear part (n, n) from some of a layer's data axes to the same of the world, and the start (n,)."""
    zero = np.zeros(layer.ndim)
    start = np.asarray(layer.data_to_world(zero), float)
    columns = []
    for axis in axes:
        one = zero.copy()
        one[axis] = 1
        columns.append(np.asarray(layer.data_to_world(one), float) - start)
    picked = list(axes)
    return np.stack([column[picked] for column in columns], axis=1), start[picked]


def _factor(unit: Any, other: Any) -> float | None:
    """Return one unit in another, or None where they have nothing in common, as pixels and micrometres."""
    if unit == other:
        return 1.0
    one = 1 * unit
    return float(one.to(other).magnitude) if one.is_compatible_with(other) else None


def says_nothing(layer: Layer, axes: Sequence[int]) -> bool:
    """Tell whether a layer lies where any new layer lies, with pixels of size 1: nobody may have said where it is."""
    present = [axis for axis in axes if axis >= 0]
    linear, start = _matrix(layer, present)
    return bool(np.allclose(linear, np.eye(len(present))) and np.allclose(start, 0))


def have_one_unit(image: Layer, image_axes: Sequence[int], layer: Layer, layer_axes: Sequence[int]) -> bool:
    """Tell whether all units of a layer can be compared with those of the image."""
    pairs = zip(image_axes, layer_axes, strict=True)
    return all(other < 0 or _factor(image.units[axis], layer.units[other]) is not None for axis, other in pairs)


def end_together(alongs: Sequence[Along], shape: Sequence[int], sizes: Sequence[int]) -> bool:
    """Tell whether an image and a map begin and end in the same place, to within a pixel of the map."""
    ends = zip(alongs, shape, sizes, strict=True)
    return all(abs(one.offset) <= 1 and abs(one.scale * size + one.offset - its) <= 1 for one, size, its in ends)


def laying(image: Image, image_axes: Sequence[int], layer: Layer, layer_axes: Sequence[int]) -> Laying | None:
    """Return how a map that does not say where it lies is laid onto an image, where there is a usual way.

    A map of as many pixels lies on the image. One of half as many, or a third, covers it as well, with larger pixels. A
    map that lacks the same few pixels at each side, as after convolutions without padding, lies in the middle. None
    where one of the two is rotated or has an affine transform of its own.
    """
    if not (_is_upright(image) and _is_upright(layer)):
        return None
    pairs = [(a, b) for a, b in zip(image_axes, layer_axes, strict=True) if b >= 0]
    sizes = np.array([shape_of(image)[a] for a, _ in pairs], float)
    its = np.array([shape_of(layer)[b] for _, b in pairs], float)
    ratio = sizes / its
    scale, translate = np.array(layer.scale, float), np.array(layer.translate, float)
    mine, here = [a for a, _ in pairs], [b for _, b in pairs]
    own, start = np.asarray(image.scale)[mine], np.asarray(image.translate)[mine]
    if (sizes == its).all():
        words, scale[here], translate[here] = f"Lay it on “{image.name}”", own, start
    elif _whole(ratio[-2:]) or _whole(1 / ratio[-2:]):
        words, scale[here] = f"Stretch it over “{image.name}”", own * ratio
        # Its first pixel begins where that of the image begins.
        translate[here] = start + own * (ratio - 1) / 2
    elif ((sizes - its)[-2:] > 0).all() and ratio[-2:].max() < 1.5:
        words, scale[here], translate[here] = f"Centre it on “{image.name}”", own, start + own * (sizes - its) / 2
    else:
        return None
    return Laying(words, scale, translate)


def _is_upright(layer: Layer) -> bool:
    """Tell whether a layer has no more than scale and translate."""
    matrix = np.asarray(layer.affine.affine_matrix)
    has_own = not np.allclose(matrix, np.eye(len(matrix)))
    return not (has_own or np.asarray(layer.shear).any() or not np.allclose(layer.rotate, np.eye(layer.ndim)))


def _whole(ratio: NDArray[np.float64]) -> bool:
    """Tell whether both axes have one ratio of 2 or more, whole but for a pixel at the end."""
    near = np.round(ratio)
    return bool(near[0] == near[1] >= 2 and (np.abs(ratio - near) < 0.05 * near).all())
