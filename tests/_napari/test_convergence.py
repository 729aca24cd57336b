"""The section "Convergence": the plots follow, and the hint is right."""

import subprocess
import sys

import numpy as np
import pytest
from napari.utils.theme import get_theme
from numpy.testing import assert_allclose

from driving import WAIT_MS, after, image_layer, picture, readable
from napari_densecrf._napari.recipes import stored
from napari_densecrf._napari.sections.convergence import advice


@pytest.mark.parametrize(
    ("energy", "change", "words"),
    [
        ([5.0, 3.0, 2.0, 1.999], [0.9, 0.3, 0.1], "has settled"),
        ([5.0, 3.0, 2.0, 1.5], [0.9, 0.5, 0.3], "more iterations"),
        ([5.0, 3.0, 2.0, 1.5], [0.9, 0.3, 0.01], "has settled"),
        ([5.0, 3.0, 4.0, 2.0], [0.9, 0.9, 0.9], "damping"),
        ([5.0, 5.0], [0.0], "has settled"),
        ([5.0], [], "No iterations"),
    ],
)
def test_the_hint_says_what_helps(energy, change, words):
    assert words in advice(np.array(energy), np.array(change))


def test_the_plots_follow_and_are_themed_like_napari(dock, qtbot):
    image, probabilities = picture()
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    section = next(one for one in widget.sections if one.title == "Convergence")
    assert section.plots is None
    widget.panel.folds["Convergence"].open = True
    qtbot.waitUntil(lambda: section.plots is not None, timeout=WAIT_MS)

    def plotted():
        return section.plots.energy.getData()

    for n_iterations in (4, 9):
        after(qtbot, widget, lambda n=n_iterations: setattr(widget.n_iterations, "value", n))
        iterations, energy = plotted()
        assert len(iterations) == n_iterations + 1
        assert_allclose(energy * image.size, widget.last_result.refinement.free_energy)
        refinement = widget.last_result.refinement
        assert_allclose(section.plots.change.getData(), [np.arange(1, n_iterations + 1), refinement.largest_change])
        assert widget.convergence_hint.value == advice(refinement.free_energy, refinement.largest_change)
    assert readable(widget, widget.convergence_hint)
    viewer.theme = "light"
    assert section.plots.native.backgroundBrush().color().name() == get_theme("light").background.as_hex("long")
    widget.panel.folds["Convergence"].open = False
    after(qtbot, widget, lambda: setattr(widget.n_iterations, "value", 3))
    assert len(plotted()[0]) == 10


def test_a_fold_that_was_left_open_shows_its_plots(dock, qtbot):
    stored.save({"open": ["Convergence"]})
    image, probabilities = picture()
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    section = next(one for one in widget.sections if one.title == "Convergence")
    qtbot.waitUntil(lambda: section.plots is not None, timeout=WAIT_MS)
    assert len(section.plots.energy.getData()[0]) == widget.n_iterations.value + 1


def test_a_widget_whose_fold_is_shut_does_not_import_the_plots():
    code = "import napari_densecrf._napari.widget, sys; sys.exit('pyqtgraph' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
