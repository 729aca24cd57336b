"""Before and after: the map's own labels while a key is held, or to the left of a line that is dragged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from magicgui.widgets import Label, PushButton
from napari.layers import Labels, Layer
from napari.utils.events import Event
from numpy.typing import ArrayLike, NDArray

from napari_densecrf._napari import words
from napari_densecrf._napari.display.drawing import Drawing, show_grip
from napari_densecrf._napari.display.placement import centre_of_view, on_canvas, pixel_at, placed
from napari_densecrf._napari.display.result_layer import OneLayer, move, redraw, reveal
from napari_densecrf._napari.panel.panel import Panel
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.worker import CHANGES, Result

from .toggle import Toggled, unfollow_mouse

# How near to the line the mouse takes it, in pixels of the canvas.
GRIP = 8.0


class BeforeAfter(Toggled):
    """One layer stands in for the result while they are compared: left of a column the map's labels, right its own.

    The result itself keeps its data and is hidden meanwhile. While the key is held the column is the last.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
            "swipe",
            "Swipe (W)",
            "A line to drag across the image: left of it what the map alone says, right of it the result.",
            key="w",
            wants=CHANGES,
            flat=True,
        )
        says = Label(name="swipe_says", label="")
        self.details.append(says)
        self.button = PushButton(
            name="before",
            text="Hold to see the map alone (H)",
            tooltip="While this or the key H is held: what the map alone says, before any refinement.",
        )
        self.controls = {"before": self.button, **self.controls, "swipe_says": says}
        self.held = False
        # The column of the image's pixels where the line is.
        self.column: float | None = None
        self._layers = OneLayer(session.viewer, _stand_in)
        self._line = Drawing(session.viewer)
        self._gripped = False
        self._hidden: Layer | None = None

    def lay_out(self, panel: Panel) -> None:
        """Put the button above the toggle."""
        panel.add_line([self.button])
        super().lay_out(panel)

    def connect(self) -> None:
        """Listen to the button, its key, results whether swiping or not, and removed layers."""
        super().connect()
        self.button.native.pressed.connect(self._press)
        self.button.native.released.connect(self._release)
        self._keys.bind("h", self._on_key)
        self.listen(self.session.viewer.layers.events.removed, self._on_removed)

    def _press(self) -> None:
        self.hold(True)

    def _release(self) -> None:
        self.hold(False)

    def hold(self, held: bool) -> None:
        """Show the map's labels whole, or no longer."""
        if held == self.held:
            return
        self.held = held
        if held and not self.in_2d:
            self.session.viewer.status = words.FLAT_ONLY
        self._compare()

    def start(self) -> None:
        """Draw the line, and let it be dragged."""
        viewer = self.session.viewer
        viewer.mouse_move_callbacks.append(self._on_move)
        viewer.mouse_drag_callbacks.append(self._on_press)
        # To the middle, wherever it was when it was last seen.
        self.column = None
        self._compare()

    def stop(self) -> None:
        """Take the line away."""
        self._unfollow()
        self._compare()

    def close(self) -> None:
        """Show the result again."""
        super().close()
        self._unfollow()
        self._line.close()
        self.held = self.active = False
        self._give_back()

    def _on_key(self, _: object) -> Iterator[None]:
        self.hold(True)
        yield
        self.hold(False)

    def _on_result(self, _: Result) -> None:
        if self.active or self.held:
            self._compare()

    def _on_removed(self, event: Event) -> None:
        if self.active and not self.session.is_writing and self._layers.owns(event.value):
            self.toggle.value = False

    # --- what is shown ---------------------------------------------------------------------------------------------

    def _compare(self) -> None:
        """Show the layer that stands in for the result, or the result."""
        result, layers = self.session.shown, self.session.viewer.layers
        if not (self.active or self.held) or not self.in_2d:
            self._line.clear()
            self._give_back()
        elif result is not None and result.request.problem.image in layers:
            self._draw_line(result)
            with self.session.writing():
                self._write(result, self._composed(result))

    def _composed(self, result: Result) -> NDArray[Any]:
        """Return the map's labels left of the column, and the result's right of it."""
        region = result.request.region
        if self.held or self.column is None:
            return result.said
        first = int(np.clip(round((self.column + 0.5 - region.x[0]) / region.step), 0, region.shape[1]))
        return np.concatenate([result.said[:, :first], result.labels[:, first:]], axis=1)

    def _write(self, result: Result, values: NDArray[Any]) -> None:
        problem, region = result.request.problem, result.request.region
        shown = self.session.result_layer
        if shown is None:
            return
        layer = self._layers.of(problem.image)
        if layer is None:
            layer = self._layers.add(result)
        if layer.data.shape != values.shape or layer.data.dtype != values.dtype:
            layer.data = values.copy()
            layer.editable = False
        else:
            layer.data[...] = values
            redraw(layer)
        move(layer, placed(problem, region))
        if self._hidden is not shown:
            self._give_back()
            for name in ("colormap", "features", "opacity", "blending", "contour"):
                setattr(layer, name, getattr(shown, name))
            self.session.results.contours.add(layer, like=shown)
            self._hidden = shown
            shown.visible = False
        reveal(layer, True)

    def _give_back(self) -> None:
        """Show the result where it was shown before."""
        for layer in self._layers.all():
            reveal(layer, False)
        if self._hidden is not None:
            self._hidden.visible = True
            self._hidden = None
            self.remove_hidden(self._layers)

    # --- the line --------------------------------------------------------------------------------------------------

    def _draw_line(self, result: Result) -> None:
        problem, region = result.request.problem, result.request.region
        if self.held or not self.active:
            self._line.clear()
            return
        if self.column is None or not region.x[0] <= self.column <= region.x[1]:
            middle = centre_of_view(problem, self.session.viewer)[1]
            self.column = float(np.clip(middle, region.x[0], region.x[1]))
        ends = [(y - 0.5, self.column) for y in region.y]
        self._line.draw([on_canvas(problem, region.index, ends)])

    def _near(self, position: ArrayLike) -> bool:
        last = self.session.shown
        if last is None or self.column is None:
            return False
        viewer, problem = self.session.viewer, last.request.problem
        active = viewer.layers.selection.active
        away = abs(pixel_at(problem, position)[1] - self.column) * problem.spacing[1] * viewer.scene.camera.zoom
        return bool(away <= GRIP and (active is None or active.mode == "pan_zoom"))

    def _on_move(self, _: object, event: Any) -> None:
        """Take hold of the line where the mouse is over it: dragging then does not move the picture."""
        near = self._near(event.position)
        if near != self._gripped:
            self._gripped = near
            self.session.viewer.scene.camera.mouse_pan = not near
            show_grip(self.session.viewer, near)

    def _on_press(self, _: object, event: Any) -> Iterator[None]:
        if event.button != 1 or not self._near(event.position):
            return
        yield
        while event.type == "mouse_move":
            last = self.session.shown
            if last is not None:
                x0, x1 = last.request.region.x
                self.column = float(np.clip(pixel_at(last.request.problem, event.position)[1], x0, x1))
                self._compare()
            yield

    def _unfollow(self) -> None:
        viewer = self.session.viewer
        unfollow_mouse(viewer, self._on_move, self._on_press)
        if self._gripped:
            self._gripped = False
            with suppress(RuntimeError):
                viewer.scene.camera.mouse_pan = True
                show_grip(viewer, False)


def _stand_in(result: Result) -> Labels:
    """Make the layer that stands in for the result, of the region that is shown."""
    layer = Labels(
        result.said.copy(),
        name=f"{result.request.problem.image.name} compared",
        **placed(result.request.problem, result.request.region),
    )
    layer.editable = False
    return layer
