"""How an image is cut into tiles: halos from the parameters and the agreement that is wanted, sizes from the memory.

Arithmetic alone: no pixel is read here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.grid import Grid
from napari_densecrf.params import CRFParams

GIB = 2**30
# Bytes that a tile may take, if nothing else is said. With what is read and waits to be written, a process then stays
# below 2 GB.
TILE_MEMORY = 3 * GIB // 4
# Share of the labels that are those of the whole image, if nothing else is said.
AGREEMENT = 0.999

# How many labels change because a tile ends, measured (benchmarks/tiles.py): of the pixels at least k sigmas from its
# edge, at most EDGE / BASE^k * sigma * (length of the edge in pixels) get another label than in the whole image. EDGE
# is twice the worst that was measured.
EDGE = 0.36
BASE = 3.0
LEAST_HALO_SIGMAS = 3.0
# Iterations for which that holds. With more, a change at the edge reaches farther.
USUAL_ITERATIONS = 5
# The fixed cost of a tile: it takes as long as so many pixels.
TILE_OVERHEAD = 20_000


@dataclass(frozen=True)
class TilePlan:
    """The tiles of an image, and the memory and time they take.

    Parameters
    ----------
    shape : tuple of int
        Pixels of the whole image along each spatial axis.
    tile_shape : tuple of int
        Pixels of a tile along each axis, without its halo; the last tile along an axis may be smaller.
    halo : tuple of int
        Pixels around a tile along each axis that are refined with it and cut off; 0 where an axis is not cut.
    tile_bytes : int
        Bytes that the largest tile takes while it is refined, its inputs included.
    predicted_seconds : float
        For all tiles, one after the other on this machine, without reading and writing.
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
        """Return the sides of all tiles along each axis, in pixels, in the form of Dask's ``chunks``."""
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


class Cost(NamedTuple):
    """What one pixel of a tile costs, halos included: bytes while the tile is refined, and seconds."""

    n_bytes: float
    seconds: float


def check_agreement(agreement: float) -> None:
    """Raise `ValueError` where this is no share of labels that tiles can keep to."""
    if not 0.5 < agreement < 1:
        raise ValueError(f"agreement is {agreement!r}: expected a share above 0.5 and below 1")


def fitted(
    grid: Grid,
    params: CRFParams,
    agreement: float,
    tile_memory: int,
    cost: Cost,
    least_halo: NDArray[np.float64] | float = 0.0,
) -> TilePlan:
    """Return the plan whose tiles fit the memory and take the least time.

    Parameters
    ----------
    grid : Grid
        Of the whole image.
    params : CRFParams
        Their iterations, and the widest kernel in use, say how wide a halo must be.
    agreement : float
        Share of the labels that are those of the whole image, at least; above 0.5 and below 1.
    tile_memory : int
        Bytes that a tile may take, its halo included.
    cost : Cost
    least_halo : (n_axes,) float64 or float
        In pixels, along axes that are cut.

    Raises
    ------
    MemoryError
        Where no tile fits; says what would.
    """
    sigmas = [grid.pixel_sigmas(kernel.position_sigma) for kernel in params.kernels if kernel.weight]
    widest = np.max([np.zeros(len(grid.shape)), *sigmas], axis=0)
    most_points = tile_memory / cost.n_bytes
    sides, halo, n_points, tile_points = _cut(
        grid.shape, widest, params.n_iterations, agreement, most_points, least_halo
    )
    tile_bytes = tile_points * cost.n_bytes
    if tile_bytes > tile_memory:
        raise MemoryError(
            f"the smallest tile takes {tile_bytes / GIB:.1f} GiB with its halo of {' x '.join(map(str, halo))} pixels, "
            f"above the {tile_memory / GIB:.1f} GiB of tile_memory: allow more memory or take a smaller position sigma"
        )
    return TilePlan(grid.shape, sides, halo, math.ceil(tile_bytes), n_points * cost.seconds)


def _cut(
    shape: tuple[int, ...],
    sigmas: NDArray[np.float64],
    n_iterations: int,
    agreement: float,
    most_points: float,
    least_halo: NDArray[np.float64] | float,
) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Cut an image into tiles: of all that fit, those for which fewest pixels are refined, halos included.

    Parameters
    ----------
    shape : tuple of int
    sigmas : (n_axes,) float64
        The largest position sigma, in pixels.
    n_iterations : int
    agreement : float
    most_points : float
        Most pixels of a tile with its halo. Where no tile has so few, the smallest is returned.
    least_halo : (n_axes,) float64 or float
        In pixels, along axes that are cut.

    Returns
    -------
    tile_shape, halo : tuple of int
        In pixels.
    n_points, tile_points : int
        Pixels that are refined in all, and in the largest tile.
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

    A tile has two edges along each axis that is cut. Behind a halo of k sigmas, each edge changes at most the share
    EDGE sigma / (BASE^k side) of the tile's labels. k is chosen so that all edges together leave the agreement wanted.
    """
    cut = sides < shape
    changed = (2 * EDGE * sigmas / sides * cut).sum(axis=1)
    needed = np.log(np.maximum(changed / (1 - agreement), 1e-9)) / math.log(BASE)
    farther = max(1.0, n_iterations / USUAL_ITERATIONS) ** 0.8
    reach = np.maximum(needed * farther, LEAST_HALO_SIGMAS)
    halos: NDArray[np.float64] = np.ceil(reach[:, None] * sigmas) * cut
    return halos
