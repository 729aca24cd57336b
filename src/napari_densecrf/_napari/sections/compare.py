"""The section "Compare": before and after, and two sets of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ab import Sides
from .before_after import Before
from .toggle import Composed

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget


class Compare(Composed):
    """The map against the result, and one set of numbers against another."""

    title = "Compare"

    def __init__(self, widget: DenseCRFWidget) -> None:
        super().__init__(widget, Before(widget), Sides(widget))
