"""Reads files: pixels, and the axes, pixel sizes and names of classes where files state them; parameters.

tif, npy and npz need nothing that napari does not bring. HDF5 needs h5py, and OME-Zarr needs zarr. Other files are read
by the napari plugins that are installed, through npe2. No Qt here.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_densecrf.crf.unary import InputWarning
from napari_densecrf.params import CRFParams

HDF5 = (".h5", ".hdf5", ".ilp")
# Files up to this size are read at once; larger ones piece by piece.
AT_ONCE_BYTES = 2**27
# Units of length in OME-XML and OME-Zarr, in metres.
METRES = {"nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "Å": 1e-10, "pm": 1e-12}
METRES |= {"nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3, "centimeter": 1e-2, "meter": 1.0}
METRES |= {"angstrom": 1e-10, "picometer": 1e-12, "um": 1e-6, "micron": 1e-6}
# The key in the metadata of what this program writes under which it says how it was made.
METADATA = "napari-densecrf"
# Where ilastik puts what it exports.
ILASTIK_DATASET = "exported_data"


class BadInput(Exception):
    """Wrong input; the message is one sentence for the user."""


def read_params(path: str | Path) -> CRFParams:
    """Return the parameters in a JSON file, as `CRFParams.to_json` writes them.

    Raises
    ------
    BadInput
        Where the file holds anything else.
    OSError
        Where it cannot be read.
    """
    try:
        return CRFParams.from_json(Path(path).read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Contents:
    """Pixels of a file, and its metadata.

    Parameters
    ----------
    path : str
        The name that was given to `read`.
    pixels : array_like
        Any array with shape, dtype, ndim and slices; those of large files are read when they are sliced.
    axes : str, optional
        One capital letter an axis: Y, X, Z, C for channels or classes, T and others; None = the file does not say.
    sizes : dict
        From letters of axes to the size of a pixel, for the axes whose size the file says.
    unit : str, optional
        Unit of the sizes, as "µm".
    classes : tuple of str, optional
        Names of the classes, where the file says them.
    no_label : int, optional
        What pixels without a label hold, in labels that this program wrote.
    """

    path: str
    pixels: Any
    axes: str | None = None
    sizes: dict[str, float] = field(default_factory=dict)
    unit: str | None = None
    classes: tuple[str, ...] | None = None
    no_label: int | None = None

    def __str__(self) -> str:
        """Describe the file in one line."""
        shape = " x ".join(map(str, self.pixels.shape))
        axes = f" {self.axes}" if self.axes else ""
        sizes = ", ".join(f"{letter} {size:g}" for letter, size in self.sizes.items())
        return f"{self.path}: {shape}{axes} {self.pixels.dtype}" + (
            f", pixel {sizes} {self.unit or ''}".rstrip() if sizes else ""
        )


def in_unit(contents: Contents, letter: str, unit: str | None) -> float:
    """Return the size of a pixel along an axis in another unit.

    Parameters
    ----------
    contents : Contents
    letter : str
        Of the axis; empty for the size of one unit of ``contents``.
    unit : str, optional

    Returns
    -------
    float
        0 where the units differ and are not both known units of length.
    """
    size = contents.sizes[letter] if letter else 1.0
    if contents.unit == unit:
        return size
    here, there = METRES.get(contents.unit or ""), METRES.get(unit or "")
    return 0.0 if here is None or there is None else size * here / there


def read(name: str | Path) -> Contents:
    """Open a file. Pixels of files above `AT_ONCE_BYTES` are read later, by slices.

    Parameters
    ----------
    name : str or Path
        A tif, npy, npz or HDF5 file, a folder with an OME-Zarr or a zarr array, or what a napari plugin reads.
        ``file.h5/dataset`` and ``image.zarr/labels/cells`` name what is inside.

    Raises
    ------
    BadInput
        With one sentence that names the file.
    OSError
        Where the file cannot be opened.
    """
    name = str(name)
    reader = _reader(name)
    try:
        return reader(name)
    except (BadInput, OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise BadInput(f"{name} cannot be read: {_words(error)}") from None
        raise
    except Exception as error:
        remedy = ': pip install "napari-densecrf[files]"' if "imagecodecs" in str(error) else ""
        raise BadInput(f"{name} cannot be read: {_words(error)}{remedy}") from None


def files_behind(name: str | Path) -> list[Path]:
    """Return the files or folders that are read for a name that `read` takes.

    For ``file.h5/dataset`` it is the file; for an OME-TIFF also the files it names that hold some of its planes.
    """
    inside = _split_hdf5(str(name))
    if inside is not None:
        return [Path(inside[0])]
    path = Path(name)
    others: set[str] = set()
    if is_ome_tif(path):
        # Where the file cannot be read, `read` says so.
        with suppress(Exception), tifffile.TiffFile(path) as file:
            elements = ElementTree.fromstring((file.ome_metadata or "").encode()).iter()
            others.update(element.attrib["FileName"] for element in elements if "FileName" in element.attrib)
    return [path, *(path.parent / other for other in sorted(others - {path.name}))]


def is_ome_tif(path: Path) -> bool:
    """Tell whether a file is an OME-TIFF, by its name."""
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _reader(name: str) -> Callable[[str], Contents]:
    lower = str(Path(name)).lower()
    if _split_hdf5(name) is not None:
        return _read_hdf5
    if ".zarr" in lower:
        return _read_zarr
    if not Path(name).exists():
        raise BadInput(f"{name} is no file")
    if lower.endswith((".tif", ".tiff")):
        return _read_tif
    return _read_npy if lower.endswith((".npy", ".npz")) else _read_with_napari_plugins


def _read_npy(name: str) -> Contents:
    try:
        pixels = np.load(name, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        # NumPy raises the same error for files that are no arrays at all.
        if ("objects" not in str(error) and "allow_pickle" not in str(error)) or not _is_array(name):
            raise
        raise BadInput(
            f"{name} holds Python objects, as Cellpose's _seg.npy does: expected one array; save what is in it as .tif"
        ) from None
    if isinstance(pixels, np.ndarray):
        return Contents(name, pixels)
    # A .npz, whatever its name.
    with pixels as arrays:
        if len(arrays.files) != 1:
            raise BadInput(f"{name} holds the arrays {', '.join(arrays)} of an .npz: expected one array")
        return Contents(name, arrays[arrays.files[0]])


def _is_array(name: str) -> bool:
    with open(name, "rb") as file:
        return file.read(6) == b"\x93NUMPY"


@dataclass(frozen=True)
class Slices:
    """Pixels that are read when they are sliced. The file is opened each time, so that other processes can read it too.

    Parameters
    ----------
    opened : callable
        Takes path and key, and returns a context manager that gives the array.
    path : str
        Of the file.
    key : str
        Of the array in the file.
    shape, dtype, chunks
        As arrays have them.
    """

    opened: Callable[[str, str], Any]
    path: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, where: Any) -> Any:
        """Read a part."""
        try:
            with self.opened(self.path, self.key) as array:
                return np.asarray(array[where])
        except (BadInput, MemoryError):
            raise
        except Exception as error:
            raise BadInput(f"{self.path} cannot be read: {_words(error)}") from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Read all."""
        return np.asarray(self[...], dtype)


# ---- tif


@contextmanager
def _opened_tif(path: str, key: str) -> Iterator[Any]:
    import zarr

    with tifffile.TiffFile(path) as file:
        yield zarr.open(file.series[int(key)].aszarr(), mode="r")


def _read_tif(name: str) -> Contents:
    with tifffile.TiffFile(name) as file:
        series = file.series[0]
        if len(file.series) > 1:
            warnings.warn(f"{name} holds {len(file.series)} images, of which the first is read", InputWarning, 2)
        # S, the samples of a pixel, are channels. With other letters, as Q for an unknown axis, no axis is named.
        axes = series.axes.replace("S", "C") if set(series.axes) <= set("TCZYXS") else None
        sizes, unit = _tif_sizes(file)
        no_label = _tif_no_label(file, name)
        if series.nbytes <= AT_ONCE_BYTES:
            pixels: Any = series.asarray()
        else:
            with _opened_tif(name, "0") as array:
                pixels = Slices(_opened_tif, name, "0", series.shape, series.dtype, array.chunks)
    named = axes if axes is not None and len(set(axes)) == len(axes) == pixels.ndim else None
    return Contents(name, pixels, named, sizes, unit, no_label=no_label)


def _tif_no_label(file: tifffile.TiffFile, name: str) -> int | None:
    """Return what pixels without a label hold, if a tif says it: in itself, or in the JSON that the window writes."""
    for said in file.shaped_metadata or ():
        if METADATA in said:
            return _no_label(said[METADATA])
    # Metadata that cannot be read are not of this program.
    with suppress(Exception):
        found = ElementTree.fromstring((file.ome_metadata or "").encode()).find("{*}Image/{*}Description")
        if found is not None:
            return _no_label(json.loads(found.text or "")[METADATA])
    with suppress(OSError, ValueError, RecursionError):
        return _no_label(json.loads(Path(f"{name}.json").read_text(encoding="utf-8")))
    return None


def _no_label(made: Any) -> int | None:
    number = made.get("no_label") if isinstance(made, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _tif_sizes(file: tifffile.TiffFile) -> tuple[dict[str, float], str | None]:
    """Return the pixel sizes in OME or ImageJ metadata by the letters of their axes, and their unit."""
    if file.is_ome and file.ome_metadata:
        return _ome_sizes(file.ome_metadata)
    if file.is_imagej and file.imagej_metadata and "unit" in file.imagej_metadata:
        sizes = {"Z": float(file.imagej_metadata["spacing"])} if "spacing" in file.imagej_metadata else {}
        tags = file.pages.first.tags
        for letter in "YX":
            if f"{letter}Resolution" in tags and tags[f"{letter}Resolution"].value[0]:
                pixels, length = tags[f"{letter}Resolution"].value
                sizes[letter] = length / pixels
        unit_name = str(file.imagej_metadata["unit"])
        return sizes, "µm" if unit_name in ("micron", "um", "\\u00B5m") else unit_name
    return {}, None


def _ome_sizes(xml: str) -> tuple[dict[str, float], str | None]:
    """Return the pixel sizes of the first image in OME-XML, all in the unit of the first of them."""
    try:
        images = tifffile.xml2dict(xml)["OME"].get("Image", {})
    except SyntaxError:
        # Damaged XML is no reason not to read the pixels.
        return {}, None
    pixels = (images[0] if isinstance(images, list) else images).get("Pixels", {})
    return _in_one_unit(
        {
            letter: (float(pixels[f"PhysicalSize{letter}"]), str(pixels.get(f"PhysicalSize{letter}Unit", "µm")))
            for letter in "XYZ"
            if f"PhysicalSize{letter}" in pixels
        }
    )


def _in_one_unit(named: dict[str, tuple[float, str | None]]) -> tuple[dict[str, float], str | None]:
    """Return sizes in the unit of the first, and that unit. A size that cannot be converted is left out."""
    unit = next((unit for _, unit in named.values()), None)
    sizes = {}
    for letter, (size, own) in named.items():
        if own == unit:
            sizes[letter] = size
        elif unit in METRES and own in METRES:
            sizes[letter] = size * METRES[own] / METRES[unit]
    return sizes, unit


# ---- HDF5


def _split_hdf5(name: str) -> tuple[str, str] | None:
    """Return file and dataset of ``file.h5/dataset``."""
    found = re.match(r"(.*?\.(?:h5|hdf5|ilp))(?:/(.*))?$", name, flags=re.IGNORECASE)
    return (found.group(1), (found.group(2) or "").strip("/")) if found else None


@contextmanager
def _opened_hdf5(path: str, key: str) -> Iterator[Any]:
    import h5py

    with h5py.File(path, "r") as file:
        yield file[key]


def _read_hdf5(name: str) -> Contents:
    try:
        import h5py
    except ImportError:
        raise BadInput(f'{name} needs h5py: pip install "napari-densecrf[files]"') from None
    path, key = _split_hdf5(name) or (name, "")
    if not Path(path).is_file():
        raise BadInput(f"{path} is no file")
    with h5py.File(path, "r") as file:
        dataset = file[key] if key else _only_dataset(file, path)
        axes, sizes, unit, classes = _hdf5_labels(dataset)
        pixels = Slices(_opened_hdf5, path, dataset.name, dataset.shape, dataset.dtype, dataset.chunks)
        if pixels.dtype.itemsize * math.prod(pixels.shape) <= AT_ONCE_BYTES:
            return Contents(name, dataset[()], axes, sizes, unit, classes)
    return Contents(name, pixels, axes, sizes, unit, classes)


def _only_dataset(file: Any, path: str) -> Any:
    """Return the dataset that ilastik writes, or the only one with at least two axes."""
    if ILASTIK_DATASET in file:
        return file[ILASTIK_DATASET]
    found: list[str] = []
    file.visititems(lambda key, item: found.append(key) if len(getattr(item, "shape", ())) >= 2 else None)
    if len(found) != 1:
        held = ", ".join(sorted(found)) or "none"
        raise BadInput(f"{path} holds the datasets {held}: expected one, or {path}/DATASET")
    return file[found[0]]


def _hdf5_labels(dataset: Any) -> tuple[str | None, dict[str, float], str | None, tuple[str, ...] | None]:
    """Return axes, sizes, unit and names of classes as ilastik, vigra and others write them."""
    axes, sizes, unit = None, {}, None
    if "axistags" in dataset.attrs:
        tags = json.loads(dataset.attrs["axistags"])["axes"]
        axes = "".join(tag["key"].upper() for tag in tags)
        sizes = {tag["key"].upper(): float(tag["resolution"]) for tag in tags if tag.get("resolution")}
    if "axis_units" in dataset.attrs:
        units = {key.upper(): value for key, value in json.loads(dataset.attrs["axis_units"]).items() if value}
        unit = units.get("X")
        spatial = {letter: (sizes[letter], units.get(letter)) for letter in "XYZ" if letter in sizes}
        sizes = {**sizes, **dict.fromkeys(spatial, np.nan), **_in_one_unit(spatial)[0]}
        sizes = {letter: size for letter, size in sizes.items() if np.isfinite(size)}
    if "element_size_um" in dataset.attrs:
        found = np.asarray(dataset.attrs["element_size_um"], float)
        sizes, unit = dict(zip("ZYX"[-len(found) :], found.tolist(), strict=True)), "µm"
    names = dataset.attrs.get("class_names", dataset.attrs.get("channel_names"))
    if isinstance(names, (str, bytes)):
        names = json.loads(names)
    classes = None if names is None else tuple(one.decode() if isinstance(one, bytes) else str(one) for one in names)
    return axes, sizes, unit, classes


# ---- zarr


def _read_zarr(name: str) -> Contents:
    try:
        import zarr
    except ImportError:
        raise BadInput(f'{name} needs zarr: pip install "napari-densecrf[files]"') from None
    if not Path(name).is_dir():
        raise BadInput(f"{name} is no folder")
    node = zarr.open(name, mode="r")
    if isinstance(node, zarr.Array):
        return Contents(name, _slices_of(node, name, ""))
    attributes = dict(node.attrs)
    no_label = _no_label(attributes.get("ome", attributes).get(METADATA, attributes.get(METADATA)))
    attributes = attributes.get("ome", attributes)
    if "multiscales" not in attributes:
        inside = f", as {name}/0" if "bioformats2raw.layout" in attributes else ""
        raise BadInput(
            f"{name} is a zarr group without multiscales: expected an OME-Zarr image or a zarr array{inside}"
        )
    image = attributes["multiscales"][0]
    level = image["datasets"][0]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", [])]
    letters = "".join(axis["name"].upper() for axis in axes) or None
    sizes, unit = _ngff_sizes(image, level, axes)
    return Contents(name, _slices_of(node[level["path"]], name, level["path"]), letters, sizes, unit, no_label=no_label)


def _slices_of(array: Any, path: str, key: str) -> Slices:
    return Slices(_opened_zarr, path, key, array.shape, array.dtype, array.chunks)


@contextmanager
def _opened_zarr(path: str, key: str) -> Iterator[Any]:
    import zarr

    yield zarr.open_array(f"{path}/{key}" if key else path, mode="r")


def _ngff_sizes(image: Any, level: Any, axes: list[Any]) -> tuple[dict[str, float], str | None]:
    """Return the pixel sizes of a level of an OME-Zarr, in one unit: its own scale times that of the whole pyramid."""
    scale = np.ones(len(axes))
    for described in (level, image):
        for one in described.get("coordinateTransformations", []):
            if one.get("type") == "scale":
                scale = scale * np.asarray(one["scale"], float)
    spatial = {
        axis["name"].upper(): (float(size), axis.get("unit"))
        for axis, size in zip(axes, scale, strict=True)
        if axis.get("type", "space" if axis["name"].upper() in "ZYX" else "") == "space"
    }
    return _in_one_unit({letter: spatial[letter] for letter in "XYZ" if letter in spatial})


# ---- what napari plugins read


def _read_with_napari_plugins(name: str) -> Contents:
    suffix = Path(name).suffix or "nothing"
    readable = "expected .tif, .npy, .npz, .h5, .zarr, or what an installed napari plugin reads"
    try:
        import npe2

        npe2.PluginManager.instance().discover()
        layers = npe2.read([name], stack=False)
    except (ImportError, ValueError):
        raise BadInput(f"{name} ends in {suffix}: {readable}") from None
    pictures = [layer for layer in layers if len(layer) < 3 or layer[2] in ("image", "labels")]
    if not pictures:
        raise BadInput(f"{name} holds no image: {readable}")
    first: Any = pictures[0]
    meta = dict(first[1]) if len(first) > 1 else {}
    pixels = first[0][0] if isinstance(first[0], (list, tuple)) else first[0]
    axes = "YXC" if meta.get("rgb") and pixels.ndim == 3 else None
    return Contents(name, pixels, axes)
