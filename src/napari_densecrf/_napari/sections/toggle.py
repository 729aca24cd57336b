"""Parts of a section that a toggle switches, and a section that is made of parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from magicgui.widgets import CheckBox, Label
from napari.components import ViewerModel

from napari_densecrf._napari import words
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import Result

from .section import Section


class Toggled(Section):
    """Acts while its toggle is on and its fold is open; a toggle that is switched on opens the fold.

    Parameters
    ----------
    session : Session
    name : str
        Of the toggle among the widget's controls.
    text, tooltip : str
    key : str, optional
        Switches the toggle.
    wants : str, optional
        What results shall carry meanwhile; see `Session.extras`.
    flat : bool
        Whether it acts in the 2D view alone; in 3D the first of its texts says so.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        text: str,
        tooltip: str,
        *,
        key: str | None = None,
        wants: str | None = None,
        flat: bool = False,
    ) -> None:
        super().__init__(session)
        self.toggle = CheckBox(name=name, text=text, tooltip=tooltip)
        self.controls[name] = self.toggle
        self.active = False
        # Texts below the toggle, empty while this does not act.
        self.details: list[Label] = []
        self._key, self._keys = key, Keys(session.viewer)
        self._wants, self._flat = wants, flat

    def lay_out(self, panel: Panel) -> None:
        """Put the toggle and its texts into the panel."""
        panel.add_wide(self.toggle)
        for detail in self.details:
            panel.add_text(detail)

    def connect(self) -> None:
        """Listen to the toggle, its key and the fold."""
        self.toggle.changed.connect(self._on_toggle)
        self.fold.button.toggled.connect(self._turn)
        self.session.result_written.connect(self._on_result)
        if self._flat:
            self.listen(self.session.viewer.dims.events.ndisplay, self._turn)
        if self._key:
            self._keys.bind(self._key, lambda _: self.switch())

    def switch(self) -> None:
        """Switch the toggle."""
        self.toggle.value = not self.toggle.value

    def start(self) -> None:
        """Begin to act."""

    def show(self, result: Result) -> None:
        """Take in a result that has been written while this acts."""

    def stop(self) -> None:
        """Cease to act, and take back what is shown."""

    def close(self) -> None:
        """Let go of the keys."""
        super().close()
        self._keys.release()

    def _on_toggle(self, on: bool) -> None:
        if on:
            self.fold.open_by_user()
        self._turn()

    def _turn(self, *_: object) -> None:
        wanted = bool(self.toggle.value) and self.fold.open
        off = self._flat and not self.in_2d
        changed = self.active != (wanted and not off)
        self.active ^= changed
        if changed:
            self._begin_or_end()
        if off:
            set_text(self.details[0], words.FLAT_ONLY if wanted else "")

    @property
    def in_2d(self) -> bool:
        """Whether the view is flat."""
        return bool(self.session.viewer.dims.ndisplay == 2)

    def _begin_or_end(self) -> None:
        if self.active:
            if self._flat:
                set_text(self.details[0], "")
            self.start()
            if self._wants:
                self.session.request_extra(self._wants, by=self)
        else:
            self.session.release_extra(by=self)
            self.stop()
            for detail in self.details:
                set_text(detail, "")

    def _on_result(self, result: Result) -> None:
        if self.active:
            self.show(result)


class Composed(Section):
    """A section that is its parts, one below the other."""

    def __init__(self, session: Session, *parts: Section) -> None:
        super().__init__(session)
        self.parts = parts
        for part in parts:
            self.controls |= part.controls

    def lay_out(self, panel: Panel) -> None:
        """Lay out the parts."""
        for part in self.parts:
            part.lay_out(panel)

    def connect(self) -> None:
        """Have the parts listen."""
        for part in self.parts:
            part.fold = self.fold
            part.connect()

    def close(self) -> None:
        """Have the parts let go."""
        for part in self.parts:
            part.close()


def unfollow_mouse(viewer: ViewerModel, on_move: Callable[..., object], on_press: Callable[..., object]) -> None:
    """Take callbacks of the mouse off a viewer, where they are on it."""
    for callbacks, mine in ((viewer.mouse_move_callbacks, on_move), (viewer.mouse_drag_callbacks, on_press)):
        with suppress(ValueError):
            callbacks.remove(mine)
