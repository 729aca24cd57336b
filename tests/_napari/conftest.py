"""What the tests of the window share."""

import gc

import pytest
from qtpy.QtCore import QSettings


@pytest.fixture(autouse=True)
def collected():
    """Free the canvases of a test before the next opens its own: a late one may take live GL objects with it."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def forgetful(tmp_path):
    """Keep settings from one test to the next in a folder of its own."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
