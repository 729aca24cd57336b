"""Lazy arrays: of anything that can be sliced, and the map of a rough segmentation, made lazily."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.unary import probabilities_from_labels, probabilities_from_masks
from napari_densecrf.door.axes import MAX_CLASSES

# Bytes of a file that are read at once.
PIECE_BYTES = 2**23


def lazy(array: Any) -> da.Array:
    """Return a Dask array of anything with a shape, a dtype and slices; files are read in pieces of `PIECE_BYTES`."""
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


def labels_in(labels: Any, most: int | None = None) -> NDArray[Any]:
    """Return the different values of a lazy array of integers, sorted, in its type; it is read piece by piece.

    With ``most``, reading ends as soon as more than ``most`` values are found: then there may be others.
    """
    pixels = lazy(labels)
    pieces = da.core.normalize_chunks(
        "auto", pixels.shape, limit=PIECE_BYTES, dtype=pixels.dtype, previous_chunks=pixels.chunks
    )
    found = np.empty(0, pixels.dtype.newbyteorder("="))
    for where in da.core.slices_from_chunks(pieces):
        piece = np.ma.compressed(pixels[where].compute(scheduler="threads")).astype(found.dtype, copy=False)
        # Of neighbours that are equal, one is enough: fewer values to sort.
        starts = np.flatnonzero(piece[1:] != piece[:-1]) + 1
        found = np.union1d(found, np.append(piece[starts], piece[:1]))
        if most is not None and len(found) > most:
            break
    return found


def classes_in(labels: Any, name: str) -> NDArray[Any]:
    """Return the values of the classes of a rough segmentation, sorted.

    Parameters
    ----------
    labels : lazy array of bool or int
        All of it, whatever part is refined: so that a class is the same in all parts.
    name : str
        As errors name it.

    Returns
    -------
    (n_classes,) array
        Of the labels' type; uint8 for bool. At least two: 0 or 1 is added to a single one.

    Raises
    ------
    ValueError
        Where it holds no integers, or more than `MAX_CLASSES` of them.
    """
    dtype = labels.dtype
    if dtype.kind not in "biu":
        raise ValueError(f"{name} holds {dtype} values: expected integers, one for each class")
    values = labels_in(labels, MAX_CLASSES)
    if len(values) > MAX_CLASSES:
        raise ValueError(
            f"{name} holds more than {MAX_CLASSES} different labels, as {dtype}, from {values[0]} to {values[-1]}: "
            "expected classes, not one label an object; refine_objects, on the command line --objects, refines the "
            "border of each object"
        )
    if dtype.kind == "b":
        return np.array([0, 1], np.uint8)
    if len(values) < 2:
        # The second class has no pixel: it is 0, or 1 where the only one is 0.
        only = values[0] if len(values) else 0
        return np.unique(np.array([only, 0 if only else 1], values.dtype))
    return values


def ranks_of(labels: NDArray[Any], known: NDArray[Any]) -> NDArray[np.intp]:
    """Return the index of each label in ``known``, the sorted values of all classes; masked where labels are."""
    ranks: NDArray[np.intp] = np.searchsorted(known, np.ma.getdata(labels))
    return np.ma.array(ranks, mask=np.ma.getmaskarray(labels)) if np.ma.is_masked(labels) else ranks


def map_of_masks(masks: Any, confidence: float) -> da.Array:
    """Return the lazy map of masks, one for each class but class 0, which is where no mask is.

    Parameters
    ----------
    masks : (n_masks, *spatial) lazy array of bool or int
    confidence : float
        As `probabilities_from_masks` takes it.

    Returns
    -------
    (n_masks + 1, *spatial) dask array of float32
    """
    whole = lazy(masks).rechunk({0: -1})
    n_labels = len(whole) + 1
    chunks = ((n_labels,), *whole.chunks[1:])
    return whole.map_blocks(probabilities_from_masks, confidence, dtype=np.float32, chunks=chunks)


def map_of_labels(labels: Any, confidence: float, values: Sequence[int] | NDArray[Any]) -> da.Array:
    """Return the lazy map of a rough segmentation.

    Parameters
    ----------
    labels : (*spatial) lazy array of bool or int
    confidence : float
        As `probabilities_from_labels` takes it.
    values : sequence of int
        The label of each class, sorted, as `classes_in` finds them.

    Returns
    -------
    (n_labels, *spatial) dask array of float32
        NaN where labels are masked.
    """
    pixels = lazy(labels)
    known = np.asarray(values)
    ranks = pixels.map_blocks(partial(ranks_of, known=known), dtype=np.intp)
    # So that bad arguments are refused now, not when the map is computed.
    probabilities_from_labels(np.zeros((1,), np.uint8), confidence, len(known))
    return da.map_blocks(
        probabilities_from_labels,
        ranks,
        confidence,
        len(known),
        dtype=np.float32,
        new_axis=0,
        chunks=((len(known),), *pixels.chunks),
    )
