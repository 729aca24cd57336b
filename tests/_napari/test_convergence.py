"""The section "Convergence": the plots follow, and the hint is right."""

import numpy as np
import pytest
from napari.utils.theme import get_theme
from numpy.testing import assert_allclose
from qtpy.QtCore import QRectF

from driving import WAIT_MS, after, image_layer, picture, readable
from napari_densecrf._napari.panel.plot import Plot
from napari_densecrf._napari.recipes import stored
from napari_densecrf._napari.sections.convergence import FREE_ENERGY, advice

ANSWERS = ("have settled", "would still change", "back and forth")


@pytest.mark.parametrize(
    ("energy", "change", "words"),
    [
        ([5.0, 3.0, 2.0, 1.999], [0.9, 0.3, 0.1], "have settled"),
        ([5.0, 3.0, 2.0, 1.5], [0.9, 0.5, 0.3], "more iterations"),
        ([5.0, 3.0, 2.0, 1.5], [0.9, 0.3, 0.01], "have settled"),
        ([5.0, 3.0, 4.0, 2.0], [0.9, 0.9, 0.9], "Damping"),
        ([5.0, 5.0], [0.0], "have settled"),
        ([5.0], [], "No iterations"),
    ],
)
def test_the_hint_says_what_helps(energy, change, words):
    assert words in advice(np.array(energy), np.array(change))


def test_the_plots_follow_and_are_themed_like_napari(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    section = next(one for one in widget.sections if one.title == "Convergence")
    widget.panel.folds["More"].open = True
    for n_iterations in (4, 9):
        after(qtbot, widget, lambda n=n_iterations: setattr(widget.n_iterations, "value", n))
        refinement = widget.last_result.refinement
        assert_allclose(section.energy.values * image.size, refinement.free_energy)
        assert_allclose(section.change.values[1:], refinement.largest_change)
        assert np.isnan(section.change.values[0])
        assert advice(refinement.free_energy, refinement.largest_change)
        # What would still change is looked at when nothing moves, and counted.
        qtbot.waitUntil(lambda: any(said in widget.convergence_hint.value for said in ANSWERS), timeout=WAIT_MS)
    assert readable(widget, widget.convergence_hint)
    # The picture has the curve's colour where the values are.
    drawn = section.energy.grab().toImage()
    assert any(
        drawn.pixelColor(x, y).name() == FREE_ENERGY.lower()
        for x in range(drawn.width())
        for y in range(drawn.height())
    )
    viewer.theme = "light"
    background = get_theme("light").background.as_hex("long")
    assert section.energy.grab().toImage().pixelColor(1, section.energy.height() - 2).name() == background
    widget.panel.folds["More"].open = False
    after(qtbot, widget, lambda: setattr(widget.n_iterations, "value", 3))
    assert len(section.energy.values) == 10


def test_points_lie_where_their_values_are(qtbot):
    plot = Plot("a plot", "#0072B2", limits=(0.0, 1.0))
    qtbot.addWidget(plot)
    plot.show_values(np.array([0.0, 0.5, 1.0]))
    points = [(point.x(), point.y()) for point in plot.points(QRectF(10, 20, 100, 40))]
    assert points == [(10.0, 60.0), (60.0, 40.0), (110.0, 20.0)]


def test_a_fold_that_was_left_open_shows_its_plots(dock, qtbot):
    stored.save({"open": ["More"]})
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    section = next(one for one in widget.sections if one.title == "Convergence")
    assert len(section.energy.values) == widget.n_iterations.value + 1
