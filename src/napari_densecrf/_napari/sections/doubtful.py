"""Where to look next: the camera goes to the largest part of the slice whose class is in doubt, then to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from magicgui.widgets import Label, PushButton
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_densecrf._napari import words
from napari_densecrf._napari.display.drawing import Drawing
from napari_densecrf._napari.display.placement import on_canvas
from napari_densecrf._napari.panel.keys import Keys
from napari_densecrf._napari.panel.panel import Panel, set_text
from napari_densecrf._napari.session import Session
from napari_densecrf._napari.work.runner import Done, Listener, Runner, Stage, Steps
from napari_densecrf._napari.work.worker import Result
from napari_densecrf.crf.objects.refine import ObjectRefinement

from .section import Section

# A pixel is in doubt where the probabilities of its two likeliest classes differ by less than this.
DOUBT = 0.5
# Of objects, whose confidence is the probability of the label that won.
LEAST_SURE = 0.75
# Places of fewer pixels than this are not worth a stroke, and more than the second number nobody visits.
FEWEST_PIXELS, MOST_PLACES = 25, 50
# A place counts as visited where one that was visited is this near, in pixels of the region.
NEAR = 12
# A place with its surroundings fills so much of the canvas; and at least so many pixels are seen.
FILLED, LEAST_SEEN = 0.3, 120
# How long the frame around a place is drawn.
FRAME_MS = 4000


@dataclass(frozen=True)
class Place:
    """A part of a region that is in doubt.

    Parameters
    ----------
    at : (float, float)
        Where it is thickest, in pixels of the region.
    box : ((int, int), (int, int))
        Its first rows and columns, and those behind its last.
    n_pixels : int
    """

    at: tuple[float, float]
    box: tuple[tuple[int, int], tuple[int, int]]
    n_pixels: int


class Doubtful(Section):
    """The button, its key, and a frame around the place."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.next = PushButton(name="next_doubtful", text=words.NEXT_DOUBTFUL, tooltip=words.NEXT_DOUBTFUL_TIP)
        self.says = Label(name="doubtful_says", label="")
        self.controls = {control.name: control for control in (self.next, self.says)}
        self.places: list[Place] = []
        self._result: Result | None = None
        # By slice: where one has been, in pixels of the image.
        self._visited: dict[Any, list[tuple[float, float]]] = {}
        self._keys = Keys(session.viewer)
        self._frame = Drawing(session.viewer)
        self._hiding = session.loop.timer(FRAME_MS, self._frame.clear)
        self._runner = Runner(session.loop, "napari-densecrf doubtful", warns=False)

    def lay_out(self, panel: Panel) -> None:
        """Put the words below the button."""
        panel.add_wide(self.next)
        panel.add_text(self.says)

    def connect(self) -> None:
        """Listen to the button, its key and results."""
        self.next.changed.connect(self.go_on)
        self._keys.bind("j", self.go_on)
        self.session.result_written.connect(self._on_result)

    def close(self) -> None:
        """End the thread, give the key back, and take the frame away."""
        super().close()
        self._keys.release()
        self._hiding.stop()
        self._runner.close()
        self._frame.close()

    @property
    def idle(self) -> bool:
        """Whether nothing is looked for."""
        return not self._runner.busy

    def go_on(self, *_: object) -> None:
        """Go to the largest place that has not been visited."""
        result = self.session.result
        if result is None or result.request.problem.image not in self.session.viewer.layers:
            set_text(self.says, words.NOTHING_REFINED)
        elif result is self._result:
            self._visit_next(result)
        else:
            self._runner.submit(partial(looking, result), Listener(partial(self._take, result)))

    def _take(self, result: Result, places: list[Place]) -> None:
        self._result, self.places = result, places
        self._visit_next(result)

    def _on_result(self, _: Result) -> None:
        set_text(self.says, "")

    def _visit_next(self, result: Result) -> None:
        region = result.request.region
        visited = self._visited.setdefault((id(result.request.problem.image), region.index), [])
        left = [
            place for place in self.places if not _is_near(_in_image(place.at, result), visited, NEAR * region.step)
        ]
        if not left:
            set_text(self.says, words.no_doubt_left(is_stack=bool(region.index)))
            return
        place = left[0]
        visited.append(_in_image(place.at, result))
        self._show(result, place)
        set_text(self.says, words.doubtful_place(place.n_pixels * region.step**2, len(left) - 1))

    def _show(self, result: Result, place: Place) -> None:
        """Move the camera to a place, nearer where that helps, and draw a frame around it."""
        problem, region = result.request.problem, result.request.region
        corners = np.array([_in_image(corner, result) for corner in place.box])
        (middle,) = on_canvas(problem, region.index, [_in_image(place.at, result)])
        first, last = on_canvas(problem, region.index, corners - 0.5)
        camera, canvas = self.session.viewer.scene.camera, self.session.viewer.canvas.size
        camera.center = (*camera.center[:-2], *middle)
        # A long border is seen at its thickest, not whole.
        extent = max(min(np.abs(last - first).max(), LEAST_SEEN * max(problem.spacing)), 1e-9)
        wanted = min(canvas) * max(FILLED / extent, 0.0)
        camera.zoom = max(camera.zoom, min(wanted, min(canvas) / (LEAST_SEEN * max(problem.spacing))))
        (y0, x0), (y1, x1) = corners - [[1.0], [0.0]]
        self._frame.draw([on_canvas(problem, region.index, [(y0, x0), (y0, x1), (y1, x1), (y1, x0), (y0, x0)])])
        self._hiding.start()


def looking(result: Result) -> Steps:
    """Find the doubtful places of a result, the largest first."""
    yield Stage("looking for doubtful places", 0.0)
    yield Done(doubtful_places(unsure(result)))


def unsure(result: Result) -> NDArray[np.bool_]:
    """Return (height, width): where the class, or the object, of a pixel is in doubt."""
    inner = result.request.region.within(result.request.read)
    refinement = result.refinement
    if isinstance(refinement, ObjectRefinement):
        doubtful: NDArray[np.bool_] = refinement.confidence[inner] < LEAST_SURE
        return doubtful
    marginals = refinement.marginals[:, *inner]
    highest = np.partition(marginals, -2, axis=0)
    # NaN, where a pixel has no value, is no doubt.
    margins: NDArray[np.bool_] = highest[-1] - highest[-2] < DOUBT
    return margins


def doubtful_places(doubtful: NDArray[np.bool_]) -> list[Place]:
    """Return the connected parts of a mask, the largest first; thin lines only where there is nothing else."""
    thick = ndimage.binary_opening(doubtful, np.ones((3, 3), bool))
    labels, n_parts = ndimage.label(thick if thick.any() else doubtful, np.ones((3, 3), bool))
    if not n_parts:
        return []
    sizes = np.bincount(labels.ravel(), minlength=n_parts + 1)[1:]
    boxes = ndimage.find_objects(labels)
    order = np.argsort(-sizes, kind="stable")[:MOST_PLACES]
    return [_place(labels, int(k), boxes[k], int(sizes[k])) for k in order if sizes[k] >= FEWEST_PIXELS]


def _place(labels: NDArray[np.integer], k: int, box: tuple[slice, slice], n_pixels: int) -> Place:
    depth = ndimage.distance_transform_edt(np.pad(labels[box] == k + 1, 1))
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, columns = box
    at = float(rows.start + y - 1), float(columns.start + x - 1)
    return Place(at, ((rows.start, columns.start), (rows.stop, columns.stop)), n_pixels)


def _in_image(point: ArrayLike, result: Result) -> tuple[float, float]:
    """Return (y, x) of the image's pixels for one of the region."""
    region = result.request.region
    y, x = np.asarray(point, float) * region.step + (region.y[0], region.x[0])
    return float(y), float(x)


def _is_near(point: tuple[float, float], others: list[tuple[float, float]], distance: float) -> bool:
    return any(np.hypot(point[0] - y, point[1] - x) <= distance for y, x in others)
