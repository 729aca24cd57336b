"""What is to be written: the name, shape and metadata of a file of labels or marginals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_densecrf.blank import no_label

from .places import image_of_labels, real, unfinished
from .read import BadInput

TIF = (".tif", ".tiff")
WRITABLE = (*TIF, ".npy", ".ome.zarr", ".zarr")


@dataclass(frozen=True)
class Target:
    """A file of labels or marginals that is to be written.

    Parameters
    ----------
    path : Path
        .tif, .npy, an OME-Zarr folder, or ``SOURCE.zarr/labels/NAME`` for a label image of an OME-Zarr.
    shape : tuple of int
    dtype : numpy.dtype
    axes : str
        One letter an axis, as in `Contents`; C is that of the classes.
    tile_shape : tuple of int
        Pixels along each axis that are written at a time; 1 along an axis that counts frames.
    sizes : dict
        From letters of axes to the size of a pixel, for the axes that have one.
    unit : str, optional
        Unit of the sizes.
    about : dict
        How the labels were made: JSON values that are kept with them.
    holds_labels : bool
        Whether it holds labels. If not, it holds marginals, and has an axis C.
    values : tuple of int, optional
        The label of each class; None = the index of the class.
    holds_objects : bool
        Whether each label is the id of an object. No number then stands for pixels without a value.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    tile_shape: tuple[int, ...]
    sizes: dict[str, float]
    unit: str | None
    about: dict[str, Any]
    holds_labels: bool = True
    values: tuple[int, ...] | None = None
    holds_objects: bool = False

    @property
    def no_label(self) -> int:
        """What pixels without a value hold."""
        return no_label(self.dtype, self.values or ())

    @property
    def place(self) -> Path:
        """The path with links resolved: a link stays one, and the file that it leads to is written."""
        return real(self.path)

    @property
    def is_zarr(self) -> bool:
        """Whether this is a folder of chunks."""
        return is_zarr(self.path)

    @property
    def source(self) -> Path | None:
        """The OME-Zarr image to which the labels are added; None where they are a file of their own."""
        return image_of_labels(self.path)

    @property
    def partial(self) -> Path:
        """The hidden folder for unfinished work."""
        return unfinished(self.path)


def is_zarr(path: Path) -> bool:
    """Tell whether a path is that of a zarr: by its ending, or as labels of an OME-Zarr image."""
    return path.name.lower().endswith(".zarr") or image_of_labels(path) is not None


def check_path(path: Path) -> None:
    """Raise `BadInput` where nothing can be written to this path, whatever the inputs are."""
    if path.name in ("", ".."):
        raise BadInput(f"{path} is a folder: expected the name of a file")
    if image_of_labels(path) is not None and (path.name.startswith(".") or path.name == "zarr.json"):
        raise BadInput(f"{path} is a name that zarr has its own use for: give another one")
    if not is_zarr(path) and not path.name.lower().endswith(WRITABLE):
        if path.parent.name == "labels":
            raise BadInput(f"{path.parent.parent} is no OME-Zarr image, to which labels could be added as {path}")
        raise BadInput(f"{path} ends in {path.suffix or 'nothing'}: expected {', '.join(WRITABLE)}")
    if image_of_labels(path) is None and not path.parent.is_dir():
        raise BadInput(f"{path.parent} is no folder: expected one that exists")
    if is_zarr(path):
        try:
            import ome_zarr.writer  # noqa: F401
        except ImportError:
            raise BadInput(f'{path} needs ome-zarr: pip install "napari-densecrf[files]"') from None
