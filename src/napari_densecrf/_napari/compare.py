"""The section "Compare": before and after, and two sets of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .before import Before
from .sides import Sides
from .toggled import Composed

if TYPE_CHECKING:
    from .widget import DenseCRFWidget


class Compare(Composed):
    """The map against the result, and one set of numbers against another."""

    title = "Compare"

    def __init__(self, widget: DenseCRFWidget) -> None:
        super().__init__(widget, Before(widget), Sides(widget))
