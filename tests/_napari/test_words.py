"""The sentences of the window are in one place, short and plain."""

import ast
import inspect
from pathlib import Path

import pytest

import napari_densecrf._napari as window
from napari_densecrf._napari import words
from napari_densecrf._napari.problem.extent import Extent

ROOT = Path(window.__file__).parent
# What shows a sentence, with the argument that it is.
SHOWN_BY = {"_say": 0, "show_info": 0, "show_warning": 0, "Misfit": 0, "set_text": 1}
FOLDERS = ("sections", "recipes", "runs", "contributions", "display", "problem", "work", ".")

SAMPLE = {
    "name": "cells.tif", "saved": "26 Nov 2026, 10:33", "left_out": ["cells frozen"], "extent": Extent(1, 40, 2),
    "refined": 1, "n_all": 40, "none": 255, "reason": "Leave it as it is: borders would get rougher.",
    "decided": True, "is_map": True, "why": OSError(28, "No space left on device"), "options": "--params a.json",
    "missing": ["cells"], "n_done": 3, "n_failed": 1, "again": "Apply", "n_frames": 40, "seconds": 2.5, "where": ".",
    "path": Path("out/cells.tif"), "first": "a.tif: no image", "table": Path("out/summary.csv"), "n_images": 4,
    "has_pattern": True, "n_layers": 3, "what": "the whole image", "shapes": "20 x 50", "wanted": "40 x 50",
    "reader": "napari", "plugin": "napari", "key": "cell", "sentence": "a.tif cannot be read", "has_image": True,
    "has_map": False, "n_more": 7, "is_beside": True,
    "row": {"id": 17, "area_before": 120, "area_after": 98, "border_moved": 0.4, "held": True}, "place": 3,
    "how": "the image changes at the borders 80% as much as at the edges beside them", "n_objects": 40,
    "n_refined": 1, "n_other": 2, "doubt": "4 labels, each of one piece, are taken as objects", "share": 0.12,
    "step": 4, "n_steps": 12, "about": 62,
    "growth": 0.02, "n_held": 3, "other": "cells", "looks_like": "it looks like a mask; convert it to Labels",
    "largest": 2**63, "most": 2**62, "n_labels": 500,
    "background": 255, "n_bytes": 2**34, "before": 0.84, "after": 0.91, "setting": "stronger", "n_pixels": 4191,
    "n_left": 12, "is_stack": True, "longer": -0.12,
}  # fmt: skip


def files():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]


def literal_sentences(path):
    """Yield what a file says by itself."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            at = SHOWN_BY.get(name)
            if at is not None and len(node.args) > at:
                said = node.args[at]
                text = said.value if isinstance(said, ast.Constant) else None
                first = said.values[0] if isinstance(said, ast.JoinedStr) and said.values else None
                text = text or (first.value if isinstance(first, ast.Constant) else None)
                if isinstance(text, str) and " " in text.strip() and not text.startswith("<"):
                    yield text


def test_no_file_has_sentences_of_its_own():
    found = {path.name: said for path in files() if (said := list(literal_sentences(path)))}
    assert found == {}


def sentences():
    """Return all that the window may say, with usual names in it."""
    for name, value in vars(words).items():
        if isinstance(value, str) and name.isupper():
            yield value
        elif inspect.isfunction(value) and value.__module__ == words.__name__ and not name.startswith("_"):
            yield value(**{one: SAMPLE[one] for one in inspect.signature(value).parameters})


def test_they_are_short_and_plain():
    said = list(sentences())
    assert len(said) > 50
    for sentence in said:
        for part in sentence.replace("tif.densecrf", "").split(". "):
            # What is read at a glance: about twenty words.
            assert len(part.split()) <= 24, part
        assert "!" not in sentence
        assert "  " not in sentence
        # What one types in a terminal is only said where a terminal is meant.
        assert "--" not in sentence or "command line" in sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "a.tif: the map holds only 0 and 255 as uint8: it holds a mask; say --from-labels 0.9",
        "a.tif: the map holds patches: it holds objects; say --objects to refine the border of each, or say "
        "--from-labels 0.9 if each number is a class",
        "a.tif: the map holds 0, 1, 2: it holds classes; say --from-labels 0.9, or say --objects if each number is an "
        "object, or, if these are probabilities, divide it by 255",
        "a.tif has shape (3, 30, 32): say --axes ZYX to refine it as a volume, or --axes TYX for each slice by itself",
        "a.tif has shape (3, 4, 30, 32): say what its axes are, as in --axes CZYX",
        "a.npy: axis 1 is taken for slices; it may be channels; --map-axes tells",
        "a.tif has shape (2, 3), with --map-axes CYX: expected (4, 3) along YX, to match the image",
        "--axes names the axes of a.tif TYX: expected 2 different letters, among them Y and X, for shape (30, 32)",
        "--map-axes names the axes of a.tif CYX: expected 2 different letters, among them Y and X, for shape (30, 32)",
        "a.tif does not say the size of a pixel along Z: give --spacing",
        "a.tif holds floats that are no whole numbers: expected one label a pixel; leave out --from-labels or "
        "--objects where these are probabilities",
        "a.tif may be a picture: it goes up to 250 of 255; say --map-axes YX if it is the foreground of two classes",
        "a.tif sums to 1 along T, so T counts classes there: say --axes CYX if it counts channels in the image",
    ],
)
def test_of_a_folder_nobody_is_told_to_type_options(sentence):
    said = words.for_window(sentence)
    assert "--" not in said
    assert said.startswith(sentence[:5].replace("--axe", "the i").replace("--map", "the m"))
