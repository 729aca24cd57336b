"""A part of a slice, or of several: which pixels, and how coarse."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Region:
    """A part of one slice, every ``step``-th pixel of it; or the same part of several, a slab of a volume or film.

    Parameters
    ----------
    index : tuple of int
        Of the leading axes.
    y, x : (int, int)
        First pixel and the one behind the last, at full resolution; the first is a multiple of ``step``.
    step : int
        A power of 2. Regions of one step lie on one grid of pixels, wherever they are.
    z : (int, int), optional
        Of a slab: its first slice along the last leading axis, and the one behind its last. The last of ``index`` is
        the slice that is shown.
    """

    index: tuple[int, ...]
    y: tuple[int, int]
    x: tuple[int, int]
    step: int = 1
    z: tuple[int, int] | None = None

    @property
    def slices(self) -> tuple[slice, slice]:
        """Along y and x of the data at full resolution."""
        return slice(*self.y, self.step), slice(*self.x, self.step)

    @property
    def leading(self) -> tuple[int | slice, ...]:
        """Along the leading axes of the data."""
        return self.index if self.z is None else (*self.index[:-1], slice(*self.z))

    @property
    def n_single(self) -> int:
        """Leading axes along which it is one slice."""
        return len(self.index) - (self.z is not None)

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of it along y and x."""
        return -(-(self.y[1] - self.y[0]) // self.step), -(-(self.x[1] - self.x[0]) // self.step)

    @property
    def n_pixels(self) -> int:
        """Pixels of it."""
        return self.shape[0] * self.shape[1] * (1 if self.z is None else self.z[1] - self.z[0])

    @property
    def origin(self) -> tuple[int, ...]:
        """Index of its first pixel among those of its step; along z too where it is a slab."""
        first = self.y[0] // self.step, self.x[0] // self.step
        return first if self.z is None else (self.z[0], *first)

    def at_step(self, step: int) -> Region:
        """Return it with another step, grown to begin where that step has a pixel."""
        (y0, y1), (x0, x1) = self.y, self.x
        return replace(self, y=(y0 - y0 % step, y1), x=(x0 - x0 % step, x1), step=step)

    def coarser(self, factor: int) -> Region:
        """Return it with a step so many times as large, less the pixels before the first that this step has."""
        step = factor * self.step
        (y0, y1), (x0, x1) = self.y, self.x
        return replace(self, y=(y0 + -y0 % step, y1), x=(x0 + -x0 % step, x1), step=step)

    def common(self, other: Region) -> Region:
        """Return what it has in common with another that it overlaps, along y and x; both begin on its pixels."""
        y, x = ((max(mine[0], its[0]), min(mine[1], its[1])) for mine, its in ((self.y, other.y), (self.x, other.x)))
        return replace(self, y=y, x=x)

    def grown(self, margins: tuple[int, int], shape: tuple[int, ...]) -> Region:
        """Return it with margins in pixels of its step, within the slice."""
        (y0, y1), (x0, x1) = self.y, self.x
        height, width = shape[-2:]
        my, mx = (margin * self.step for margin in margins)
        return replace(self, y=(max(0, y0 - my), min(height, y1 + my)), x=(max(0, x0 - mx), min(width, x1 + mx)))

    def slab(self, margin: int, depth: int) -> Region:
        """Return it with so many slices before and behind it, of ``depth`` that there are."""
        here = self.index[-1]
        return replace(self, z=(max(0, here - margin), min(depth, here + margin + 1)))

    def within(self, outer: Region) -> tuple[int | slice, ...]:
        """Return what cuts this one, of one slice, out of an outer one of the same step."""
        (y, x), (oy, ox), (height, width) = self.origin[-2:], outer.origin[-2:], self.shape
        inner = slice(y - oy, y - oy + height), slice(x - ox, x - ox + width)
        return inner if outer.z is None else (self.index[-1] - outer.z[0], *inner)
