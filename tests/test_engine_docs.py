"""docs/engine.md: what it names is there, and its pictures are made by the engine."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

# Draws pictures with the engine.
pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "engine.md").read_text(encoding="utf-8")


def test_pictures_are_there_and_are_made_by_the_code(tmp_path):
    pytest.importorskip("matplotlib")
    named = re.findall(r"\]\(images/([\w-]+\.png)\)", TEXT)
    assert len(named) == 4
    subprocess.run([sys.executable, str(DOCS / "make_engine_figures.py"), str(tmp_path)], check=True)
    for name in named:
        assert (DOCS / "images" / name).is_file()
        assert (tmp_path / name).stat().st_size > 10_000


def test_all_that_is_named_exists():
    named = re.findall(r"`([\w/]+)\.py: ([\w.]+)`", TEXT)
    assert len(named) >= 25
    for module, name in named:
        found = import_module(f"napari_densecrf.crf.{module.replace('/', '.')}")
        for part in name.split("."):
            found = getattr(found, part)


def test_all_files_that_are_named_exist():
    for name in re.findall(r"`(tests/\w+\.py)`", TEXT):
        assert (DOCS.parent / name).is_file()
    for name in re.findall(r"`((?:lattice|numba)/\w+\.py)`", TEXT):
        assert (DOCS.parent / "src/napari_densecrf/crf" / name).is_file()
