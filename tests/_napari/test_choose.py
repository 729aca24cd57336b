"""Auto and Fit end in one state and one sentence: what is shown is what was decided, and the other is a click away."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from driving import WAIT_MS, after, image_layer, readable, result_of, settle
from napari_densecrf import CRFParams, PairwiseKernel
from napari_densecrf._napari import words
from napari_densecrf._napari.sections.choose import said_of
from napari_densecrf.choose.fit import Fit

HARSH = PairwiseKernel(20.0, 30.0, 400.0), PairwiseKernel(5.0, 4.0)


def speckled(seed=0):
    """Return an image that tells its two halves apart, and a map with specks."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((64, 64))
    truth[:, 32:] = 1
    image = np.clip(60 + 120 * truth + rng.normal(0, 5, truth.shape), 0, 255).astype(np.uint8)
    flipped = rng.random(truth.shape) < 0.1
    foreground = np.where(flipped, 1 - truth, truth) * 0.4 + 0.3
    return image, np.stack([1 - foreground, foreground]).astype(np.float32)


def noise(seed=0):
    """Return an image that is noise alone, and a map that is right: whatever is changed, is changed for nothing."""
    rng = np.random.default_rng(seed)
    foreground = np.full((64, 64), 0.2)
    foreground[20:44, 20:44] = 0.8
    foreground[::8, ::8] = 0.45 + 0.1 * rng.random((8, 8))
    image = np.clip(rng.normal(100, 20, foreground.shape), 0, 255).astype(np.uint8)
    return image, np.stack([1 - foreground, foreground]).astype(np.float32)


def docked(dock, image, probabilities):
    return dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))


@pytest.mark.parametrize("live", [True, False])
def test_a_map_that_is_better_unrefined_is_shown_unrefined(dock, qtbot, live):
    image, probabilities = noise()
    viewer, widget = docked(dock, image, probabilities)
    widget.panel.folds["Choose numbers"].open = True
    before, refined = widget.params, result_of(viewer).data.copy()
    widget.live.value = live
    settle(qtbot, widget)
    after(qtbot, widget, lambda: widget.suggest.changed.emit(True))
    assert_array_equal(result_of(viewer).data, probabilities.argmax(axis=0))
    assert widget.appearance_weight.value == widget.smoothness_weight.value == 0
    assert widget.status.value.endswith("The map is better unrefined")
    assert widget.advice.value.startswith("The map is better unrefined, and shown as it is: ")
    assert readable(widget, widget.advice)
    assert not widget.progress.visible
    # One click from either.
    assert widget.other_numbers.native.isVisibleTo(widget.panel)
    assert widget.other_numbers.text == "Refine it all the same"
    after(qtbot, widget, lambda: widget.other_numbers.changed.emit(True))
    assert widget.params == before
    assert_array_equal(result_of(viewer).data, refined)
    assert "unrefined" not in widget.status.value
    assert widget.other_numbers.text == "Show the map unrefined"
    after(qtbot, widget, lambda: widget.other_numbers.changed.emit(True))
    assert_array_equal(result_of(viewer).data, probabilities.argmax(axis=0))
    assert widget.status.value.endswith("The map is better unrefined")
    # Numbers of the user's are neither.
    widget.appearance_weight.value = 2.0
    settle(qtbot, widget)
    assert not widget.other_numbers.native.isVisibleTo(widget.panel)


def test_numbers_that_were_found_are_on_the_sliders(dock, qtbot):
    viewer, widget = docked(dock, *speckled())
    widget.panel.folds["Choose numbers"].open = True
    before = widget.params
    after(qtbot, widget, lambda: widget.suggest.changed.emit(True))
    assert widget.advice.value == words.AUTO_CHOSE
    assert "of the pixels would change" in widget.advice.tooltip
    assert "changed" in widget.status.value
    assert "setting" not in widget.status.value
    found = widget.params
    assert found != before
    assert widget.last_result.request.params == found
    after(qtbot, widget, lambda: widget.other_numbers.changed.emit(True))
    assert widget.params == before
    assert widget.other_numbers.text == "To the numbers that were found"
    assert result_of(viewer).visible


def test_a_fit_ends_with_what_it_has_found(dock, qtbot):
    viewer, widget = docked(dock, *speckled())
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    strokes = viewer.layers["image strokes"]
    for row in (5, 25, 45):
        strokes.data[row : row + 3, 4:20], strokes.data[row : row + 3, 40:60] = 1, 2
    after(qtbot, widget, strokes.refresh)
    widget.fit.changed.emit(True)
    qtbot.waitUntil(lambda: widget.advice.value.startswith("Fit "), timeout=WAIT_MS)
    settle(qtbot, widget)
    assert widget.last_result.request.params == widget.params
    assert "changed" in widget.status.value
    assert not widget.progress.visible


def test_a_fit_can_end_in_the_map_as_it_is(dock, qtbot):
    rng = np.random.default_rng(2)
    truth = np.zeros((48, 48), int)
    truth[4::8] = 1
    probabilities = np.stack([np.where(truth, 0.03, 0.97), np.where(truth, 0.97, 0.03)]).astype(np.float32)
    viewer, widget = docked(dock, rng.normal(100, 30, truth.shape).astype(np.float32), probabilities)
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    strokes = viewer.layers["image strokes"]
    for k, row in enumerate((4, 12, 20, 28, 36)):
        strokes.data[row, 3 + 7 * k : 13 + 7 * k], strokes.data[row + 4, 3 + 7 * k : 13 + 7 * k] = 2, 1
    after(qtbot, widget, strokes.refresh)
    after(qtbot, widget, lambda: widget.set_params(replace(widget.params, kernels=HARSH)))
    before = widget.params
    widget.fit.changed.emit(True)
    qtbot.waitUntil(lambda: "by the map alone" in widget.advice.value, timeout=WAIT_MS)
    settle(qtbot, widget)
    assert widget.advice.value.startswith("The map is better unrefined, and shown as it is: ")
    assert widget.status.value.endswith("The map is better unrefined")
    assert_array_equal(result_of(viewer).data, truth)
    assert widget.other_numbers.text == "Refine it all the same"
    after(qtbot, widget, lambda: widget.other_numbers.changed.emit(True))
    assert widget.params == before


def test_of_another_slice_nothing_has_been_decided(dock, qtbot):
    image, probabilities = noise()
    stack, maps = np.stack([image] * 3), np.stack([probabilities] * 3, axis=1)
    viewer, widget = docked(dock, stack, maps)
    after(qtbot, widget, lambda: widget.suggest.changed.emit(True))
    assert widget.status.value.endswith("The map is better unrefined · 1 of 3 slices refined")
    after(qtbot, widget, lambda: setattr(viewer.dims, "current_step", (0, 0, 0, 0)))
    assert "unrefined" not in widget.status.value


@pytest.mark.parametrize(
    ("share_before", "share_after", "is_other", "said"),
    [
        (0.842, 0.91, True, "they get 91% of unseen strokes right, and those before 84%"),
        (0.842, 0.842, False, "no numbers that predict your strokes better than these"),
        # Other numbers are on the sliders then, so it must not say that there are none.
        (0.842, 0.842, True, "as many of your strokes right as those before"),
        (0.842, 0.838, True, "as many of your strokes right as those before"),
        (0.842, 0.80, True, "they get 80% of unseen strokes right, and those before 84%"),
    ],
)
def test_what_is_said_of_a_fit_is_true_of_the_sliders(share_before, share_after, is_other, said):
    fit = Fit(CRFParams(kernels=()), share_before, share_after, 70, "why")
    assert said in said_of(fit, is_other=is_other)
