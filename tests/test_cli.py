"""The command line, in process and as a process."""

import csv
import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main
from napari_densecrf.files import jobs
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import Options


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(3), (20, 24)), -1, 0).astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb")
    np.save(tmp_path / "map.npy", probabilities)
    return tmp_path, image, probabilities


def run(folder, *options):
    return main(["refine", str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / "out.tif"), *options])


def test_options_are_the_parameters(files):
    folder, image, probabilities = files
    numbers = ["--appearance-weight", "4", "--appearance-position-sigma", "5,6", "--appearance-intensity-sigma", "20"]
    numbers += ["--smoothness-weight", "1", "--smoothness-position-sigma", "2", "--iterations", "3", "--damping", "0.2"]
    assert run(folder, *numbers) == 0
    params = CRFParams((PairwiseKernel(4, (5, 6), 20), PairwiseKernel(1, 2)), n_iterations=3, damping=0.2)
    expected = ndc.refine(image, probabilities, params, channel_axis=-1).labels
    written = tifffile.imread(folder / "out.tif")
    np.testing.assert_array_equal(written, expected)
    assert written.dtype == np.uint8
    assert sorted(path.name for path in folder.iterdir()) == ["image.tif", "map.npy", "out.tif"]


def test_a_params_file_is_what_crfparams_writes(files):
    folder, image, probabilities = files
    params = CRFParams((PairwiseKernel(2, 4, 30),), compatibility=1 - np.eye(3), n_iterations=2)
    (folder / "params.json").write_text(params.to_json())
    assert run(folder, "--params", str(folder / "params.json")) == 0
    expected = ndc.refine(image, probabilities, params, channel_axis=-1).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--damping", "2"], "damping is 2.0"),
        (["--params", "nowhere.json"], "nowhere.json"),
        (["--appearance-position-sigma", "1,2,3"], "position_sigma has 3 numbers"),
        (["--channel-axis", "0"], "expected (n_labels"),
        (["--strokes", "image.png"], ".png"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(files, capsys, options, words):
    folder, _, _ = files
    assert run(folder, *options) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "out.tif").exists()


def test_a_bad_params_file_is_named(files, capsys):
    folder, _, _ = files
    (folder / "params.json").write_text('{"iterations": 3}')
    assert run(folder, "--params", str(folder / "params.json")) == 2
    assert "unknown parameter 'iterations'" in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(files, capsys):
    folder, _, _ = files
    (folder / "image.tif").write_text("no image")
    assert run(folder) == 2
    assert "image.tif cannot be read" in capsys.readouterr().err


def test_it_imports_no_qt(files):
    folder, _, _ = files
    script = (
        "import sys; from napari_densecrf.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({name.split('.')[0] for name in sys.modules} & {'qtpy', 'PyQt6', 'napari', 'magicgui'}))"
    )
    arguments = ["refine", str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / "out.npy")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"
    assert np.load(folder / "out.npy").shape == (20, 24)


def test_demo_without_a_display_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["demo"]) == 2
    assert "xvfb-run" in capsys.readouterr().err


# ---- larger things: volumes, slices, tiles, stops


TILED = ["--appearance-weight", "4", "--appearance-position-sigma", "4", "--appearance-intensity-sigma", "20"]
TILED += ["--smoothness-weight", "1", "--smoothness-position-sigma", "1"]
PARAMS = CRFParams((PairwiseKernel(4, 4, 20), PairwiseKernel(1, 1)))


@pytest.fixture
def stack(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (4, 20, 24)).astype(np.uint8)
    probabilities = np.moveaxis(rng.dirichlet(np.ones(2), (4, 20, 24)), -1, 0).astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
    np.save(tmp_path / "map.npy", probabilities)
    return tmp_path, image, probabilities


def test_a_stack_is_a_volume_or_slices_as_it_is_said(stack, capsys):
    folder, image, probabilities = stack
    assert run(folder, *TILED) == 2
    assert "say --axes ZYX to refine it as a volume, or --axes TYX" in capsys.readouterr().err
    assert run(folder, *TILED, "--axes", "ZYX", "--spacing", "2,1,1") == 0
    volume = ndc.refine(image, probabilities, PARAMS, spacing=(2, 1, 1)).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), volume)
    assert run(folder, *TILED, "--axes", "TYX") == 0
    slices = [ndc.refine(image[z], probabilities[:, z], PARAMS).labels for z in range(4)]
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), slices)


def test_frames_are_coupled_in_time_where_it_is_said(stack, capsys):
    folder, image, probabilities = stack
    coupled = [*TILED, "--time-sigma", "1.5"]
    assert run(folder, *coupled, "--axes", "TYX", "--spacing", "0.5") == 0
    params = CRFParams((PairwiseKernel(4, (1.5, 4, 4), 20), PairwiseKernel(1, (1.5, 1, 1))))
    assert params == PARAMS.coupled_in_time(1.5)
    film = ndc.refine(image, probabilities, params, spacing=(1, 0.5, 0.5)).labels
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), film)
    assert run(folder, *coupled, "--axes", "ZYX") == 2
    assert "expected T among them" in capsys.readouterr().err
    assert run(folder, *coupled, "--axes", "TYX", "--time-sigma", "0") == 2
    assert "position_sigma is (0.0, 4.0, 4.0): expected positive" in capsys.readouterr().err


def test_volumes_are_not_coupled_in_time(stack, capsys):
    folder, image, probabilities = stack
    np.save(folder / "films.npy", image.reshape(2, 2, 20, 24))
    np.save(folder / "map.npy", probabilities.reshape(2, 2, 2, 20, 24))
    names = [str(folder / name) for name in ("films.npy", "map.npy")]
    command = ["refine", *names, "-o", str(folder / "out.npy"), *TILED, "--time-sigma", "1", "--axes"]
    assert main([*command, "TZYX"]) == 2
    assert "volumes cannot be coupled in time" in capsys.readouterr().err
    assert main([*command, "ITYX"]) == 0
    params = PARAMS.coupled_in_time(1)
    films = [ndc.refine(image[k : k + 2], probabilities[:, k : k + 2], params).labels for k in (0, 2)]
    np.testing.assert_array_equal(np.load(folder / "out.npy"), films)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(stack, capsys):
    folder, _, _ = stack
    before = sorted(folder.iterdir())
    assert run(folder, *TILED, "--axes", "TYX", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"reads   {folder / 'image.tif'}: 4 x 20 x 24 uint8"
    assert said[1] == f"reads   {folder / 'map.npy'}: 2 x 4 x 20 x 24 float32"
    assert said[2] == f"writes  {folder / 'out.tif'}: 4 x 20 x 24 TYX uint8"
    assert said[3].startswith("refines 4 frames, each 20 x 24 pixels at once, 0.00 GiB, about ")
    assert sorted(folder.iterdir()) == before


def test_a_rough_segmentation_has_the_classes_of_the_whole(stack):
    folder, image, _ = stack
    labels = np.zeros(image.shape, np.uint8)
    labels[3, 5:] = 2
    tifffile.imwrite(folder / "labels.tif", labels)
    names = [str(folder / name) for name in ("image.tif", "labels.tif")]
    assert main(["refine", *names, "-o", str(folder / "out.npy"), *TILED, "--axes", "TYX", "--from-labels", "0.8"]) == 0
    expected = [
        2 * ndc.refine(image[t], ndc.probabilities_from_labels(labels[t] // 2, 0.8, n_labels=2), PARAMS).labels
        for t in range(4)
    ]
    np.testing.assert_array_equal(np.load(folder / "out.npy"), expected)


def test_sizes_of_the_file_are_the_spacing_where_it_is_said(stack, capsys):
    folder, image, probabilities = stack
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 1.0}
    tifffile.imwrite(folder / "image.ome.tif", image, metadata={"axes": "ZYX", **sizes})
    command = ["refine", str(folder / "image.ome.tif"), str(folder / "map.npy"), "-o", str(folder / "out.npy"), *TILED]
    assert main([*command, "--axes", "ZYX", "--spacing", "file"]) == 0
    expected = ndc.refine(image, probabilities, PARAMS, spacing=(1, 0.5, 0.5)).labels
    np.testing.assert_array_equal(np.load(folder / "out.npy"), expected)
    assert run(folder, "--axes", "ZYX", "--spacing", "file") == 2
    assert "does not say the size of a pixel along Z, Y, X: give --spacing" in capsys.readouterr().err


def marginals_of(image, probabilities, params=PARAMS):
    return ndc.refine(image, probabilities, params).marginals


@pytest.mark.parametrize("name", ["q.tif", "q.npy", "q.ome.tif", "q.ome.zarr"])
@pytest.mark.parametrize("film", [False, True])
def test_marginals_are_written_beside_the_labels(stack, name, film):
    if name.endswith("zarr"):
        pytest.importorskip("ome_zarr")
    folder, image, probabilities = stack
    if film:
        expected = marginals_of(image, probabilities, PARAMS.coupled_in_time(1))
    else:
        expected = np.stack([marginals_of(image[t], probabilities[:, t]) for t in range(4)], axis=1)
    options = [*TILED, "--axes", "TYX", *(["--time-sigma", "1"] if film else [])]
    assert run(folder, *options, "--marginals", str(folder / name)) == 0
    found = whole(folder / name)
    found = np.moveaxis(found, 1, 0) if name.endswith("zarr") else found
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif"), expected.argmax(axis=0))
    assert not list(folder.glob(".*"))
    # What has been written is a map again.
    again = [
        "refine",
        str(folder / "image.tif"),
        str(folder / name),
        "-o",
        str(folder / "again.npy"),
        "--iterations",
        "0",
    ]
    assert main([*again, "--axes", "TYX"]) == 0
    np.testing.assert_array_equal(np.load(folder / "again.npy"), expected.argmax(axis=0))


def test_marginals_in_255ths(files):
    folder, image, probabilities = files
    assert run(folder, *TILED, "--marginals", str(folder / "q.npy"), "--marginals-dtype", "uint8") == 0
    expected = ndc.refine(image, probabilities, PARAMS, channel_axis=-1).marginals
    found = np.load(folder / "q.npy")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.round(expected * 255))


def test_marginals_have_a_file_of_their_own(files, capsys):
    folder, *_ = files
    assert run(folder, "--marginals", str(folder / "out.tif")) == 2
    assert "give the marginals a file of their own" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_its_marginals(large):
    options = Options(PARAMS, tile_memory=int(0.0015 * 2**30), marginals=large / "q.npy")
    job = prepare(str(large / "image.tif"), str(large / "map.npy"), large / "out.npy", options)
    steps = job.run()
    while next(steps).n_done < 3:
        pass
    steps.close()
    assert not (large / "q.npy").exists()
    n_done = [progress.n_done for progress in job.run()]
    assert n_done[0] == 3
    assert n_done[-1] == job.job.n_tiles
    marginals, labels = np.load(large / "q.npy"), np.load(large / "out.npy")
    np.testing.assert_array_equal(marginals[1] > 0.5, labels)
    lazy = ndc.refine_tiles(
        tifffile.imread(large / "image.tif"), np.load(large / "map.npy"), PARAMS, plan=job.job.plan, result="marginals"
    )
    np.testing.assert_array_equal(marginals, lazy.compute())


def test_a_run_does_not_go_on_where_a_dataset_in_a_file_has_changed(files):
    folder, _, probabilities = files
    with h5py.File(folder / "map.h5", "w") as file:
        file["map"] = probabilities

    def about_now():
        names = str(folder / "image.tif"), str(folder / "map.h5" / "map"), folder / "out.tif"
        return prepare(*names, Options(PARAMS)).labels.target.about

    before = about_now()
    assert about_now() == before
    os.utime(folder / "map.h5", (1, 1))
    assert about_now() != before


@pytest.fixture
def large(tmp_path):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(560, 600)), 3)
    image = (128 + 60 * image / image.std()).clip(0, 255).astype(np.uint8)
    probabilities = np.clip(image / 255 + rng.normal(0, 0.2, image.shape), 0, 1).astype(np.float32)
    tifffile.imwrite(tmp_path / "image.tif", image)
    np.save(tmp_path / "map.npy", probabilities)
    return tmp_path


def command(folder, name):
    return ["refine", str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / name), *TILED,
            "--tile-memory", "0.0015"]  # fmt: skip


def whole(path):
    if path.suffix == ".zarr":
        return zarr.open_group(path, mode="r")["0"][:]
    return np.load(path) if path.suffix == ".npy" else tifffile.imread(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.tif", "out.ome.zarr"])
def test_a_killed_run_leaves_nothing_that_looks_whole_and_goes_on(large, name):
    if name.endswith("zarr"):
        pytest.importorskip("ome_zarr")
    journal = large / f".{name}.partial" / "tiles.txt"
    killed = subprocess.Popen([sys.executable, "-m", "napari_densecrf.cli", *command(large, name)])
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_text().count("\n") >= 3):
        assert killed.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    assert not (large / name).exists()
    finished = journal.read_text()
    assert finished.count(";\n") >= 3
    touched = {path: path.stat().st_mtime_ns for path in journal.parent.rglob("*")}
    assert touched
    assert main(command(large, "other.npy")) == 0
    job = prepare(*command(large, name)[1:3], large / name, Options(PARAMS, tile_memory=int(0.0015 * 2**30)))
    before = [progress.n_done for progress in job.run()]
    assert before[0] == finished.count(";\n")
    assert before[-1] == job.job.n_tiles > 12
    np.testing.assert_array_equal(whole(large / name), np.load(large / "other.npy"))
    assert not journal.parent.exists()


@pytest.mark.slow
def test_a_cluster_gives_the_same_file_or_says_that_its_workers_are_too_small(large, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = [*command(large, "there.npy"), "--scheduler", cluster.scheduler_address]
        assert main([*there, "--marginals", str(large / "q.npy")]) == 0
        monkeypatch.setattr(jobs, "least_worker_memory", lambda address: 2**20)
        assert main([*command(large, "refused.npy"), "--scheduler", cluster.scheduler_address]) == 2
        assert "may take 0.00 GiB for it and what waits: say --tile-memory" in capsys.readouterr().err
    assert main(command(large, "here.npy")) == 0
    np.testing.assert_array_equal(np.load(large / "there.npy"), np.load(large / "here.npy"))
    np.testing.assert_array_equal(np.load(large / "there.npy"), np.load(large / "q.npy")[1] > 0.5)


# ---- batch


@pytest.fixture
def folders(tmp_path, files):
    _, image, probabilities = files
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    for k in range(4):
        tifffile.imwrite(tmp_path / "images" / f"cell {k}.tif", np.roll(image, k, axis=0), photometric="rgb")
        np.save(tmp_path / "maps" / f"cell {k}_prob.npy", np.roll(probabilities, k, axis=1))
    return tmp_path


def run_batch(folder, *options):
    maps = f"{folder}/maps/{{stem}}_prob.npy"
    return main(["batch", f"{folder}/images/*.tif", "--probabilities", maps, "-o", f"{folder}/out", *options])


def table(folder):
    with (folder / "out" / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_batch_refines_all_and_tells_areas(folders):
    assert run_batch(folders, "--quiet") == 0
    rows = table(folders)
    assert [row["status"] for row in rows] == ["done"] * 4
    for k, row in enumerate(rows):
        labels = tifffile.imread(folders / "out" / f"cell {k}.tif")
        assert row["labels"].endswith(f"cell {k}.tif")
        assert [int(row[f"pixels_{c}"] or 0) for c in range(3)] == np.bincount(labels.ravel(), minlength=3).tolist()
        assert int(row["milliseconds"]) >= 0


def test_a_bad_file_is_reported_and_stops_nothing(folders, capsys):
    (folders / "images" / "cell 1.tif").write_text("no image")
    (folders / "maps" / "cell 2_prob.npy").unlink()
    assert run_batch(folders) == 1
    said = capsys.readouterr()
    assert "cell 1.tif cannot be read" in said.err
    assert "cell 2_prob.npy is no file" in said.err
    assert said.out.startswith("2 of 4 images done, see ")
    rows = table(folders)
    assert [row["status"] for row in rows] == ["done", "failed", "failed", "done"]
    assert "cannot be read" in rows[1]["error"]
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["cell 0.tif", "cell 3.tif", "summary.csv"]


def test_a_batch_can_leave_what_is_there(folders):
    assert run_batch(folders, "--quiet") == 0
    before = (folders / "out" / "cell 0.tif").stat().st_mtime_ns
    (folders / "out" / "cell 1.tif").unlink()
    assert run_batch(folders, "--quiet", "--skip-existing") == 0
    assert (folders / "out" / "cell 0.tif").stat().st_mtime_ns == before
    assert [row["status"] for row in table(folders)] == ["there already", "done", "there already", "there already"]


def test_a_batch_without_a_match_says_so(folders, capsys):
    assert main(["batch", f"{folders}/none/*.tif", "--probabilities", "{stem}.tif", "-o", f"{folders}/out"]) == 2
    assert "no file matches" in capsys.readouterr().err
