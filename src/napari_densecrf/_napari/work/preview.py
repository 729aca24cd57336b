"""What is shown while a slider moves: the same refinement on fewer pixels, cut out of what the exact run has read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request

from .reading import Inputs

# Every so many pixels of the exact run's, at most, finest first.
FACTORS = (1, 2, 4, 8, 16)
# A preview of fewer pixels than this tells nothing.
FEWEST_PIXELS = 3_000
# Around what is shown, so many reaches are refined too: half of what an exact run needs.
MARGIN_REACHES = 2.5


@dataclass(frozen=True)
class Cut:
    """Which pixels a preview has, of those that have been read.

    Parameters
    ----------
    request : Request
        Of the preview: its region and what is refined for it, coarser or smaller than those it stands for.
    source : Region
        What has been read.
    """

    request: Request
    source: Region

    @property
    def n_pixels(self) -> int:
        """Pixels that are refined."""
        return self.request.read.n_pixels

    def of(self, inputs: Inputs) -> Inputs:
        """Cut the inputs of the preview out of what has been read; without copying."""
        index = _index(self.request.read, self.source)
        n_axes = len(index)
        # The map's classes are first, the image's channels last.
        classes = () if inputs.probabilities.ndim == n_axes else (slice(None),)
        return replace(
            inputs,
            image=inputs.image[index],
            probabilities=inputs.probabilities[(*classes, *index)] if inputs.objects is None else inputs.probabilities,
            objects=None if inputs.objects is None else inputs.objects[index],
        )


def cuts(request: Request, source: Region) -> list[Cut]:
    """Return the previews there can be of a request, the finest first; none where what was read does not hold it.

    The same sliders are as far in a coarser one, whose pixels are larger.
    """
    shown = (request.shown or request.region).common(request.region)
    # Of both, as the strokes are those of the request.
    held = source.common(request.read)
    if held.common(shown) != replace(shown, z=held.z) or source.z != request.read.z:
        return []
    found = []
    for factor in FACTORS:
        part = replace(shown, z=request.read.z).coarser(factor)
        read = part.grown(_margins(request, part.step), request.problem.shape).common(held.coarser(factor))
        region = replace(part, z=None)
        if not found or region.n_pixels >= FEWEST_PIXELS:
            strokes = None if request.strokes is None else request.strokes[_index(read, request.read)]
            made = replace(request, region=region, read=read, strokes=strokes, is_preview=True, shown=None)
            found.append(Cut(made, source))
    return found


def _margins(request: Request, step: int) -> tuple[int, int]:
    reaches = [kernel.position_sigma for kernel in request.params.kernels if kernel.weight > 0]
    reach = max((max(sigma) if isinstance(sigma, tuple) else sigma for sigma in reaches), default=0.0)
    y, x = (int(MARGIN_REACHES * reach / (size * step)) + 1 for size in request.problem.spacing)
    return y, x


def _index(part: Region, whole: Region) -> tuple[slice, ...]:
    """Return what takes the pixels of a coarser part out of an array of the whole: along z too, where there is one."""
    step = part.step // whole.step
    along = [
        slice((first - start) // whole.step, -((start - last) // whole.step), step)
        for (first, last), (start, _) in ((part.y, whole.y), (part.x, whole.x))
    ]
    return tuple(along) if whole.z is None else (slice(None), *along)
