"""What was done can be done again: restored, run as Python, run as a command."""

import json
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

from driving import WAIT_MS, after, image_layer, picture, readable, result_of, settle
from napari_densecrf._napari.panel.remembered import TOGGLES
from napari_densecrf._napari.problem.problem import METADATA_KEY
from napari_densecrf._napari.recipes import provenance
from napari_densecrf._napari.recipes.command import joined
from napari_densecrf._napari.recipes.stored import load, save
from napari_densecrf.cli import main


def copied(button):
    QApplication.clipboard().clear()
    button.changed.emit(True)
    return QApplication.clipboard().text()


def run(script, viewer):
    space = {"viewer": viewer}
    exec(compile(script, "copied", "exec"), space)
    return space["labels"]


def test_copied_python_gives_the_same_labels(dock, qtbot):
    image, probabilities = picture((40, 50), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 7.123))
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    after(qtbot, widget, lambda: layer.paint((10, 10), 3))
    assert_array_equal(run(copied(widget.copy_python), viewer), result_of(viewer).data)


@pytest.mark.parametrize("kind", ["channels, classes last", "stack", "labels", "layers", "foreground"])
def test_copied_python_understands_what_the_widget_does(dock, qtbot, kind):
    from napari.layers import Labels

    image, probabilities = picture((3, 30, 32) if kind == "stack" else (30, 32), 3)
    layers = [image_layer(image, name="image", scale=(0.5,) * image.ndim)]
    if kind == "labels":
        layers.append(Labels(np.array([0, 4, 9])[probabilities.argmax(axis=0)], name="map"))
    elif kind == "foreground":
        layers.append(image_layer(probabilities[0], name="map"))
    elif kind == "channels, classes last":
        layers[0] = image_layer(np.stack([image, 255 - image]), name="image")
        layers.append(image_layer(np.moveaxis(probabilities, 0, -1), name="map", rgb=False))
    else:
        layers.append(image_layer(probabilities, name="map"))
    viewer, widget = dock(*layers)
    if kind == "layers":
        viewer.layers.remove("map")
        for k, plane in enumerate(probabilities):
            viewer.add_layer(image_layer(plane, name=f"class {k}"))
        viewer.layers.selection = {viewer.layers[f"class {k}"] for k in range(3)}
        after(qtbot, widget, lambda: setattr(widget.probabilities, "value", widget.probabilities.choices[-1]))
    shown = result_of(viewer).data
    shown = shown[viewer.dims.current_step[-3]] if kind == "stack" else shown
    assert_array_equal(run(copied(widget.copy_python), viewer), shown)


@pytest.mark.parametrize("joined", ["As a volume", "Coupled in time"])
def test_copied_python_refines_the_slices_around_too(dock, qtbot, joined):
    image, probabilities = picture((24, 30, 32), 3)
    scale = (2.0, 0.5, 0.5)
    viewer, widget = dock(image_layer(image, name="image", scale=scale), image_layer(probabilities, name="map"))
    widget.appearance_position_sigma.value = 1.5
    after(qtbot, widget, lambda: setattr(widget.slices, "value", joined))
    request = widget.last_result.request
    assert 1 < np.diff(request.read.z) < 24
    assert_array_equal(run(copied(widget.copy_python), viewer), result_of(viewer).data[request.region.index])


def test_restore_couples_frames_again(dock, qtbot):
    image, probabilities = picture((6, 30, 32))
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.slices.value = "Coupled in time"
    after(qtbot, widget, lambda: setattr(widget.time_sigma, "value", 1.7))
    after(qtbot, widget, lambda: widget.suggest.changed.emit(True))
    widget.freeze.changed.emit(True)
    widget.time_sigma.value = 3.0
    after(qtbot, widget, lambda: setattr(widget.slices, "value", "One by one"))
    viewer.layers.selection.active = viewer.layers["image frozen"]
    after(qtbot, widget, lambda: widget.restore.changed.emit(True))
    assert (widget.slices.value, widget.time_sigma.value) == ("Coupled in time", 1.7)


def opened(viewer, path, data, **options):
    """Write a file and open it, as a layer that is named after it."""
    np.save(path, data) if path.suffix == ".npy" else tifffile.imwrite(path, data)
    return viewer.open(path, plugin="napari", **options)[0]


def run_command(widget):
    program, *arguments = shlex.split(copied(widget.copy_command))
    assert program == "napari-densecrf"
    assert main([*arguments, "--quiet"]) == 0
    output = Path(arguments[arguments.index("-o") + 1])
    return np.load(output) if output.suffix == ".npy" else tifffile.imread(output)


# The axes of the image and of the map, C its channels and their classes.
KINDS = {
    "plain": ("YX", "CYX"),
    "foreground": ("YX", "YX"),
    "channels, classes last": ("CYX", "YXC"),
    "colours": ("YXC", "CYX"),
    "time-lapse": ("TYX", "CTYX"),
    "time-lapse of channels": ("TCYX", "CTYX"),
    "volume": ("ZYX", "CZYX"),
    "film": ("TYX", "CTYX"),
    "time-lapse of volumes, classes between": ("TZYX", "TCZYX"),
    "two axes that count": ("TIYX", "CTIYX"),
}
SIZES = {"T": 5, "I": 2, "Z": 4, "Y": 30, "X": 32}


@pytest.mark.parametrize("kind", KINDS)
def test_the_copied_command_gives_the_same_labels(dock, qtbot, tmp_path, kind):
    image_axes, map_axes = KINDS[kind]
    rng = np.random.default_rng(0)
    colours = kind == "colours"
    shape = [3 if letter == "C" else SIZES[letter] for letter in image_axes]
    image = rng.integers(0, 255, shape).astype(np.uint8)
    classes = rng.dirichlet(np.ones(3), [SIZES[letter] for letter in map_axes if letter != "C"]).astype(np.float32)
    probabilities = np.moveaxis(classes, -1, map_axes.index("C")) if "C" in map_axes else classes[..., 0].copy()
    viewer, widget = dock(expect=False)
    layer = opened(viewer, tmp_path / "image.tif", image, rgb=colours)
    layer.scale = [{"Z": 2.5, "Y": 0.5, "X": 0.25}.get(letter, 1) for letter in image_axes][: layer.ndim]
    opened(viewer, tmp_path / "map.npy", probabilities, rgb=False)
    widget.image.value = viewer.layers["image"]
    after(qtbot, widget, lambda: setattr(widget.probabilities, "value", viewer.layers["map"]))
    if kind == "film":
        after(qtbot, widget, lambda: setattr(widget.slices, "value", "Coupled in time"))
    if "Z" in image_axes:
        after(qtbot, widget, lambda: setattr(widget.slices, "value", "As a volume"))
    after(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 7.123))
    labels = run_command(widget)
    assert widget.kept.value == "Copied."
    index = widget.last_result.request.region.index
    assert labels.shape == tuple(SIZES[letter] for letter in image_axes if letter != "C")
    assert_array_equal(labels[index], widget.last_result.labels)
    assert "viewer" not in copied(widget.copy_python)
    assert_array_equal(run(copied(widget.copy_python), None), widget.last_result.labels)


def test_the_copied_command_has_strokes_and_rough_labels(dock, qtbot, tmp_path):
    image, probabilities = picture((40, 50), 3)
    viewer, widget = dock(expect=False)
    opened(viewer, tmp_path / "image.tif", image)
    opened(viewer, tmp_path / "rough.tif", probabilities.argmax(axis=0).astype(np.uint8), layer_type="labels")
    after(qtbot, widget, lambda: setattr(widget.probabilities, "value", viewer.layers["rough"]))
    strokes = opened(viewer, tmp_path / "strokes.tif", np.zeros((40, 50), np.uint8), layer_type="labels")
    after(qtbot, widget, lambda: setattr(widget.strokes, "value", strokes))
    assert_array_equal(run_command(widget), result_of(viewer).data)
    # What is painted after it was opened is not in the file.
    after(qtbot, widget, lambda: strokes.paint((10, 10), 3))
    assert copied(widget.copy_command) == f"# Not copied: {widget.kept.value}"
    assert "save “strokes”" in widget.kept.value
    tifffile.imwrite(tmp_path / "strokes.tif", strokes.data)
    assert_array_equal(run_command(widget), result_of(viewer).data)
    # Whatever the labels are.
    after(qtbot, widget, lambda: viewer.layers["rough"].paint((10, 10), 7))
    tifffile.imwrite(tmp_path / "rough.tif", viewer.layers["rough"].data)
    labels = run_command(widget)
    assert_array_equal(labels, result_of(viewer).data)
    assert labels.dtype == np.uint8
    # But not what only the layer says of them.
    viewer.layers["rough"].metadata["napari-densecrf"] = {"no_label": 7, "frozen": True}
    assert copied(widget.copy_command) == f"# Not copied: {widget.kept.value}"
    assert "“rough” has pixels without a label, which its file does not say" in widget.kept.value


def test_the_copied_command_reads_what_ilastik_exports(dock, qtbot, tmp_path):
    h5py = pytest.importorskip("h5py")
    image, probabilities = picture((3, 30, 32), 3)
    viewer, widget = dock(expect=False)
    opened(viewer, tmp_path / "image.tif", image)
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["exported_data"] = np.moveaxis(probabilities, 0, -1)[:, None]
        tags = {"axes": [{"key": axis, "resolution": 0} for axis in "tzyxc"]}
        file["exported_data"].attrs["axistags"] = json.dumps(tags)
    after(qtbot, widget, lambda: viewer.open(tmp_path / "map.h5", plugin="napari-densecrf"))
    assert_array_equal(run_command(widget)[widget.last_result.request.region.index], widget.last_result.labels)


def test_a_command_for_more_than_is_shown_says_so(dock, qtbot, tmp_path):
    image, probabilities = picture((90, 30, 32))
    viewer, widget = dock(expect=False)
    opened(viewer, tmp_path / "image.tif", image)
    after(qtbot, widget, lambda: opened(viewer, tmp_path / "map.npy", probabilities))
    widget.appearance_position_sigma.value = 3.0
    after(qtbot, widget, lambda: setattr(widget.slices, "value", "As a volume"))
    labels = run_command(widget)
    assert "whole volume" in widget.kept.value
    assert (labels[widget.last_result.request.region.index] == widget.last_result.labels).mean() > 0.99


def test_a_command_is_quoted_for_its_shell():
    words = ["refine", "my image.tif", "C:\\data\\map.tif"]
    assert joined(words, windows=True) == 'refine "my image.tif" C:\\data\\map.tif'
    assert shlex.split(joined(words, windows=False)) == words


@pytest.mark.parametrize(
    ("kind", "words"),
    [("memory", "save “image”"), ("layers", "2 layers"), ("strokes", "made of strokes"), ("alpha", "alpha channel")],
)
def test_a_command_that_cannot_be_is_explained(dock, qtbot, kind, words):
    image, probabilities = picture()
    if kind == "alpha":
        image = np.dstack([image] * 4)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    if kind == "layers":
        for k, plane in enumerate(probabilities):
            viewer.add_layer(image_layer(plane, name=f"class {k}"))
        viewer.layers.selection = {viewer.layers[f"class {k}"] for k in range(2)}
        after(qtbot, widget, lambda: setattr(widget.probabilities, "value", widget.probabilities.choices[-1]))
    elif kind == "strokes":
        widget.new_strokes.changed.emit(True)
        layer = viewer.layers["image strokes"]
        layer.data[5:9, 5:20], layer.data[20:25, 5:20] = 1, 2
        after(qtbot, widget, lambda: setattr(widget.probabilities, "value", widget.probabilities.choices[-1]))
    assert copied(widget.copy_command) == f"# Not copied: {widget.kept.value}"
    assert words in widget.kept.value


@pytest.mark.parametrize("sample", ["tissue", "cell"])
def test_a_sample_can_be_copied_as_python(dock, qtbot, sample):
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: viewer.open_sample("napari-densecrf", sample))
    viewer.layers[sample].name = "renamed"
    settle(qtbot, widget)
    script = copied(widget.copy_python)
    assert "viewer.layers" not in script
    assert_array_equal(run(script, None), widget.last_result.labels)
    # Its files are nowhere, which the clipboard says.
    assert copied(widget.copy_command).startswith("# Not copied: The command reads files: save “renamed” as tif")


def test_nothing_to_copy_is_said_in_place_of_what_was_copied_before(dock):
    _, widget = dock(expect=False)
    for button in (widget.copy_python, widget.copy_command):
        assert copied(button) == "# Not copied: Nothing has been refined yet."


def test_restore_brings_numbers_and_inputs_back(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(
        image_layer(image, name="image"),
        image_layer(probabilities, name="map"),
        image_layer(probabilities[::-1], name="other map"),
    )
    chosen = widget.probabilities.value
    other = viewer.layers["other map" if chosen.name == "map" else "map"]
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    widget.freeze.changed.emit(True)
    made = widget.params
    after(qtbot, widget, lambda: setattr(widget.probabilities, "value", other))
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 1.1))
    viewer.layers.selection.active = viewer.layers["image frozen"]
    after(qtbot, widget, lambda: widget.restore.changed.emit(True))
    assert widget.params == made
    assert widget.probabilities.value is chosen
    assert_array_equal(result_of(viewer).data, viewer.layers["image frozen"].data)


def test_the_numbers_of_the_command_line_are_restored_from_its_file(dock, qtbot, tmp_path):
    image, probabilities = picture()
    tifffile.imwrite(tmp_path / "image.tif", image)
    np.save(tmp_path / "map.npy", probabilities)
    files = [str(tmp_path / name) for name in ("image.tif", "map.npy")]
    labels = str(tmp_path / "labels.tif")
    assert main(["refine", *files, "-o", labels, "--appearance-weight", "7.7", "--quiet"]) == 0
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    viewer.open(labels, plugin="napari", layer_type="labels")
    settle(qtbot, widget)
    viewer.layers.selection.active = viewer.layers["labels"]
    widget.image.value, widget.probabilities.value = viewer.layers["image"], viewer.layers["map"]
    after(qtbot, widget, lambda: widget.restore.changed.emit(True))
    assert widget.appearance_weight.value == 7.7
    assert widget.kept.value == "Restored from “labels”."


def test_restore_says_what_no_slider_shows(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.freeze.changed.emit(True)
    layer = viewer.layers["image frozen"]
    layer.metadata[METADATA_KEY]["params"]["compatibility"] = [[0.0, 2.0], [2.0, 0.0]]
    viewer.layers.selection.active = layer
    before = widget.params
    widget.restore.changed.emit(True)
    assert "compatibility" in widget.kept.value
    assert widget.params == before


def test_saved_labels_remember_how_they_were_made(dock, qtbot, tmp_path):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    qtbot.waitUntil(lambda: bool(result_of(viewer).metadata["napari-densecrf"]["fingerprints"]))
    made = widget.params
    target = tmp_path / "labels.tif"
    written = result_of(viewer).save(str(target), plugin="napari-densecrf")
    assert [str(path) for path in written] == [str(target), f"{target}.json"]
    assert json.loads((tmp_path / "labels.tif.json").read_text())["fingerprints"].keys() == {"image", "probabilities"}
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 1.1))
    viewer.open(target, plugin="napari", layer_type="labels")
    settle(qtbot, widget)
    viewer.layers.selection.active = viewer.layers["labels"]
    widget.image.value, widget.probabilities.value = viewer.layers["image"], viewer.layers["map"]
    after(qtbot, widget, lambda: widget.restore.changed.emit(True))
    assert widget.params == made


def test_fingerprints_are_taken_in_the_background_and_told_to_what_is_frozen(dock, qtbot, monkeypatch):
    threads, sha256 = [], provenance.hashlib.sha256

    def watched(data):
        threads.append(threading.current_thread())
        return sha256(data)

    monkeypatch.setattr(provenance.hashlib, "sha256", watched)
    # In pieces of a few rows, and of one.
    monkeypatch.setattr(provenance, "PIECE_BYTES", 120)
    image, probabilities = picture((40, 50), 3)
    viewer, widget = dock(
        image_layer(image, name="image"), image_layer(np.moveaxis(probabilities, 0, -1), name="map", rgb=False)
    )
    widget.freeze.changed.emit(True)
    # A newer result is no reason to forget it.
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    expected = {
        name: sha256(f"{array.dtype.str} {array.shape}".encode() + array.tobytes()).hexdigest()
        for name, array in (("image", image), ("probabilities", probabilities))
    }
    for name in ("image frozen", "image refined"):
        prints = viewer.layers[name].metadata["napari-densecrf"]["fingerprints"]
        qtbot.waitUntil(lambda prints=prints: bool(prints), timeout=WAIT_MS)
        assert prints == expected
    assert threading.main_thread() not in threads


def test_toggles_survive_the_window(dock, qtbot):
    image, probabilities = picture()

    def layers():
        return image_layer(image, name="image"), image_layer(probabilities, name="map")

    viewer, widget = dock(*layers())
    after(qtbot, widget, lambda: setattr(widget.changes, "value", True))
    widget.areas.value = True
    widget.swipe.value = True
    widget.region.value = "Visible part"
    widget.panel.folds["Why?"].open = False
    settle(qtbot, widget)
    widget.live.value = False
    # At once: what has just been changed is kept too.
    viewer.close()
    viewer, again = dock(*layers(), expect=False)
    assert {name: again[name].value for name in TOGGLES} == {
        "live": False, "region": "Visible part", "influence": False, "confidence": False, "changes": True, "areas": True
    }  # fmt: skip
    assert not again.swipe.value
    assert not again.panel.folds["Why?"].open
    qtbot.waitUntil(lambda: "Not live" in again.status.value, timeout=WAIT_MS)
    again.panel.folds["Why?"].open = True
    after(qtbot, again, lambda: again.update_now.changed.emit(True))
    assert viewer.layers["image changes"].visible
    assert readable(again, again.area_table)
    # No result says so, as live is off; it is kept all the same.
    again.changes.value = False
    qtbot.waitUntil(lambda: not load()["toggles"]["changes"], timeout=WAIT_MS)


@pytest.mark.parametrize("saved", [{"toggles": {"region": "gone", "live": None, "image": 3}, "open": 1}, {"open": {}}])
def test_a_state_of_another_version_is_no_obstacle(dock, saved):
    save(saved)
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"), expect=False)
    assert widget.region.value == "Automatic"
    assert not any(fold.open for fold in widget.panel.folds.values())


def test_numbers_survive_the_window(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    widget.panel.folds["Save and script"].open = True
    viewer.close()
    bright = image.astype(np.uint16) * 100
    _viewer, again = dock(image_layer(bright, name="image"), image_layer(probabilities, name="map"))
    # The image begins with its own; those used last are one click away.
    assert again.appearance_weight.value != 7.7
    after(qtbot, again, lambda: setattr(again.preset, "value", "Last used numbers"))
    assert again.appearance_weight.value == 7.7
    assert 80 < again.appearance_intensity_sigma.value / 12.5 < 105
    assert again.panel.folds["Save and script"].open
