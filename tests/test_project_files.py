"""Files of projects: what they name and store, what tells files apart, and what is never removed or opened."""

import os

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_densecrf.files import project
from napari_densecrf.files.read import BadInput

ABOUT = {"layers": []}
ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def saved(path, *arrays):
    stored = {project.stored_name("strokes", array): array for array in arrays}
    project.save(path, ABOUT, stored)
    return list(stored)


def test_what_is_stored_comes_back_and_what_was_stored_before_goes(tmp_path):
    path = tmp_path / "a.tif.densecrf"
    (first,) = saved(path, ARRAY)
    assert_array_equal(project.read_stored(path, first), ARRAY)
    folder = project.layers_of(path)
    # The user's own file among them is none of ours.
    (folder / "notes.txt").write_text("mine")
    (second,) = saved(path, ARRAY + 1)
    assert sorted(one.name for one in folder.iterdir()) == sorted([second, "notes.txt"])
    saved(path)
    assert [one.name for one in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    saved(path)
    assert not folder.exists()


def test_the_name_of_an_array_tells_its_type_its_shape_and_its_pixels():
    names = {
        project.stored_name("map", array)
        for array in (ARRAY, ARRAY.astype(np.uint16), ARRAY.reshape(4, 3), ARRAY + 1, ARRAY[:, ::-1])
    }
    assert len(names) == 5
    swapped = ARRAY.astype(">u2")
    assert project.pixels_print(swapped) == project.pixels_print(swapped.astype("<u2"))


@pytest.mark.parametrize(
    "text", ["", "no project", "[]", '{"kind": "another", "layers": []}', '{"kind": "napari-densecrf project"}']
)
def test_what_is_no_project_is_neither_opened_nor_replaced(tmp_path, text):
    path = tmp_path / "a.densecrf"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"is no project of napari-densecrf"):
        project.load(path)
    with pytest.raises(BadInput, match=r"is no project of napari-densecrf"):
        saved(path, ARRAY)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_project_of_a_later_version_says_so(tmp_path):
    path = tmp_path / "a.densecrf"
    path.write_text(f'{{"kind": "{project.KIND}", "version": {project.VERSION + 1}, "layers": []}}')
    with pytest.raises(BadInput, match="saved by a later version"):
        project.load(path)


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    path = tmp_path / "a.densecrf"
    project.layers_of(path).write_text("mine")
    with pytest.raises(BadInput, match="which napari-densecrf did not make"):
        saved(path, ARRAY)
    assert project.layers_of(path).read_text() == "mine"
    assert not path.exists()


@pytest.mark.parametrize("name", ["../a.npz", "strokes-0.npz", "/etc/passwd", "strokes-0123456789abcdef.npz/x"])
def test_a_project_reads_nothing_but_its_own_layers(tmp_path, name):
    with pytest.raises(BadInput, match="which is no layer of a project"):
        project.read_stored(tmp_path / "a.densecrf", name)


def test_a_damaged_layer_is_said(tmp_path):
    path = tmp_path / "a.densecrf"
    (name,) = saved(path, ARRAY)
    (project.layers_of(path) / name).write_bytes(b"PK")
    with pytest.raises(BadInput, match="cannot be read"):
        project.read_stored(path, name)


def test_files_are_named_by_their_place_beside_the_project(tmp_path):
    path = tmp_path / "night" / "a.densecrf"
    image = tmp_path / "images" / "a.tif"
    assert project.relative(image, path) == "../images/a.tif"
    assert project.absolute("../images/a.tif", path) == image
    assert project.beside(image) == tmp_path / "images" / "a.tif.densecrf"


def test_the_print_of_a_file_tells_any_change_and_that_of_a_large_one_its_size_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "WHOLE_BYTES", 4000)
    monkeypatch.setattr(project, "PIECE_BYTES", 20)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(4000))
    large.write_bytes(bytes(8000))
    prints = {project.file_print(small), project.file_print(large)}
    small.write_bytes(bytes(2000) + b"\1" + bytes(1999))
    large.write_bytes(bytes(7999) + b"\1")
    prints |= {project.file_print(small), project.file_print(large)}
    large.write_bytes(bytes(8001))
    prints.add(project.file_print(large))
    assert len(prints) == 5
    assert project.file_print(tmp_path / "gone") is None


def test_the_print_of_a_folder_is_of_names_and_sizes_in_any_order(tmp_path, monkeypatch):
    folder = tmp_path / "a.zarr"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "b").write_bytes(b"12")
    (folder / "a").write_bytes(b"1")
    before = project.file_print(folder)
    walk = os.walk

    def backwards(top):
        for at, names, files in walk(top):
            yield at, names, files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert project.file_print(folder) == before
    monkeypatch.undo()
    (folder / "0" / "b").write_bytes(b"123")
    changed = project.file_print(folder)
    (folder / "0" / "b").rename(folder / "0" / "c")
    assert len({before, changed, project.file_print(folder)}) == 3
    # Of very many files the first are enough.
    monkeypatch.setattr(project, "MOST_FILES", 1)
    (folder / "z").write_bytes(b"1")
    first = project.file_print(folder)
    (folder / "0" / "c").write_bytes(b"")
    assert project.file_print(folder) == first
