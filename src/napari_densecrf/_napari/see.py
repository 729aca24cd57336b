"""The section "See": what the kernels do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .areas import Areas
from .companions import Changes, Confidence
from .pull import PixelInfluence
from .radii import Radii
from .toggled import Composed

if TYPE_CHECKING:
    from .widget import DenseCRFWidget


class See(Composed):
    """Which pixels pull, how far, how sure the result is, and what it has changed."""

    title = "See"

    def __init__(self, widget: DenseCRFWidget) -> None:
        influence = PixelInfluence(widget)
        super().__init__(
            widget,
            influence,
            Radii(widget, influence),
            Confidence(widget),
            Changes(widget),
            Areas(widget),
        )
