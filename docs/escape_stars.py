"""Shapes as (*spatial) in docstrings, where Markdown would take the stars for emphasis: an extension of Griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

# Lines that are indented describe; the others name types, which are shown as code.
STAR = re.compile(r"(?m)(?<=[(\s,])\*(?=\w)")


class EscapeStars(griffe.Extension):
    """Escape the stars of shapes in all descriptions."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            lines = obj.docstring.value.split("\n")
            obj.docstring.value = "\n".join(
                STAR.sub(r"\\*", line) if line.startswith("    ") and "`" not in line else line for line in lines
            )
