"""The line that says how things stand: a light and a few words; what matters less is in its tooltip.

Green: done, complete and understood, and no class lost much. Amber: look here, in words. Red: refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from napari_densecrf._napari import words
from napari_densecrf._napari.problem.extent import Extent
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.numba.parallel import n_threads
from napari_densecrf.crf.objects.refine import ObjectRefinement
from napari_densecrf.door.missing import share_words

# A class that loses more than this part of its area is worth a look.
MUCH_LOST = 0.1
# Fewer pixels than this come and go with noise.
FEW_PIXELS = 50
# It stays with its number at the end of a line.
PERCENT = "\N{NO-BREAK SPACE}%"
# So many classes are named in the line.
NAMED = 2


class Light(Enum):
    """The colour of the light."""

    GREEN = "#3fa34d"
    AMBER = "#d89614"
    RED = "#d64545"


@dataclass(frozen=True)
class Status:
    """What the line says.

    Parameters
    ----------
    words : str
        Plain text.
    light : Light
    detail : str
        For the tooltip.
    """

    words: str
    light: Light
    detail: str = ""


PREPARING = Status(words.PREPARING, Light.AMBER)
COMPUTING = Status(words.COMPUTING, Light.AMBER)
NOTHING_YET = Status(words.NOTHING_YET, Light.AMBER)
NOT_LIVE = Status(words.NOT_LIVE, Light.AMBER)
CANCELLED = Status(words.CANCELLED, Light.AMBER)


def refined(result: Result, remarks: Sequence[str], extent: Extent) -> Status:
    """Return what is said of a result: what changed, what is doubtful, what is left."""
    doubts = list(_doubts(result, remarks, extent))
    said = [*doubts, *_changes(result)]
    return Status(" · ".join(said), Light.AMBER if doubts else Light.GREEN, " · ".join(_details(result)))


def preview(result: Result) -> Status:
    """Return what is said of a preview, which the exact result soon takes the place of."""
    said = [words.PREVIEW, *_changes(result)]
    return Status(" · ".join(said), Light.AMBER, " · ".join(_details(result)))


def failed(error: Exception) -> Status:
    """Return what is said of an error; only of a kind that nobody expects, its type too."""
    expected = isinstance(error, (ValueError, MemoryError))
    return Status(str(error) if expected else f"{type(error).__name__}: {error}", Light.RED)


def _doubts(result: Result, remarks: Sequence[str], extent: Extent) -> Iterator[str]:
    problem = result.request.problem
    if problem.doubt:
        yield words.a_guess(problem.doubt)
    yield from remarks[:1]
    for name, before, after in _areas(result):
        if result.request.problem.objects and name == "background":
            continue
        if before - after > max(MUCH_LOST * before, FEW_PIXELS):
            yield words.lost_area(name, (before - after) / before)
    if result.request.region.step > 1:
        yield words.part_of_resolution(result.request.region.step)
    elif not result.request.is_whole_slice:
        yield words.VISIBLE_ONLY
    if not extent.is_complete:
        yield str(extent)


def _changes_of_objects(result: Result, refinement: ObjectRefinement) -> Iterator[str]:
    n_objects, n_held = refinement.n_objects, refinement.n_held
    yield words.number_of_objects(n_objects)
    share = np.count_nonzero(result.said != result.labels) / result.labels.size
    _, (_, before, after) = _areas(result)
    yield words.objects_changed(share, (after - before) / before if before else None)
    if n_held:
        yield words.objects_held(n_held)


def _changes(result: Result) -> Iterator[str]:
    if isinstance(result.refinement, ObjectRefinement):
        yield from _changes_of_objects(result, result.refinement)
        return
    if all(kernel.weight == 0 for kernel in result.request.params.kernels):
        yield words.MAP_AS_IT_IS
    n_known = int(result.counts.sum())
    n_missing = result.labels.size - n_known
    if not n_known:
        yield words.NO_VALUE_HERE
        return
    share = 1 - np.trace(result.counts) / n_known
    moved = sorted(_areas(result), key=lambda area: -abs(area[2] - area[1]))[:NAMED]
    parts = [
        f"{name} {100 * (after - before) / before:+.0f}{PERCENT}"
        for name, before, after in moved
        if before and after != before
    ]
    yield f"{100 * share:.1f}{PERCENT} changed" + (f": {', '.join(parts)}" if parts else "")
    if n_missing:
        share_missing = share_words(n_missing / result.labels.size).replace(" %", PERCENT)
        yield f"{share_missing} of the pixels have no value and take no part"


def _areas(result: Result) -> list[tuple[str, int, int]]:
    """Return the name of each class, and its pixels in the map and in the result."""
    before, after = result.counts.sum(axis=1).tolist(), result.counts.sum(axis=0).tolist()
    return list(zip(result.inputs.names, before, after, strict=True))


def _details(result: Result) -> Iterator[str]:
    yield f"{result.elapsed_ms:.0f} ms"
    yield f"{result.request.read.n_pixels:,} pixels"
    yield f"{n_threads()} threads"
