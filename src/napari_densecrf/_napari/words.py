"""The sentences of the window, to be read through at once; the status line and what refuses a map have their own.

What the program says of a layer or of a file names it in quotes. One fact a sentence, the usual word, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from .problem.extent import Extent

OPEN_IMAGE = "Open an image first."
NOTHING_REFINED = "Nothing has been refined yet."
REFINE_FIRST = "Refine a slice first."
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
