"""The line that says how things stand: a light and a few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.numba.compile import n_threads


class Light(Enum):
    """The colour of the light."""

    READY = "#3fa34d"
    BUSY = "#d89614"
    WRONG = "#d64545"


@dataclass(frozen=True)
class Status:
    """What the line says."""

    words: str
    light: Light


PREPARING = Status("Preparing: the first run compiles, which takes up to a minute …", Light.BUSY)
COMPUTING = Status("computing …", Light.BUSY)
NOTHING_YET = Status("Nothing to refine yet", Light.BUSY)
NOT_LIVE = Status("Not live: Update refines", Light.READY)
CANCELLED = Status("Cancelled", Light.READY)


def refined(result: Result, remarks: Sequence[str], *, first: bool) -> Status:
    """Return what is said of a result; the first says how much it has changed."""
    return Status(" · ".join(_parts(result, remarks, first)), Light.READY)


def failed(error: Exception) -> Status:
    """Return what is said of an error; only of a kind that nobody expects, its type too."""
    expected = isinstance(error, (ValueError, MemoryError))
    return Status(str(error) if expected else f"{type(error).__name__}: {error}", Light.WRONG)


def _parts(result: Result, remarks: Sequence[str], first: bool) -> Iterator[str]:
    yield from remarks[:1]
    if first and result.said is not None:
        yield f"{100 * (result.said != result.labels).mean():.1f} % of pixels changed"
    yield f"{result.elapsed_ms:.0f} ms"
    region = result.request.read
    yield f"{region.n_pixels:,} pixels"
    if region.step > 1:
        yield f"1/{region.step} of the resolution, as shown"
    if not first:
        # The first says more that matters more, and one line holds no more.
        yield f"{n_threads()} threads"
