"""The options of a refinement of files, and the files that it reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_densecrf.large.tiling import TILE_MEMORY
from napari_densecrf.params import CRFParams

from . import places
from .places import Use

# In place of a spacing: the pixel sizes that the image's file says.
FROM_FILE = "file"


def as_they_are(params: CRFParams) -> CRFParams:
    """Return parameters as they are."""
    return params


@dataclass(frozen=True)
class ObjectOptions:
    """More options, of a refinement of objects.

    Parameters
    ----------
    border : float, optional
        How far borders may be off, in the unit of the spacing. None = chosen from image and objects.
    chosen : bool
        Whether parameters are chosen from image and objects; ``Options.params`` then does not count.
    adapt : callable
        Takes `CRFParams` and returns them with single numbers replaced, as --appearance-weight replaces one.
    one_contrast : bool, optional
        Whether the image is brought to one contrast first. None = only if parameters are chosen.
    foreground : str, optional
        A file of the probability that a pixel belongs to any object, (*spatial).
    """

    border: float | None = None
    chosen: bool = True
    adapt: Callable[[CRFParams], CRFParams] = as_they_are
    one_contrast: bool | None = None
    foreground: str | None = None


@dataclass(frozen=True)
class Options:
    """The options of a refinement of files.

    Parameters
    ----------
    params : CRFParams
    axes, map_axes : str, optional
        Letters of the axes of the image and of the map, one an axis, as "TCZYX". None = what the files say.
    channel_axis : int, optional
        Axis of the channels in the image. None = what the file says.
    spacing : tuple of float, float, "file" or None
        Pixel sizes in the unit of the position sigmas; "file" = what the image's file says, None = 1.
    confidence : float, optional
        The map is a rough segmentation, and this is the probability of its classes. None = it holds probabilities.
    tile_memory : int
        Bytes that a tile may take while it is refined.
    address : str, optional
        Of a scheduler of `dask.distributed`; None = this process.
    time_sigma : float, optional
        Position sigma of the kernels along time, in frames; None = each frame is refined by itself.
    marginals : Path, optional
        The file that the marginals are written to; None = they are not kept.
    marginals_dtype : str
        "float32", or "uint8" for p as round(255 p).
    params_path : str, optional
        The file that the parameters came from.
    is_one_of_many : bool
        Whether this is one image of a batch, at which nobody looks: a map that may be none is refused.
    objects : ObjectOptions, optional
        The map holds objects, one number each; None = it does not.
    chosen : bool
        Whether parameters are chosen from the image and its map; ``params`` then does not count.
    adapt : callable
        Takes the chosen `CRFParams` and returns them with single numbers replaced.
    """

    params: CRFParams
    axes: str | None = None
    map_axes: str | None = None
    channel_axis: int | None = None
    spacing: Any = None
    confidence: float | None = None
    tile_memory: int = TILE_MEMORY
    address: str | None = None
    time_sigma: float | None = None
    marginals: Path | None = None
    marginals_dtype: str = "float32"
    params_path: str | None = None
    is_one_of_many: bool = False
    objects: ObjectOptions | None = None
    chosen: bool = False
    adapt: Callable[[CRFParams], CRFParams] = as_they_are

    @property
    def model(self) -> CRFParams:
        """The parameters with those along time, if frames are coupled."""
        return self.params if self.time_sigma is None else self.params.coupled_in_time(self.time_sigma)


def inputs_of(image: str, probabilities: str, strokes: str | None, options: Options) -> list[Use]:
    """Return the files that a refinement reads."""
    return places.reads(
        ("the image", image),
        ("the map", probabilities),
        ("the strokes", strokes),
        ("the parameters", options.params_path),
        ("the foreground", None if options.objects is None else options.objects.foreground),
    )


def outputs_of(path: Path, options: Options) -> list[Use]:
    """Return the files that a refinement writes."""
    marginals = [] if options.marginals is None else [Use("the marginals", options.marginals)]
    return [Use("the labels", path), *marginals]
