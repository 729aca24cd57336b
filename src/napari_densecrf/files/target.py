"""A file that labels or marginals are to be written to: which names it may have, and its metadata."""

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
    """A file that is to be written: path, shape, axes and metadata.

    Parameters
    ----------
    path : Path
        .tif, .npy, an OME-Zarr folder, or ``SOURCE.zarr/labels/NAME`` for a label image of an OME-Zarr.
    shape : tuple of int
    dtype : numpy.dtype
    axes : str
        One letter an axis.
    tile_shape : tuple of int
        Of what is written at a time; an axis that counts frames has 1.
    sizes : dict
        Size of a pixel for the letters that have one.
    unit : str, optional
    about : dict
        Parameters, versions and inputs, which are kept with the labels.
    holds_labels : bool
        Or else marginals, with an axis C for the classes.
    values : tuple of int, optional
        The label of each class; None = the index of the class.
    holds_objects : bool
        Labels, of which each is the id of an object: none is left for pixels without a value.
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
        """Number of the pixels without a value."""
        return no_label(self.dtype, self.values or ())

    @property
    def place(self) -> Path:
        """The path with links resolved: what they lead to is written, and they stay links."""
        return real(self.path)

    @property
    def is_zarr(self) -> bool:
        """Whether this is a folder of chunks."""
        return is_zarr(self.path)

    @property
    def source(self) -> Path | None:
        """The OME-Zarr image that the labels are added to, if there is one."""
        return image_of_labels(self.path)

    @property
    def partial(self) -> Path:
        """The hidden folder for unfinished work."""
        return unfinished(self.path)


def is_zarr(path: Path) -> bool:
    """Tell whether labels under this name are a zarr: by its ending, or as a part of an OME-Zarr image."""
    return path.name.lower().endswith(".zarr") or image_of_labels(path) is not None


def check_path(path: Path) -> None:
    """Raise `BadInput` where no labels can have this name, whatever the inputs are."""
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
