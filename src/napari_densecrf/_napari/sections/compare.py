"""The fold "Before / after": before and after, and two sets of parameters."""

from __future__ import annotations

from napari_densecrf._napari import words
from napari_densecrf._napari.session import Session

from .ab import AB
from .before_after import BeforeAfter
from .toggle import Composed


class Compare(Composed):
    """The map against the result, and one set of numbers against another."""

    title = "Before / after"
    tip = words.FOLD_BEFORE

    def __init__(self, session: Session) -> None:
        super().__init__(session, BeforeAfter(session), AB(session))
