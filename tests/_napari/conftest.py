"""What the tests of the window share."""

import gc

import pytest


@pytest.fixture(autouse=True)
def collected():
    """Free the canvases of a test before the next opens its own: a late one may take live GL objects with it."""
    yield
    gc.collect()
