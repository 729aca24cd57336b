"""The section "See": what the kernels do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .areas import Areas
from .influence import PixelInfluence
from .overlays import Changes, Confidence
from .radii import Radii
from .toggle import Composed

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget


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
