"""Presets: built in, of the user, and numbers from and to the files of the command line."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

import napari_densecrf as ndc
from driving import after, expected, image_layer, picture, readable, result_of, settle
from napari_densecrf._napari.recipes.presets import BUILT_IN, own_presets
from napari_densecrf._napari.recipes.stored import save
from napari_densecrf._napari.sections import preset_controls as choose_preset
from napari_densecrf._napari.sections.choose import Choose
from napari_densecrf.cli import main

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def presets_of(widget):
    return next(section.preset for section in widget.sections if isinstance(section, Choose))


def layers_of(image, probabilities, scale=(1, 1), unit="pixel"):
    return (
        image_layer(image, name="image", scale=scale, units=(unit, unit)),
        image_layer(probabilities, name="map", scale=(1, *scale), units=("pixel", unit, unit)),
    )


def shown(brighter=1, **place):
    image, probabilities = picture()
    return layers_of(image * np.float32(brighter), probabilities, **place)


@pytest.mark.parametrize("preset", BUILT_IN, ids=lambda preset: preset.name)
def test_a_preset_sets_the_sliders_in_units_of_the_image(dock, qtbot, preset):
    image, probabilities = picture()
    image = image * np.float32(100)
    viewer, widget = dock(*layers_of(image, probabilities, (0.5, 0.5), "um"))
    widget.panel.folds["Choose numbers"].open = True
    after(qtbot, widget, lambda: setattr(widget.preset, "value", preset.name))
    appearance, smoothness = widget.params.kernels
    low, high = np.percentile(image[::4, ::4], [0.5, 99.5])
    assert appearance.weight == preset.numbers["appearance_weight"]
    assert appearance.position_sigma == pytest.approx(preset.numbers["appearance_position_sigma"] / 2)
    intensity_sigma = preset.numbers["appearance_intensity_sigma"] * (high - low) / 255
    assert appearance.intensity_sigma == pytest.approx(intensity_sigma, rel=1e-5)
    assert smoothness.weight == preset.numbers["smoothness_weight"]
    assert smoothness.position_sigma == pytest.approx(preset.numbers["smoothness_position_sigma"] / 2)
    assert widget.preset.value == preset.name
    assert widget.preset_says.value == preset.source
    assert readable(widget, widget.preset_says)
    assert not widget.delete_preset.enabled
    assert_array_equal(result_of(viewer).data, expected(widget, image, probabilities, spacing=(0.5, 0.5)))


def test_the_combo_says_whose_numbers_there_are(dock, qtbot):
    _, widget = dock(*shown())
    assert widget.preset.value is None
    after(qtbot, widget, lambda: setattr(widget.preset, "value", BUILT_IN[1].name))
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 1.2))
    assert widget.preset.value is None
    assert widget.preset_says.value == ""
    # Numbers may also come back by themselves, or be set by another part, live or not.
    after(qtbot, widget, lambda: setattr(widget.smoothness_weight, "value", 1.0))
    assert widget.preset.value == BUILT_IN[1].name
    widget.live.value = False
    widget.reset.changed.emit(True)
    assert widget.preset.value is None
    widget.preset.value = BUILT_IN[0].name
    widget.set_params(ndc.CRFParams(), refine=False)
    assert widget.preset.value is None
    # None of them is no preset to choose.
    widget.preset.value = BUILT_IN[0].name
    widget.preset.value = None
    assert widget.preset.value == BUILT_IN[0].name
    settle(qtbot, widget)


def test_without_an_image_no_preset_can_mean_anything(dock):
    _, widget = dock(expect=False)
    before = widget.params
    widget.preset.value = BUILT_IN[0].name
    assert widget.params == before
    assert widget.preset.value is None
    assert "Choose an image" in widget.preset_says.value
    presets_of(widget).save_as("mine")
    assert own_presets() == []


def test_own_presets_survive_and_mean_the_same_on_another_image(dock, qtbot):
    viewer, widget = dock(*shown())
    for name, value in (("appearance_position_sigma", 7.5), ("appearance_intensity_sigma", 20.0), ("n_iterations", 8)):
        after(qtbot, widget, lambda name=name, value=value: setattr(widget[name], "value", value))
    made = widget.params
    presets_of(widget).save_as(" cells ")
    assert widget.preset.value == "cells"
    assert widget.delete_preset.enabled
    after(qtbot, widget, lambda: widget.reset.changed.emit(True))
    after(qtbot, widget, lambda: setattr(widget.preset, "value", "cells"))
    assert widget.params == made
    assert "“image”" in widget.preset_says.value
    after(qtbot, widget, lambda: widget.reset.changed.emit(True))
    viewer.close()
    _, again = dock(*shown(brighter=100, scale=(2, 2), unit="um"))
    assert again.preset.value is None
    assert again.preset.choices[-2:] == ("cells", "Last used numbers")
    after(qtbot, again, lambda: setattr(again.preset, "value", "cells"))
    appearance = again.params.kernels[0]
    assert appearance.position_sigma == pytest.approx(15.0)
    assert appearance.intensity_sigma == pytest.approx(2000.0, rel=1e-4)
    assert again.params.n_iterations == 8
    again.delete_preset.changed.emit(True)
    assert "cells" not in again.preset.choices
    # They are those used last, too.
    assert again.preset.value == "Last used numbers"
    assert again.params.kernels[0] == appearance
    assert own_presets() == []


def test_saving_names_and_replaces(dock, qtbot, monkeypatch):
    _, widget = dock(*shown())
    presets = presets_of(widget)
    presets.save_as("mine")
    first = own_presets()[0]
    after(qtbot, widget, lambda: setattr(widget.appearance_weight, "value", 5.5))
    assert widget.preset.value is None
    # What another window has saved meanwhile stays.
    other = {"numbers": dict(first.numbers), "source": "another window"}
    save({"mine": other, "theirs": other}, "presets")
    asked = []
    monkeypatch.setattr(choose_preset, "ask_name", lambda *given: asked.append(given[1:]) or "mine")
    widget.save_preset.changed.emit(True)
    assert asked == [(["mine"], None)]
    assert widget.preset.value == "mine"
    assert [preset.name for preset in own_presets()] == ["mine", "theirs"]
    assert own_presets()[0].numbers["appearance_weight"] == 5.5
    for name, words in ((BUILT_IN[0].name, "is built in"), ("  ", "needs a name"), ("-----", "needs a name")):
        presets.save_as(name)
        assert words in widget.preset_says.value
    assert len(own_presets()) == 2


@pytest.mark.parametrize("saved", [{"a": 1}, {"a": {"numbers": {"damping": 0.1}}}, {"a": {"numbers": []}}])
def test_presets_of_another_version_are_left_out(dock, saved):
    save(saved, "presets")
    _, widget = dock(*shown(), expect=False)
    assert len(widget.preset.choices) == 1 + len(BUILT_IN)


def test_what_is_exported_the_command_line_reads(dock, qtbot, tmp_path, monkeypatch):
    image, probabilities = picture()
    viewer, widget = dock(*layers_of(image, probabilities, (0.5, 0.25), "um"))
    after(qtbot, widget, lambda: setattr(widget.preset, "value", "Nuclei and grains"))
    target = tmp_path / "numbers.json"
    monkeypatch.setattr(choose_preset, "ask_file", lambda *_, writing: target)
    widget.export_params.changed.emit(True)
    assert "--params numbers.json --spacing 0.5,0.25" in widget.preset_says.value
    tifffile.imwrite(tmp_path / "image.tif", image)
    np.save(tmp_path / "map.npy", probabilities)
    files = [str(tmp_path / name) for name in ("image.tif", "map.npy")]
    options = ["-o", str(tmp_path / "labels.npy"), "--params", str(target), "--spacing", "0.5,0.25", "--quiet"]
    assert main(["refine", *files, *options]) == 0
    assert_array_equal(np.load(tmp_path / "labels.npy"), result_of(viewer).data)
    made = widget.params
    after(qtbot, widget, lambda: widget.reset.changed.emit(True))
    after(qtbot, widget, lambda: widget.import_params.changed.emit(True))
    assert widget.params == made
    assert widget.preset.value == "Nuclei and grains"
    presets_of(widget).export_to(tmp_path / "nowhere" / "numbers.json")
    assert "cannot be written" in widget.preset_says.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"\x89PNG\xff", "has no parameters"),
        (b"not json", "has no parameters"),
        (b'{"iterations": 3}', "unknown parameter 'iterations'"),
        (b'{"n_iterations": "five"}', "expected a whole number"),
        (b'{"n_iterations": 31}', "cannot show"),
        (b'{"damping": 0.99, "n_iterations": 7}', "cannot show"),
        (b'{"kernels": [{"weight": 1, "position_sigma": [1, 2]}]}', "one number a sigma"),
        (b'{"compatibility": [[0, 1], [1, 0]]}', "compatibility"),
    ],
)
def test_a_wrong_file_is_one_sentence(dock, qtbot, tmp_path, content, words):
    _, widget = dock(*shown())
    before = widget.params
    path = tmp_path / "wrong.json"
    if content is not None:
        path.write_bytes(content)
    presets_of(widget).import_from(path)
    settle(qtbot, widget)
    assert words in widget.preset_says.value
    assert "wrong.json" in widget.preset_says.value
    assert str(tmp_path) not in widget.preset_says.value
    assert widget.preset_says.value.endswith(".")
    assert "\n" not in widget.preset_says.value
    assert widget.params == before


def test_a_dialog_that_is_cancelled_changes_nothing(dock, monkeypatch):
    _, widget = dock(*shown())
    before = widget.params, widget.preset_says.value
    monkeypatch.setattr(choose_preset, "ask_name", lambda *_: None)
    monkeypatch.setattr(choose_preset, "ask_file", lambda *_, writing: None)
    for name in ("save_preset", "import_params", "export_params", "delete_preset"):
        widget[name].changed.emit(True)
    assert (widget.params, widget.preset_says.value) == before
    assert own_presets() == []
