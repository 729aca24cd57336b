"""Windows and macOS, as far as they can be tested here: closing before replacing, encodings, spawn, paths."""

import ast
import io
import multiprocessing
import os
import subprocess
import sys
import types
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import tifffile

import napari_densecrf as ndc
from napari_densecrf import cli
from napari_densecrf.files import project, work_folder, write

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
Y, X = np.indices((48, 56))
TRUTH = (Y - 24) ** 2 + (X - 28) ** 2 < 150
IMAGE = (60 + 100 * TRUTH).astype(np.uint8)
FOREGROUND = np.where(TRUTH, 0.7, 0.3).astype(np.float32)
PARAMS = ndc.CRFParams((ndc.PairwiseKernel(2.0, 6.0, 20.0), ndc.PairwiseKernel(1.0, 1.0)))
on_linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")


def held_open():
    """Return the files that this process has open or mapped."""
    held = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            held.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        held.add(line.partition("/")[1] + line.partition("/")[2])
    return held


@pytest.fixture
def as_windows(monkeypatch):
    """Refuse what Windows refuses: to replace or remove a file that is open, or a folder with one in it."""
    replaced = []

    def free(*paths):
        held = held_open()
        for path in map(os.path.realpath, paths):
            within = [one for one in held if one == path or one.startswith(path + os.sep)]
            if within:
                raise PermissionError(32, "the file is in use by this process", within[0])

    def checked(function, n_paths):
        def call(*args, **options):
            # Of shutil's own, which names files by their folder, the folder has been looked at.
            if "dir_fd" not in options and not any(isinstance(one, int) for one in args[:n_paths]):
                free(*args[:n_paths])
                replaced.append(args[0])
            return function(*args, **options)

        return call

    for name, n_paths in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1), ("rmdir", 1)):
        monkeypatch.setattr(os, name, checked(getattr(os, name), n_paths))
    # What asks for the system's name is told that it is Windows, with locks that are always free.
    system = types.ModuleType("os")
    system.__dict__.update({**os.__dict__, "name": "nt"})
    monkeypatch.setattr(work_folder, "os", system)
    monkeypatch.setattr(write, "os", system)
    locks = types.ModuleType("msvcrt")
    locks.LK_NBLCK = 0
    locks.locking = lambda *_: None
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    return replaced


@on_linux
def test_what_is_open_cannot_be_replaced_here(tmp_path, as_windows):
    np.save(tmp_path / "a.npy", IMAGE)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    with pytest.raises(PermissionError):
        os.replace(tmp_path / "a.npy", tmp_path / "b.npy")
    del mapped
    os.replace(tmp_path / "a.npy", tmp_path / "b.npy")


@on_linux
@pytest.mark.parametrize("ending", [".tif", ".npy", ".ome.zarr"])
def test_files_are_closed_before_they_are_replaced(tmp_path, as_windows, ending):
    if ending == ".ome.zarr":
        pytest.importorskip("ome_zarr")
    tifffile.imwrite(tmp_path / "image.tif", IMAGE)
    np.save(tmp_path / "map.npy", FOREGROUND)
    (tmp_path / "params.json").write_text(PARAMS.to_json(), encoding="utf-8")
    out = tmp_path / f"labels{ending}"
    words = ["refine", *map(str, (tmp_path / "image.tif", tmp_path / "map.npy")), "-o", str(out), "--quiet"]
    words += ["--params", str(tmp_path / "params.json")]
    # Twice: the second run replaces the labels of the first.
    assert [cli.main(words), cli.main(words)] == [0, 0]
    assert as_windows
    assert out.exists()
    assert not list(tmp_path.glob(".*partial*"))


@on_linux
def test_a_batch_and_its_table_are_closed_before_they_are_replaced(tmp_path, as_windows):
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    for k in range(2):
        tifffile.imwrite(tmp_path / "images" / f"{k}.tif", IMAGE)
        np.save(tmp_path / "maps" / f"{k}_prob.npy", FOREGROUND)
    words = ["batch", str(tmp_path / "images" / "*.tif"), "--probabilities", str(tmp_path / "maps" / "{stem}_prob.npy")]
    words += ["-o", str(tmp_path / "out"), "--quiet", "--appearance-weight", "1"]
    assert [cli.main(words), cli.main(words)] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.tif", "1.tif", "summary.csv"]


@on_linux
def test_a_project_is_closed_before_it_is_replaced(tmp_path, as_windows):
    path = tmp_path / "image.tif.densecrf"
    for k in (1, 2):
        strokes = np.full((4, 4), k, np.uint8)
        name = project.stored_name("strokes", strokes)
        project.save(path, {"layers": []}, {name: strokes})
        np.testing.assert_array_equal(project.read_stored(path, name), strokes)
    assert len(list(project.layers_of(path).iterdir())) == 1


def test_files_of_a_project_are_named_alike_on_every_system(tmp_path, monkeypatch):
    path = tmp_path / "a" / "image.tif.densecrf"
    assert project.relative(tmp_path / "a" / "maps" / "m.tif", path) == "maps/m.tif"
    # What Windows reads of a name with / is the same place.
    assert PureWindowsPath("C:/a", "maps/m.tif") == PureWindowsPath("C:\\a\\maps\\m.tif")

    def other_drive(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert PurePosixPath(project.relative(tmp_path / "m.tif", path)) == PurePosixPath(
        os.path.realpath(tmp_path), "m.tif"
    )


def text_without_encoding(tree):
    """Yield the lines of calls that open text in whatever encoding the system has."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if ast.unparse(call.func) == "work_folder.write_text":
            # Our own, which has one.
            continue
        # The mode is the second of open(), and the first of a path's.
        at = 0 if isinstance(call.func, ast.Attribute) else 1
        mode = call.args[at].value if len(call.args) > at and isinstance(call.args[at], ast.Constant) else "b"
        is_mode = isinstance(mode, str) and set(mode) <= set("rwax+t")
        if name in ("read_text", "write_text") or (name == "open" and is_mode):
            yield call.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_text_files_have_an_encoding(path):
    # Windows' own is not UTF-8, and names of layers and classes are any.
    assert list(text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_text_without_an_encoding_is_found():
    lines = ["p.read_text()", 'open("a", "w")', 'open("a", "rb")', 'p.open("r", encoding="x")', 'p.open("a")']
    found = text_without_encoding(ast.parse("\n".join(lines)))
    assert list(found) == [1, 2, 5]


@pytest.mark.parametrize("words", [["--help"], ["refine", "--help"], ["batch", "--help"]])
def test_help_can_be_written_to_a_console_of_windows(words, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    out.flush()
    assert out.buffer.tell() > 100


@pytest.mark.slow
def test_all_modules_import_without_what_only_posix_has():
    code = """
import os, signal, sys
import numba, dask, tifffile, scipy, skimage, zarr, napari  # they look for themselves
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "register_at_fork", "posix_fallocate", "getuid", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
import importlib, pkgutil
import napari_densecrf
for module in pkgutil.walk_packages(napari_densecrf.__path__, "napari_densecrf."):
    importlib.import_module(module.name)
import numpy as np
labels = napari_densecrf.refine(np.zeros((8, 8), np.uint8), np.full((8, 8), 0.4, np.float32)).labels
assert labels.shape == (8, 8)
print("imported")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("imported"), done.stderr


def refined(seed):
    """Refine in a process of its own; it has to be at the module's level, to be found by name there."""
    noise = np.random.default_rng(seed).random(TRUTH.shape).astype(np.float32)
    return ndc.refine(IMAGE, 0.5 * FOREGROUND + 0.5 * noise, PARAMS).labels


@pytest.mark.slow
def test_processes_that_are_spawned_give_the_same_labels():
    # As on Windows and macOS, and since Python 3.14 no longer by a fork on Linux.
    here = [refined(seed) for seed in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        there = pool.map(refined, (0, 1))
    np.testing.assert_array_equal(here, there)
