"""A project goes on the next day: image, map, strokes and numbers as they were, wherever its folder is by then."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from napari.errors import ReaderPluginError
from numpy.testing import assert_array_equal
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from driving import after, image_layer, picture, readable, result_of, settle
from napari_densecrf._napari.problem.problem import STROKES_KEY, FromStrokes


@pytest.fixture
def folder(tmp_path):
    """Return a folder with an image and its map, as a user has them."""
    (tmp_path / "day").mkdir()
    image, probabilities = picture((40, 50), 3)
    tifffile.imwrite(tmp_path / "day" / "cells.tif", image)
    np.save(tmp_path / "day" / "cells_prob.npy", probabilities)
    return tmp_path / "day"


def opened(dock, qtbot, folder):
    viewer, widget = dock(expect=False)
    viewer.open(folder / "cells.tif", plugin="napari", scale=(0.5, 0.5))
    after(qtbot, widget, lambda: viewer.open(folder / "cells_prob.npy", plugin="napari", scale=(1, 0.5, 0.5)))
    return viewer, widget


def keep_of(widget):
    (keep,) = [section for section in widget.sections if section.title == "Save and script"]
    return keep


def painted(viewer, widget, qtbot):
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    strokes = viewer.layers["cells strokes"]
    after(qtbot, widget, lambda: strokes.paint((10, 10), 3))
    return strokes


def test_the_next_day_all_is_as_it_was(dock, qtbot, folder):
    viewer, widget = opened(dock, qtbot, folder)
    strokes = painted(viewer, widget, qtbot).data.copy()
    widget.appearance_position_sigma.value = 4.321
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    made, labels = widget.params, result_of(viewer, "cells refined").data.copy()
    keep = keep_of(widget)
    keep.fold.open = True
    widget.save_project.changed.emit(True)
    assert widget.kept.value.startswith("Saved as “cells.tif.densecrf”, beside the image.")
    assert readable(widget, widget.kept)
    assert not widget.continue_project.visible
    viewer.close()
    # Elsewhere, and the place of before is gone.
    moved = folder.rename(folder.with_name("night"))
    viewer, widget = dock(expect=False)
    viewer.open(moved / "cells.tif", plugin="napari")
    settle(qtbot, widget)
    assert widget.continue_project.visible
    assert widget.continue_project.text.startswith("Continue the project of ")
    assert "cells.tif.densecrf" in widget.continue_project.tooltip
    # The image that is open is the one that goes on.
    after(qtbot, widget, lambda: widget.continue_project.changed.emit(True))
    assert [layer.name for layer in viewer.layers] == ["cells", "cells_prob", "cells refined", "cells strokes"]
    again = viewer.layers["cells strokes"]
    assert again.metadata[STROKES_KEY]
    assert_array_equal(again.data, strokes)
    assert again.metadata["classes"] == ["class 0", "class 1", "class 2"]
    assert widget.strokes.value is again
    assert widget.probabilities.value is viewer.layers["cells_prob"]
    assert widget.params == made
    assert not widget.continue_project.visible
    assert widget.kept.value == "Continued from “cells.tif.densecrf”."
    viewer.layers["cells"].scale = (0.5, 0.5)
    settle(qtbot, widget)
    assert_array_equal(result_of(viewer, "cells refined").data, labels)
    # A copied recipe reads the files where they are now.
    assert viewer.layers["cells_prob"].source.path == str(moved / "cells_prob.npy")


@pytest.mark.parametrize("docked_first", [True, False])
def test_a_project_is_opened_like_any_file(dock, qtbot, folder, docked_first):
    viewer, widget = opened(dock, qtbot, folder)
    painted(viewer, widget, qtbot)
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    made, labels = widget.params, result_of(viewer, "cells refined").data.copy()
    widget.save_project.changed.emit(True)
    viewer.close()
    if docked_first:
        viewer, widget = dock(expect=False)
        # Without a plugin: no other one reads such files, so napari asks nothing.
        after(qtbot, widget, lambda: viewer.open(folder / "cells.tif.densecrf", plugin=None))
    else:
        from napari.components import ViewerModel

        layers = ViewerModel().open(folder / "cells.tif.densecrf", plugin=None)
        viewer, widget = dock(*layers)
    settle(qtbot, widget)
    assert widget.params == made
    assert tuple(viewer.layers["cells"].scale) == (0.5, 0.5)
    assert widget.strokes.value is viewer.layers["cells strokes"]
    assert_array_equal(result_of(viewer, "cells refined").data, labels)
    assert viewer.layers["cells"].source.path == str(folder / "cells.tif")
    assert viewer.layers["cells"].source.reader_plugin == "napari"


@pytest.mark.parametrize("kind", ["strokes", "several", "memory", "painted labels"])
def test_whatever_the_map_is_it_comes_back(dock, qtbot, folder, kind):
    _, probabilities = picture((40, 50), 3)
    viewer, widget = dock(expect=False)
    viewer.open(folder / "cells.tif", plugin="napari")
    if kind == "strokes":
        widget.new_strokes.changed.emit(True)
        settle(qtbot, widget)
        layer = viewer.layers["cells strokes"]
        layer.data[5:9, 5:20], layer.data[20:25, 5:20] = 1, 2
        after(qtbot, widget, layer.refresh)
    elif kind == "several":
        for k, plane in enumerate(probabilities):
            viewer.add_layer(image_layer(plane, name=f"class {k}"))
        viewer.layers.selection = {viewer.layers[f"class {k}"] for k in range(3)}
        after(qtbot, widget, lambda: setattr(widget.probabilities, "value", widget.probabilities.choices[-1]))
    elif kind == "memory":
        named = {"metadata": {"classes": ["sky", "sea", "sand"]}}
        after(qtbot, widget, lambda: viewer.add_layer(image_layer(probabilities, name="map", **named)))
    else:
        tifffile.imwrite(folder / "rough.tif", probabilities.argmax(axis=0).astype(np.uint8))
        after(qtbot, widget, lambda: viewer.open(folder / "rough.tif", plugin="napari", layer_type="labels"))
        # Not what is in its file any more.
        after(qtbot, widget, lambda: viewer.layers["rough"].paint((20, 20), 2))
    labels, names = result_of(viewer, "cells refined").data.copy(), widget.last_result.inputs.names
    widget.save_project.changed.emit(True)
    viewer.close()
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: keep_of(widget).continue_project(folder / "cells.tif.densecrf"))
    assert_array_equal(result_of(viewer, "cells refined").data, labels)
    assert widget.last_result.inputs.names == names
    if kind == "strokes":
        assert isinstance(widget.probabilities.value, FromStrokes)
    elif kind == "several":
        assert [layer.name for layer in widget.probabilities.value] == ["class 0", "class 1", "class 2"]


def open_again(dock, qtbot, folder, viewer):
    """Return the project of an image, continued in a new window, once it has a result."""
    viewer.close()
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: keep_of(widget).continue_project(folder / "cells.tif.densecrf"))
    return viewer, widget


def keep(widget):
    widget.save_project.changed.emit(True)
    assert widget.kept.value.startswith("Saved as")


@pytest.mark.parametrize("in_one_file", [True, False])
def test_channels_of_their_own_come_back_as_one_image(dock, qtbot, folder, in_one_file):
    image, probabilities = picture((40, 50), 3)
    planes = np.stack([image, image[::-1], image[:, ::-1]])
    tifffile.imwrite(folder / "cells.tif", planes)
    np.save(folder / "cells_prob.npy", probabilities)
    viewer, widget = dock(expect=False)
    if in_one_file:
        viewer.open(folder / "cells.tif", plugin="napari", channel_axis=0)
    else:
        for k, plane in enumerate(planes):
            tifffile.imwrite(folder / f"ch{k}.tif", plane)
        viewer.open([folder / f"ch{k}.tif" for k in range(3)], plugin="napari", stack=False)
    channels = tuple(viewer.layers)
    assert len(channels) == 3
    viewer.open(folder / "cells_prob.npy", plugin="napari")
    settle(qtbot, widget)
    widget.session.choose(by="user", image=channels, map=viewer.layers["cells_prob"])
    settle(qtbot, widget)
    result, names = result_of(viewer, f"{channels[0].name} refined"), [layer.name for layer in channels]
    labels = result.data.copy()
    keep_of(widget).save_project(folder / "cells.tif.densecrf")
    viewer, widget = open_again(dock, qtbot, folder, viewer)
    assert [layer.name for layer in widget.session.chosen.channels] == names
    assert widget.image.value == widget.session.chosen.channels
    for layer, plane in zip(widget.session.chosen.channels, planes, strict=True):
        assert_array_equal(layer.data, plane)
    assert_array_equal(result_of(viewer, f"{names[0]} refined").data, labels)


def test_masks_of_their_own_come_back_as_one_map(dock, qtbot, folder):
    _, probabilities = picture((40, 50), 3)
    most = probabilities.argmax(axis=0)
    viewer, widget = dock(expect=False)
    viewer.open(folder / "cells.tif", plugin="napari")
    masks = [viewer.add_labels((most == k).astype(np.uint8), name=f"mask {k}") for k in (1, 2)]
    settle(qtbot, widget)
    after(qtbot, widget, lambda: widget.session.choose(by="user", map=tuple(masks)))
    labels, names = result_of(viewer, "cells refined").data.copy(), widget.last_result.inputs.names
    keep(widget)
    viewer, widget = open_again(dock, qtbot, folder, viewer)
    assert [layer.name for layer in widget.session.chosen.map] == ["mask 1", "mask 2"]
    assert widget.last_result.inputs.names == names
    assert_array_equal(result_of(viewer, "cells refined").data, labels)


@pytest.mark.parametrize("kind", ["half", "cropped", "labels", "several"])
def test_a_map_on_other_pixels_comes_back_where_it_lay(dock, qtbot, folder, kind):
    _, probabilities = picture((40, 50), 3)
    coarse = probabilities[:, ::2, ::2]
    viewer, widget = dock(expect=False)
    image = viewer.open(folder / "cells.tif", plugin="napari", scale=(0.5, 0.5))[0]
    if kind == "half":
        source = viewer.add_image(coarse, name="map", scale=(1, 1, 1), translate=(0, 0.25, 0.25))
    elif kind == "cropped":
        source = viewer.add_image(probabilities[:, 4:-4, 4:-4], name="map", scale=(1, 0.5, 0.5), translate=(0, 2, 2))
    elif kind == "labels":
        source = viewer.add_labels(coarse.argmax(axis=0).astype(np.uint8), name="map", translate=(0.25, 0.25))
    else:
        source = tuple(
            viewer.add_image(plane, name=f"class {k}", translate=(0.25, 0.25)) for k, plane in enumerate(coarse)
        )
    settle(qtbot, widget)
    widget.session.choose(by="user", image=image, map=source)
    settle(qtbot, widget)
    assert widget.session.problem.along
    labels, line = result_of(viewer, "cells refined").data.copy(), widget.understood.value
    keep(widget)
    viewer, widget = open_again(dock, qtbot, folder, viewer)
    assert widget.session.problem.along
    assert widget.understood.value == line
    assert_array_equal(result_of(viewer, "cells refined").data, labels)


def drop(viewer, *paths):
    """Drop files on the canvas, as a file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    keys, buttons = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    viewer.window._qt_viewer.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, data, buttons, keys))


@pytest.mark.parametrize("beside", [False, True])
def test_a_project_is_dropped_on_the_window(dock, qtbot, folder, beside):
    viewer, widget = opened(dock, qtbot, folder)
    painted(viewer, widget, qtbot)
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 7.7))
    made, labels = widget.params, result_of(viewer, "cells refined").data.copy()
    keep(widget)
    viewer.close()
    viewer, widget = dock(expect=False)
    if beside:
        # Another image is open, and stays.
        viewer.add_image(picture((20, 20))[0], name="other")
        settle(qtbot, widget)
    after(qtbot, widget, lambda: drop(viewer, folder / "cells.tif.densecrf"))
    assert widget.image.value is viewer.layers["cells"]
    assert widget.strokes.value is viewer.layers["cells strokes"]
    assert widget.params == made
    assert_array_equal(result_of(viewer, "cells refined").data, labels)
    assert ("other" in viewer.layers) == beside


def test_what_is_dropped_and_is_no_project_is_said(dock, qtbot, folder):
    (folder / "cells.tif.densecrf").write_text("{}")
    viewer, widget = dock(expect=False)
    with pytest.raises(ReaderPluginError, match="no project of napari-densecrf"):
        drop(viewer, folder / "cells.tif.densecrf")
    settle(qtbot, widget)
    assert not viewer.layers


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said.pop("numbers"),
        lambda said: said.update(numbers=7),
        lambda said: said.update(choices=None),
        lambda said: said.update(map_is="nothing"),
        lambda said: said["layers"][0].pop("look"),
        lambda said: said["layers"][0].update(shape=7),
        lambda said: said["layers"].append(7),
        lambda said: said["layers"][1].update(file=7),
        lambda said: said["layers"][0]["look"].update(scale=["a", None]),
        lambda said: said["numbers"].update(appearance_weight=10**400) or said["layers"].append({}),
    ],
)
def test_a_damaged_project_is_one_sentence(dock, qtbot, folder, spoil):
    path = folder / "cells.tif.densecrf"
    viewer, widget = opened(dock, qtbot, folder)
    keep(widget)
    said = json.loads(path.read_text())
    spoil(said)
    path.write_text(json.dumps(said))
    viewer.close()
    viewer, widget = dock(expect=False)
    keep_of(widget).continue_project(path)
    assert "cells.tif.densecrf is damaged, and was not opened" in widget.kept.value
    assert not viewer.layers


def test_numbers_that_cannot_be_meant_are_left_out(dock, qtbot, folder):
    path = folder / "cells.tif.densecrf"
    viewer, widget = opened(dock, qtbot, folder)
    keep(widget)
    usual = widget.session.numbers
    said = json.loads(path.read_text())
    said["numbers"].update(appearance_weight=10**400, smoothness_weight=-1, damping=None, n_iterations=3)
    path.write_text(json.dumps(said))
    viewer, widget = open_again(dock, qtbot, folder, viewer)
    assert widget.session.numbers.n_iterations == 3
    assert widget.session.numbers.smoothness_weight == usual.smoothness_weight


def test_a_sample_needs_no_file(dock, qtbot, folder):
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: viewer.open_sample("napari-densecrf", "cell"))
    labels = result_of(viewer, "cell refined").data.copy()
    keep_of(widget).save_project(folder / "mine.densecrf")
    assert [path.name for path in folder.iterdir() if "mine" in path.name] == ["mine.densecrf"]
    viewer.close()
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: keep_of(widget).continue_project(folder / "mine.densecrf"))
    assert_array_equal(result_of(viewer, "cell refined").data, labels)


def test_a_changed_image_is_said(dock, qtbot, folder):
    viewer, widget = opened(dock, qtbot, folder)
    widget.save_project.changed.emit(True)
    viewer.close()
    tifffile.imwrite(folder / "cells.tif", picture((40, 50), seed=9)[0])
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: keep_of(widget).continue_project(folder / "cells.tif.densecrf"))
    assert "“cells” has changed since: the result may be another." in widget.kept.value
    assert readable(widget, widget.kept)
    viewer.close()
    tifffile.imwrite(folder / "cells.tif", picture((20, 50), seed=9)[0])
    viewer, widget = dock(expect=False)
    keep_of(widget).continue_project(folder / "cells.tif.densecrf")
    assert "has changed since the project was saved: it is 20 x 50, and was 40 x 50" in widget.kept.value
    assert not viewer.layers


def test_a_file_that_is_gone_is_said_and_nothing_is_opened(dock, qtbot, folder):
    viewer, widget = opened(dock, qtbot, folder)
    painted(viewer, widget, qtbot)
    widget.save_project.changed.emit(True)
    viewer.close()
    (folder / "cells_prob.npy").rename(folder / "elsewhere.npy")
    viewer, widget = dock(expect=False)
    keep_of(widget).continue_project(folder / "cells.tif.densecrf")
    assert "cells_prob.npy is no longer there" in widget.kept.value
    (folder / "elsewhere.npy").rename(folder / "cells_prob.npy")
    shutil.rmtree(folder / "cells.tif.densecrf-layers")
    keep_of(widget).continue_project(folder / "cells.tif.densecrf")
    assert "cannot be read" in widget.kept.value
    assert not viewer.layers


def test_what_is_no_project_is_never_written_over(dock, qtbot, folder):
    (folder / "cells.tif.densecrf").write_text('{"mine": 1}')
    _, widget = opened(dock, qtbot, folder)
    assert not widget.continue_project.visible
    for _ in range(2):
        widget.save_project.changed.emit(True)
        assert "cells.tif.densecrf is no project of napari-densecrf" in widget.kept.value
    assert (folder / "cells.tif.densecrf").read_text() == '{"mine": 1}'


def test_the_project_of_an_earlier_day_is_replaced_by_a_second_click_alone(dock, qtbot, folder):
    viewer, widget = opened(dock, qtbot, folder)
    painted(viewer, widget, qtbot)
    widget.save_project.changed.emit(True)
    before = (folder / "cells.tif.densecrf").read_bytes()
    (stored,) = (folder / "cells.tif.densecrf-layers").iterdir()
    # What has been saved here is saved again at once.
    after(qtbot, widget, lambda: viewer.layers["cells strokes"].paint((30, 30), 2))
    widget.save_project.changed.emit(True)
    assert (folder / "cells.tif.densecrf").read_bytes() != before
    (newer,) = (folder / "cells.tif.densecrf-layers").iterdir()
    assert newer != stored
    viewer.close()
    viewer, widget = opened(dock, qtbot, folder)
    before = (folder / "cells.tif.densecrf").read_bytes()
    widget.save_project.changed.emit(True)
    assert "which would be lost" in widget.kept.value
    assert (folder / "cells.tif.densecrf").read_bytes() == before
    widget.save_project.changed.emit(True)
    assert not json.loads((folder / "cells.tif.densecrf").read_text())["layers"][-1].get("stored")
    # Strokes that no project names any more are removed, and the folder with them.
    assert not (folder / "cells.tif.densecrf-layers").exists()


def test_a_frozen_layer_is_said_to_be_left_out(dock, qtbot, folder):
    _, widget = opened(dock, qtbot, folder)
    widget.freeze.changed.emit(True)
    widget.save_project.changed.emit(True)
    assert "Not in it: “cells frozen”" in widget.kept.value


def test_an_image_without_a_file_asks_where(dock, qtbot, folder, monkeypatch):
    from napari_densecrf._napari.sections import keep

    asked = []
    monkeypatch.setattr(keep, "ask_project", lambda *a, **k: asked.append(k) or folder / "a.densecrf")
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    labels = result_of(viewer).data.copy()
    widget.save_project.changed.emit(True)
    assert asked == [{"writing": True}]
    assert len(list((folder / "a.densecrf-layers").iterdir())) == 2
    viewer.close()
    viewer, widget = dock(expect=False)
    after(qtbot, widget, lambda: widget.open_project.changed.emit(True))
    assert_array_equal(result_of(viewer).data, labels)


def test_a_read_only_folder_is_said(dock, qtbot, folder, monkeypatch):
    from napari_densecrf.files import work_folder

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    _, widget = opened(dock, qtbot, folder)
    monkeypatch.setattr(work_folder, "hold_folder", refused)
    widget.save_project.changed.emit(True)
    assert "Permission denied" in widget.kept.value
    assert not (folder / "cells.tif.densecrf").exists()
