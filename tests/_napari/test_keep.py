"""What was done can be done again: restored, run as Python, run as a command."""

import json
import shlex

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

from driving import after, image_layer, picture, result_of, settle
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
    assert_array_equal(run(copied(widget.copy_python), viewer), result_of(viewer).data[request.window.index])


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


def test_the_copied_command_gives_the_same_labels(dock, qtbot, tmp_path):
    image, probabilities = picture((40, 50), 3)
    tifffile.imwrite(tmp_path / "image.tif", image)
    np.save(tmp_path / "map.npy", probabilities)
    viewer, widget = dock(expect=False)
    viewer.open(tmp_path / "image.tif", plugin="napari")
    after(qtbot, widget, lambda: viewer.open(tmp_path / "map.npy", plugin="napari"))
    after(qtbot, widget, lambda: setattr(widget.appearance_position_sigma, "value", 7.123))
    program, *arguments = shlex.split(copied(widget.copy_command))
    assert program == "napari-densecrf"
    assert main(arguments) == 0
    assert_array_equal(tifffile.imread(tmp_path / "image_refined.tif"), result_of(viewer).data)
    script = copied(widget.copy_python)
    assert "viewer" not in script
    assert_array_equal(run(script, None), result_of(viewer).data)


def test_a_command_that_cannot_be_is_explained(dock, qtbot):
    image, probabilities = picture()
    _viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    assert not copied(widget.copy_command)
    assert "save “image”" in widget.kept.value


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


def test_saved_labels_remember_how_they_were_made(dock, qtbot, tmp_path):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    qtbot.waitUntil(lambda: "fingerprints" in result_of(viewer).metadata["napari-densecrf"])
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


def test_numbers_survive_the_window(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    widget.panel.folds["Keep"].open = True
    qtbot.waitUntil(lambda: not widget._tidy_timer.isActive())
    viewer.close()
    bright = image.astype(np.uint16) * 100
    _viewer, again = dock(image_layer(bright, name="image"), image_layer(probabilities, name="map"))
    assert again.appearance_weight.value == 7.7
    assert 80 < again.appearance_intensity_sigma.value / 12.5 < 105
    assert again.panel.folds["Keep"].open
