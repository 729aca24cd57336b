"""The hidden folder in which a file is made before it gets its name: its marker, its lock, and one rename at the end.

The folder lies beside the file: `places.unfinished` names it. However a process ends, the file is either the earlier
one or the new one. The next run goes on with what is left in the folder, or removes it.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .places import MARKER, check_replaceable, check_unfinished, real, unfinished
from .read import BadInput

# A file in the folder that says what is being made: a run goes on only with its own work. It is removed first, so that
# work of which a part is removed already is never used.
CLAIM = "about.json"


# ---- the folder


def hold_folder(folder: Path) -> IO[str]:
    """Make a folder for unfinished work, if there is none, and lock it for this process.

    Returns
    -------
    file
        The marker, which is locked until it is closed; the system closes it when the process ends or is killed.

    Raises
    ------
    BadInput
        Where another process holds the lock, which the message names; or the folder is not of this program.
    """
    while True:
        check_unfinished(folder)
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / MARKER
        try:
            file = marker.open("a+", encoding="utf-8")
        except FileNotFoundError:
            # A process that has just ended has removed the folder.
            continue
        if not _locked(file):
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise BadInput(f"{folder} is in use by {holder}, which writes to the same place: wait for it, or stop it")
        # A process that ended after this one opened the marker may have removed it: then it is tried again.
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(marker)):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
                return file
        file.close()


@contextmanager
def at_work(path: Path) -> Iterator[Path]:
    """Give the hidden folder for work on a file, locked, and empty but for its marker.

    At the end the folder is removed, with all that is still in it: finished files have to be renamed before.
    """
    work = unfinished(path)
    hold = hold_folder(work)
    try:
        begin_folder(work)
        yield work
    finally:
        if os.name == "nt":
            # Windows does not remove an open file.
            hold.close()
        try:
            remove_folder(work)
        finally:
            hold.close()


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 in one step: whatever happens, there is the earlier file or the new one, never a part."""
    with at_work(path) as work:
        (work / "text").write_text(text, encoding="utf-8")
        os.replace(work / "text", real(path))


def begin_folder(folder: Path) -> None:
    """Empty a folder for unfinished work, but for its marker; make it where there is none. It may be locked."""
    _empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def remove_folder(folder: Path) -> None:
    """Remove a folder for unfinished work, if there is one: its claim first, its marker last."""
    if not os.path.lexists(folder):
        return
    _empty(folder)
    (folder / MARKER).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        # Another process has just begun its work in the folder.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _empty(folder: Path) -> None:
    """Remove all but the marker; raise `BadInput` where the folder is not of this program."""
    if not os.path.lexists(folder):
        return
    check_unfinished(folder)
    (folder / CLAIM).unlink(missing_ok=True)
    for one in list(folder.iterdir()):
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != MARKER:
            one.unlink()


# ---- locks


def _locked(file: IO[str]) -> bool:
    """Lock an open file, and tell whether this process now has the lock; True where the file system has no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            # A locked byte cannot be read, so it is one far behind the text.
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is within `alone_in` for this folder. Windows locks no folders: there is no wait."""
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems have no locks.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---- room, and the last rename


def reserve(path: Path) -> None:
    """Take the room on the disk that a sparse file needs when it is full; raise `OSError` where there is too little.

    Writing to a memory map on a full disk would end the process without a message.
    """
    with path.open("r+b") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, n_bytes)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
        free = shutil.disk_usage(path.parent).free
        if free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def put(made: Path, path: Path, spare: Path) -> None:
    """Rename a finished folder ``made`` to ``path``; what this program made there before is moved to ``spare`` first.

    Raises
    ------
    BadInput
        Where the name is taken by anything else.
    """
    check_replaceable(path)
    if path.exists():
        if spare.exists():
            shutil.rmtree(spare)
        os.replace(path, spare)
    os.replace(made, path)


def put_back(spare: Path, path: Path) -> None:
    """Undo the first step of `put`, where a run was killed before the second."""
    if spare.exists() and not os.path.lexists(path):
        os.replace(spare, path)
