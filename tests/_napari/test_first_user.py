"""What someone meets who opens the panel for the first time: buttons, the legend, layers that are not in the way."""

import numpy as np
import pytest
from qtpy.QtGui import QContextMenuEvent, QCursor
from qtpy.QtWidgets import QApplication

import napari_densecrf as ndc
from driving import WAIT_MS, after, image_layer, picture, result_of, settle
from napari_densecrf._napari.display.result_layer import class_colours
from napari_densecrf._napari.recipes import stored
from napari_densecrf._napari.sections.legend import Legend
from napari_densecrf._napari.sections.rescue import Rescue
from napari_densecrf.numbers import Numbers


def section_of(widget, kind):
    return next(section for section in widget.sections if isinstance(section, kind))


def shown(n_labels=3, **options):
    image, probabilities = picture((40, 50), n_labels)
    names = {"metadata": {"classes": ["background", "stroma", "vessel"][:n_labels]}} if n_labels < 4 else {}
    return image_layer(image, name="image"), image_layer(probabilities, name="map", **names, **options)


def test_an_empty_panel_opens_a_sample(dock, qtbot):
    viewer, widget = dock(expect=False)
    qtbot.waitUntil(lambda: widget.open_sample.native.isVisibleTo(widget.panel), timeout=WAIT_MS)
    assert not widget.paint_strokes.native.isVisibleTo(widget.panel)
    after(qtbot, widget, lambda: widget.open_sample.changed.emit(True))
    assert "tissue refined" in viewer.layers
    assert not widget.open_sample.native.isVisibleTo(widget.panel)


def test_strokes_can_be_painted_where_they_are_spoken_of(dock, qtbot):
    image, _ = picture()
    viewer, widget = dock(image_layer(image, name="image"), expect=False)
    qtbot.waitUntil(lambda: "paint a few strokes" in widget.understood.value, timeout=WAIT_MS)
    assert widget.paint_strokes.native.isVisibleTo(widget.panel)
    widget.paint_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    assert (viewer.layers.selection.active, layer.mode) == (layer, "paint")
    # The legend is there before the first stroke, and a click takes a class.
    legend = section_of(widget, Legend)
    assert [entry.name for entry in legend.entries] == ["background", "object"]
    assert all(entry.colour[-1] == 1 for entry in legend.entries)
    legend.chips[1].click()
    assert layer.selected_label == 2


def test_a_click_beside_painting_and_the_right_button_ask_what_to_do_with_a_class(dock, qtbot, monkeypatch):
    asked = []
    monkeypatch.setattr(Legend, "_ask", lambda self, index: asked.append(index))
    _, widget = dock(*shown())
    legend = section_of(widget, Legend)
    legend.chips[1].click()
    assert asked == [1]
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    chip = legend.chips[2]
    event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, chip.rect().center(), QCursor.pos())
    QApplication.sendEvent(chip, event)
    assert asked == [1, 2]


def test_the_legend_says_what_each_class_covers(dock, qtbot):
    viewer, widget = dock(*shown())
    legend = section_of(widget, Legend)
    layer = result_of(viewer)
    assert [entry.name for entry in legend.entries] == ["background", "stroma", "vessel"]
    for k, (entry, chip) in enumerate(zip(legend.entries, legend.chips, strict=True)):
        assert chip.isVisibleTo(widget.panel)
        assert f"{100 * (layer.data == k).mean():.0f}" in chip.text()
        assert np.allclose(entry.colour, layer.colormap.map(np.array([k]))[0])
    # As soon as strokes are there, what is clear in the result has the colour of its brush.
    assert legend.entries[0].is_clear
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    assert not legend.entries[0].is_clear
    assert legend.chips[0].text().startswith("1")


def test_a_class_is_shown_alone_and_renamed(dock, qtbot):
    viewer, widget = dock(*shown())
    legend, layer = section_of(widget, Legend), result_of(viewer)
    colours = [entry.colour for entry in legend.entries]
    legend.show_alone(1)
    assert layer.show_selected_label
    assert [entry.colour for entry in legend.entries] == colours
    assert layer.selected_label == 1
    legend.show_alone(1)
    assert not layer.show_selected_label
    after(qtbot, widget, lambda: legend.rename(2, "capillary"))
    assert widget.last_result.inputs.names == ["background", "stroma", "capillary"]
    assert viewer.layers["map"].metadata["classes"][2] == "capillary"
    assert "capillary" in legend.chips[2].text()
    assert list(layer.features["class"]) == ["background", "stroma", "capillary"]
    assert len(legend.menu(0).actions()) < len(legend.menu(1).actions())


def test_labels_keep_the_names_that_their_classes_get(dock, qtbot):
    from napari.layers import Labels

    image, _ = picture()
    rough = np.zeros((40, 50), np.uint8)
    rough[10:20, 10:20], rough[25:30] = 3, 7
    _, widget = dock(image_layer(image, name="image"), Labels(rough, name="rough"))
    after(qtbot, widget, lambda: section_of(widget, Legend).rename(2, "vessel"))
    assert widget.last_result.inputs.names == ["label 0", "label 3", "vessel"]


def test_nothing_hidden_is_active_and_the_axis_of_classes_is_called_so(dock):
    viewer, _ = dock(*shown())
    assert viewer.layers.selection.active is result_of(viewer)
    assert viewer.dims.axis_labels[0] == "class"


@pytest.mark.parametrize(
    ("names", "clear"),
    [(["class 0", "class 1", "class 2"], True), (["label 0", "a", "b"], True), (["a", "b", "c"], False)],
)
def test_a_first_class_without_a_name_is_clear(names, clear):
    colours = class_colours(names, np.arange(3)).color_dict
    assert (np.asarray(colours[0])[-1] == 0) == clear


def test_a_class_that_lost_much_gets_a_click_that_helps(dock, qtbot):
    image = np.random.default_rng(0).integers(90, 110, (60, 80)).astype(np.uint8)
    truth = np.zeros((60, 80), int)
    truth[:, 40:] = 1
    truth[20:23, ::2] = 2
    probabilities = np.moveaxis(0.2 + 0.4 * np.eye(3)[truth], -1, 0).astype(np.float32)
    layers = (
        image_layer(image, name="image"),
        image_layer(probabilities, name="map", metadata={"classes": ["background", "stroma", "vessel"]}),
    )
    _, widget = dock(*layers)
    after(qtbot, widget, lambda: widget.set_params(ndc.CRFParams()))
    assert "vessel lost" in widget.status.value
    assert widget.favour_lost.native.isVisibleTo(widget.panel)
    assert widget.favour_lost.text == "Favour vessel"
    areas = [(widget.last_result.labels == 2).sum()]
    after(qtbot, widget, lambda: widget.favour_lost.changed.emit(True))
    areas.append((widget.last_result.labels == 2).sum())
    assert widget.session.numbers.favours == (0.0, 0.0, 0.5)
    assert widget.favour_2.value == 0.5
    before = widget.params.kernels[0].weight
    after(qtbot, widget, lambda: widget.weaker.changed.emit(True))
    assert widget.params.kernels[0].weight == before / 2
    areas.append((widget.last_result.labels == 2).sum())
    assert areas == sorted(areas)
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 0.0))
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 0.0))
    assert not section_of(widget, Rescue).controls["weaker"].native.isVisibleTo(widget.panel)


def test_the_numbers_used_last_wait_to_be_asked_for(dock, qtbot):
    stored.save({"numbers": Numbers(appearance_position_sigma=12.0, appearance_weight=8.0).as_dict()})
    image, probabilities = picture()
    _, widget = dock(
        image_layer(image, name="image", scale=(0.5, 0.5), units=("um", "um")),
        image_layer(probabilities, name="map", scale=(1, 0.5, 0.5), units=("pixel", "um", "um")),
    )
    assert widget.params.kernels[0].weight != 8.0
    after(qtbot, widget, lambda: setattr(widget.preset, "value", "Last used numbers"))
    assert widget.params.kernels[0].weight == 8.0
    assert widget.params.kernels[0].position_sigma == 6.0


def test_helper_layers_leave_when_they_are_no_longer_shown(dock, qtbot):
    viewer, widget = dock(*shown())
    widget.confidence.value = True
    qtbot.waitUntil(lambda: "image confidence" in viewer.layers, timeout=WAIT_MS)
    settle(qtbot, widget)
    widget.confidence.value = False
    qtbot.waitUntil(lambda: "image confidence" not in viewer.layers, timeout=WAIT_MS)
