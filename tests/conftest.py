"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=25)
settings.load_profile("default")

DATA = Path(os.environ.get("DENSECRF_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def shared_data():
    """Return the folder of real images, or skip."""
    if not DATA.is_dir():
        pytest.skip("the real images are not here")
    return DATA
