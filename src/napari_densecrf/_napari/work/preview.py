"""What is shown while a slider moves: the same refinement on fewer pixels, cut out of what the exact run has read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf._napari.problem.region import Region
from napari_densecrf._napari.problem.request import Request
from napari_densecrf.params import CRFParams, PairwiseKernel, Sigma

from .reading import Inputs

# Every so many pixels of the exact run's, at most, finest first.
FACTORS = (1, 2, 4, 8, 16)
# A preview of fewer pixels than this tells nothing.
FEWEST_PIXELS = 3_000
# Around what is shown, so many reaches are refined too: half of what an exact run needs.
MARGIN_REACHES = 2.5
# Around each sample, the image is averaged over so many pixels along each axis at most.
MOST_AVERAGED = 4
# How much wider appearance kernels are where every first, second, or only a few pixels are refined.
WIDENED, MOST_WIDENED = {1: 1.0, 2: 1.3}, 1.6


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

    @property
    def factor(self) -> int:
        """Every so many pixels of what has been read are refined."""
        return self.request.read.step // self.source.step

    def of(self, thin: Inputs) -> Inputs:
        """Cut the inputs of the preview out of what `thinned` gives for its factor; without copying."""
        return _taken(thin, _index(self.request.read, self.source.coarser(self.factor)))


def thinned(inputs: Inputs, source: Region, factor: int) -> Inputs:
    """Return every so many pixels of what has been read.

    The image is averaged around each sample: its noise would scatter the pixels over so many colours that a quarter of
    them takes nearly as long as all. The map stays as noisy as it is for the exact run.
    """
    if factor == 1:
        return inputs
    index = _index(source.coarser(factor), source)
    return replace(_taken(inputs, index), image=_averaged(inputs.image, index, factor))


def _taken(inputs: Inputs, index: tuple[slice, ...]) -> Inputs:
    # The map's classes are first, the image's channels last.
    classes = () if inputs.probabilities.ndim == len(index) else (slice(None),)
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
    found: list[Cut] = []
    for factor in FACTORS:
        part = replace(shown, z=request.read.z).coarser(factor)
        read = part.grown(_margins(request, part.step), request.problem.shape).common(held.coarser(factor))
        region = replace(part, z=None)
        if not found or region.n_pixels >= FEWEST_PIXELS:
            strokes = None if request.strokes is None else request.strokes[_index(read, request.read)]
            made = replace(request, region=region, read=read, strokes=strokes, is_preview=True, shown=None)
            found.append(Cut(made, source))
    return found


def widened(params: CRFParams, factor: int, stays: Callable[[PairwiseKernel], bool]) -> CRFParams:
    """Return parameters whose appearance kernels reach a little farther, for a preview of every so many pixels.

    Among fewer pixels, few look quite alike: the lattice would be nearly as large as that of all of them. Wider, it is
    made in a third of the time, and the labels are at least as near to the exact ones (benchmarks/dragging.py). Kernels
    for which ``stays`` holds are not on a lattice, and stay.
    """
    by = WIDENED.get(factor, MOST_WIDENED)
    kernels = [
        kernel
        if kernel.intensity_sigma is None or stays(kernel)
        else replace(
            kernel,
            position_sigma=_times(kernel.position_sigma, by),
            intensity_sigma=_times(kernel.intensity_sigma, by),
        )
        for kernel in params.kernels
    ]
    return replace(params, kernels=tuple(kernels))


def _times(sigma: Sigma, factor: float) -> Sigma:
    return tuple(factor * one for one in sigma) if isinstance(sigma, tuple) else factor * sigma


def _margins(request: Request, step: int) -> tuple[int, int]:
    reaches = [kernel.position_sigma for kernel in request.params.kernels if kernel.weight > 0]
    reach = max((max(sigma) if isinstance(sigma, tuple) else sigma for sigma in reaches), default=0.0)
    y, x = (_in_steps(int(MARGIN_REACHES * reach / (size * step)) + 1) for size in request.problem.spacing)
    return y, x


def _in_steps(margin: int) -> int:
    """Return a margin that is no smaller, and seldom another: so a slider of a reach seldom changes what is read."""
    power = 1 << (margin - 1).bit_length()
    return 3 * power // 4 if margin <= 3 * power // 4 else power


def _index(part: Region, whole: Region) -> tuple[slice, ...]:
    """Return what takes the pixels of a coarser part out of an array of the whole: along z too, where there is one."""
    step = part.step // whole.step
    along = [
        slice((first - start) // whole.step, -((start - last) // whole.step), step)
        for (first, last), (start, _) in ((part.y, whole.y), (part.x, whole.x))
    ]
    return tuple(along) if whole.z is None else (slice(None), *along)


def _averaged(image: NDArray[Any], index: tuple[slice, ...], factor: int) -> NDArray[Any]:
    """Return the mean of some pixels around each sample; the sample alone where one of them is NaN."""
    samples = image[index]
    if image.dtype.kind not in "uif":
        return samples
    *before, y, x = index
    n_rows, n_columns = samples.shape[len(before) : len(before) + 2]
    ways = range(-(factor // 2), factor - factor // 2, max(1, factor // MOST_AVERAGED))
    total = np.zeros(samples.shape, np.float32)
    counts = np.zeros((n_rows, n_columns), np.float32)
    for down in ways:
        rows, to_rows = _moved(y, down, n_rows)
        for right in ways:
            columns, to_columns = _moved(x, right, n_columns)
            part = image[(*before, rows, columns)]
            to = (to_rows.start, to_rows.start + part.shape[len(before)])
            too = (to_columns.start, to_columns.start + part.shape[len(before) + 1])
            total[(*before, slice(*to), slice(*too))] += part
            counts[slice(*to), slice(*too)] += 1
    counts = counts.reshape(*counts.shape, *[1] * (samples.ndim - len(before) - 2))
    mean: NDArray[Any] = total / counts
    return np.where(np.isfinite(mean), mean, samples) if image.dtype.kind == "f" else mean


def _moved(along: slice, way: int, count: int) -> tuple[slice, slice]:
    """Return the slice of the pixels so far behind each sample, and of the samples that have one."""
    first = along.start + way
    # Only the first sample may have none before it.
    left_out = 1 if first < 0 else 0
    start = first + left_out * along.step
    return slice(start, along.start + way + count * along.step, along.step), slice(left_out, count)
