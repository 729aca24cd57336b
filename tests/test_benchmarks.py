"""The benchmarks use what there is: they are run by hand, seldom, and would otherwise fall behind unseen."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


def taken_by(path):
    """Return the module and the name of each import of this package."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return [(one.module, name.name) for one in froms if one.module.startswith("napari_densecrf") for name in one.names]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_imports_is_there(path):
    for module, name in taken_by(path):
        there = importlib.import_module(module)
        within = [one.name for one in pkgutil.iter_modules(getattr(there, "__path__", []))]
        assert hasattr(there, name) or name in within, f"{module}: {name}"


def test_imports_are_found():
    assert ("napari_densecrf._napari.runs.in_memory", "start_in_memory") in taken_by(FOLDER / "apply.py")
