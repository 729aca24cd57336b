"""No command destroys an input: refused before a byte is written, by whatever path output and input are the same."""

import hashlib
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from napari_densecrf import CRFParams
from napari_densecrf.cli import main
from napari_densecrf.files import places, work_folder
from napari_densecrf.files.places import MARKER, Use, check, reads
from napari_densecrf.files.read import BadInput
from napari_densecrf.files.target import Target
from napari_densecrf.files.work_folder import put
from napari_densecrf.files.write import FileSink
from napari_densecrf.large.job import Job
from napari_densecrf.large.tile_job import Piece
from test_files import image_and_map, write_ome_zarr

pytest.importorskip("ome_zarr")


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Return a folder with inputs of every kind, which is also the present one."""
    image, probabilities = image_and_map((20, 24), 2)
    tifffile.imwrite(tmp_path / "a.tif", image)
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "p.npy", probabilities)
    tifffile.imwrite(tmp_path / "strokes.tif", np.zeros((20, 24), np.uint8))
    (tmp_path / "params.json").write_text(CRFParams().to_json())
    write_ome_zarr(tmp_path / "image.ome.zarr", image, "yx", [0.5, 0.5])
    write_ome_zarr(tmp_path / "p.ome.zarr", probabilities, "cyx", [1, 0.5, 0.5])
    zarr.create_array(tmp_path / "plain.zarr", data=image)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = image
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder.ome.zarr").mkdir()
    (tmp_path / "folder.ome.zarr" / "notes.txt").write_text("mine")
    (tmp_path / "folder.tif").mkdir()
    os.link(tmp_path / "a.tif", tmp_path / "hard.tif")
    os.link(tmp_path / "params.json", tmp_path / "params.tif")
    os.symlink("a.tif", tmp_path / "soft.tif")
    os.symlink("soft.tif", tmp_path / "softer.tif")
    os.symlink(tmp_path, tmp_path / "sub" / "back")
    os.symlink("image.ome.zarr", tmp_path / "link.ome.zarr")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashes(folder):
    """Return what every file below a folder holds, and every link and folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def refused(folder, capsys, words, *expected):
    """Check that a command writes nothing and says one sentence."""
    before = hashes(folder)
    assert main(words) == 2
    assert hashes(folder) == before
    said = capsys.readouterr().err
    assert said.startswith("napari-densecrf: ")
    assert said.count("\n") == 1
    for word in expected:
        assert word in said


@pytest.mark.parametrize(
    "output",
    [
        "a.tif",
        "./a.tif",
        "sub/../a.tif",
        "sub/back/a.tif",
        "sub/back/sub/../a.tif",
        "hard.tif",
        "soft.tif",
        "softer.tif",
        "{at}/a.tif",
    ],
)
@pytest.mark.parametrize("image", ["a.tif", "soft.tif", "{at}/sub/../hard.tif"])
def test_the_image_is_no_output_by_whatever_path(at, capsys, image, output):
    image, output = image.format(at=at), output.format(at=at)
    refused(at, capsys, ["refine", image, "p.npy", "-o", output], "is the image", "give the labels a file of their own")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a.tif", "p.npy", "-o", "p.npy"], "p.npy is the map, which would be lost"),
        (["a.tif", "p.npy", "-o", "strokes.tif", "--strokes", "strokes.tif"], "is the strokes"),
        (["a.tif", "p.npy", "-o", "params.tif", "--params", "params.json"], "is the parameters params.json"),
        (["a.tif", "p.npy", "-o", "new.tif", "--marginals", "hard.tif"], "give the marginals a file of their own"),
        (["a.tif", "p.npy", "-o", "new.tif", "--marginals", "./p.npy"], "is the map"),
        (["a.tif", "p.npy", "-o", "new.npy", "--marginals", "sub/../new.npy"], "is for the labels: give the marginals"),
        (["image.ome.zarr", "p.npy", "-o", "image.ome.zarr"], "is the image"),
        (["image.ome.zarr", "p.npy", "-o", "link.ome.zarr"], "is the image"),
        (["link.ome.zarr", "p.npy", "-o", "image.ome.zarr/"], "is the image"),
        (["image.ome.zarr", "p.npy", "-o", "image.ome.zarr/new.ome.zarr"], "only labels can be added"),
        (["image.ome.zarr", "p.npy", "-o", "image.ome.zarr/new.tif"], "image.ome.zarr/labels/NAME"),
        (["image.ome.zarr", "p.npy", "-o", "image.ome.zarr/0"], "ends in nothing"),
        (["image.ome.zarr", "p.npy", "-o", "image.ome.zarr/labels/.."], "is a folder"),
        (["image.ome.zarr/0", "p.npy", "-o", "image.ome.zarr"], "was not made by napari-densecrf"),
        (["a.tif", "p.npy", "-o", "image.ome.zarr"], "image.ome.zarr/labels/NAME to add labels to it"),
        (["a.tif", "p.npy", "-o", "image.ome.zarr/0/x.npy"], "only labels can be added"),
        (["plain.zarr", "p.npy", "-o", "plain.zarr/new.tif"], "lies in"),
        (["a.tif", "p.npy", "-o", "plain.zarr"], "was not made by napari-densecrf"),
        (["a.tif", "p.npy", "-o", "plain.zarr/labels/x"], "is no OME-Zarr image"),
        (["a.tif", "p.npy", "-o", "nowhere.zarr/labels/x"], "is no OME-Zarr image"),
        (["a.tif", "p.npy", "-o", "folder.ome.zarr"], "was not made by napari-densecrf, and is never replaced"),
        (["a.tif", "p.npy", "-o", "folder.tif"], "is a folder: expected the name of a file"),
        (["a.tif", "p.npy", "-o", "new.tif", "--marginals", "folder.ome.zarr"], "was not made by napari-densecrf"),
        (["a.h5/raw", "p.npy", "-o", "a.h5/new.tif"], "is no folder"),
        (["a.tif", "p.npy", "-o", "image.ome.zarr/labels/q", "--marginals", "image.ome.zarr"], "is for the marginals"),
    ],
)
def test_what_is_read_or_not_of_this_program_stays(at, capsys, options, words):
    refused(at, capsys, ["refine", *options], words)


def test_all_files_of_an_ome_tif_are_inputs(at, capsys):
    image = np.zeros((2, 20, 24), np.uint8)
    parts = [f"part {k} & more.ome.tif" for k in range(2)]
    planes = "".join(
        f'<TiffData IFD="0" FirstT="{k}" PlaneCount="1">'
        f'<UUID FileName="{part.replace("&", "&amp;")}">urn:uuid:{k}</UUID></TiffData>'
        for k, part in enumerate(parts)
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="20" SizeZ="1" SizeC="1" SizeT="2">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    for k, part in enumerate(parts):
        tifffile.imwrite(at / part, image[k], description=xml, metadata=None)
    np.save(at / "both.npy", np.full((2, 20, 24), 0.5, np.float32))
    assert tifffile.imread(at / parts[0]).shape == (2, 20, 24)
    refused(at, capsys, ["refine", parts[0], "both.npy", "-o", parts[1]], f"{parts[1]} is the image")


def test_a_dry_run_refuses_too(at, capsys):
    refused(at, capsys, ["refine", "a.tif", "p.npy", "-o", "a.tif", "--dry-run"], "is the image")


def test_a_name_in_other_letters_is_the_same_file_where_the_system_says_so(at, capsys, monkeypatch):
    monkeypatch.setattr(places, "_folds_case", lambda folder: True)
    refused(at, capsys, ["refine", "a.tif", "p.npy", "-o", "A.TIF"], "A.TIF is the image a.tif")
    monkeypatch.undo()
    if not (at / "A.TIF").exists():
        assert not places._folds_case(at)
        check(reads(("the image", at / "a.tif")), [Use("the labels", at / "A.TIF")])


def test_a_plain_file_that_is_no_input_is_replaced(at):
    (at / "old.npy").write_bytes(b"labels of yesterday")
    assert main(["refine", "a.tif", "p.npy", "-o", "old.npy", "--quiet"]) == 0
    assert np.load(at / "old.npy").shape == (20, 24)


def test_a_link_is_written_through_and_stays(at):
    os.symlink(at / "sub" / "there.npy", at / "link.npy")
    assert main(["refine", "a.tif", "p.npy", "-o", "link.npy", "--quiet"]) == 0
    assert (at / "link.npy").is_symlink()
    assert np.load(at / "sub" / "there.npy").shape == (20, 24)
    assert sorted(one.name for one in (at / "sub").iterdir()) == ["back", "there.npy"]


def test_labels_of_this_program_are_replaced_unless_something_was_added(at, capsys):
    command = ["refine", "a.tif", "p.npy", "-o", "new.ome.zarr", "--quiet"]
    assert main(command) == 0
    assert main(command) == 0
    refused(at, capsys, ["refine", "new.ome.zarr", "p.npy", "-o", "new.ome.zarr"], "is the image")
    refused(at, capsys, ["refine", "a.tif", "new.ome.zarr/0", "-o", "new.ome.zarr"], "holds the map new.ome.zarr/0")
    (at / "new.ome.zarr" / "notes.txt").write_text("mine")
    refused(at, capsys, command, "holds notes.txt, which napari-densecrf did not write")


@pytest.mark.parametrize("name", ["image.ome.zarr", "link.ome.zarr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("others", [False, True])
def test_labels_are_added_to_a_zarr_and_every_other_byte_stays(at, capsys, zarr_format, others, name):
    image, _ = image_and_map((20, 24), 2)
    source = at / "image.ome.zarr"
    write_ome_zarr(source, image, "yx", [0.5, 0.5], zarr_format)
    (source / "notes.txt").write_text("mine")
    if others:
        labels = zarr.open_group(source / "labels", mode="w", zarr_format=zarr_format)
        labels.create_array("nuclei", data=image)
        said = {"labels": ["nuclei"], "other": 1}
        labels.attrs.update(said if zarr_format == 2 else {"ome": {"version": "0.5", **said}})
    before = hashes(source)
    command = ["refine", "a.tif", "p.npy", "--quiet", "-o", f"{name}/labels/refined"]
    for _ in range(2):
        assert main(command) == 0
        after = hashes(source)
        new = {one for one in after if before.get(one) != after[one]}
        lists = {"labels/.zattrs"} if zarr_format == 2 else {"labels/zarr.json"}
        made = set() if others else {"labels", "labels/.zgroup"} if zarr_format == 2 else {"labels"}
        assert {one for one in new if not one.startswith("labels/refined")} == lists | made
        assert set(before) <= set(after)
    attributes = dict(zarr.open_group(source / "labels", mode="r").attrs)
    attributes = attributes.get("ome", attributes)
    assert attributes["labels"] == (["nuclei", "refined"] if others else ["refined"])
    assert attributes.get("other") == (1 if others else None)
    group = dict(zarr.open_group(source / "labels" / "refined", mode="r").attrs)
    assert group.get("ome", group)["image-label"]["source"] == {"image": "../../"}
    if others:
        refused(at, capsys, [*command[:-1], f"{name}/labels/nuclei"], "was not made by napari-densecrf")
    rough = [*command[:-1], f"{name}/labels/refined", "--from-labels", "0.9"]
    refused(at, capsys, [*rough[:2], f"{name}/labels/refined", *rough[3:]], "is the map")


def test_a_run_that_ends_at_once_leaves_no_folder_of_labels(at):
    np.save(at / "p.npy", np.full((2, 20, 24), np.nan, np.float32))
    before = hashes(at)
    assert main(["refine", "a.tif", "p.npy", "-o", "image.ome.zarr/labels/refined", "--quiet"]) == 2
    assert hashes(at) == before


# ---- hidden folders


def target(path):
    return Target(path, (4, 4), np.dtype(np.uint8), "YX", (4, 4), {}, None, {})


def test_a_hidden_folder_of_somebody_else_is_left_alone(at, capsys):
    (at / ".new.npy.partial").mkdir()
    (at / ".new.npy.partial" / "about.json").write_text("mine")
    refused(at, capsys, ["refine", "a.tif", "p.npy", "-o", "new.npy"], "which needs this name: give it another one")
    (at / ".new.tif.partial").write_text("mine")
    refused(at, capsys, ["refine", "a.tif", "p.npy", "-o", "new.tif"], "which needs this name: give it another one")
    before = hashes(at)
    with pytest.raises(BadInput, match="which needs this name"):
        FileSink(target(at / "new.npy")).open()
    assert hashes(at) == before


@pytest.mark.slow
def test_what_a_killed_run_left_is_taken_over_at_whatever_moment(at):
    path, folder = at / "new.npy", at / ".new.npy.partial"
    labels = np.ones((4, 4), np.uint8)

    def write(labels):
        sink = FileSink(target(path))
        sink.open()
        sink.write(Piece("0", (), (slice(None), slice(None)), labels))
        return sink

    def run():
        write(labels).finish()
        np.testing.assert_array_equal(np.load(path), labels)
        assert not folder.exists()

    # Before the marker, or after it; between the rename and the clean-up; within the clean-up.
    folder.mkdir()
    run()
    folder.mkdir()
    (folder / MARKER).touch()
    run()
    for remove in (["labels.npy"], ["about.json"], ["about.json", "tiles.txt"]):
        write(labels * 2)
        for name in remove:
            (folder / name).unlink()
        run()


@pytest.mark.parametrize("name", ["new.npy", "new.tif", "new.ome.zarr", "image.ome.zarr/labels/new"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_run_that_ends_between_any_two_steps_leaves_the_earlier_labels_or_the_new(at, monkeypatch, name, version):
    """Whichever step is the last, the next run succeeds, whether it is the same run or another."""
    path, old, new = at / name, np.ones((4, 4), np.uint8), np.full((4, 4), 2, np.uint8)

    def run(labels, version):
        sink = FileSink(replace(target(path), about={"version": version}))
        try:
            if not sink.open():
                sink.write(Piece("0", (), (slice(None), slice(None)), labels))
            sink.finish()
        finally:
            # As the system does where a process ends.
            sink._let_go()

    def found():
        if path.suffix == ".tif":
            return tifffile.imread(path)
        return np.load(path) if path.suffix == ".npy" else zarr.open_array(path / "0", mode="r")[:]

    class Killed(BaseException):
        pass

    steps = [(os, "replace"), (shutil, "rmtree"), (Path, "unlink"), (Path, "rmdir"), (Path, "touch")]
    for last in itertools.count():
        run(old, 0)
        countdown = itertools.count(last, -1)
        with monkeypatch.context() as patched:
            for owner, step in steps:
                real = getattr(owner, step)

                def counted(*arguments, real=real, countdown=countdown, **options):
                    if next(countdown) == 0:
                        raise Killed
                    return real(*arguments, **options)

                patched.setattr(owner, step, counted)
            try:
                run(new, 1)
                break
            except Killed:
                pass
        if path.exists():
            assert (found() == old).all() or (found() == new).all()
        run(new, version)
        np.testing.assert_array_equal(found(), new)
        assert not (path.parent / f".{path.name}.partial").exists()
    assert last > 3


def test_a_job_does_not_remove_what_it_could_not_open(at):
    (at / ".new.npy.partial").mkdir()
    (at / ".new.npy.partial" / "about.json").write_text("mine")
    before = hashes(at)
    sink = FileSink(target(at / "new.npy"))
    job = Job(frames=None, params=CRFParams(), spacing=None, plan=None, n_labels=2, sinks=(sink,))
    with pytest.raises(BadInput, match="which needs this name"):
        list(job.run())
    with pytest.raises(BadInput, match="which needs this name"):
        work_folder.remove_folder(at / ".new.npy.partial")
    assert hashes(at) == before


def test_a_folder_that_another_process_removes_in_this_moment_is_made_again(tmp_path, monkeypatch):
    folder, opened, removed = tmp_path / ".new.npy.partial", Path.open, []

    def open_too_late(path, *args, **options):
        if not removed:
            removed.append(path)
            path.parent.rmdir()
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", open_too_late)
    work_folder.hold_folder(folder).close()
    assert removed == [folder / MARKER]
    assert (folder / MARKER).is_file()


def test_a_folder_in_which_another_process_begins_in_this_moment_stays(tmp_path, monkeypatch):
    folder, unlink = tmp_path / ".new.npy.partial", Path.unlink
    work_folder.hold_folder(folder).close()

    def unlink_and_begin(path, **options):
        unlink(path, **options)
        if path.name == MARKER:
            path.write_text("process 2")

    monkeypatch.setattr(Path, "unlink", unlink_and_begin)
    work_folder.remove_folder(folder)
    assert (folder / MARKER).read_text() == "process 2"


@pytest.mark.parametrize("name", [".zattrs", ".zgroup", "zarr.json", ".hidden"])
def test_labels_have_a_name_of_their_own(at, capsys, name):
    command = ["refine", "a.tif", "p.npy", "-o", f"image.ome.zarr/labels/{name}"]
    refused(at, capsys, command, "is a name that zarr has its own use for")


def test_a_folder_that_came_meanwhile_is_not_replaced(at):
    made = at / "made"
    made.mkdir()
    before = hashes(at)
    with pytest.raises(BadInput, match="was not made by"):
        put(made, at / "folder.ome.zarr", at / "spare")
    assert hashes(at) == before


# ---- batch


@pytest.fixture
def folder(at):
    for name in ("in", "maps"):
        (at / name).mkdir()
    for k in range(3):
        image, probabilities = image_and_map((20, 24), 2, k)
        tifffile.imwrite(at / "in" / f"{k}.tif", image)
        np.save(at / "maps" / f"{k}.npy", probabilities)
    return at


def batch(images, output, *options, maps="maps/{stem}.npy"):
    return ["batch", images, "--probabilities", maps, "-o", output, *options]


@pytest.mark.parametrize("output", ["in", "./in/", "maps/../in", "sub/back/in", "{at}/in"])
def test_a_batch_does_not_write_over_its_images(folder, capsys, output):
    refused(folder, capsys, batch("in/*.tif", output.format(at=folder)), "0.tif is the image")
    refused(folder, capsys, batch("in/*.tif", output.format(at=folder), "--skip-existing"), "is the image")


def test_a_batch_does_not_write_over_its_maps_or_parameters(folder, capsys):
    refused(folder, capsys, batch("in/*.tif", "maps", "--format", ".npy"), "maps/0.npy is the map")
    (folder / "maps" / "summary.csv").hardlink_to(folder / "params.json")
    refused(folder, capsys, batch("in/*.tif", "maps", "--params", "params.json"), "choose another folder for the table")


def test_the_labels_of_one_image_are_not_written_over_another(folder, capsys):
    os.symlink(folder / "in" / "1.tif", folder / "maps" / "0.tif")
    refused(folder, capsys, batch("in/*.tif", "maps"), "maps/0.tif is the image in/1.tif")
    (folder / "out").mkdir()
    (folder / "out" / "1.tif").write_text("")
    os.link(folder / "out" / "1.tif", folder / "out" / "2.tif")
    refused(folder, capsys, batch("in/*.tif", "out"), "are one file: the labels of two images would overwrite")


def test_two_names_in_other_letters_are_one_output_where_the_system_says_so(folder, capsys, monkeypatch):
    monkeypatch.setattr(places, "_folds_case", lambda folder: True)
    for name in ("x.tif", "X.npy"):
        (folder / "in" / name).write_bytes((folder / "in" / "0.tif").read_bytes())
    refused(folder, capsys, batch("in", "out"), "out/X.tif and out/x.tif are one file")
    (folder / "in" / "X.npy").rename(folder / "in" / "e\u0301.npy")
    (folder / "in" / "x.tif").rename(folder / "in" / "\u00e9.tif")
    refused(folder, capsys, batch("in", "out"), "are one file: the labels of two images would overwrite")


def test_a_table_of_somebody_else_stays(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "summary.csv").write_text("a,b\n1,2\n")
    refused(folder, capsys, batch("in/*.tif", "out"), "summary.csv is no table of napari-densecrf")
    (folder / "out" / "summary.csv").unlink()
    (folder / "out" / ".summary.csv").write_text("mine")
    for _ in range(2):
        assert main(batch("in/*.tif", "out", "--quiet")) == 0
    assert (folder / "out" / ".summary.csv").read_text() == "mine"
    assert sorted(one.name for one in (folder / "out").iterdir()) == [
        ".summary.csv",
        "0.tif",
        "1.tif",
        "2.tif",
        "summary.csv",
    ]


def test_a_batch_of_zarrs_replaces_nothing_of_others(folder, capsys):
    (folder / "out" / "1.ome.zarr").mkdir(parents=True)
    refused(folder, capsys, batch("in/*.tif", "out", "--format", ".ome.zarr"), "1.ome.zarr was not made by")
