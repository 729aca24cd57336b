"""What a refinement of files writes: the targets of labels and marginals, and how they were made."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.large.tiling import TilePlan

from .frames import Frames
from .options import Options
from .read import BadInput, Contents, files_behind, is_ome_tif
from .target import Target, is_zarr


def labels_target(
    path: Path,
    frames: Frames,
    plan: TilePlan,
    dtype: np.dtype[Any],
    image: Contents,
    about: dict[str, Any],
    *,
    holds_objects: bool = False,
) -> Target:
    """Return the target of the labels of all frames, with the pixel sizes of the image."""
    return Target(
        path,
        frames.shape,
        dtype,
        frames.axes,
        (1,) * len(frames.counts) + plan.tile_shape,
        {letter: size for letter, size in image.sizes.items() if letter in frames.axes},
        image.unit,
        about,
        values=None if frames.values is None else tuple(frames.values.tolist()),
        holds_objects=holds_objects,
    )


def marginals_target(target: Target, options: Options, n_labels: int) -> Target:
    """Return the target of the marginals, which is that of the labels with an axis of classes.

    Classes are the first axis; in OME-Zarr, whose axes have an order, they come after time.
    """
    assert options.marginals is not None
    at = _class_axis(target.axes) if is_zarr(options.marginals) else 0

    def with_classes(along: Any, classes: Any) -> Any:
        return along[:at] + classes + along[at:]

    return replace(
        target,
        path=options.marginals,
        shape=with_classes(target.shape, (n_labels,)),
        dtype=np.dtype(options.marginals_dtype),
        axes=with_classes(target.axes, "C"),
        tile_shape=with_classes(target.tile_shape, (n_labels,)),
        holds_labels=False,
        values=None,
    )


def _class_axis(axes: str) -> int:
    """Return the number of axes before the first spatial one."""
    return min(axes.index(letter) for letter in axes if letter in "ZYX")


def type_in(path: Path, values: NDArray[Any]) -> np.dtype[Any]:
    """Return the type in which a file holds labels.

    Parameters
    ----------
    path : Path
    values : (n_labels,) array of int
        All labels, sorted.

    Returns
    -------
    numpy.dtype
        That of ``values``; where it has 64 bits and the file is an OME-TIFF, which has no such type, the smallest in
        which all labels can be written.

    Raises
    ------
    BadInput
        Where there is none.
    """
    if values.dtype.itemsize < 8 or not is_ome_tif(path):
        return values.dtype
    for smaller in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        if np.iinfo(smaller).min <= values[0] and values[-1] <= np.iinfo(smaller).max:
            return np.dtype(smaller)
    raise BadInput(f"{path} cannot hold labels of {values[0]} to {values[-1]}, of 64 bit: expected .tif or .npy")


def about_run(inputs: tuple[Contents, ...], values: NDArray[Any] | None, options: Options) -> dict[str, Any]:
    """Return the inputs and options, which are kept with the labels.

    A run that was stopped goes on only if they are the same, the times at which files were changed included.

    Parameters
    ----------
    inputs : tuple of Contents
        Image, map, and strokes if there are any.
    values : (n_labels,) array of int, optional
        The label of each class.
    options : Options
    """
    files = {kind: _file(one.path) for kind, one in zip(("image", "probabilities", "strokes"), inputs, strict=False)}
    if options.objects is not None and options.objects.foreground is not None:
        files["foreground"] = _file(options.objects.foreground)
    return {
        "version": version("napari-densecrf"),
        "params": options.params.to_dict(),
        "spacing": list(options.spacing) if isinstance(options.spacing, tuple) else options.spacing,
        "confidence": options.confidence,
        "classes": None if values is None else values.tolist(),
        "axes": options.axes,
        "map_axes": options.map_axes,
        "channel_axis": options.channel_axis,
        "tile_memory": options.tile_memory,
        "time_sigma": options.time_sigma,
        "marginals": None if options.marginals is None else [options.marginals.name, options.marginals_dtype],
        "inputs": files,
    }


def _file(name: str) -> dict[str, Any]:
    """Return the name of an input, and when its file, or the last of its files, was changed."""
    changed = [os.stat(path).st_mtime_ns for path in files_behind(name) if path.exists()]
    return {"path": Path(name).name, "changed_ns": max(changed, default=None)}
