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
# A run that builds takes so many times as long as one that does not, where only one of the two is known.
BUILDING = 3.0
# Of a run that was slower than the ones before, or faster, so much counts.
SLOWER, FASTER = 0.3, 0.7
# With each run of fewer pixels, a preview of more is hoped to take so much of what it once took, down to a part: what
# took seconds is not tried again for hope.
FORGETTING, LEAST_HOPE = 0.97, 0.25
# The part of a run that does not grow with its pixels, at most.
FIXED_S = 0.005
# How much longer than a frame the size may take that was the last.
LOYALTY = 1.25
# A hand rests where no value comes for so long, or for this part of what the exact run takes.
REST_S, REST_PART = 0.2, 0.25
# After a preview at least so long, as the window may have been busy with the one before.
LEAST_REST_S = 0.05
# A run that builds nothing gives way after each of so many parts; where these are as short as this, it need not wait.
PARTS, SHORT_PART_S = 6, 0.012
# Every so many previews the other number of threads is tried.
EVERY = 16
# Fewer pixels than this are never worth a preview.
QUICK_PIXELS = 65_536


class Kind(Enum):
    """What a run has to do."""

    WEIGHTS = "weights"
    SIGMAS = "sigmas"


@dataclass
class _Tried:
    """What runs of one size took on one thread and on all, and how many there were."""

    seconds: dict[bool, float] = field(default_factory=dict)
    count: int = 0


@dataclass
class Pace:
    """Remembers what runs took, by their kind and their number of pixels.

    Sizes that have not been tried are taken to cost as much a pixel as the nearest that has. While only smaller ones
    are run, a preview of some size is hoped to be quicker than it once was: one that was slow in a busy moment is tried
    again.
    """

    _known: dict[Kind, dict[int, float]] = field(default_factory=dict)
    _hope: dict[Kind, dict[int, float]] = field(default_factory=dict)
    _last: dict[Kind, int] = field(default_factory=dict)
    _tried: dict[tuple[Kind, int], _Tried] = field(default_factory=dict)

    def alone(self, kind: Kind, n_pixels: int) -> bool:
        """Return whether a preview is to run on one thread: where that was quicker, and now and then to see.

        Where other programs want the cores, threads wait for each other longer than they compute.
        """
        tried = self._tried.setdefault((kind, n_pixels), _Tried())
        tried.count += 1
        quicker = tried.seconds.get(True, 0.0) < tried.seconds.get(False, 0.0)
        if len(tried.seconds) < 2:
            return False in tried.seconds
        return not quicker if tried.count % EVERY == 0 else quicker

    def note_threads(self, kind: Kind, n_pixels: int, seconds: float, *, alone: bool) -> None:
        """Take down what a preview took on one thread, or on all."""
        known = self._tried.setdefault((kind, n_pixels), _Tried()).seconds
        before = known.get(alone, seconds)
        known[alone] = before + (seconds - before) / 2

    def note(self, kind: Kind, n_pixels: int, seconds: float) -> None:
        """Take down what a run took."""
        known = self._known.setdefault(kind, {})
        before = known.get(n_pixels)
        if before is not None:
            part = SLOWER if seconds > before else FASTER
            seconds = before + part * (seconds - before)
        hope = self._hope.setdefault(kind, {})
        for size in known:
            if size > n_pixels:
                hope[size] = max(LEAST_HOPE, FORGETTING * hope.get(size, 1.0))
        known[n_pixels], hope[n_pixels] = seconds, 1.0

    def expected(self, kind: Kind, n_pixels: int, *, hoped: bool = False) -> float | None:
        """Return how many seconds a run will take, or is hoped to take; None where nothing like it is known."""
        known, factor = self._known.get(kind), 1.0
        if not known:
            # As far as those of the other kind tell.
            kind, factor = (Kind.WEIGHTS, BUILDING) if kind is Kind.SIGMAS else (Kind.SIGMAS, 1 / BUILDING)
            known = self._known.get(kind)
        if not known:
            return None
        nearest = min(known, key=lambda size: abs(math.log(size / n_pixels)))
        if hoped:
            factor *= self._hope[kind][nearest]
        fixed = min(FIXED_S, known[nearest])
        return factor * (fixed + (known[nearest] - fixed) * n_pixels / nearest)

    def finest(self, kind: Kind, sizes: Sequence[int]) -> int:
        """Return which of some numbers of pixels, the largest first, fits a frame: the last where none does.

        The one that was returned last may take a little longer, so that it is not left for one slow run.
        """
        frame = frame_seconds(sizes[0])
        fitting = (number for number, n_pixels in enumerate(sizes) if self._suits(kind, n_pixels, frame))
        number = next(fitting, len(sizes) - 1)
        self._last[kind] = sizes[number]
        return number

    def _suits(self, kind: Kind, n_pixels: int, frame: float) -> bool:
        seconds = self.expected(kind, n_pixels, hoped=True)
        if seconds is None:
            return n_pixels <= FIRST_PIXELS
        return seconds <= (LOYALTY * frame if n_pixels == self._last.get(kind) else frame)

    def fits(self, kind: Kind, n_pixels: int) -> bool:
        """Tell whether a run is known to fit a frame, or small enough for it."""
        if n_pixels <= QUICK_PIXELS:
            return True
        seconds = self.expected(kind, n_pixels)
        return seconds is not None and seconds <= frame_seconds(n_pixels)

    def rest(self, kind: Kind, n_pixels: int, passed: float) -> float:
        """Return for how many seconds more no value has to come, before the exact run of so many pixels begins."""
        seconds = self.expected(kind, n_pixels)
        if kind is Kind.WEIGHTS and seconds is not None and seconds <= PARTS * SHORT_PART_S:
            return 0.0
        whole = REST_S if seconds is None else min(REST_S, REST_PART * seconds)
        return max(min(LEAST_REST_S, whole), whole - passed)


def frame_seconds(n_pixels: int) -> float:
    """Return the time of a frame for a slice of so many pixels."""
    return SMALL_FRAME_S if n_pixels <= SMALL_PIXELS else FRAME_S
