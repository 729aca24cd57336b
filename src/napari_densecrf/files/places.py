"""Which paths may be written: none that is read, none twice, and no folder that this program did not make.

This is checked before the first byte is written, and again before a finished folder replaces an earlier one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from .read import METADATA, BadInput, files_behind

# A file in each folder for unfinished work: made first, removed last. A folder without it is not of this program.
MARKER = "made-by-napari-densecrf"
# The files and folders in an OME-Zarr of this program: attributes, the half-written ones that zarr leaves when it is
# killed, an array for each level of resolution, and what macOS adds to any folder.
OWN_MEMBERS = re.compile(r"(\.zattrs|\.zgroup|zarr\.json)(\.[0-9a-f]+\.partial)?|\d+|\.DS_Store")

# Equal for two paths that lead to one file.
Identity: TypeAlias = "tuple[int, int] | str"


@dataclass(frozen=True)
class Use:
    """A path and its use.

    Parameters
    ----------
    role : str
        As errors name it: "the image", "the labels".
    path : Path
    is_new : bool
        Of an output: whether the user names it. False for the table of a batch, which has one name in any folder.
    """

    role: str
    path: Path
    is_new: bool = True

    @property
    def remedy(self) -> str:
        """The end of an error message: how to avoid the conflict."""
        return f"give {self.role} a file of their own" if self.is_new else f"choose another folder for {self.role}"


def reads(*named: tuple[str, str | Path | None]) -> list[Use]:
    """Return the files of inputs given as ``("the image", "a.h5/raw")``; an input that is None is left out."""
    return [Use(role, path) for role, name in named if name is not None for path in files_behind(name)]


def check(inputs: Iterable[Use], outputs: Iterable[Use]) -> None:
    """Raise `BadInput` where writing would change an input, another output, or what this program did not make.

    Two paths are the same if they lead to the same file: through links, ``..``, several names of one file, and upper or
    lower case where the file system does not distinguish them.
    """
    identify = _Identities()
    read = {one: use for use in inputs for one in identify.all_of(use.path)}
    written: dict[Identity, Use] = {}
    for output in outputs:
        for path in (output.path, unfinished(output.path)) if output.is_new else (output.path,):
            for one in identify.all_of(path):
                if one in read:
                    raise BadInput(_over_input(output, read[one]))
                if written.setdefault(one, output) is not output:
                    raise BadInput(_over_output(output, written[one]))
    for output in dict.fromkeys(written.values()):
        _check_kind(output)
        _check_folders(output, read, written, identify)
    for use in dict.fromkeys(read.values()):
        for folder in real(use.path).parents:
            for one in identify.all_of(folder):
                if one in written:
                    raise BadInput(f"{written[one].path} holds {use.role} {use.path}: {written[one].remedy}")


def check_replaceable(path: Path) -> None:
    """Raise `BadInput` where there is anything at the path but a zarr that this program made."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise BadInput(f"{path} is a file: expected a zarr of napari-densecrf, or a name that is not taken")
    attributes = zarr_attributes(path)
    if attributes is None or METADATA not in {**attributes, **attributes.get("ome", {})}:
        inside = f", or {path}/labels/NAME to add labels to it" if is_ome_image(path) else ""
        raise BadInput(f"{path} was not made by napari-densecrf, and is never replaced: give another name{inside}")
    strange = sorted(one.name for one in path.iterdir() if not OWN_MEMBERS.fullmatch(one.name))
    if strange:
        raise BadInput(f"{path} holds {strange[0]}, which napari-densecrf did not write: give another name")


def real(path: str | Path) -> Path:
    """Return a path with all links resolved."""
    return Path(os.path.realpath(path))


# ---- folders for unfinished work, see work_folder.py


def unfinished(path: Path) -> Path:
    """Return the hidden folder for unfinished work on a file: beside it, so that a rename is enough at the end."""
    there = real(path)
    return there.parent / f".{there.name}.partial"


def check_unfinished(folder: Path) -> None:
    """Raise `BadInput` where the name of a folder for unfinished work is taken by something else."""
    if not os.path.lexists(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    # An empty folder is left by a run that was killed before it made the marker, or after it removed the marker.
    if not is_folder or not ((folder / MARKER).is_file() or not any(folder.iterdir())):
        raise BadInput(f"{folder} was not made by napari-densecrf, which needs this name: give it another one")


def check_room(path: Path, n_pixels: int) -> None:
    """Raise `BadInput` where labels of so many pixels have no room: one byte each, in a zarr a thousandth of that."""
    folder = real(path).parent
    while not folder.is_dir():
        folder = folder.parent
    least = n_pixels // 1000 if path.name.lower().endswith(".zarr") or image_of_labels(path) else n_pixels
    free = shutil.disk_usage(folder).free
    if least > free:
        raise BadInput(
            f"{path} would have {n_pixels:,} pixels, for which {folder} has too little room: {free / 2**30:.1f} GiB"
        )


# ---- zarr


def zarr_attributes(folder: Path) -> dict[str, Any] | None:
    """Return the attributes of a zarr group or array; None where a folder is neither."""
    with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        return dict(json.loads((folder / "zarr.json").read_text(encoding="utf-8")).get("attributes", {}))
    if not any((folder / name).is_file() for name in (".zgroup", ".zarray")):
        return None
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads((folder / ".zattrs").read_text(encoding="utf-8")))
    return {}


def is_ome_image(folder: Path) -> bool:
    """Tell whether a folder is an image of an OME-Zarr."""
    attributes = zarr_attributes(folder) or {}
    return "multiscales" in attributes.get("ome", attributes)


def image_of_labels(path: Path) -> Path | None:
    """Return the OME-Zarr image that labels of this name belong to: that of ``IMAGE/labels/NAME``."""
    there = real(path)
    image = there.parent.parent
    return image if there.parent.name == "labels" and is_ome_image(image) else None


def zarr_around(path: Path) -> Path | None:
    """Return the outermost zarr around a path, if there is one."""
    around = [folder for folder in real(path).parents if zarr_attributes(folder) is not None]
    return around[-1] if around else None


# ---- which file a path leads to


@dataclass
class _Identities:
    """Identifies files: by device and inode number, and by their path with links resolved."""

    _known: dict[Path, tuple[Identity, ...]] = field(default_factory=dict)
    _folds: dict[Path, bool] = field(default_factory=dict)

    def all_of(self, path: Path) -> tuple[Identity, ...]:
        """Return both for a path that exists, else its path with links resolved."""
        if path not in self._known:
            resolved = real(path)
            spelling = os.path.normcase(resolved)
            if self._folds_case(resolved.parent):
                # Such systems also treat both ways to write a letter with an accent in Unicode as one.
                spelling = unicodedata.normalize("NFC", spelling.casefold())
            self._known[path] = (spelling,)
            with suppress(OSError):
                status = os.stat(path)
                # 0 where the file system has no inode numbers.
                if status.st_ino:
                    self._known[path] += ((status.st_dev, status.st_ino),)
        return self._known[path]

    def _folds_case(self, folder: Path) -> bool:
        if folder not in self._folds:
            self._folds[folder] = _folds_case(folder)
        return self._folds[folder]


def _folds_case(folder: Path) -> bool:
    """Tell whether upper and lower case name the same file in a folder, or in its nearest parent that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            swapped = folder / entry.name.swapcase()
            if swapped.name != entry.name:
                return swapped.exists() and os.path.samefile(folder / entry.name, swapped)
    # No name in the folder tells: what is usual for the system.
    return sys.platform in ("win32", "darwin")


# ---- what is wrong, in a sentence


def _over_input(output: Use, used: Use) -> str:
    also = "" if str(output.path) == str(used.path) else f" {used.path}"
    return f"{output.path} is {used.role}{also}, which would be lost: {output.remedy}"


def _over_output(output: Use, earlier: Use) -> str:
    if output.role == earlier.role:
        return f"{earlier.path} and {output.path} are one file: {output.role} of two images would overwrite each other"
    return f"{output.path} is for {earlier.role}: {output.remedy}"


def _check_kind(output: Use) -> None:
    """Raise `BadInput` where there is something at the path that is not replaced."""
    path = output.path
    if output.is_new:
        check_unfinished(unfinished(path))
    if path.name.lower().endswith(".zarr") or image_of_labels(path) is not None:
        check_replaceable(path)
    elif path.is_dir():
        raise BadInput(f"{path} is a folder: expected the name of a file")


def _check_folders(output: Use, read: dict[Identity, Use], written: dict[Identity, Use], identify: _Identities) -> None:
    """Raise `BadInput` where an output is in an input, in another output, or in a zarr but not among its labels."""
    image, zarr = image_of_labels(output.path), zarr_around(output.path)
    if zarr is not None and image is None:
        instead = f"give another name, or {zarr}/labels/NAME" if is_ome_image(zarr) else "give another name"
        raise BadInput(f"{output.path} lies in {zarr}, to which only labels can be added: {instead}")
    for folder in real(output.path).parents:
        for one in identify.all_of(folder):
            if one in written:
                raise BadInput(f"{output.path} lies in {written[one].path}, which is for {written[one].role}")
            if one in read and image is None:
                raise BadInput(f"{output.path} lies in {read[one].role} {read[one].path}: {output.remedy}")
