"""Where to look next: the largest places in doubt, each once."""

import numpy as np

from driving import WAIT_MS, image_layer, settle
from napari_densecrf._napari.sections.correct import Correct
from napari_densecrf._napari.sections.doubtful import doubtful_places, unsure


def test_places_come_by_their_size_and_lines_come_last():
    doubtful = np.zeros((60, 80), bool)
    doubtful[5:15, 5:15] = True
    doubtful[30:50, 30:60] = True
    doubtful[:, 70] = True
    places = doubtful_places(doubtful)
    assert [place.n_pixels for place in places] == [600, 100]
    assert 30 <= places[0].at[0] < 50
    assert 30 <= places[0].at[1] < 60
    assert places[1].box == ((5, 5), (15, 15))
    only_a_line = np.zeros((60, 80), bool)
    only_a_line[:, 70] = True
    assert [place.n_pixels for place in doubtful_places(only_a_line)] == [60]
    assert doubtful_places(np.zeros((60, 80), bool)) == []


def test_the_camera_goes_from_one_to_the_next(dock, qtbot):
    image = np.full((200, 220), 100, np.uint8)
    one = np.full((200, 220), 0.95, np.float32)
    one[20:40, 20:40] = 0.5
    one[120:160, 150:190] = 0.5
    viewer, widget = dock(
        image_layer(image, name="image"),
        image_layer(np.stack([one, 1 - one]), name="map", metadata={"classes": ["a", "b"]}),
    )
    # Unrefined: what the map doubts is in doubt.
    for name in ("appearance_weight", "smoothness_weight"):
        getattr(widget, name).value = 0.0
    settle(qtbot, widget)
    assert unsure(widget.last_result).sum() == 400 + 1600
    doubtful = next(section for section in widget.sections if isinstance(section, Correct)).doubtful
    centres = []
    for _ in range(3):
        widget.next_doubtful.changed.emit(True)
        qtbot.waitUntil(lambda: doubtful.idle, timeout=WAIT_MS)
        settle(qtbot, widget)
        qtbot.waitUntil(lambda: bool(widget.doubtful_says.value), timeout=WAIT_MS)
        centres.append(tuple(viewer.scene.camera.center[-2:]))
    assert 120 <= centres[0][0] < 160
    assert 150 <= centres[0][1] < 190
    assert 20 <= centres[1][0] < 40
    assert centres[2] == centres[1]
    assert "No other doubtful place" in widget.doubtful_says.value
