"""Tests on real images that are not in the repository: `make data-test DATA=FOLDER`."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def data():
    """Return the folder with the images; there is no skipping here."""
    folder = Path(os.environ["NAPARI_DENSECRF_DATA"])
    assert folder.is_dir(), f"{folder} is no folder: make data-test DATA=FOLDER"
    return folder
