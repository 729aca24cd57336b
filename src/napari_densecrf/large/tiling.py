"""How an image is cut into tiles: halos from the parameters and the agreement wanted, sizes from memory.

Arithmetic alone; tiles.py does what is planned here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GIB = 2**30

# How far a tile's edge is felt, measured (benchmarks/tiles.py): of the pixels k sigmas from it and beyond, at most
# EDGE / BASE^k of a strip one sigma wide get another label than in the whole image. Twice the worst case.
EDGE = 0.36
BASE = 3.0
LEAST_HALO_SIGMAS = 3.0
# Iterations for which that holds. With more, a change at the edge reaches farther.
USUAL_ITERATIONS = 5
# The fixed cost of a tile, in points.
TILE_OVERHEAD = 20_000


@dataclass(frozen=True)
class TilePlan:
    """The tiles of an image, and the memory and time they take.

    Parameters
    ----------
    shape : tuple of int
        Of the whole image, spatial axes only.
    tile_shape : tuple of int
        Of a tile without its halo; the last along an axis may be smaller.
    halo : tuple of int
        Pixels around a tile along each axis that are refined with it and cut off; 0 where an axis is not cut.
    tile_bytes : int
        Memory that a tile takes while it is refined, its inputs included.
    predicted_seconds : float
        On this machine alone, reading and writing left out.
    """

    shape: tuple[int, ...]
    tile_shape: tuple[int, ...]
    halo: tuple[int, ...]
    tile_bytes: int
    predicted_seconds: float

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return tuple(-(-size // side) for size, side in zip(self.shape, self.tile_shape, strict=True))

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return math.prod(self.counts)

    def tiles(self) -> Iterator[tuple[tuple[int, ...], Tile]]:
        """Yield each tile with its number along each axis, in C order."""
        for index in np.ndindex(self.counts):
            yield index, self.tile(index)

    def tile(self, index: tuple[int, ...]) -> Tile:
        """Return one tile from its number along each axis."""
        inner = tuple(
            slice(number * side, min((number + 1) * side, size))
            for number, side, size in zip(index, self.tile_shape, self.shape, strict=True)
        )
        outer = tuple(
            slice(max(part.start - reach, 0), min(part.stop + reach, size))
            for part, reach, size in zip(inner, self.halo, self.shape, strict=True)
        )
        return Tile(inner, outer)

    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Return the sides of all tiles along each axis, as Dask has them."""
        return tuple(
            tuple(min(side, size - first) for first in range(0, size, side))
            for size, side in zip(self.shape, self.tile_shape, strict=True)
        )

    def __str__(self) -> str:
        """Describe the plan in one line."""
        seconds = f"about {_duration(self.predicted_seconds)}"
        memory = f"{self.tile_bytes / GIB:.2f} GiB"
        whole = " x ".join(map(str, self.shape))
        if self.n_tiles == 1:
            return f"{whole} pixels at once, {memory}, {seconds}"
        sides = " x ".join(map(str, self.tile_shape))
        halo = " x ".join(map(str, self.halo))
        return f"{whole} pixels in {self.n_tiles} tiles of {sides} with a halo of {halo}, {memory} a tile, {seconds}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Parameters
    ----------
    inner : tuple of slice
        The part of the result that it makes.
    outer : tuple of slice
        The part that is refined for it: the inner part with its halo.
    """

    inner: tuple[slice, ...]
    outer: tuple[slice, ...]

    @property
    def origin(self) -> tuple[int, ...]:
        """Index of its first refined pixel in the whole image."""
        return tuple(part.start for part in self.outer)

    @property
    def cut(self) -> tuple[slice, ...]:
        """The inner part within the outer."""
        return tuple(
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(self.inner, self.outer, strict=True)
        )

    def __str__(self) -> str:
        """Name the place."""
        return where(self.inner)


def where(part: tuple[slice, ...]) -> str:
    """Name a place as Python does: ``0:512, 512:1024``."""
    return ", ".join(f"{along.start}:{along.stop}" for along in part)


def cut(
    shape: tuple[int, ...],
    sigmas: NDArray[np.float64],
    n_iterations: int,
    agreement: float,
    most_points: float,
    least_halo: NDArray[np.float64] | float = 0.0,
) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Cut an image into tiles: of all that fit, those for which fewest points are refined, halos included.

    Parameters
    ----------
    shape : tuple of int
    sigmas : (n_axes,) float64
        How far the widest kernel reaches, in pixels.
    n_iterations : int
    agreement : float
        Share of the labels that are those of the whole image, at least.
    most_points : float
        Of a tile with its halo. Where none fits, the smallest is returned.
    least_halo : (n_axes,) float64 or float
        In pixels: of axes that are cut.

    Returns
    -------
    tile_shape, halo : tuple of int
    n_points, tile_points : int
        Refined in all, and in one tile at most.
    """
    candidates = [_sides(size) for size in shape]
    sides = np.stack([axis.ravel() for axis in np.meshgrid(*candidates, indexing="ij")], axis=-1).astype(float)
    halos = _halos(sides, np.array(shape), sigmas, agreement, n_iterations)
    halos = np.maximum(halos, np.ceil(least_halo) * (sides < np.array(shape)))
    counts = np.ceil(np.array(shape) / sides)
    tile_points = np.minimum(sides + 2 * halos, shape).prod(axis=1)
    n_points = (np.array(shape) + 2 * halos * (counts - 1)).prod(axis=1)
    cost = n_points + TILE_OVERHEAD * counts.prod(axis=1)
    fits = tile_points <= most_points
    best = int(np.argmin(np.where(fits, cost, np.inf)) if fits.any() else np.argmin(tile_points))
    return (
        tuple(sides[best].astype(int).tolist()),
        tuple(halos[best].astype(int).tolist()),
        int(n_points[best]),
        int(tile_points[best]),
    )


def _sides(size: int) -> NDArray[np.int64]:
    """Return the sides that tiles of an axis may have: the whole, or 1, 2, ... 8, 9, ... 16, 18, ... 32, 36, ...

    Round numbers, so that files can be cut into chunks that are whole parts of a tile.
    """
    rounds = {count << power for power in range(size.bit_length()) for count in range(1, 16)}
    return np.array(sorted({size, *(side for side in rounds if side < size)}))


def _halos(
    sides: NDArray[np.float64],
    shape: NDArray[np.int64],
    sigmas: NDArray[np.float64],
    agreement: float,
    n_iterations: int,
) -> NDArray[np.float64]:
    """Return halos (n, n_axes) in pixels for tiles of sides (n, n_axes).

    Two edges along each axis that is cut, each with at most EDGE sigma / (BASE^k side) of a tile's labels changed
    beyond k sigmas: the k for which all of them together leave the agreement wanted.
    """
    cut = sides < shape
    changed = (2 * EDGE * sigmas / sides * cut).sum(axis=1)
    needed = np.log(np.maximum(changed / (1 - agreement), 1e-9)) / math.log(BASE)
    farther = max(1.0, n_iterations / USUAL_ITERATIONS) ** 0.8
    reach = np.maximum(needed * farther, LEAST_HALO_SIGMAS)
    halos: NDArray[np.float64] = np.ceil(reach[:, None] * sigmas) * cut
    return halos
