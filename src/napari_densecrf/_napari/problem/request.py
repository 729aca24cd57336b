"""What a slider's value becomes: choices, numbers and view, resolved to one frozen request, or to what does not fit."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from napari.layers import Image, Labels, Layer

from napari_densecrf._napari import words
from napari_densecrf.numbers import Numbers
from napari_densecrf.params import CRFParams

from .problem import FromStrokes, Map, Misfit, Problem, layers_of, layers_of_map
from .region import Region
from .understand import understand
from .view import SLAB_VOXELS, WHOLE_PIXELS, View, margins, shown_of, slab_margin, visible_part, whole_slice

ONE_BY_ONE, VOLUME, FILM = "One by one", "As a volume", "Coupled in time"
AUTO, WHOLE, VISIBLE = "Automatic", "Whole slice", "Visible part"
UNSAID = "as it seems"


@dataclass(frozen=True)
class Chosen:
    """What is chosen in the panel besides the numbers.

    Parameters
    ----------
    image, map, strokes : layers, optional
    channels : tuple of Image
        Where the image is several layers, one a channel: all of them, ``image`` first.
    region : str
        AUTO, WHOLE or VISIBLE.
    slices : str
        ONE_BY_ONE, VOLUME or FILM.
    live : bool
        Whether to refine at every change.
    leading : str
        What the axes of the image before y and x are: UNSAID, or SLICES, or CHANNELS for one of them.
    labels_are : str
        What labels are: UNSAID, OBJECTS or CLASSES.
    by_user : frozenset of str
        Which of "image" and "map" the user has chosen: the program does not take others instead.
    """

    image: Image | None = None
    map: Map | None = None
    strokes: Labels | None = None
    region: str = AUTO
    slices: str = ONE_BY_ONE
    live: bool = True
    leading: str = UNSAID
    labels_are: str = UNSAID
    by_user: frozenset[str] = frozenset()
    channels: tuple[Image, ...] = ()

    @property
    def picture(self) -> Image | tuple[Image, ...] | None:
        """The image, or its channels."""
        return self.channels or self.image

    @property
    def painted(self) -> Labels | None:
        """The strokes: those that the map is made from, or those that are chosen."""
        return self.map.layer if isinstance(self.map, FromStrokes) else self.strokes

    @property
    def layers(self) -> list[Layer]:
        """All layers that are chosen."""
        image, strokes = ([] if layer is None else [layer] for layer in (self.image, self.strokes))
        return [*image, *self.channels[1:], *([] if self.map is None else layers_of_map(self.map)), *strokes]


@dataclass(frozen=True, eq=False)
class Request:
    """One frozen picture of the controls and the layers.

    Parameters
    ----------
    problem : Problem
    region : Region
        What is wanted.
    read : Region
        What is refined for it: the region with its margin.
    params : CRFParams
    revision : hashable
        Changes with the data of the layers.
    strokes : array, optional
        (height, width) of the read region; 0 = free. Of the map's own layer, where that is made from strokes.
    extras : frozenset of str
        What is wanted besides the labels: CONFIDENCE, CHANGES.
    time_sigma : float, optional
        Where the slices of the read region are frames that are coupled in time: the reach of the kernels, in frames.
    border : float
        How far the borders of objects may be off.
    shown : Region, optional
        What of the region is on the canvas: all that a preview has to show.
    is_preview : bool
        Whether it is a preview of another request: of fewer pixels, for the moment.
    """

    problem: Problem
    region: Region
    read: Region
    params: CRFParams
    revision: Hashable = None
    strokes: Any = None
    extras: frozenset[str] = frozenset()
    time_sigma: float | None = None
    border: float = 1.0
    shown: Region | None = None
    is_preview: bool = False

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a pixel of the read region."""
        *leading, y, x = self.frame_spacing
        return (*leading, y * self.read.step, x * self.read.step)

    @property
    def frame_spacing(self) -> tuple[float, ...]:
        """Size of a pixel at full resolution; in time, of a frame."""
        if self.read.z is None:
            return self.problem.spacing
        return self.problem.volume_spacing if self.time_sigma is None else (1.0, *self.problem.spacing)

    def coupled(self, params: CRFParams) -> CRFParams:
        """Return numbers of the sliders as those of the axes that are refined together."""
        return params if self.time_sigma is None else params.coupled_in_time(self.time_sigma)

    def alone(self) -> Request:
        """Return the same without the other frames of a film."""
        if self.time_sigma is None or self.read.z is None:
            return self
        at = self.read.index[-1] - self.read.z[0]
        strokes = None if self.strokes is None else self.strokes[at]
        return replace(self, read=replace(self.read, z=None), strokes=strokes, time_sigma=None)

    @property
    def is_whole_slice(self) -> bool:
        """Whether the region is a slice from end to end."""
        return (self.region.y, self.region.x) == tuple((0, size) for size in self.problem.shape[-2:])

    @property
    def frame(self) -> str:
        """What is refined together: a slice, a volume or a film."""
        return "slice" if self.read.z is None else "volume" if self.time_sigma is None else "film"

    @property
    def whole(self) -> Hashable:
        """What a run over all frames is about: two runs are the same if this is equal."""
        return self.problem, self.params, self.border, self.time_sigma, self.revision, self.frame

    @property
    def subject(self) -> Hashable:
        """What it is about: two requests of one subject differ in their numbers or strokes alone."""
        layers = tuple(map(id, layers_of(self.problem)))
        return layers, self.problem.along, self.problem.objects, self.spacing, self.region, self.read.z, self.revision


def resolve(chosen: Chosen, numbers: Numbers, view: View) -> Request | Misfit:
    """Return what is asked for, or why it cannot be.

    A pure function of frozen values: it reads shapes and places of layers, never their pixels. Who asks adds what
    only the moment knows: revision, strokes and extras.
    """
    try:
        return _resolved(_problem(chosen, view), chosen, numbers, view)
    except Misfit as misfit:
        return misfit


def _problem(chosen: Chosen, view: View) -> Problem:
    """Return how the chosen image and map make a problem.

    Raises
    ------
    Misfit
        Where they do not, or the view is transposed.
    """
    leading, labels_are = (None if said == UNSAID else said for said in (chosen.leading, chosen.labels_are))
    problem = understand(chosen.image, chosen.map, leading, chosen.channels, labels_are)
    n_axes = len(view.point)
    if view.displayed[-2:] != (n_axes - 2, n_axes - 1):
        raise Misfit(words.OTHER_AXES_SHOWN)
    return problem


def _resolved(problem: Problem, chosen: Chosen, numbers: Numbers, view: View) -> Request:
    joined = is_joined(problem, chosen)
    is_film = joined and chosen.slices == FILM
    if is_film and not problem.may_be_film:
        raise Misfit(words.NO_FILM_OF_VOLUMES)
    if is_film and problem.objects:
        raise Misfit(words.NO_FILM_OF_OBJECTS)
    around = _slices_around(problem, chosen, numbers)
    if shows_a_part(problem, chosen, numbers):
        region = visible_part(problem, view, depth=2 * around + 1)
    else:
        region = whole_slice(problem, view.point)
    read = region.grown(margins(problem, region, numbers.reach), problem.shape)
    if joined:
        read = read.slab(around, problem.shape[-3])
    params = numbers.params_for(problem.n_balanced)
    time_sigma = numbers.time_sigma if is_film else None
    shown = shown_of(problem, view, region)
    return Request(problem, region, read, params, time_sigma=time_sigma, border=numbers.border, shown=shown)


def is_joined(problem: Problem, chosen: Chosen) -> bool:
    """Tell whether the slices of a stack are refined together."""
    return chosen.slices != ONE_BY_ONE and len(problem.shape) > 2


def shows_a_part(problem: Problem, chosen: Chosen, numbers: Numbers) -> bool:
    """Tell whether only the visible part of a slice is refined."""
    n_pixels = problem.shape[-2] * problem.shape[-1]
    large = n_pixels > WHOLE_PIXELS
    if is_joined(problem, chosen):
        depth = min(problem.shape[-3], 2 * _slices_around(problem, chosen, numbers) + 1)
        large = n_pixels * depth > SLAB_VOXELS
    return chosen.region == VISIBLE or (chosen.region == AUTO and large)


def joins_of(problem: Problem | None) -> tuple[str, ...]:
    """Return what the slices of a stack may be: no film where its only leading axis is called z."""
    if problem is None or problem.may_be_film or len(problem.shape) != 3:
        return ONE_BY_ONE, VOLUME, FILM
    return ONE_BY_ONE, VOLUME


def _slices_around(problem: Problem, chosen: Chosen, numbers: Numbers) -> int:
    """Return how many slices before and behind the shown one are refined with it."""
    if not is_joined(problem, chosen):
        return 0
    if chosen.slices == FILM:
        return slab_margin(numbers.time_sigma)
    return slab_margin(numbers.reach / problem.volume_spacing[0])
