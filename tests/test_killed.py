"""A run that ends at any of its calls of the file system leaves what was there, or what is new; the next run is whole.

Each kind of output is written with the process ended at its first call, at its second, and so on to its last. From
that call on no other has any effect, as of a process that is gone: no clean-up, no finally.
"""

import csv
import gc
import io
import itertools
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_densecrf.cli import main
from napari_densecrf.files import project
from test_files import image_and_map, write_ome_zarr

pytest.importorskip("ome_zarr")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows does not unlink open files"),
]

# What Python tells of before it is done, and what changes a file system.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.utime")


class Killed(BaseException):
    """Ends a run: nothing catches it."""


@dataclass
class _Calls:
    """Counts the calls in a folder, and ends the run at one of them and at each that follows."""

    folder: Path | None = None
    last: float = float("inf")
    n: int = 0
    seen: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple) -> None:
        if self.folder is None or not self._changes(event, arguments):
            return
        self.seen.append(f"{event} {arguments[0]}")
        self.n += 1
        if self.n > self.last:
            raise Killed

    def _changes(self, event: str, arguments: tuple) -> bool:
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND)
            return bool(writes) and isinstance(path, (str, bytes, os.PathLike)) and self._here(path)
        # Some name a file within an open folder.
        return event in CHANGES and (not os.path.isabs(os.fspath(arguments[0])) or self._here(arguments[0]))

    def _here(self, path: str | bytes) -> bool:
        return os.path.abspath(os.fsdecode(path)).startswith(str(self.folder))


CALLS = _Calls()
sys.addaudithook(CALLS.hear)


def ended_at(last, folder, run):
    """Run until a call; tell whether it came to its end before."""
    CALLS.last, CALLS.n, CALLS.folder = last, 0, folder
    CALLS.seen.clear()
    try:
        run()
        return True
    except Killed as killed:
        # What the run held is let go, as the system does: the thread of zarr keeps the error, and what it refers to.
        error = killed
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
        gc.collect()
        return False
    finally:
        CALLS.folder = None


def content(folder):
    """Return what every file below a folder holds; of tables without the time that a run took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = path.read_bytes() if path.is_file() else None
        if path.suffix == ".csv":
            rows = list(csv.reader(io.StringIO(path.read_text())))
            found[name] = [row[:4] + row[5:] for row in rows]
    return found


IMAGE, MAP = image_and_map((40, 48), 2)
# Three frames: a run of three pieces.
FILM, FILM_MAP = np.stack([IMAGE] * 3), np.stack([MAP] * 3, axis=1)


@dataclass
class Kind:
    """One kind of output: what is there before, the run, and what has to be there after it was ended."""

    run: object
    labels: str = ""
    least: int = 8


def refine(name):
    def run():
        assert main(["refine", "film.npy", "film_map.npy", "-o", name, "--axes", "TYX", "--quiet"]) == 0

    return Kind(run, name)


def batch():
    code = main(["batch", "in/*.npy", "--probabilities", "maps/{stem}.npy", "-o", "out", "--format", ".npy", "--quiet"])
    assert code == 0


def save_project():
    strokes = np.zeros((40, 48), np.uint8)
    strokes[5:9, 5:20] = 1
    about = {"layers": [{"roles": ["strokes"]}], "numbers": {"appearance_weight": 3.0}}
    project.save(Path("a.npy.densecrf"), about, {project.stored_name("strokes", strokes): strokes})


def save_layer():
    from napari_densecrf._napari.contributions.writer import write_labels

    made = {"metadata": {"napari-densecrf": {"params": {"n_iterations": 5}}}, "scale": (1, 1), "name": "labels"}
    write_labels("labels.tif", (MAP[1] > 0.5).astype(np.uint8), made)


KINDS = {
    "tif": refine("new.tif"),
    "npy": refine("new.npy"),
    "ome-zarr": refine("new.ome.zarr"),
    "labels of an ome-zarr": refine("image.ome.zarr/labels/new"),
    "table": Kind(batch),
    "project": Kind(save_project),
    "layer": Kind(save_layer, "labels.tif"),
}


@pytest.fixture
def at(tmp_path, monkeypatch):
    def make(name):
        folder = tmp_path / name
        for one in ("in", "maps"):
            (folder / one).mkdir(parents=True)
        np.save(folder / "a.npy", IMAGE)
        np.save(folder / "film.npy", FILM)
        np.save(folder / "film_map.npy", FILM_MAP)
        for k in range(2):
            np.save(folder / "in" / f"{k}.npy", IMAGE)
            np.save(folder / "maps" / f"{k}.npy", MAP)
        write_ome_zarr(folder / "image.ome.zarr", FILM, "tyx", [1, 0.5, 0.5])
        # Files are told by when they were changed.
        for path in folder.rglob("*.npy"):
            os.utime(path, ns=(10**18, 10**18))
        monkeypatch.chdir(folder)
        return folder

    return make


def labels_in(path):
    """Return labels that can be read, or None where there are none."""
    if not path.exists():
        return None
    if path.is_dir():
        return zarr.open_array(path / "0", mode="r")[:]
    return np.load(path) if path.suffix == ".npy" else tifffile.imread(path)


@pytest.mark.parametrize("kind", KINDS)
def test_whichever_call_is_the_last(at, kind):
    run, labels = KINDS[kind].run, KINDS[kind].labels
    whole = at("whole")
    run()
    expected = content(whole)
    folder = at("ended")
    before = content(folder)
    n_ended = 0
    for last in itertools.count():
        came_to_an_end = ended_at(last, folder, run)
        if labels and (found := labels_in(folder / labels)) is not None:
            np.testing.assert_array_equal(found, labels_in(whole / labels))
        if kind == "project" and (folder / "a.npy.densecrf").exists():
            said = project.load(folder / "a.npy.densecrf")
            assert said["numbers"] == {"appearance_weight": 3.0}
        if came_to_an_end:
            break
        n_ended += 1
        # What the user brought is as it was.
        assert before.items() <= {**content(folder), **lists(before)}.items()
        run()
        assert content(folder) == expected, CALLS.seen[-3:]
        clean(folder, before)
    assert n_ended >= KINDS[kind].least


def lists(before):
    """Return the files of an image that name its labels, which may have more of them."""
    return {name: value for name, value in before.items() if name.startswith("image.ome.zarr/labels")}


def clean(folder, before):
    """Remove what a run has written."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if str(path.relative_to(folder)) not in before:
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_an_earlier_output_is_replaced_as_a_whole(at, kind):
    """The same over what an earlier run has left."""
    run = KINDS[kind].run
    folder = at("again")
    run()
    expected = content(folder)
    n_ended = 0
    # A zarr makes hundreds of calls, most of them alike: each of them is tried above.
    for last in itertools.count(step=3 if "zarr" in kind else 1):
        came_to_an_end = ended_at(last, folder, run)
        if KINDS[kind].labels:
            assert labels_in(folder / KINDS[kind].labels) is not None or any(folder.rglob(".*.partial"))
        if came_to_an_end:
            break
        n_ended += 1
        run()
        assert content(folder) == expected, CALLS.seen[-3:]
    assert n_ended >= 5


PROCESS = """
import os, sys
sys.path[:0] = [sys.argv[2], os.path.dirname(sys.argv[2])]
import test_killed
from test_killed import CALLS, KINDS, Path
class Gone(BaseException):
    def __init__(self):
        os._exit(9)
test_killed.Killed = Gone
CALLS.folder, CALLS.last = Path.cwd(), int(sys.argv[3])
KINDS[sys.argv[1]].run()
os._exit(0)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_is_gone(at, kind):
    """The same with a process of its own, at calls spread over the run: what it held is let go by the system alone."""
    run = KINDS[kind].run
    whole = at("whole")
    run()
    expected = content(whole)
    folder = at("ended")
    ended_at(float("inf"), at("counted"), run)
    n_calls = CALLS.n
    os.chdir(folder)
    for last in sorted({n_calls // 4, n_calls // 2, 3 * n_calls // 4}):
        words = [sys.executable, "-c", PROCESS, kind, str(Path(__file__).parent), str(last)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == 9, ended.stderr
        run()
        assert content(folder) == expected


LIMITED = """
import os, resource, sys
sys.path[:0] = [sys.argv[2], os.path.dirname(sys.argv[2])]
from test_killed import KINDS
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    KINDS[sys.argv[1]].run()
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.parametrize(("kind", "limit"), [("project", 100), ("layer", 100)])
def test_a_full_disk_leaves_what_was_there(at, kind, limit):
    """Of the command's outputs, test_door_files.py has the same."""
    folder = at("full")
    before = content(folder)
    words = [sys.executable, "-c", LIMITED, kind, str(Path(__file__).parent), str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert content(folder) == before
