"""A | B: two sets of parameters, of which one is on; what the sliders change belongs to that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import Label, RadioButtons

from napari_densecrf._napari.panel import form
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, say
from napari_densecrf.params import CRFParams

from .section import Section

if TYPE_CHECKING:
    from napari_densecrf._napari.widget import DenseCRFWidget

SIDES = ("A", "B")


class Sides(Section):
    """The two sets; the second begins as a copy of the first."""

    def __init__(self, widget: DenseCRFWidget) -> None:
        super().__init__(widget)
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
        self._stored: dict[str, CRFParams] = {}
        self._keys = Keys(widget.viewer)

    def lay_out(self, panel: Panel) -> None:
        """Put the choice and what differs into the panel."""
        panel.add_row(self.side)
        panel.add_text(self.says)

    def connect(self) -> None:
        """Listen to the choice, its key and the sliders."""
        self.side.changed.connect(self._switch)
        self._keys.bind("u", lambda _: self.turn())
        for name in form.DEFAULTS:
            self.widget[name].changed.connect(self._describe)
        self.widget.renumbered.connect(self._forget)

    def close(self) -> None:
        """Let go of the key."""
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
        params = self.widget.params
        self._stored[self._on] = params
        self._on = side
        self.widget.set_params(self._stored.get(side, params))
        self._describe()

    def _forget(self) -> None:
        """Begin anew with side A: the numbers of the other mean nothing in these units."""
        self._stored.clear()
        self._on = SIDES[0]
        with self.side.changed.blocked():
            self.side.value = self._on
        self._describe()

    def _describe(self, *_: object) -> None:
        """Say in what the other side differs."""
        other = self._stored.get(self._other)
        say(self.says, "" if other is None else self._differences(other))

    def _differences(self, other: CRFParams) -> str:
        here, there = form.values_of(self.widget.params), form.values_of(other)
        differ = [
            f"{self.widget[name].label} {there[name]:.4g}"
            for name in here
            if name in there and here[name] != there[name]
        ]
        return f"{self._other} has {', '.join(differ)}." if differ else f"{self._other} has the same numbers."
