"""docs/walk.md: its pictures are there, and the script that makes them runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Drives a window to make pictures.
pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


def test_the_walk_makes_its_pictures(tmp_path):
    named = re.findall(r"\]\(images/([\w-]+\.png)\)", (DOCS / "walk.md").read_text(encoding="utf-8"))
    assert len(named) == 7
    subprocess.run([sys.executable, str(DOCS / "make_walk_pictures.py"), str(tmp_path)], check=True, timeout=600)
    for name in named:
        assert (DOCS / "images" / name).is_file()
        assert (tmp_path / name).stat().st_size > 50_000
