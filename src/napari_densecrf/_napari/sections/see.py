"""The fold "Why?": what the kernels do."""

from __future__ import annotations

from napari_densecrf._napari import words
from napari_densecrf._napari.session import Session

from .areas import Areas
from .influence import PixelInfluence
from .objects import Objects
from .overlays import Changes, Confidence
from .radii import Radii
from .toggle import Composed


class See(Composed):
    """Which pixels pull, how far, how sure the result is, and what it has changed."""

    title = "Why?"
    tip = words.FOLD_WHY

    def __init__(self, session: Session) -> None:
        influence = PixelInfluence(session)
        super().__init__(
            session,
            influence,
            Radii(session, influence),
            Confidence(session),
            Changes(session),
            Areas(session),
            Objects(session),
        )
