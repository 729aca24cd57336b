"""Labels of a coarse preview on the pixels of the exact result, with borders as smooth as between its samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.blank import label_type
from napari_densecrf.crf.numba.addresses import arguments_of
from napari_densecrf.crf.numba.parallel import parallel_kernel

# No probability is taken to be smaller.
SMALLEST = np.float32(1e-6)


def smoothed_labels(marginals: NDArray[np.float32], step: int, shape: tuple[int, int]) -> NDArray[np.unsignedinteger]:
    """Return the most probable class between samples, where the logarithms of the probabilities are linear.

    Parameters
    ----------
    marginals : (n_labels, height, width) float32
        At every step-th pixel, the first one among them.
    step : int
    shape : (int, int)
        Pixels that are wanted; behind the last sample all is like that.

    Returns
    -------
    (*shape) uint8, or uint16 past 255 classes
    """
    logs = np.log(np.maximum(marginals, SMALLEST))
    # Against the last class, whose own is then 0.
    differences = np.ascontiguousarray(logs[:-1] - logs[-1])
    labels = np.empty(shape, label_type(len(marginals)))
    _between(-(-shape[0] // step), differences, np.int64(step), labels)
    return labels


def repeated(values: NDArray[np.generic], step: int, shape: tuple[int, int]) -> NDArray[np.generic]:
    """Return each value around its sample: (*shape), from samples at every step-th pixel, the first one among them."""
    for axis in (0, 1):
        pixels = np.minimum((np.arange(shape[axis]) + step // 2) // step, values.shape[axis] - 1)
        values = values.take(pixels, axis=axis)
    return values


@parallel_kernel()
def _between(given, piece):
    """Write the labels of the lines from one line of samples up to the next."""
    differences, step, labels = arguments_of(given)
    n_planes, n_rows, n_columns = differences.shape
    height, width = labels.shape
    below = min(piece + 1, n_rows - 1)
    line = np.empty(n_columns + 1, np.float32)
    best = np.empty(width, np.float32)
    for y in range(piece * step, min((piece + 1) * step, height)):
        part = np.float32(y - piece * step) / np.float32(step)
        # The last class, until another is as probable: of equals the first is taken.
        best[:] = np.float32(0.0)
        labels[y, :] = n_planes
        for k in range(n_planes):
            plane = n_planes - 1 - k
            for x in range(n_columns):
                above = differences[plane, piece, x]
                line[x] = above + part * (differences[plane, below, x] - above)
            line[n_columns] = line[n_columns - 1]
            for x in range(n_columns):
                slope = (line[x + 1] - line[x]) / np.float32(step)
                for j in range(min(step, width - x * step)):
                    value = line[x] + slope * np.float32(j)
                    if value >= best[x * step + j]:
                        best[x * step + j] = value
                        labels[y, x * step + j] = plane
