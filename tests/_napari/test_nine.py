"""Try nine: what the nine are, where they are tried, and what a click does."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from driving import WAIT_MS, image_layer, picture, result_of, settle
from napari_densecrf._napari.problem.view import View, visible_part
from napari_densecrf._napari.sections.choose import Choose
from napari_densecrf._napari.sections.contact_sheet import most_in_need
from napari_densecrf._napari.sections.nine import CENTRE, most_of, picture_of, request_for, settings_around
from napari_densecrf.numbers import Numbers, Units

UNITS = Units(1.0, 1.0)


def sheet_of(widget):
    return next(section for section in widget.sections if isinstance(section, Choose)).sheet


@pytest.mark.parametrize("weights", [(3.0, 1.5), (0.0, 0.0), (0.0, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize(("names", "favoured"), [(["a", "b"], 1), (["a", "b", "c"], 2), (["a", "b", "c"], None)])
def test_all_nine_differ_and_those_of_now_are_in_the_middle(weights, names, favoured):
    numbers = Numbers(appearance_weight=weights[0], smoothness_weight=weights[1])
    settings = settings_around(numbers, UNITS, names, favoured)
    assert settings[CENTRE].numbers == numbers
    assert len({setting.numbers for setting in settings}) == 9
    assert len({setting.words for setting in settings}) == 9


def test_the_square_is_where_most_is_in_doubt():
    doubtful = np.zeros((200, 300), bool)
    doubtful[150:160, 250:260] = True
    y, x = most_of(doubtful)
    assert doubtful[y, x].sum() == 100
    assert (y.stop - y.start) == (x.stop - x.start) == 100
    y, x = most_of(np.zeros((200, 300), bool))
    assert (y.start, x.start) == (50, 100)
    assert most_of(np.zeros((3, 5), bool)) == (slice(0, 3), slice(1, 4))


def test_pictures_are_seen_whatever_the_image_holds():
    gray = picture_of(np.linspace(0, 60000, 100).reshape(10, 10), has_channels=False)
    assert gray.shape == (10, 10, 3)
    assert (gray.min(), gray.max()) == (0, 255)
    assert picture_of(np.full((4, 4), np.nan), has_channels=False).shape == (4, 4, 3)
    assert picture_of(np.ones((4, 4, 5)), has_channels=True).shape == (4, 4, 3)


def test_the_class_that_lost_most_is_favoured_and_never_the_first():
    assert most_in_need(np.array([[50, 0, 0], [10, 5, 0], [0, 0, 9]])) == 1
    assert most_in_need(np.array([[5, 0, 0], [0, 50, 0], [0, 0, 9]])) == 2


def test_a_click_takes_one_and_nine_more_follow(dock, qtbot):
    image, probabilities = picture((60, 70), 3)
    _, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    sheet, before = sheet_of(widget), widget.session.numbers
    widget.panel.folds["Choose numbers"].open = True
    status = widget.status.value
    widget.try_nine.changed.emit(True)
    qtbot.waitUntil(lambda: len(sheet.shown) == 9, timeout=WAIT_MS)
    settle(qtbot, widget)
    assert widget.status.value == status
    assert sheet.grid.isVisibleTo(widget.panel)
    assert sheet.shown[CENTRE].differs == 0
    assert max(one.differs for one in sheet.shown) > 0
    chosen, first = sheet.shown[1].setting, sheet.shown
    sheet.grid.buttons[1].click()
    qtbot.waitUntil(lambda: sheet.shown and sheet.shown is not first, timeout=WAIT_MS)
    settle(qtbot, widget)
    assert widget.session.numbers == chosen.numbers
    assert sheet.shown[CENTRE].setting.numbers == chosen.numbers
    # One click takes it back, and what the pictures were around is gone.
    widget.other_numbers.changed.emit(True)
    settle(qtbot, widget)
    assert widget.session.numbers == before
    assert sheet.shown == []
    assert not sheet.grid.isVisibleTo(widget.panel)


def test_a_picture_shows_what_the_result_would_be(dock, qtbot):
    image, probabilities = picture((300, 320), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    result = widget.last_result
    visible = visible_part(result.request.problem, View.of(viewer))
    request = request_for(result, visible, 3.0)
    *_, last = widget.session.engine.steps(request)
    here = request.region
    assert here.shape[0] < 300
    whole = result_of(viewer).data[slice(*here.y), slice(*here.x)]
    assert (last.result.labels != whole).mean() < 0.05
    assert_array_equal(last.result.said, result.said[slice(*here.y), slice(*here.x)])


def test_strokes_hold_in_the_nine_too(dock, qtbot):
    image, probabilities = picture((150, 160), 3)
    viewer, widget = dock(image_layer(image, name="image"), image_layer(probabilities, name="map"))
    widget.new_strokes.changed.emit(True)
    settle(qtbot, widget)
    layer = viewer.layers["image strokes"]
    layer.data[...] = 3
    layer.refresh()
    qtbot.waitUntil(lambda: (result_of(viewer).data == 2).all(), timeout=WAIT_MS)
    settle(qtbot, widget)
    result = widget.last_result
    request = request_for(result, visible_part(result.request.problem, View.of(viewer)), 3.0)
    assert request.strokes.shape == request.read.shape
    *_, last = widget.session.engine.steps(request)
    assert (last.result.labels == 2).all()
