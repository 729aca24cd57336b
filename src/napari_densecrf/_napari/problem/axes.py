"""Which axis of a layer's data is what: the one description that reading, scripts, commands and long runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.layers import Layer

from .region import Region

Pick = int | slice


def levels_of(layer: Layer) -> list[Any]:
    """Return the data at all resolutions that the layer has, the finest first."""
    return list(layer.data) if getattr(layer, "multiscale", False) else [layer.data]


def shape_of(layer: Layer) -> tuple[int, ...]:
    """Return the shape of the data, of the finest level where there are several."""
    return tuple(levels_of(layer)[0].shape)


@dataclass(frozen=True)
class LayerAxes:
    """Which axis of a layer's data is what.

    Parameters
    ----------
    layer : Layer
    spatial : tuple of int
        The axes that the problem has: leading ones, then y and x. Any axis that is neither here nor ``vector`` is of
        one pixel.
    vector : int, optional
        Axis of the channels or classes.
    """

    layer: Layer
    spatial: tuple[int, ...]
    vector: int | None = None

    def at(self, *picks: Pick) -> tuple[Pick, ...]:
        """Return the index into the data that takes these of the spatial axes, and all of the vector.

        Of RGB with alpha only the colours, as alpha is none.
        """
        index: list[Pick] = [0] * len(shape_of(self.layer))
        for axis, pick in zip(self.spatial, picks, strict=True):
            index[axis] = pick
        if self.vector is not None:
            index[self.vector] = slice(0, 3) if getattr(self.layer, "rgb", False) else slice(None)
        return tuple(index)

    def of(self, region: Region) -> tuple[Pick, ...]:
        """Return the index of a region into the data at full resolution."""
        return self.at(*region.leading, *region.slices)

    def vector_in(self, region: Region) -> int | None:
        """Return which axis the vector is in what `of` takes: single slices leave no axis."""
        if self.vector is None:
            return None
        index = self.of(region)
        return sum(isinstance(pick, slice) for pick in index[: self.vector])

    def level_for(self, region: Region) -> tuple[Any, tuple[Pick, ...]]:
        """Return the coarsest data that still have the region's pixels, and the region's index into them."""
        levels = levels_of(self.layer)
        for data in reversed(levels):
            factors = [levels[0].shape[axis] / data.shape[axis] for axis in self.spatial]
            *leading, along_y, along_x = factors
            factor = round(along_y)
            if factor == round(along_x) and region.step % factor == 0 and all(one == 1 for one in leading):
                slices = _coarser(region, factor)
                sizes = (data.shape[axis] for axis in self.spatial[-2:])
                if all(along.stop <= size for along, size in zip(slices, sizes, strict=True)):
                    return data, self.at(*region.leading, *slices)
        return levels[0], self.of(region)

    def order(self, *, vector_to: int = -1) -> tuple[int, ...]:
        """Return the axes of the data in the order of the problem, the vector first (0) or last (-1)."""
        vector = () if self.vector is None else (self.vector,)
        return (*vector, *self.spatial) if vector_to == 0 else (*self.spatial, *vector)

    def letters(self, spatial: str) -> str:
        """Return a letter for each axis of the data: those given for the spatial ones, C for the vector."""
        named = dict(zip(self.spatial, spatial, strict=True))
        if self.vector is not None:
            named[self.vector] = "C"
        return "".join(named[axis] for axis in sorted(named))


def _coarser(region: Region, factor: int) -> tuple[slice, slice]:
    """Return the slices of a region along y and x of data that are coarser by a factor."""
    step = region.step // factor
    y, x = (
        slice(first // factor, first // factor + (size - 1) * step + 1, step)
        for first, size in zip((region.y[0], region.x[0]), region.shape, strict=True)
    )
    return y, x
