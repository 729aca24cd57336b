"""A | B: two sets of parameters, of which one is on; what the sliders change belongs to that one."""

from __future__ import annotations

from magicgui.widgets import Label, RadioButtons

from napari_densecrf._napari import words
from napari_densecrf._napari.panel import form
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.session import IMAGE, Session
from napari_densecrf.numbers import NAMES, Numbers

from .section import Section

SIDES = ("A", "B")


class AB(Section):
    """The two sets; the second begins as a copy of the first."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.side = RadioButtons(
            name="side",
            label="Numbers (U)",
            choices=SIDES,
            orientation="horizontal",
            tooltip="Two sets of numbers to switch between. What you change belongs to the side that is on.",
        )
        self.side.value = "A"
        self.says = Label(name="side_says", label="")
        self.controls = {"side": self.side, "side_says": self.says}
        self._on = "A"
        self._stored: dict[str, Numbers] = {}
        self._keys = Keys(session.viewer)

    def lay_out(self, panel: Panel) -> None:
        """Put the choice and what differs into the panel."""
        panel.add_row(self.side)
        panel.add_text(self.says)

    def connect(self) -> None:
        """Listen to the choice, its key and the sliders."""
        self.side.changed.connect(self._switch)
        self._keys.bind("u", lambda _: self.turn())
        self.session.numbers_changed.connect(self._on_numbers)

    def close(self) -> None:
        """Let go of the key."""
        super().close()
        self._keys.release()

    def turn(self) -> None:
        """Switch to the other side."""
        self.side.value = self._other

    @property
    def _other(self) -> str:
        return SIDES[1 - SIDES.index(self._on)]

    def _switch(self, side: str) -> None:
        if side not in SIDES or side == self._on:
            return
        numbers = self.session.numbers
        self._stored[self._on] = numbers
        self._on = side
        self.session.set_numbers(self._stored.get(side, numbers))
        self._describe()

    def _on_numbers(self, _: Numbers, by: str) -> None:
        if by == IMAGE:
            self._forget()
        else:
            self._describe()

    def _forget(self) -> None:
        """Begin anew with side A: the numbers of the other mean nothing in these units."""
        self._stored.clear()
        self._on = SIDES[0]
        with self.side.changed.blocked():
            self.side.value = self._on
        self._describe()

    def _describe(self) -> None:
        """Say in what the other side differs."""
        other = self._stored.get(self._other)
        set_text(self.says, "" if other is None else self._differences(other))

    def _differences(self, other: Numbers) -> str:
        here = self.session.numbers
        differ = [
            f"{form.LABELS[name]} {getattr(other, name):.4g}"
            for name in NAMES
            if getattr(here, name) != getattr(other, name)
        ]
        if here.favours != other.favours:
            differ.append(words.OTHER_BALANCE)
        return f"{self._other} has {', '.join(differ)}." if differ else f"{self._other} has the same numbers."
