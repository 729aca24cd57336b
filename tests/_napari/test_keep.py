"""What was done can be done again: restored, run as Python, run as a command."""

import json
import shlex
import threading

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

from driving import WAIT_MS, after, image_layer, picture, readable, result_of, settle
from napari_densecrf._napari import provenance
from napari_densecrf._napari.settings import TOGGLES, load, save
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
    widget.panel.folds["See"].open = False
    settle(qtbot, widget)
    widget.live.value = False
    # At once: what has just been changed is kept too.
    viewer.close()
    viewer, again = dock(*layers(), expect=False)
    assert {name: again[name].value for name in TOGGLES} == {
        "live": False, "region": "Visible part", "influence": False, "confidence": False, "changes": True, "areas": True
    }  # fmt: skip
    assert not again.swipe.value
    assert not again.panel.folds["See"].open
    qtbot.waitUntil(lambda: "Not live" in again.status.value, timeout=WAIT_MS)
    again.panel.folds["See"].open = True
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
    widget.panel.folds["Keep"].open = True
    viewer.close()
    bright = image.astype(np.uint16) * 100
    _viewer, again = dock(image_layer(bright, name="image"), image_layer(probabilities, name="map"))
    assert again.appearance_weight.value == 7.7
    assert 80 < again.appearance_intensity_sigma.value / 12.5 < 105
    assert again.panel.folds["Keep"].open
