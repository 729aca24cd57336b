"""A project: a small file beside an image that says what was open and chosen, and a folder for layers without a file.

The project names other files by their paths relative to its own, so that a folder can be moved as a whole. It is
replaced in one step: however a process ends, there is the earlier project or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import places, work_folder
from .read import BadInput

ENDING = ".densecrf"
KIND = "napari-densecrf project"
VERSION = 1
# The end of the name of the folder beside the project, which holds the layers that have no file of their own.
LAYERS = "-layers"
STORED = re.compile(r"[a-z]+-[0-9a-f]{16}\.npz")
# For a fingerprint, files up to WHOLE_BYTES are read as a whole; of larger ones, so many pieces of a MiB are read.
WHOLE_BYTES, PIECE_BYTES, N_PIECES = 2**26, 2**20, 64
# The fingerprint of a folder is made of at most so many of its files.
MOST_FILES = 10_000


def beside(image: str | Path) -> Path:
    """Return the path of the project of an image: beside its file, or beside the zarr that it is in."""
    path = places.real(image)
    path = places.zarr_around(path) or path
    return path.with_name(f"{path.name}{ENDING}")


def load(path: Path) -> dict[str, Any]:
    """Return what a project says.

    Raises
    ------
    BadInput
        Where the file is no project, or one of a later version of this program.
    OSError
        Where it cannot be read.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("kind") != KIND or not isinstance(said.get("layers"), list):
        raise BadInput(f"{path} is no project of napari-densecrf")
    if said.get("version") != VERSION:
        raise BadInput(f"{path} was saved by a later version of napari-densecrf: update it to open this project")
    return said


def save(path: Path, about: Mapping[str, Any], stored: Mapping[str, NDArray[Any]]) -> None:
    """Write a project in place of an earlier one of its name.

    Parameters
    ----------
    path : Path
    about : mapping
        JSON values, with a list "layers".
    stored : mapping
        From the names that `stored_name` gives to the arrays for the folder beside the project.

    Raises
    ------
    BadInput
        Where there is a file of this name that is no project, or another process is writing it.
    OSError
        Where it cannot be written; an earlier project is then unchanged.
    """
    path = places.real(path)
    if os.path.lexists(path):
        # Raises `BadInput` where it is no project.
        load(path)
    folder = layers_of(path)
    if os.path.lexists(folder) and not folder.is_dir():
        raise BadInput(f"{folder} is a file, which napari-densecrf did not make: move it, or give the project a name")
    is_new = not folder.exists()
    try:
        with work_folder.at_work(path) as work:
            if stored:
                folder.mkdir(exist_ok=True)
            for name, array in stored.items():
                # The name is a hash of the content: a file that is there is the same.
                if not (folder / name).exists():
                    np.savez_compressed(work / name, data=array)
                    os.replace(work / name, folder / name)
            text = json.dumps({"kind": KIND, "version": VERSION, **about}, indent=1)
            (work / "project.json").write_text(text, encoding="utf-8")
            os.replace(work / "project.json", path)
            _remove_unused(folder, stored)
    except OSError as error:
        if is_new and folder.is_dir():
            _remove_unused(folder, ())
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from None


def stored_name(role: str, array: NDArray[Any]) -> str:
    """Return the name of an array in the folder beside a project: the role, as "strokes", and a hash of the array."""
    return f"{role}-{pixels_print(array)[:16]}.npz"


def read_stored(path: Path, name: str) -> NDArray[Any]:
    """Return an array from the folder beside a project.

    Raises
    ------
    BadInput
        Where it is not there, or damaged.
    """
    if not STORED.fullmatch(name):
        raise BadInput(f"{path} names {name}, which is no layer of a project")
    try:
        with np.load(layers_of(path) / name, allow_pickle=False) as file:
            array: NDArray[Any] = file["data"]
            return array
    except Exception as error:
        raise BadInput(f"{layers_of(path) / name} cannot be read: {error}") from None


def layers_of(path: Path) -> Path:
    """Return the folder beside a project for layers that have no file of their own."""
    return path.with_name(path.name + LAYERS)


def relative(file: str | Path, project: Path) -> str:
    """Return how a project names a file: by the path relative to the project's, with / on every system."""
    try:
        return Path(os.path.relpath(places.real(file), places.real(project).parent)).as_posix()
    except ValueError:
        # Windows: it is on another drive.
        return places.real(file).as_posix()


def absolute(name: str, project: Path) -> Path:
    """Return the path of a file that a project names."""
    return Path(os.path.normpath(places.real(project).parent / name))


def pixels_print(array: NDArray[Any]) -> str:
    """Return the SHA-256, in hexadecimal digits, of the dtype, shape and pixels of an array."""
    digest = hashlib.sha256(f"{array.dtype.newbyteorder('=').str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("=")).data)
    return digest.hexdigest()


def file_print(path: Path) -> str | None:
    """Return a fingerprint of a file, or of the names and sizes of the files in a folder; None where neither is."""
    if path.is_dir():
        return _folder_print(path)
    if not path.is_file():
        return None
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            digest.update(file.read())
        else:
            for k in range(N_PIECES):
                file.seek(k * (size - PIECE_BYTES) // (N_PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()


def _folder_print(folder: Path) -> str:
    digest, n_files = hashlib.sha256(), 0
    for at, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            path = Path(at) / name
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}".encode(errors="replace"))
            n_files += 1
            if n_files == MOST_FILES:
                return digest.hexdigest()
    return digest.hexdigest()


def _remove_unused(folder: Path, names: Iterable[str]) -> None:
    """Remove the arrays that earlier states of a project had stored and ``names`` does not have, and nothing else."""
    if not folder.is_dir():
        return
    for one in list(folder.iterdir()):
        if STORED.fullmatch(one.name) and one.name not in names:
            one.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
