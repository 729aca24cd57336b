"""Names that look like markup are shown as they are, wherever the window shows them."""

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QLabel

from driving import WAIT_MS, after, image_layer, picture, settle
from napari_densecrf._napari.panel.panel import plain_button, plain_tooltip, shortened
from napari_densecrf._napari.problem.problem import Misfit
from napari_densecrf._napari.sections.legend import Legend
from napari_densecrf._napari.status import Light, Status

HEADER, PICTURE, ENTITY = "<h1>big</h1>", '<img src="https://example.org/x.png">', "R&D &lt;b&gt;"
NAMES = [HEADER, PICTURE, ENTITY]


def shown(label):
    """Return what a QLabel shows: of markup, what is left when it is drawn."""
    rich = label.textFormat() == Qt.TextFormat.RichText or (
        label.textFormat() == Qt.TextFormat.AutoText and Qt.mightBeRichText(label.text())
    )
    return drawn(label.text()) if rich else label.text()


def drawn(html):
    document = QTextDocument()
    document.setHtml(html)
    # An image would be one character of its own.
    return document.toPlainText().replace("\N{NO-BREAK SPACE}", " ")


def of_tooltip(words):
    return drawn(words) if Qt.mightBeRichText(words) else words


@pytest.fixture
def docked(dock):
    image, probabilities = picture((40, 50), 3)
    return dock(
        image_layer(image, name=HEADER, scale=(0.5, 0.5)),
        image_layer(probabilities, name=PICTURE, scale=(1, 0.5, 0.5), metadata={"classes": NAMES}),
    )


def test_every_text_of_the_panel_shows_names_as_they_are(docked, qtbot):
    viewer, widget = docked
    for fold in widget.panel.folds.values():
        fold.open = True
    after(qtbot, widget, lambda: setattr(widget.areas, "value", True))
    widget.new_strokes.changed.emit(True)
    widget.freeze.changed.emit(True)
    settle(qtbot, widget)
    # The status names the classes that grew or shrank, the table and the legend all of them.
    assert any(name in shown(widget.status.native) for name in NAMES)
    legend = next(section for section in widget.sections if isinstance(section, Legend))
    for name, chip in zip(NAMES, legend.chips, strict=True):
        assert name in shown(widget.area_table.native)
        assert plain_button(shortened(name)) in chip.text()
    assert f"“{HEADER} frozen”" in shown(widget.frozen.native)
    # What does not fit is said with both names; and what a copied or restored layer is called.
    viewer.layers[PICTURE].translate = (0, 500, 500)
    settle(qtbot, widget)
    assert isinstance(widget.session.problem, Misfit | None)
    assert f"“{PICTURE}” lies elsewhere than “{HEADER}”" in shown(widget.understood.native)
    for label in widget.panel.findChildren(QLabel):
        assert "\N{OBJECT REPLACEMENT CHARACTER}" not in shown(label)
        assert not (label.textFormat() == Qt.TextFormat.AutoText and "src=" in label.text())


def test_buttons_show_ampersands(dock, qtbot):
    image, probabilities = picture((40, 50), 3)
    layers = image_layer(image, name="R&D", translate=(9, 9)), image_layer(probabilities, name="map")
    viewer, widget = dock(*layers, expect=False)
    settle(qtbot, widget)
    widget.probabilities.value = viewer.layers["map"]
    settle(qtbot, widget)
    viewer.layers["map"].translate = (0, 500, 500)
    settle(qtbot, widget)
    assert widget.remedy.native.text() == "Lay it on “R&&D”"
    assert plain_button("a && b") == "a &&&& b"


@pytest.mark.parametrize("words", [*NAMES, "cell's “a”", "5 > 3", "line 1\nline <b>2</b>", "<b>1</b>\n2 & 3"])
def test_tooltips_show_words_as_they_are(docked, words):
    _, widget = docked
    assert of_tooltip(plain_tooltip(words)) == words
    widget.session.set_status(Status(words, Light.AMBER, words))
    assert of_tooltip(widget.status.native.toolTip()) == words
    assert shown(widget.status.native) == f"● {words}".replace("\n", " ")


def test_the_table_of_a_folder_shows_names_as_they_are(make_napari_viewer, qtbot, tmp_path):
    image, probabilities = picture((30, 32), 3)
    for name in ("<b>a<b>", "R&D"):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        np.save(tmp_path / f"{name}_prob.npy", probabilities)
    viewer = make_napari_viewer(show=True)
    viewer.open(tmp_path / "R&D.tif", plugin="napari")
    viewer.open(tmp_path / "R&D_prob.npy", plugin="napari")
    _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
    qtbot.waitUntil(lambda: widget.last_result is not None, timeout=WAIT_MS)
    (run,) = [section for section in widget.sections if section.title == "All slices and files"]
    widget.run_on_folder.changed.emit(True)
    form = run._form
    # Of both maps one is not there, which is said of that row alone.
    (tmp_path / "R&D_prob.npy").write_bytes(b"no array")
    form.start.changed.emit(True)
    qtbot.waitUntil(lambda: widget.apply.enabled, timeout=WAIT_MS)
    rows = [[form.table.item(row, column) for column in range(3)] for row in range(form.table.rowCount())]
    assert [row[0].text() for row in rows] == ["<b>a<b>.tif", "R&D.tif"]
    for row in rows:
        assert of_tooltip(row[0].toolTip()) == str(tmp_path / row[0].text())
    assert rows[0][2].text().startswith("done")
    assert of_tooltip(rows[1][2].toolTip()) in rows[1][2].text()
    assert "R&D_prob.npy" in rows[1][2].text()
    assert HEADER not in shown(form.found.native)
