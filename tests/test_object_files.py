"""Objects from files to files: the same ids as from Python, what is chosen is said, a stopped run goes on."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf.cli import main
from napari_densecrf.files import jobs
from napari_densecrf.files.jobs import prepare
from napari_densecrf.files.options import ObjectOptions, Options
from napari_densecrf.files.places import METADATA
from test_object_tiles import cells

PARAMS = CRFParams(kernels=(PairwiseKernel(3, 5, 20), PairwiseKernel(1, 1)), label_bias=(0, 0.2))


@pytest.fixture
def folder(tmp_path):
    """Make a folder with an image, its objects with holes between their ids, and parameters."""
    image, _, rough = cells((90, 80))
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "objects.tif", _ids(rough))
    (tmp_path / "params.json").write_text(PARAMS.to_json())
    return tmp_path


def _ids(rough):
    return np.where(rough > 0, 300 + 7 * rough, 0).astype(np.uint16)


def refine(folder, *options, objects="objects.tif", output="out.tif", image="image.tif"):
    files = [str(folder / name) for name in (image, objects)]
    return main(["refine", *files, "--objects", "-o", str(folder / output), *map(str, options)])


def about(path):
    return json.loads(tifffile.TiffFile(path).pages[0].description)[METADATA]


def test_what_is_chosen_is_what_python_chooses_and_it_is_said(folder, capsys):
    assert refine(folder) == 0
    image, objects = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "objects.tif")
    expected = ndc.refine_objects(image, objects)
    written = tifffile.imread(folder / "out.tif")
    assert written.dtype == np.uint16
    assert_array_equal(written, expected.labels)
    said = capsys.readouterr().out
    assert f"borders may be off by {expected.border:.3g} pixels: the " in said
    report = expected.report
    n_changed = np.count_nonzero((report["border_moved"] > 0) | (report["area_before"] != report["area_after"]))
    assert f"{len(report)} objects, {n_changed} changed" in said
    kept = about(folder / "out.tif")
    assert kept["objects"]["border"] == expected.border
    assert kept["objects"]["one_contrast"] is True
    assert kept["objects"]["why"] in said
    assert CRFParams.from_json(json.dumps(kept["params"])) == expected.params
    assert kept["report"] == {"objects": len(report), "changed": n_changed, "held": int(report["held"].sum())}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_options_are_the_arguments(folder, capsys):
    image, objects = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "objects.tif")
    params = ["--params", folder / "params.json"]
    assert refine(folder, *params, "--border", 1.5, "--quiet") == 0
    assert not capsys.readouterr().out
    assert_array_equal(
        tifffile.imread(folder / "out.tif"), ndc.refine_objects(image, objects, PARAMS, border=1.5).labels
    )
    assert refine(folder, *params, "--border", 3, "--one-contrast", "--spacing", 2, "--label-bias=1,0") == 0
    other = CRFParams(kernels=PARAMS.kernels, label_bias=(1, 0))
    expected = ndc.refine_objects(image, objects, other, border=3, spacing=2, one_contrast=True)
    assert_array_equal(tifffile.imread(folder / "out.tif"), expected.labels)
    foreground = np.full(image.shape, 230, np.uint8)
    foreground[:40] = 20
    np.save(folder / "foreground.npy", foreground)
    assert refine(folder, *params, "--border", 2, "--foreground", folder / "foreground.npy") == 0
    expected = ndc.refine_objects(image, objects, PARAMS, border=2, foreground=foreground)
    assert_array_equal(tifffile.imread(folder / "out.tif"), expected.labels)


def test_single_options_change_single_numbers_of_those_that_are_chosen(folder):
    assert refine(folder, "--iterations", 2, "--appearance-weight", 1, "--label-bias", "0,0.5") == 0
    image, objects = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "objects.tif")
    chosen = ndc.refine_objects(image, objects)
    (appearance, smoothness) = chosen.params.kernels
    kernels = (PairwiseKernel(1, appearance.position_sigma, appearance.intensity_sigma), smoothness)
    params = CRFParams(kernels=kernels, n_iterations=2, label_bias=(0, 0.5))
    expected = ndc.refine_objects(image, objects, params, border=chosen.border, one_contrast=True)
    assert_array_equal(tifffile.imread(folder / "out.tif"), expected.labels)


def test_a_label_bias_works_for_classes_too(folder):
    image = tifffile.imread(folder / "image.tif")
    foreground = np.clip(image / 255, 0.1, 0.9).astype(np.float32)
    np.save(folder / "map.npy", foreground)
    files = [str(folder / "image.tif"), str(folder / "map.npy"), "-o", str(folder / "out.tif")]
    assert main(["refine", *files, "--params", str(folder / "params.json")]) == 0
    assert_array_equal(tifffile.imread(folder / "out.tif"), ndc.refine(image, foreground, PARAMS).labels)
    assert main(["refine", *files, "--params", str(folder / "params.json"), "--label-bias", "0,2"]) == 0
    biased = ndc.refine(image, foreground, CRFParams(kernels=PARAMS.kernels, label_bias=(0, 2))).labels
    assert_array_equal(tifffile.imread(folder / "out.tif"), biased)


def test_a_film_slice_by_slice_and_a_volume(tmp_path):
    films = [cells((70, 60), seed=k, bright=(100 - 40 * k, 120 - 40 * k)) for k in range(2)]
    image, objects = (np.stack([film[k] for film in films]) for k in (0, 2))
    tifffile.imwrite(tmp_path / "image.tif", image)
    np.save(tmp_path / "objects.npy", objects.astype(np.int64) + 2**33 * (objects > 0))
    (tmp_path / "params.json").write_text(PARAMS.to_json())
    numbers = ["--params", tmp_path / "params.json", "--border", 1.5]
    names = {"objects": "objects.npy", "output": "out.npy"}
    assert refine(tmp_path, *numbers, "--axes", "TYX", **names) == 0
    written = np.load(tmp_path / "out.npy")
    assert written.dtype == np.int64
    for k in range(2):
        expected = ndc.refine_objects(image[k], np.load(tmp_path / "objects.npy")[k], PARAMS, border=1.5).labels
        assert_array_equal(written[k], expected)
    assert refine(tmp_path, *numbers, "--axes", "ZYX", "--spacing", "2,1,1", **names) == 0
    volume = ndc.refine_objects(image, np.load(tmp_path / "objects.npy"), PARAMS, border=1.5, spacing=(2, 1, 1))
    assert_array_equal(np.load(tmp_path / "out.npy"), volume.labels)


def test_numbers_are_chosen_once_for_all_frames_where_most_borders_are(tmp_path, capsys):
    image, _, rough = cells((70, 60))
    tifffile.imwrite(tmp_path / "image.tif", np.stack([255 - image, image]))
    tifffile.imwrite(tmp_path / "objects.tif", np.stack([np.where(rough == 3, rough, 0), rough]))
    assert refine(tmp_path, "--axes", "TYX") == 0
    chosen = ndc.suggest_for_objects(image, rough)
    assert f"{chosen.border:.3g} pixels: {chosen.why}" in capsys.readouterr().out
    assert_array_equal(tifffile.imread(tmp_path / "out.tif")[1], ndc.refine_objects(image, rough).labels)
    assert CRFParams.from_json(json.dumps(about(tmp_path / "out.tif")["params"])) == chosen.params


def test_frames_without_objects_are_background(tmp_path):
    image, _, rough = cells((70, 60))
    tifffile.imwrite(tmp_path / "image.tif", np.stack([image] * 3))
    tifffile.imwrite(tmp_path / "objects.tif", np.stack([0 * rough, rough, 0 * rough]))
    assert refine(tmp_path, "--axes", "TYX") == 0
    written = tifffile.imread(tmp_path / "out.tif")
    assert not written[[0, 2]].any()
    assert written[1].any()


def test_channels_first_need_no_word(tmp_path):
    image, _, rough = cells((70, 60), channels=2)
    np.save(tmp_path / "image.npy", image)
    tifffile.imwrite(tmp_path / "objects.tif", rough)
    assert refine(tmp_path, "--border", 2, image="image.npy") == 0
    expected = ndc.refine_objects(image, rough, border=2, channel_axis=0).labels
    assert_array_equal(tifffile.imread(tmp_path / "out.tif"), expected)


def test_whole_floats_are_taken_as_imagej_writes_them(folder):
    objects = tifffile.imread(folder / "objects.tif")
    tifffile.imwrite(folder / "floats.tif", objects.astype(np.float32))
    assert refine(folder, objects="floats.tif") == 0
    expected = ndc.refine_objects(tifffile.imread(folder / "image.tif"), objects).labels
    assert_array_equal(tifffile.imread(folder / "out.tif"), expected)


@pytest.mark.parametrize(
    ("objects", "options", "words"),
    [
        (np.linspace(0, 1, 7200).reshape(90, 80), [], "these are probabilities, or give them with --foreground"),
        (np.zeros((90, 80), bool), [], "a number for each object, as skimage.measure.label gives"),
        (np.zeros((90, 80), np.uint8), [], "hold no number but 0"),
        (np.zeros((90, 70), np.uint8), [], "expected (90, 80)"),
        (np.stack([np.zeros((90, 80), np.uint8)] * 2), [], "one number a pixel"),
        (None, ["--border", "-1"], "expected a positive number"),
        (None, ["--from-labels", "0.9"], "--from-labels is for classes, and --objects is given"),
        (None, ["--marginals", "sure.npy"], "objects have no classes"),
        (None, ["--time-sigma", "1"], "frame by frame"),
        (None, ["--label-bias", "0,1,2"], "expected 2, for background and objects"),
    ],
)
def test_what_are_no_objects_is_refused_in_one_sentence(folder, capsys, objects, options, words):
    if objects is not None:
        np.save(folder / "objects.npy", objects)
    assert refine(folder, *options, objects="objects.tif" if objects is None else "objects.npy") == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "out.tif").exists()


def test_a_mask_is_one_object_and_a_picture_may_be_none(folder, capsys):
    objects = tifffile.imread(folder / "objects.tif")
    tifffile.imwrite(folder / "mask.tif", (255 * (objects > 0)).astype(np.uint8))
    assert refine(folder, objects="mask.tif") == 0
    assert "one object, whatever its pieces" in capsys.readouterr().err
    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "picture.tif", rng.integers(0, 255, (90, 80), np.uint8))
    assert refine(folder, "--border", "0.5", objects="picture.tif") == 0
    assert "may be a picture" in capsys.readouterr().err


def test_objects_without_the_word_are_hinted_at(folder, capsys):
    files = [str(folder / name) for name in ("image.tif", "objects.tif")]
    assert main(["refine", *files, "-o", str(folder / "out.tif")]) == 2
    assert "say --objects if each number is an object" in capsys.readouterr().err
    image, _, rough = cells((300, 300))
    tifffile.imwrite(folder / "many.tif", rough.astype(np.uint16))
    tifffile.imwrite(folder / "larger.tif", image)
    files = [str(folder / name) for name in ("larger.tif", "many.tif")]
    assert main(["refine", *files, "-o", str(folder / "out.tif")]) == 2
    assert "say --objects to refine the border of each" in capsys.readouterr().err
    assert main(["refine", *files, "-o", str(folder / "out.tif"), "--from-labels", "0.9", "--iterations", "1"]) == 0
    assert f"holds {len(np.unique(rough))} values that look like objects" in capsys.readouterr().err
    assert main(["refine", *files, "-o", str(folder / "out.tif"), "--border", "2"]) == 2
    assert "--border is for objects: say --objects with it" in capsys.readouterr().err


def test_inputs_are_never_written_over(folder, capsys):
    before = (folder / "objects.tif").read_bytes()
    assert refine(folder, output="objects.tif") == 2
    assert refine(folder, "--foreground", folder / "image.tif", output="image.tif") == 2
    foreground = np.ones((90, 80), np.float32)
    tifffile.imwrite(folder / "foreground.tif", foreground)
    assert refine(folder, "--foreground", folder / "foreground.tif", output="foreground.tif") == 2
    assert capsys.readouterr().err.count("\n") == 3
    assert (folder / "objects.tif").read_bytes() == before
    assert_array_equal(tifffile.imread(folder / "foreground.tif"), foreground)


def job_of(folder, tile_memory):
    options = Options(CRFParams(), tile_memory=tile_memory, objects=ObjectOptions())
    return prepare(str(folder / "image.tif"), str(folder / "objects.tif"), folder / "out.tif", options)


def test_a_run_that_was_stopped_goes_on_and_reports_all(tmp_path, monkeypatch):
    image, _, rough = cells((300, 200))
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "objects.tif", rough)
    memory = 8 * 2**20
    job = job_of(tmp_path, memory)
    assert job.job.n_tiles > 2
    running = job.run()
    assert next(running).n_done == 0
    assert next(running).n_done == 1
    running.close()
    again = job_of(tmp_path, memory)
    steps = list(again.run())
    assert steps[0].n_done == 1
    labels = tifffile.imread(tmp_path / "out.tif")
    whole = ndc.refine_objects(image, rough)
    assert (labels == whole.labels).mean() > 0.999
    report = again.labels.report()
    assert_array_equal(report["id"], np.unique(rough)[1:])
    assert_array_equal(report["area_before"], np.bincount(rough.ravel())[report["id"]])
    assert_array_equal(report["area_after"], np.bincount(labels.ravel())[report["id"]])
    assert about(tmp_path / "out.tif")["report"] == jobs.summary(report)


def test_a_run_does_not_go_on_where_the_foreground_has_changed(folder):
    tifffile.imwrite(folder / "fore.tif", np.full(tifffile.imread(folder / "objects.tif").shape, 0.5, np.float32))
    options = Options(PARAMS, objects=ObjectOptions(1.0, chosen=False, foreground=str(folder / "fore.tif")))

    def about_now():
        names = str(folder / "image.tif"), str(folder / "objects.tif"), folder / "out.tif"
        return prepare(*names, options).labels.target.about

    before = about_now()
    assert about_now() == before
    os.utime(folder / "fore.tif", (1, 1))
    assert about_now() != before


def test_objects_that_the_image_does_not_tell_are_counted(folder, capsys):
    image, objects = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "objects.tif")
    rng = np.random.default_rng(0)
    objects[5:14, 60:69] = 9
    image[:20, 54:76] = 50 + rng.normal(0, 6, (20, 22))
    tifffile.imwrite(folder / "image.tif", image)
    tifffile.imwrite(folder / "objects.tif", objects)
    assert refine(folder) == 0
    n_held = np.count_nonzero(ndc.refine_objects(image, objects).report["held"])
    assert n_held > 0
    assert f"; {n_held} left as they were, as the image does not tell them" in capsys.readouterr().out
    assert about(folder / "out.tif")["report"]["held"] == n_held
    assert_array_equal(tifffile.imread(folder / "out.tif") == 9, objects == 9)


def test_dry_run_says_the_border_and_writes_nothing(folder, capsys):
    assert refine(folder, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "objects borders may be off by" in said
    assert not (folder / "out.tif").exists()


def test_a_batch_has_the_objects_in_its_table(tmp_path):
    for name in ("images", "objects", "fg"):
        (tmp_path / name).mkdir()
    expected = {}
    for k in range(2):
        image, _, rough = cells((70, 60), seed=k)
        tifffile.imwrite(tmp_path / "images" / f"{k}.tif", image)
        tifffile.imwrite(tmp_path / "objects" / f"{k}_cp_masks.tif", rough.astype(np.uint16))
        np.save(tmp_path / "fg" / f"{k}.npy", np.full(rough.shape, 0.6, np.float32))
        expected[k] = ndc.refine_objects(image, rough, foreground=np.full(rough.shape, 0.6, np.float32))
    np.save(tmp_path / "fg" / "bad.npy", np.full((70, 60), 0.6, np.float32))
    tifffile.imwrite(tmp_path / "images" / "bad.tif", image)
    tifffile.imwrite(tmp_path / "objects" / "bad_cp_masks.tif", np.zeros((70, 60), np.uint16))
    patterns = ["--probabilities", str(tmp_path / "objects" / "{stem}_cp_masks.tif")]
    patterns += ["--foreground", str(tmp_path / "fg" / "{stem}.npy")]
    arguments = ["batch", str(tmp_path / "images"), *patterns, "-o", str(tmp_path / "out"), "--objects"]
    assert main(arguments) == 1
    rows = {Path(row["image"]).name: row for row in csv.DictReader((tmp_path / "out" / "summary.csv").open())}
    for k, result in expected.items():
        assert_array_equal(tifffile.imread(tmp_path / "out" / f"{k}.tif"), result.labels)
        row, report = rows[f"{k}.tif"], result.report
        assert row["status"] == "done"
        assert int(row["objects"]) == len(report)
        assert int(row["area before"]) == report["area_before"].sum()
        assert int(row["area after"]) == report["area_after"].sum()
        assert int(row["held"]) == report["held"].sum()
    assert rows["bad.tif"]["status"] == "failed"
    assert "hold no number but 0" in rows["bad.tif"]["error"]


def test_an_ome_zarr_holds_objects_with_their_report(folder):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_zarr")
    assert refine(folder, output="out.ome.zarr") == 0
    group = zarr.open_group(folder / "out.ome.zarr", mode="r")
    image, objects = tifffile.imread(folder / "image.tif"), tifffile.imread(folder / "objects.tif")
    assert_array_equal(group["0"][:], ndc.refine_objects(image, objects).labels)
    assert group.attrs[METADATA]["report"]["objects"] == len(np.unique(objects)) - 1
