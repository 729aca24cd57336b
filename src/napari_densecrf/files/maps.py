"""Whether the map among the files holds what the options say: probabilities, classes or objects.

Each function takes frames as `lay_out` makes them, and returns them with a map that can be refined. It raises
`BadInput` where the map cannot be what the options say, and warns where this is a guess.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.blank import label_type, without
from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.door.axes import MAX_CLASSES
from napari_densecrf.door.refusals import COMMAND, refusal, refusal_of_objects
from napari_densecrf.door.spread import look_through
from napari_densecrf.door.values import FEW_VALUES, Kind
from napari_densecrf.large.dask_arrays import classes_in, lazy, map_of_labels

from .frames import Frames
from .read import BadInput, Contents


def checked_probabilities(frames: Frames, source: Contents, *, is_one_of_many: bool) -> Frames:
    """Check that the map, all frames together, holds probabilities.

    Parameters
    ----------
    frames : Frames
    source : Contents
        The map as it was read; errors and warnings name its file.
    is_one_of_many : bool
        Whether this is one file of a batch, at which nobody looks: a guess is then an error.
    """
    pixels = frames.probabilities
    seen = look_through(pixels, 0 if frames.has_classes else None)
    refused = refusal(seen, COMMAND)
    if refused is not None:
        raise BadInput(f"{source.path}: {refused}")
    if frames.has_classes and not seen.sure and is_one_of_many:
        # It may be a photo.
        raise BadInput(f"{source.path} is no map of probabilities: it {seen.why}, and a map to 1")
    if not frames.has_classes:
        _refuse_classes_as_frames(frames, source)
        if not seen.sure and is_one_of_many:
            raise BadInput(
                f"{source.path} may be a picture: it {seen.why}, and has no classes that sum to 1; say --map-axes "
                f"{frames.axes} if it is the foreground of two classes"
            )
        if not seen.sure:
            warnings.warn(f"{source.path} is taken for the foreground of two classes; it {seen.why}", InputWarning, 2)
    return frames


def _refuse_classes_as_frames(frames: Frames, source: Contents) -> None:
    """Raise `BadInput` where a map without classes sums to one along an axis that is taken for frames or slices."""
    for axis, size in enumerate(frames.shape[:-2]):
        seen = look_through(frames.probabilities, axis) if 2 <= size <= MAX_CLASSES else None
        if seen is not None and seen.kind is Kind.PROBABILITIES and seen.sure:
            letter = frames.axes[axis]
            raise BadInput(
                f"{source.path} {seen.why.replace('the classes', letter)}, so {letter} counts classes there: say "
                f"--axes {frames.axes.replace(letter, 'C')} if it counts channels in the image"
            )


def map_from_labels(frames: Frames, source: Contents, confidence: float) -> Frames:
    """Make the map from a rough segmentation. Its classes are the values of all frames together.

    Parameters
    ----------
    frames : Frames
    source : Contents
        The rough segmentation as it was read.
    confidence : float
        As `probabilities_from_labels` takes it.
    """
    labels = _labels_of(frames, source)
    if source.no_label is not None:
        # Labels that were saved by this program: their pixels without a label have none here either.
        labels = lazy(labels).map_blocks(partial(without, source.no_label))
    values = classes_in(labels, source.path)
    if len(values) > FEW_VALUES:
        if look_through(labels, None).kind is Kind.OBJECTS:
            looks = "look like objects"
            instead = "say --objects in place of --from-labels to refine the border of each"
        else:
            looks = "look like a map or a picture"
            instead = "leave out --from-labels where these are probabilities"
        warnings.warn(
            f"{source.path} holds {len(values)} values that {looks}, and each is taken for a class: {instead}",
            InputWarning,
            2,
        )
    probabilities = map_of_labels(labels, confidence, values)
    return replace(frames, probabilities=probabilities, has_classes=True, values=values)


def checked_objects(frames: Frames, source: Contents, *, is_one_of_many: bool) -> Frames:
    """Check that the map holds objects, one number each; floats that are whole numbers become int32.

    Parameters
    ----------
    frames : Frames
    source : Contents
        The objects as they were read.
    is_one_of_many : bool
        As `checked_probabilities` takes it.
    """
    pixels = frames.probabilities
    seen = look_through(pixels, None)
    refused = refusal_of_objects(seen, pixels.dtype)
    if refused is not None:
        raise BadInput(f"{source.path}: {refused}")
    if pixels.dtype.kind == "f":
        return replace(frames, probabilities=pixels.map_blocks(partial(_whole_numbers, source.path), dtype=np.int32))
    if seen.kind in (Kind.PROBABILITIES, Kind.SCALED) and not seen.why.startswith("holds only"):
        doubt = f"{source.path} may be a picture or a map: it {seen.why}, and neighbours differ"
        if is_one_of_many:
            raise BadInput(f"{doubt}; expected a number for each object")
        warnings.warn(f"{doubt}; each number is taken for an object", InputWarning, 2)
    if seen.kind is Kind.MASK:
        warnings.warn(
            f"{source.path} {seen.why}, which is one object, whatever its pieces; skimage.measure.label gives each its "
            "number",
            InputWarning,
            2,
        )
    return frames


def _labels_of(frames: Frames, source: Contents) -> Any:
    """Return (*frames.shape) integers; planes of 0 and 1, one a class, become the index of the plane that has 1."""
    labels = frames.probabilities
    if frames.has_classes:
        if look_through(labels, 0).kind is not Kind.ONE_HOT:
            raise BadInput(
                f"{source.path} has shape {source.pixels.shape}: expected {frames.shape}, one label a pixel; leave out "
                "--from-labels where these are probabilities"
            )
        whole = labels.rechunk({0: -1})
        return whole.map_blocks(
            partial(_plane_numbers, source.path), dtype=label_type(len(labels)), drop_axis=0, chunks=whole.chunks[1:]
        )
    if labels.dtype.kind == "f":
        return labels.map_blocks(partial(_whole_numbers, source.path), dtype=np.int32)
    return labels


def _plane_numbers(name: str, planes: NDArray[Any]) -> NDArray[Any]:
    """Return (*spatial): the index of the plane that is above 0, of planes of shape (n_classes, *spatial)."""
    n_wrong = np.count_nonzero((planes > 0).sum(axis=0) != 1)
    if n_wrong:
        raise BadInput(f"{name} has no class, or several, at {n_wrong:,} pixels: expected one plane above 0 at each")
    numbers: NDArray[Any] = planes.argmax(axis=0).astype(label_type(len(planes)))
    return numbers


def _whole_numbers(name: str, floats: NDArray[Any]) -> NDArray[np.int32]:
    """Return floats as int32; raise `BadInput` where they are no whole numbers."""
    labels: NDArray[np.int32] = np.clip(np.nan_to_num(floats), -(2**31), 2**31 - 128).astype(np.int32)
    if not (labels == floats).all():
        raise BadInput(
            f"{name} holds floats that are no whole numbers: expected one label a pixel; leave out --from-labels or "
            "--objects where these are probabilities"
        )
    return labels
