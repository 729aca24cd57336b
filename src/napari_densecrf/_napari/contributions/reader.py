"""The reader of ilastik's HDF5 exports: a map with its classes, or the labels of a segmentation. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_densecrf.files.read import HDF5, ILASTIK_DATASET, Contents, read
from napari_densecrf.large.dask_arrays import lazy

# In a layer's metadata: which of its axes each axis of its file is, None for one that was left out.
FILE_AXES = "file_axes"

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the reader if all paths are exports of ilastik, else None."""
    paths = path if isinstance(path, list) else [path]
    return read_layers if paths and all(_is_export(one) for one in paths) else None


def _is_export(path: str) -> bool:
    if not path.lower().endswith(HDF5) or not Path(path).is_file():
        return False
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return ILASTIK_DATASET in file
    except (ImportError, OSError):
        return False


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Return a layer for each export."""
    return [_layer(read(one)) for one in (path if isinstance(path, list) else [path])]


def _layer(contents: Contents) -> LayerData:
    pixels = contents.pixels if isinstance(contents.pixels, np.ndarray) else lazy(contents.pixels)
    letters = contents.axes or "TZYXC"[-pixels.ndim :]
    in_file = letters
    has_classes = "C" in letters and pixels.shape[letters.index("C")] > 1
    # Axes of one pixel mean nothing in a window; classes come first, as the widget and `refine` have them.
    kept = [k for k, letter in enumerate(letters) if pixels.shape[k] > 1 or letter in "YX"]
    pixels = pixels[tuple(slice(None) if k in kept else 0 for k in range(len(letters)))]
    letters = "".join(letters[k] for k in kept)
    order = "C" * has_classes + "".join(letter for letter in "TZYX" if letter in letters)
    order += "".join(letter for letter in letters if letter not in order)
    file_axes = [order.index(letter) if letter in order else None for letter in in_file]
    pixels = pixels.transpose([letters.index(letter) for letter in order])
    about: dict[str, Any] = {
        "name": Path(contents.path).stem,
        "scale": [contents.sizes.get(letter, 1.0) for letter in order],
        "axis_labels": ["class" if letter == "C" else letter.lower() for letter in order],
        "metadata": {FILE_AXES: file_axes},
    }
    if not has_classes:
        return pixels, about, "labels" if pixels.dtype.kind in "iu" else "image"
    # ilastik's own names, where the file has none.
    names = contents.classes or tuple(f"Label {k + 1}" for k in range(pixels.shape[0]))
    about |= {"metadata": {"classes": list(names), FILE_AXES: file_axes}, "colormap": "magma"}
    about["contrast_limits"] = (0, 1) if pixels.dtype.kind == "f" else (0, int(np.iinfo(pixels.dtype).max))
    return pixels, about, "image"
