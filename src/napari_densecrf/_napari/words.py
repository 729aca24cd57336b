"""The sentences of the window, to be read through at once; the status line and what refuses a map have their own.

What the program says of a layer or of a file names it in quotes. One fact a sentence, the usual word, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .problem.extent import Extent

OPEN_IMAGE = "Open an image first."
NOTHING_REFINED = "Nothing has been refined yet."
REFINE_FIRST = "Refine a slice first."
COPIED = "Copied."
CHOOSE_FOLDER = "Choose the folder of the images."
CHOOSE_FIRST = "Choose an image and a map first."

# ---- Auto and Fit

LOOKING = "Looking at the image and the map …"
TRYING = "Trying numbers on the strokes …"
FIT_OF_OWN_STROKES = "The map itself is made from these strokes: a fit needs a map from elsewhere."
FIT_NEEDS_STROKES = "Paint a few strokes in this slice first: at least two of each of two classes."
BETTER_UNREFINED = "The map is better unrefined"
LEAVE = "Leave it as it is: "


def better_unrefined(reason: str) -> str:
    """Say that the map is shown as it is, and why."""
    return f"{BETTER_UNREFINED}, and shown as it is: {reason.removeprefix(LEAVE)}"


def other_numbers(*, decided: bool, is_map: bool) -> str:
    """Return what the button says that switches between what was decided and what was there."""
    if is_map:
        return "Refine it all the same" if decided else "Show the map unrefined"
    return "Back to the numbers of before" if decided else "To the numbers that were found"


# ---- slices that are left


def frozen(name: str, extent: Extent) -> str:
    """Say under which name a result is kept, and how much of it is one."""
    if extent.is_complete:
        return f"Kept as “{name}”."
    return f"Kept as “{name}”: {extent}. The others have no label."


def saved_in_part(name: str, refined: int, n_all: int, none: int) -> str:
    """Say what a file holds where slices are left."""
    return f"“{name}”: {refined} of {n_all} slices refined. The others are {none} in the file, which is no label."


def saved_unfinished(name: str, none: int) -> str:
    """Say what a file holds of a run that was stopped."""
    return f"“{name}”: the run was stopped. What it has not reached is {none} in the file, which is no label."


# ---- recipes


def not_copied(why: str) -> str:
    """Return what the clipboard holds where nothing can be copied: a comment in Python and in shells."""
    return f"# Not copied: {why}"


# ---- projects


def offer(name: str, saved: str) -> str:
    """Return what the button says that continues a project."""
    return f"Continue “{name}” of {saved}"


def project_saved(name: str, left_out: Sequence[str]) -> str:
    """Say where a project is, and what it does not hold."""
    said = f"Saved as “{name}”, beside the image. Open it, or the image, to continue."
    if not left_out:
        return said
    return f"{said} Not in it: {_quoted(left_out)}; save that by File > Save Selected Layers."


def earlier_project(name: str, saved: str) -> str:
    """Say that an earlier project would be lost."""
    return f"There is “{name}” of {saved}, which would be lost. Continue it, or click Save project again to replace it."


def project_continued(name: str) -> str:
    """Say that all is as it was."""
    return f"Continued from “{name}”."


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)


# ---- Run on folder: what the command line says, for those who have no options to type

AS_LABELS = "open it with its image and click the button that names it, then run the folder again"
_IN_WINDOW = (
    (r"say --from-labels [\d.]+( if each number is a class)?", AS_LABELS),
    (r"leave out --from-labels where these are probabilities", "open one of these maps as an image layer"),
    (r"say --axes .*", "open one of these images with its map, and choose in More > Slices what its slices are"),
    (r"say what its axes are, as in --axes \w+", "open one of these images with its map first"),
    (r"say --map-axes \w+ if it is the foreground of two classes", "if it is the foreground of two classes, open it"),
    (r"(; |, )?with --map-axes \w+", ""),
    (r"; --map-axes tells", ""),
    (r"--map-axes names", "the map that is open names"),
    (r"--axes names", "the image that is open names"),
    (r"give --spacing", "give the image a scale in napari"),
)


def for_window(sentence: str) -> str:
    """Return what the command line says of a file, with what to do in the window in place of options."""
    for options, instead in _IN_WINDOW:
        sentence = re.sub(options, instead, sentence)
    return sentence


def of_pair(has_image: bool, has_map: bool) -> str:
    """Say in the table of pairs what is there."""
    return "image and map" if has_image and has_map else "no map of this name" if has_image else "no such image"


def more_pairs(n_more: int) -> str:
    """Say that a table has more rows than it shows."""
    return f"and {n_more} more"
