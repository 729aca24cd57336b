"""What the worker thread keeps of objects: the refiner of the region that was refined last."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.problem import layers_of
from napari_densecrf._napari.problem.request import Request
from napari_densecrf.crf.objects.refine import ObjectRefiner, ObjectStep
from napari_densecrf.door.missing import same_pixels

from .reading import Inputs
from .source import Source


@dataclass
class ObjectWork:
    """Keeps the last refiner, as long as what it was made of stays. Used by the worker thread alone."""

    source: Source | None = None
    _key: Hashable = None
    _made_of: tuple[NDArray[Any] | None, ...] = ()
    _refiner: ObjectRefiner | None = None

    def steps(self, request: Request, inputs: Inputs) -> Iterator[ObjectStep]:
        """Refine the objects of a request; the last step has the refinement."""
        refiner = self.refiner(request, inputs)
        assert self.source is not None
        for step in refiner.steps(request.params, request.border):
            if step.refinement is not None:
                self.source.note(request)
            yield step

    def refiner(self, request: Request, inputs: Inputs) -> ObjectRefiner:
        """Return a refiner of what has been read."""
        assert inputs.objects is not None
        key = (tuple(map(id, layers_of(request.problem))), request.spacing, request.read)
        made_of = (inputs.image, inputs.objects, request.strokes)
        same = key == self._key and all(map(_same, made_of, self._made_of))
        if not same or self._refiner is None:
            # Copies, as layers are painted on in place.
            image, objects = np.array(inputs.image), np.array(inputs.objects)
            strokes = None if request.strokes is None else np.array(request.strokes)
            self._key, self._made_of = key, (image, objects, strokes)
            self._refiner = ObjectRefiner(
                image, objects, spacing=request.spacing, channel_axis=inputs.channel_axis, strokes=strokes
            )
            self.source = Source(request.subject, request.read, replace(inputs, image=image, objects=objects), strokes)
        elif self.source is not None:
            self.source.subject = request.subject
        return self._refiner


def _same(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return same_pixels(a, b)
