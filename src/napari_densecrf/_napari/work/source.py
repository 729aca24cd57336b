"""What has been read for an exact run, that previews are cut out of."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request

from .reading import Inputs


@dataclass
class Source:
    """A region that stays ready.

    Parameters
    ----------
    subject : hashable
        Of the request that it was read for.
    read : Region
    inputs : Inputs
        What was read.
    strokes : array, optional
        Those of that request.
    built : hashable
        What `built_of` gives for the last request that was done; None before.
    done : hashable
        What `numbers_of` gives for it.
    """

    subject: Hashable
    read: Region
    inputs: Inputs
    strokes: NDArray[Any] | None = None
    built: Hashable = None
    done: Hashable = None

    def note(self, request: Request) -> None:
        """Take down that a request has been done."""
        self.built, self.done, self.strokes = built_of(request), numbers_of(request), request.strokes


def numbers_of(request: Request) -> Hashable:
    """Return what sliders change of a request."""
    return request.params, request.border, request.time_sigma


def built_of(request: Request) -> Hashable:
    """Return what a refiner has to build for a request that takes time; smoothness kernels take none."""
    sigmas = [
        (kernel.position_sigma, kernel.intensity_sigma)
        for kernel in request.params.kernels
        if kernel.weight > 0 and kernel.intensity_sigma is not None
    ]
    return tuple(sigmas), request.time_sigma, request.border if request.problem.objects else None
