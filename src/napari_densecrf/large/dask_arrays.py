"""Lazy arrays: of anything that has slices, and the map of a rough segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.unary import probabilities_from_labels

# Bytes of a file that are read at once; beside the tile that is refined, so many are read or wait to be written.
PIECE_BYTES = 2**23


def lazy(array: Any) -> da.Array:
    """Return a Dask array of anything with a shape, a dtype and slices; it is read in pieces smaller than a tile."""
    if isinstance(array, da.Array):
        return array
    if not all(hasattr(array, name) for name in ("shape", "dtype", "ndim", "__getitem__")):
        array = np.asarray(array)
    stored = getattr(array, "chunks", None)
    if not stored:
        # One piece, of which Dask reads the slices that are asked for.
        return da.from_array(array, chunks=array.shape)
    chunks = da.core.normalize_chunks("auto", array.shape, limit=PIECE_BYTES, dtype=array.dtype, previous_chunks=stored)
    return da.from_array(array, chunks=chunks)


def labels_in(labels: Any) -> NDArray[np.int64]:
    """Return the different values of a lazy array of integers, sorted."""
    found: NDArray[np.int64] = da.unique(lazy(labels)).compute(scheduler="threads").astype(np.int64)
    return found


def map_of_labels(labels: Any, confidence: float, values: Sequence[int] | None = None) -> da.Array:
    """Return the lazy map of a rough segmentation. Without ``values``, all labels are read first to find the largest.

    Parameters
    ----------
    labels : (*spatial) lazy array of bool or int
    confidence : float
        As `probabilities_from_labels` takes it.
    values : sequence of int, optional
        The label of each class, sorted; None = the index of the class.

    Returns
    -------
    (n_labels, *spatial) dask array of float32
    """
    pixels = lazy(labels)
    if pixels.dtype.kind not in "biu":
        raise ValueError(f"labels hold {pixels.dtype} values: expected integers, the index of the class")
    if values is not None:
        known = np.asarray(values)
        pixels = pixels.map_blocks(lambda block: np.searchsorted(known, block), dtype=np.intp)
    n_labels = len(values) if values else max(2, int(pixels.max().compute(scheduler="threads")) + 1)
    # Raises now where it does not accept the arguments.
    probabilities_from_labels(np.zeros((1,), np.uint8), confidence, n_labels)
    return da.map_blocks(
        probabilities_from_labels,
        pixels,
        confidence,
        n_labels,
        dtype=np.float32,
        new_axis=0,
        chunks=((n_labels,), *pixels.chunks),
    )
