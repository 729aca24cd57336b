"""Which pixels pull on the one under the mouse: a layer over the image, and how many count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from magicgui.widgets import Label
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.colormaps import Colormap
from napari.utils.events import Event
from numpy.typing import NDArray
from psygnal import Signal

from napari_densecrf._napari.display.drawing import Drawing
from napari_densecrf._napari.display.placement import on_canvas, pixel_at, placed
from napari_densecrf._napari.display.result_layer import OneLayer, move, redraw, reveal
from napari_densecrf._napari.panel.panel import set_text
from napari_densecrf._napari.problem.request import Request
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.runner import Done, Listener, Runner
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.influence import EXACT_POINTS, LEAST_ANCHORS, MOST_ANCHORS, Influence, Pull
from napari_densecrf.params import CRFParams

from .toggle import Toggled, unfollow_mouse

NOWHERE = "Move the mouse over the image; a click keeps the pixel."
ALONE = "This pixel stands alone: θβ is below the noise."
# Seen on bright pictures and dark ones: clear where nothing pulls.
GLOW = Colormap([[1, 0.1, 0, 0], [1, 0.35, 0, 0.7], [1, 1, 0.4, 1]], name="glow")
# The pixels that look alike pull by thousands, each with a hundredth of what a neighbour does.
GAMMA = 0.3
# While the mouse or a slider moves, fewer anchors are used, in half the time. This long after the last move, all are.
REST_MS = 150
# How often the words below the toggle may change; each time takes as long as a third of drawing the layer.
WORDS_MS = 100
# Half the length of the cross on a pixel that is kept, in pixels of the canvas.
CROSS = 9.0
CROSS_LINES = 2


@dataclass(frozen=True)
class Answer:
    """Which pixels pull on one, for the layer.

    Parameters
    ----------
    request : Request
        The region that was looked at is the one that was read for it.
    pull : Pull
    strengths : (height, width) float32
        0..1, as parts of the strongest pull; in the slice that is shown, where a slab was looked at.
    """

    request: Request
    pull: Pull
    strengths: NDArray[np.float32]


class PixelInfluence(Toggled):
    """The layer, the pixel that is kept, and the thread that computes."""

    drawn = Signal(Answer, description="The layer has been drawn anew.")

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
            "influence",
            "Influence of pixels (G)",
            "Bright: these pixels pull on the one under the mouse. Click to keep the pixel, click again to let go.",
            key="g",
            flat=True,
        )
        self.says = Label(name="influence_says", label="")
        self.controls["influence_says"] = self.says
        self.details.append(self.says)
        self.pinned: tuple[float, float] | None = None
        self._under_mouse: tuple[float, float] | None = None
        self._runner: Runner | None = None
        self._layers = OneLayer(session.viewer, _layer)
        self._cross = Drawing(session.viewer)
        # What was asked for last: a result that changes nothing of it is no reason to ask again.
        self._asked: Any = None
        self._rest = session.loop.timer(REST_MS, self._ask_exactly)
        self._words = ""
        self._words_timer = session.loop.timer(WORDS_MS, lambda: set_text(self.says, self._words))
        # Of the thread alone: the image that it keeps ready.
        self._image: NDArray[Any] | None = None
        self._influence: Influence | None = None

    def connect(self) -> None:
        """Listen to the sliders too: what pulls changes before the labels do."""
        super().connect()
        self.session.numbers_changed.connect(self._ask)
        self.listen(self.session.viewer.layers.events.removed, self._on_removed)

    @property
    def busy(self) -> bool:
        """Whether the layer is about to be drawn anew."""
        return self.active and self._runner is not None and self._runner.busy

    def start(self) -> None:
        """Follow the mouse."""
        if self._runner is None:
            self._runner = Runner(self.session.loop, "napari-densecrf influence", warns=False)
        self.session.viewer.mouse_move_callbacks.append(self._on_move)
        self.session.viewer.mouse_drag_callbacks.append(self._on_press)
        self._say(NOWHERE)
        self._cross.prepare(CROSS_LINES)
        self._ask()

    def show(self, result: Result) -> None:
        """Look at the region that is shown now."""
        self._ask()

    def stop(self) -> None:
        """Hide the layer and follow the mouse no more."""
        self._unfollow()
        self.pinned = None
        self._words_timer.stop()
        self._hide()

    def close(self) -> None:
        """End the thread, and hide the layer, which nobody would move any more."""
        super().close()
        self._rest.stop()
        self.stop()
        self._cross.close()
        if self._runner is not None:
            self._runner.close()

    def _unfollow(self) -> None:
        unfollow_mouse(self.session.viewer, self._on_move, self._on_press)

    # --- the mouse -------------------------------------------------------------------------------------------------

    def _on_move(self, _: object, event: Any) -> None:
        last = self.session.result
        if last is not None:
            self._under_mouse = pixel_at(last.request.problem, event.position)
            if self.pinned is None:
                self._ask()

    def _on_press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and active.mode != "pan_zoom"):
            return
        yield
        if event.type == "mouse_move":
            # It moves the picture.
            return
        self.pin(None if self.pinned is not None else self._under_mouse)

    def pin(self, pixel: tuple[float, float] | None) -> None:
        """Keep to a (y, x) pixel of the image, or let go of it."""
        self.pinned = pixel
        # The cross comes and goes, whichever pixel it is.
        self._asked = None
        self._ask()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _ask(self, *_: object) -> None:
        """Ask for a picture that moves, and for an exact one when it has come to rest."""
        if self.active:
            self._submit(LEAST_ANCHORS)
            self._rest.start()

    def _ask_exactly(self) -> None:
        if self.active:
            self._submit(MOST_ANCHORS)

    def _submit(self, most_anchors: int) -> None:
        last = self.session.result
        if self._runner is None or last is None:
            return
        request, region = last.request, last.request.read
        pixel = self.pinned or self._under_mouse
        if pixel is None or request.problem.image not in self.session.viewer.layers:
            return
        index = tuple(
            int(np.floor((at + 0.5 - first) / region.step))
            for at, first in zip(pixel, (region.y[0], region.x[0]), strict=True)
        )
        if not all(0 <= at < size for at, size in zip(index, region.shape, strict=True)):
            self._runner.cancel()
            self._say(NOWHERE)
            self._hide()
            return
        if region.z is not None:
            index = (region.index[-1] - region.z[0], *index)
        params = last.request.coupled(self.session.numbers.params)
        if region.n_pixels <= EXACT_POINTS:
            # There anchors are not needed.
            most_anchors = MOST_ANCHORS
        image, asked = last.inputs.image, (request.problem, region, index, params.kernels)
        before = self._asked
        if before is not None and before[0] is image and before[1] == asked and before[2] >= most_anchors:
            return
        self._asked = (image, asked, most_anchors)
        listener = Listener(self._show_answer, failed=self._fail)
        self._runner.submit(lambda: self._steps(last, index, params, most_anchors), listener, request.problem.image)

    def _steps(self, result: Result, pixel: tuple[int, ...], params: CRFParams, most_anchors: int) -> Iterator[Done]:
        inputs, request = result.inputs, result.request
        if self._influence is None or self._image is not inputs.image:
            self._influence = Influence(inputs.image, spacing=request.spacing, channel_axis=inputs.channel_axis)
            self._image = inputs.image
        pull = self._influence.at(pixel, params, most_anchors=most_anchors)
        strongest = float(pull.values.max())
        shown = pull.values if request.read.z is None else pull.values[pixel[0]]
        yield Done(Answer(request, pull, shown / np.float32(strongest or 1.0)))

    def _show_answer(self, answer: Answer) -> None:
        viewer, image = self.session.viewer, answer.request.problem.image
        if not self.active or image not in viewer.layers:
            return
        layer = self._layers.of(image)
        with self.session.writing():
            if layer is None:
                layer = self._layers.add(answer)
            elif layer.data.shape != answer.strengths.shape:
                layer.data = answer.strengths
            else:
                layer.data[...] = answer.strengths
                redraw(layer)
            move(layer, placed(answer.request.problem, answer.request.read))
            for other in self._layers.all():
                reveal(other, other is layer)
        self._mark(answer)
        self.drawn.emit(answer)
        self._say(_words(answer.pull, answer.request.read.step))

    def _say(self, words: str) -> None:
        """Show words at once, or where others have just been shown, soon."""
        self._words = words
        if not self._words_timer.active:
            set_text(self.says, words)
            self._words_timer.start()

    def _fail(self, error: Exception) -> None:
        self._asked = None
        self._say(str(error))

    def _mark(self, answer: Answer) -> None:
        """Put a cross on a pixel that is kept."""
        if self.pinned is None:
            self._cross.clear()
            return
        (y, x) = on_canvas(answer.request.problem, answer.request.region.index, [self.pinned])[0]
        arm = CROSS / self.session.viewer.scene.camera.zoom
        self._cross.draw([np.array([[y - arm, x], [y + arm, x]]), np.array([[y, x - arm], [y, x + arm]])])

    # --- the rest --------------------------------------------------------------------------------------------------

    def _hide(self) -> None:
        self._asked = None
        self._cross.clear()
        for layer in self._layers.all():
            reveal(layer, False)
        self.remove_hidden(self._layers)

    def _on_removed(self, event: Event) -> None:
        if self.active and self._layers.owns(event.value):
            self.toggle.value = False


def _layer(answer: Answer) -> Image:
    """Make the layer of an image."""
    return Image(
        answer.strengths,
        name=f"{answer.request.problem.image.name} influence",
        colormap=GLOW,
        contrast_limits=(0, 1),
        gamma=GAMMA,
        blending="translucent_no_depth",
        **placed(answer.request.problem, answer.request.read),
    )


def _words(pull: Pull, step: int) -> str:
    """Say how many pixels count, those of the full resolution."""
    if pull.stands_alone:
        return ALONE
    number = pull.effective_pixels * step**2
    return f"About {_rounded(number):,} pixels pull on this one." if number else "No pixel pulls on this one."


def _rounded(number: float) -> int:
    """Return two significant digits of it."""
    return int(float(f"{number:.2g}"))
