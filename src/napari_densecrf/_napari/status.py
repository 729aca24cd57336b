"""The line that says how things stand: a light and a few words; what matters less is in its tooltip.

Green: done, complete and understood, and no class lost much. Amber: look here, in words. Red: refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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


@dataclass(frozen=True)
class Lost:
    """A class that lost much of its area: its index, its name, and which share."""

    index: int
    name: str
    share: float


def lost(result: Result) -> list[Lost]:
    """Return the classes that lost so much of their area that one should look."""
    return [
        Lost(index, name, (before - after) / before)
        for index, (name, before, after) in enumerate(_areas(result))
        if before - after > max(MUCH_LOST * before, FEW_PIXELS)
        and not (result.request.problem.objects and name == "background")
    ]


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
    for one in lost(result):
        yield words.lost_area(one.name, one.share)
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
    yield words.changed(share)
    # What has lost much is said already.
    said = {one.name for one in lost(result)}
    yield from list(_classes(result, without=said))[:NAMED]
    if n_missing:
        share_missing = share_words(n_missing / result.labels.size).replace(" %", words.PERCENT)
        yield f"{share_missing} of the pixels have no value and take no part"


def _classes(result: Result, without: Collection[str] = ()) -> Iterator[str]:
    """Say what became of the area and the border of each class, those first that changed most."""
    areas = _areas(result)
    borders = np.ones((2, len(areas))) if result.borders is None else result.borders
    for k in sorted(range(len(areas)), key=lambda k: -abs(areas[k][2] - areas[k][1])):
        name, before, after = areas[k]
        if name in without:
            continue
        said = words.class_changed(name, _growth(before, after), _growth(*borders[:, k].tolist()))
        if said:
            yield said


def _growth(before: float, after: float) -> float:
    """Return by which share something grew; 0 where there was nothing."""
    return (after - before) / before if before else 0.0


def _areas(result: Result) -> list[tuple[str, int, int]]:
    """Return the name of each class, and its pixels in the map and in the result."""
    before, after = result.counts.sum(axis=1).tolist(), result.counts.sum(axis=0).tolist()
    return list(zip(result.inputs.names, before, after, strict=True))


def _details(result: Result) -> Iterator[str]:
    yield f"{result.elapsed_ms:.0f} ms"
    yield f"{result.request.read.n_pixels:,} pixels"
    yield f"{n_threads()} threads"
    if not result.request.problem.objects:
        yield from _classes(result)
