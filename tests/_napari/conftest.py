"""What the tests of the window share."""

import gc
from dataclasses import replace

import pytest
from qtpy.QtCore import QSettings

from driving import WAIT_MS, settle
from hand_loop import HandLoop, rest
from napari_densecrf._napari import session as sessions
from napari_densecrf._napari.work import worker
from napari_densecrf.numbers import Numbers


def pytest_collection_modifyitems(items):
    """Mark the tests that open a window; `make quick` runs those that are marked smoke alone."""
    for item in items:
        if "make_napari_viewer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.window)


@pytest.fixture(autouse=True)
def collected():
    """Free the canvases of a test before the next opens its own: a late one may take live GL objects with it."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def forgetful(tmp_path):
    """Keep settings from one test to the next in a folder of its own."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))


@pytest.fixture(autouse=True)
def usual_numbers(request, monkeypatch):
    """Begin with numbers that change something, also on pictures of noise; but for tests of what is begun with."""
    if "first_numbers" not in request.keywords:

        def usual(measured, region):
            return replace(measured, first=Numbers().in_units(measured.units))

        monkeypatch.setattr(worker, "with_first_numbers", usual)


@pytest.fixture
def start_on(monkeypatch):
    """Return a function that starts a session on a viewer and waits for what its layers give."""
    # Compiling is for the window; here each test compiles what it needs.
    monkeypatch.setattr(sessions, "warm_up", lambda *_: iter(()))
    made = []

    def start_on(viewer, listen=lambda session: None):
        session = sessions.Session(viewer, HandLoop())
        made.append(session)
        listen(session)
        session.start()
        rest(session)
        return session

    yield start_on
    for session in made:
        session.close()
        session._runner.join(5)
        assert not session._runner.alive


@pytest.fixture
def dock(make_napari_viewer, qtbot):
    """Return a function that docks the widget on layers and waits for what they give."""

    def make(*layers, expect=True, show=True):
        viewer = make_napari_viewer(show=show)
        for layer in layers:
            viewer.add_layer(layer)
        _, widget = viewer.window.add_plugin_dock_widget("napari-densecrf", "Dense CRF")
        if expect:
            got = []
            widget.refined.connect(got.append)
            qtbot.waitUntil(lambda: bool(got), timeout=WAIT_MS)
            settle(qtbot, widget)
        return viewer, widget

    return make
