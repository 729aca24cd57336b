"""The sentences of the window, to be read through at once; the status line and what refuses a map have their own.

What the program says of a layer or of a file names it in quotes. One fact a sentence, the usual word, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

OPEN_IMAGE = "Open an image first."


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
