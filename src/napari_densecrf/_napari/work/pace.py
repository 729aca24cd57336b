"""How fine a preview may be: what the last runs took, and what fits the time of a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

# A preview takes no longer than this, so that with the window's own work some 15 a second are seen.
FRAME_S = 0.05
# Small slices are followed more closely: 25 a second.
SMALL_FRAME_S = 0.035
SMALL_PIXELS = 300_000
# As long as nothing has been measured, so many pixels are tried.
FIRST_PIXELS = 120_000
# Where only runs that build nothing are known, one that builds takes so many times as long.
BUILDING = 3.0
# Of a run that was slower than the ones before, or faster, so much counts.
SLOWER, FASTER = 0.3, 0.7
# With each run of fewer pixels, so much stays of what more pixels once took.
FORGETTING = 0.97
# The part of a run that does not grow with its pixels, at most.
FIXED_S = 0.005
# How much longer than a frame the size may take that was the last.
LOYALTY = 1.25
# A hand rests where no value comes for so long, or for this part of what the exact run takes.
REST_S, REST_PART = 0.12, 0.25


class Kind(Enum):
    """What a run has to do."""

    WEIGHTS = "weights"
    SIGMAS = "sigmas"


@dataclass
class Pace:
    """Remembers what runs took, by their kind and their number of pixels.

    Sizes that have not been tried are taken to cost as much a pixel as the nearest that has. What a size once took is
    forgotten bit by bit while only smaller ones are run: one that was too slow in a busy moment is tried again.
    """

    _known: dict[Kind, dict[int, float]] = field(default_factory=dict)
    _last: dict[Kind, int] = field(default_factory=dict)

    def note(self, kind: Kind, n_pixels: int, seconds: float) -> None:
        """Take down what a run took."""
        known = self._known.setdefault(kind, {})
        before = known.get(n_pixels)
        if before is not None:
            part = SLOWER if seconds > before else FASTER
            seconds = before + part * (seconds - before)
        for size in known:
            if size > n_pixels:
                known[size] *= FORGETTING
        known[n_pixels] = seconds

    def expected(self, kind: Kind, n_pixels: int) -> float | None:
        """Return how many seconds a run will take; None where nothing like it is known."""
        known = self._known.get(kind)
        if not known:
            weights = self.expected(Kind.WEIGHTS, n_pixels) if kind is Kind.SIGMAS else None
            return None if weights is None else BUILDING * weights
        nearest = min(known, key=lambda size: abs(math.log(size / n_pixels)))
        fixed = min(FIXED_S, known[nearest])
        return fixed + (known[nearest] - fixed) * n_pixels / nearest

    def finest(self, kind: Kind, sizes: Sequence[int]) -> int:
        """Return which of some numbers of pixels, the largest first, fits a frame: the last where none does.

        The one that was returned last may take a little longer, so that it is not left for one slow run.
        """
        frame = frame_seconds(sizes[0])
        for number, n_pixels in enumerate(sizes):
            seconds = self.expected(kind, n_pixels)
            longest = LOYALTY * frame if n_pixels == self._last.get(kind) else frame
            if n_pixels <= FIRST_PIXELS if seconds is None else seconds <= longest:
                break
        self._last[kind] = sizes[number]
        return number

    def fits(self, kind: Kind, n_pixels: int) -> bool:
        """Tell whether a run is known to fit a frame."""
        seconds = self.expected(kind, n_pixels)
        return seconds is not None and seconds <= frame_seconds(n_pixels)

    def rest(self, kind: Kind, n_pixels: int) -> float:
        """Return for how many seconds no value has to come before the exact run begins."""
        seconds = self.expected(kind, n_pixels)
        return REST_S if seconds is None else min(REST_S, REST_PART * seconds)


def frame_seconds(n_pixels: int) -> float:
    """Return the time of a frame for a slice of so many pixels."""
    return SMALL_FRAME_S if n_pixels <= SMALL_PIXELS else FRAME_S
