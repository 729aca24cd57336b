"""The dock widget: controls to a request, a result to a Labels layer."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from typing import Any

import napari
import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, FloatSlider, Label, ProgressBar, PushButton, Slider, Widget
from napari.layers import Image, Labels, Layer
from napari.utils import progress
from napari.utils.notifications import show_warning
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_densecrf.grid import robust_range
from napari_densecrf.kernels import n_threads
from napari_densecrf.params import CRFParams, PairwiseKernel

from .controls import LogSlider
from .engine import Engine, Request, Result, warm_up
from .layers import (
    METADATA_KEY,
    Map,
    Misfit,
    Plan,
    Window,
    could_be_map,
    plan,
    read,
    result_layer,
    shown_window,
    write,
)
from .panel import Panel, scrolled
from .runner import Runner

WHOLE, VISIBLE, AUTO = "Whole slice", "Visible part", "Automatic"
AUTO_PIXELS = 2_000_000
# A margin of so many reaches: what lies farther changes 2 labels in 10,000 (DESIGN, "One origin").
MARGIN_REACHES = 5
MAX_MARGIN = 512
READY, BUSY, WRONG = "#3fa34d", "#d89614", "#d64545"

# Weak and far, as such settings do the least harm to thin structures; sigmas are of a robust range of 255.
DEFAULTS = {
    "appearance_weight": 3.0,
    "appearance_position_sigma": 40.0,
    "appearance_intensity_sigma": 12.5,
    "smoothness_weight": 1.5,
    "smoothness_position_sigma": 1.5,
    "n_iterations": 5,
    "damping": 0.0,
}

# What a request is made of.
INPUTS = ("image", "probabilities", "strokes", "region", "live", *DEFAULTS)

TIPS = {
    "image": "The image whose edges the labels shall follow.",
    "probabilities": "A rough map: one image with an axis for the classes, the foreground alone, a Labels layer, or "
    "several single-class layers selected together.",
    "appearance_weight": "Higher: specks vanish and borders snap to edges in the image; too high: thin structures are "
    "lost. 0 switches this off. (w1)",
    "appearance_position_sigma": "Higher: pixels that look alike pull on each other from farther away. (theta alpha)",
    "appearance_intensity_sigma": "Higher: pixels that look more different still pull on each other, so weak edges no "
    "longer hold; lower: only pixels of almost the same colour do. (theta beta)",
    "smoothness_weight": "Higher: outlines get rounder and single pixels vanish, whatever the image shows. 0 switches "
    "this off. (w2)",
    "smoothness_position_sigma": "Higher: smooths over larger specks and finer detail. (theta gamma)",
    "n_iterations": "More: the labels settle further; 5 to 10 are enough for most.",
    "damping": "Higher: slower but steadier steps, where the labels flip back and forth.",
    "region": "How much of the slice is refined while you look.",
    "strokes": "A Labels layer whose painted pixels are certain: 1 is the first class, 2 the second.",
    "live": "Refine at every change.",
    "update": "Refine now.",
    "reset": "Set all numbers back to those proposed for this image.",
    "cancel": "Stop what is running.",
}


class DenseCRFWidget(Container):
    """Refine a rough segmentation with a fully connected CRF, live.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer

    Notes
    -----
    What a change does: `_ask` resolves controls and layers to a frozen `Request` and hands it to the `Runner`, whose
    thread computes; `_show` writes the result, if the layers it came from are still there.
    """

    refined = Signal(object, description="A result has been written into this Labels layer.")
    failed = Signal(str, description="A request could not be done; the sentence that the user sees.")

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self._viewer = napari_viewer
        self._controls = _controls(self._image_choices, self._map_choices, self._stroke_choices)
        super().__init__(widgets=list(self._controls.values()), labels=False)
        self.panel = self._laid_out()
        self._runner = Runner()
        self._engine = Engine()
        self._results: weakref.WeakKeyDictionary[Image, Labels] = weakref.WeakKeyDictionary()
        self._revisions: weakref.WeakKeyDictionary[Layer, int] = weakref.WeakKeyDictionary()
        self._watched: weakref.WeakSet[Layer] = weakref.WeakSet()
        self._plan: Plan | None = None
        self._ranged_for: Any = None
        self._complaint = ""
        self._notes: list[str] = []
        self._closed = False
        self._bar: progress[Any] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._ask)
        self._bar_timer = QTimer()
        self._bar_timer.setSingleShot(True)
        self._bar_timer.setInterval(500)
        self._bar_timer.timeout.connect(self._show_bar)
        self._thumbnail_timer = QTimer()
        self._thumbnail_timer.setSingleShot(True)
        self._thumbnail_timer.setInterval(300)
        self._thumbnail_timer.timeout.connect(self._refresh_thumbnail)
        self._connect()
        self._set_status("Preparing: the first run compiles, which takes up to a minute …", BUSY)
        self._prepare()
        self.reset_choices()

    # --- what the combos offer -------------------------------------------------------------------------------------

    def _image_choices(self, _: Any) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _map_choices(self, _: Any) -> list[tuple[str, Map]]:
        layers = [layer for layer in self._viewer.layers if could_be_map(layer)]
        choices: list[tuple[str, Map]] = [(layer.name, layer) for layer in layers]
        chosen = [layer for layer in layers if layer in self._viewer.layers.selection and isinstance(layer, Image)]
        shapes = {layer.data.shape for layer in chosen if not layer.multiscale}
        if len(chosen) >= 2 and len(shapes) == 1:
            together = tuple(chosen)
            choices.append((f"{len(together)} layers: " + ", ".join(layer.name for layer in together), together))
        return choices

    def _stroke_choices(self, _: Any) -> list[tuple[str, Labels | None]]:
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        made_here = [layer for layer in layers if METADATA_KEY in layer.metadata]
        return [("none", None), *((layer.name, layer) for layer in layers if layer not in made_here)]

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that there are; keep what was chosen, or choose what fits."""
        if getattr(self, "_closed", True):
            return
        with self.image.changed.blocked(), self.probabilities.changed.blocked(), self.strokes.changed.blocked():
            super().reset_choices()
            self._choose()
        self._watch()
        self._schedule()

    def _choose(self) -> None:
        """Where image and map do not fit, take a pair that does: the active layer first, then the topmost."""
        if self._try_plan(self.image.value, self.probabilities.value):
            return
        active = self._viewer.layers.selection.active
        images = sorted(self._image_choices(None), key=lambda layer: (layer is not active, not layer.rgb))
        maps = [choice for _, choice in self._map_choices(None)]
        maps.sort(key=lambda choice: choice is not active)
        keep = self.image.value
        pairs = [
            (image, choice)
            for image in ([keep] if keep is not None else []) + images
            for choice in maps
            if choice is not image and self._try_plan(image, choice)
        ]
        if pairs:
            # A map with classes tells more than one that could be a plain image.
            pairs.sort(key=lambda pair: self._rank(*pair))
            image, choice = pairs[0]
            self.image.value = image
            self.probabilities.value = choice
            return
        # Nothing fits: name what might have been meant.
        plain = [layer for layer in images if layer is not self.probabilities.value]
        if self.image.value is None and plain:
            # A picture more likely than a map: the fewer axes the likelier.
            self.image.value = min(plain, key=lambda layer: layer.ndim)
        others = [choice for choice in maps if choice is not self.image.value]
        if self.probabilities.value in (None, self.image.value):
            self.probabilities.value = others[0] if others else None

    def _rank(self, image: Image, choice: Map) -> int:
        found = self._try_plan(image, choice)
        if found is None:
            return 9
        if found.class_axis is not None:
            return 0 if found.channel_axis is None or image.rgb else 1
        return 2 if isinstance(choice, Labels) else 3

    @staticmethod
    def _try_plan(image: Image | None, choice: Map | None) -> Plan | None:
        if image is None or choice is None or choice is image:
            return None
        try:
            return plan(image, choice)
        except Misfit:
            return None

    # --- what a change does ----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        for name in INPUTS:
            self._controls[name].changed.connect(self._on_control)
        self.update_now.changed.connect(lambda: self._ask(forced=True))
        self.reset.changed.connect(self._on_reset)
        self.cancel.changed.connect(self._on_cancel)
        self._runner.finished.connect(self._show)
        self._runner.failed.connect(self._complain)
        self._runner.progressed.connect(self._progress)
        self._runner.warned.connect(lambda _, text: self._notes.append(text))
        self._viewer.dims.events.current_step.connect(self._on_view)
        self._viewer.dims.events.order.connect(self._on_view)
        self._viewer.scene.camera.events.connect(self._on_camera)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._viewer.layers.selection.events.changed.connect(self._on_selection)
        self.native.destroyed.connect(self._close_quietly)

    def _on_control(self, *_: Any) -> None:
        self._watch()
        self._schedule()

    def _on_view(self, *_: Any) -> None:
        if self._plan is not None and len(self._plan.shape) > 2:
            self._schedule()

    def _on_camera(self, *_: Any) -> None:
        if self._plan is not None and self._visible_only(self._plan):
            self._schedule()

    def _on_selection(self, *_: Any) -> None:
        if len(self._viewer.layers.selection) > 1:
            self.reset_choices()

    def _on_removed(self, event: Any) -> None:
        if self._plan is not None and event.value in self._layers_of(self._plan):
            self._runner.cancel()

    def _on_data(self, event: Any) -> None:
        layer = event.source
        self._revisions[layer] = self._revisions.get(layer, 0) + 1
        self._schedule()

    def _watch(self) -> None:
        """Listen to the data of the layers that are chosen."""
        chosen = {layer for layer in self._chosen_layers() if layer not in self._watched}
        for layer in chosen:
            self._watched.add(layer)
            for name in ("data", "labels_update", "paint"):
                if name in layer.events.emitters:
                    getattr(layer.events, name).connect(self._on_data)

    def _chosen_layers(self) -> Iterable[Layer]:
        chosen: list[Layer] = []
        for choice in (self.image.value, self.probabilities.value, self.strokes.value):
            chosen.extend(choice if isinstance(choice, tuple) else () if choice is None else (choice,))
        return chosen

    @staticmethod
    def _layers_of(a_plan: Plan) -> list[Layer]:
        return [a_plan.image, *(a_plan.map if isinstance(a_plan.map, tuple) else (a_plan.map,))]

    def _schedule(self) -> None:
        """Resolve once, after all that this turn of the event loop brings."""
        if not self._closed:
            self._timer.start()

    def _ask(self, *, forced: bool = False) -> None:
        """Resolve controls and layers to a request, and hand it over."""
        if self._closed:
            return
        try:
            self._plan = plan(self.image.value, self.probabilities.value)
            if tuple(self._viewer.dims.displayed[-2:]) != tuple(sorted(self._viewer.dims.displayed[-2:])):
                raise Misfit("The axes of the view are transposed: bring them back into their order.")
        except Misfit as misfit:
            self._plan = None
            self.understood.value = str(misfit)
            self._runner.cancel()
            self._set_status("Waiting for an image and a map", WRONG if self.image.value is not None else READY)
            return
        self.understood.value = str(self._plan)
        self._fit_ranges(self._plan)
        if not (self.live.value or forced):
            return
        request = self._request(self._plan)
        self._notes.clear()
        self._bar_timer.start()
        self.cancel.enabled = True
        self._runner.submit(lambda: self._engine.steps(request))  # type: ignore[arg-type,return-value]

    def _request(self, a_plan: Plan) -> Request:
        window = shown_window(a_plan, self._viewer.dims.point, visible_only=self._visible_only(a_plan))
        margins = self._margins(a_plan) if window.n_pixels < int(np.prod(a_plan.shape[-2:])) else (0, 0)
        grown = window.grown(margins, a_plan.shape)
        strokes = None
        if self.strokes.value is not None:
            strokes = np.asarray(self.strokes.value.data[(*grown.index, *grown.slices)]).astype(np.int64)
        revision = (self._revisions.get(a_plan.image, 0), id(a_plan.image.data))
        return Request(a_plan, window, grown, self.params, revision, strokes)

    def _visible_only(self, a_plan: Plan) -> bool:
        large = int(np.prod(a_plan.shape[-2:])) > AUTO_PIXELS
        return bool(self.region.value == VISIBLE or (self.region.value == AUTO and large))

    def _margins(self, a_plan: Plan) -> tuple[int, int]:
        reach = max(
            (self.appearance_position_sigma.value if self.appearance_weight.value else 0.0),
            (self.smoothness_position_sigma.value if self.smoothness_weight.value else 0.0),
        )
        y, x = (min(MAX_MARGIN, int(np.ceil(MARGIN_REACHES * reach / size))) for size in a_plan.spacing)
        return y, x

    @property
    def params(self) -> CRFParams:
        """The numbers of the controls, whole and frozen."""
        return CRFParams(
            kernels=(
                PairwiseKernel(
                    self.appearance_weight.value,
                    self.appearance_position_sigma.value,
                    self.appearance_intensity_sigma.value,
                ),
                PairwiseKernel(self.smoothness_weight.value, self.smoothness_position_sigma.value),
            ),
            n_iterations=self.n_iterations.value,
            damping=self.damping.value,
        )

    # --- what comes back -------------------------------------------------------------------------------------------

    def _show(self, number: int, result: Any) -> None:
        """Write a result into its layer, if its layers are still there and it is still the one wanted."""
        if self._closed or not self._runner.current(number):
            return
        self._hide_bar()
        self.cancel.enabled = False
        if not isinstance(result, Result):
            return
        a_plan = result.request.plan
        if any(layer not in self._viewer.layers for layer in self._layers_of(a_plan)):
            return
        layer, first = self._layer_for(result)
        before = result.inputs.probabilities
        changed = write(layer, a_plan, result.request.window, result.labels)
        layer.metadata[METADATA_KEY] = self._provenance(result)
        self._thumbnail_timer.start()
        words = f"{result.elapsed_ms:.0f} ms · {result.n_pixels:,} pixels · {n_threads()} threads"
        if first:
            changed = _changed_by_refining(before, result)
            words = f"{100 * changed:.1f} % of pixels changed · {words}"
        if self._notes:
            words = f"{self._notes[0]} · {words}"
        self._complaint = ""
        self._set_status(words, READY)
        self.refined.emit(layer)

    def _layer_for(self, result: Result) -> tuple[Labels, bool]:
        """Return the result layer of an image, made where there is none that fits."""
        a_plan = result.request.plan
        layer = self._results.get(a_plan.image)
        if layer is not None and layer in self._viewer.layers:
            if layer.data.shape == a_plan.result_shape and layer.data.dtype == result.labels.dtype:
                if layer.metadata[METADATA_KEY]["classes"] != result.inputs.names:
                    made = result_layer(a_plan, result.inputs)
                    layer.colormap, layer.features = made.colormap, made.features
                return layer, False
            self._viewer.layers.remove(layer)
        layer = result_layer(a_plan, result.inputs)
        layer.metadata[METADATA_KEY] = self._provenance(result)
        self._results[a_plan.image] = layer
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        for source in self._layers_of(a_plan)[1:]:
            source.visible = False
        if active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        return layer, True

    def _provenance(self, result: Result) -> dict[str, Any]:
        a_plan = result.request.plan
        sources = a_plan.map if isinstance(a_plan.map, tuple) else (a_plan.map,)
        return {
            "params": result.request.params.to_dict(),
            "spacing": list(a_plan.spacing),
            "image": a_plan.image.name,
            "probabilities": [layer.name for layer in sources],
            "strokes": None if self.strokes.value is None else self.strokes.value.name,
            "classes": list(result.inputs.names),
            "values": result.inputs.values.tolist(),
            "versions": {name: version(name) for name in ("napari-densecrf", "napari", "numba", "numpy")},
        }

    def _refresh_thumbnail(self) -> None:
        layer = None if self._plan is None else self._results.get(self._plan.image)
        if layer is not None and layer in self._viewer.layers:
            layer.refresh(extent=False)

    def _complain(self, number: int, error: Any) -> None:
        if self._closed or not self._runner.current(number):
            return
        self._hide_bar()
        self.cancel.enabled = False
        words = str(error) if isinstance(error, (ValueError, MemoryError)) else f"{type(error).__name__}: {error}"
        self._set_status(words, WRONG)
        if words != self._complaint:
            self._complaint = words
            show_warning(words)
        self.failed.emit(words)

    def _progress(self, number: int, stage: str, fraction: float) -> None:
        if self._closed or not self._runner.current(number):
            return
        self.progress.value = round(100 * fraction)
        if self.progress.visible:
            self._set_status(stage, BUSY)
        if self._bar is not None:
            self._bar.update(self.progress.value - self._bar.n)

    def _show_bar(self) -> None:
        if not self._runner.busy or self._closed:
            return
        self.progress.visible = True
        self._set_status("computing …", BUSY)
        bar = progress(total=100, desc="Dense CRF")
        # Making it ran the event loop: the request may be done, or another bar be there.
        if self._bar is None and self._runner.busy and not self._closed:
            self._bar = bar
        else:
            bar.close()

    def _hide_bar(self) -> None:
        self._bar_timer.stop()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()
        self.progress.visible = False

    def _set_status(self, words: str, colour: str) -> None:
        self.status.value = f'<span style="color:{colour}">●</span> {words}'

    # --- the rest --------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Compile in the background; the first real request then has nothing to wait for."""
        channels = 3 if any(layer.rgb for layer in self._image_choices(None)) else 1
        self._runner.submit(lambda: warm_up(channels))
        self._bar_timer.start()

    def _fit_ranges(self, a_plan: Plan) -> None:
        """Give the sliders the ranges of an image that has not been met; its numbers too, where untouched."""
        token = (id(a_plan.image), a_plan.unit)
        if token == self._ranged_for:
            return
        first = self._ranged_for is None
        self._ranged_for = token
        scale = intensity_range(a_plan) / 255
        pixel = a_plan.spacing[1]
        longest = max(a_plan.shape[-2:]) * pixel
        unit = a_plan.unit
        sliders = (
            (self.appearance_position_sigma, pixel, pixel, longest, unit),
            (self.smoothness_position_sigma, pixel, 0.3 * pixel, 30 * pixel, unit),
            (self.appearance_intensity_sigma, scale, 0.5 * scale, 255 * scale, ""),
        )
        for slider, factor, low, high, words in sliders:
            untouched = slider.value == slider.default
            slider.default = float(f"{DEFAULTS[slider.name] * factor:.3g}")
            with slider.changed.blocked():
                if untouched or not first:
                    slider.value = slider.default
            slider.set_limits((low, high))
            slider.set_unit(words, factor)

    def _on_reset(self) -> None:
        for name in DEFAULTS:
            with self._controls[name].changed.blocked():
                self._reset_one(name)
        self._schedule()

    def _reset_one(self, name: str) -> None:
        control = self._controls[name]
        control.value = getattr(control, "default", DEFAULTS[name])

    def _on_cancel(self) -> None:
        self._runner.cancel()
        self._hide_bar()
        self.cancel.enabled = False
        self._set_status("Cancelled", READY)

    def _laid_out(self) -> Panel:
        """Move the controls from the container's plain column into rows."""
        panel = Panel()
        controls = self._controls
        panel.add_row(controls["image"])
        panel.add_row(controls["probabilities"])
        panel.add_text(controls["understood"])
        for header, prefix in (("Follow the image", "appearance_"), ("Smooth outlines", "smoothness_")):
            panel.add_header(header)
            for name in DEFAULTS:
                if name.startswith(prefix):
                    panel.add_row(controls[name], reset=partial(self._reset_one, name))
        self.fold = panel.add_fold("More")
        for name in ("n_iterations", "damping", "region", "strokes"):
            panel.add_row(
                controls[name], reset=partial(self._reset_one, name) if name in DEFAULTS else None, folded=True
            )
        panel.unfold(False)
        panel.add_line([controls[name] for name in ("live", "update_now", "reset", "cancel")])
        panel.add_text(controls["status"])
        panel.add_wide(controls["progress"])
        layout = self.native.layout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(panel))
        return panel

    def _close_quietly(self, *_: Any) -> None:
        """Let go of the thread and of the viewer."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._bar_timer, self._thumbnail_timer):
            timer.stop()
        self._runner.close()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()


def intensity_range(a_plan: Plan) -> float:
    """Return the robust range of an image from a few pixels of its middle slice."""
    if a_plan.image.rgb and np.dtype(a_plan.image.dtype) == np.uint8:
        return 255.0
    middle = tuple(size // 2 for size in a_plan.shape[:-2])
    height, width = a_plan.shape[-2:]
    y, x = max(0, height // 2 - 256), max(0, width // 2 - 256)
    window = Window(middle, (y, min(height, y + 512)), (x, min(width, x + 512)))
    return robust_range(read(a_plan, window).image[::4, ::4])


def _changed_by_refining(probabilities: Any, result: Result) -> float:
    """Return the share of pixels whose label is not what the map says."""
    array = np.asarray(probabilities)
    if array.ndim == 2:
        top = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
        said = (array > top / 2).astype(int)
    else:
        said = array.argmax(axis=0)
    said = result.inputs.values[said[result.request.window.within(result.request.read)]]
    return float((said != result.labels).mean())


def _controls(images: Any, maps: Any, strokes: Any) -> dict[str, Any]:
    """Make the controls by name; scripts reach them as attributes of the widget."""

    def slider(name: str, label: str, low: float, high: float, *, zero: bool = False) -> LogSlider:
        return LogSlider((low, high), zero=zero, name=name, label=label, value=DEFAULTS[name], tooltip=TIPS[name])

    made: list[Widget] = [
        ComboBox(name="image", label="Image", choices=images, nullable=True, tooltip=TIPS["image"]),
        ComboBox(
            name="probabilities", label="Probabilities", choices=maps, nullable=True, tooltip=TIPS["probabilities"]
        ),
        Label(name="understood", label=""),
        slider("appearance_weight", "Strength w1", 0.1, 100.0, zero=True),
        slider("appearance_position_sigma", "Reach \u03b8\u03b1", 1.0, 500.0),
        slider("appearance_intensity_sigma", "Contrast \u03b8\u03b2", 0.5, 255.0),
        slider("smoothness_weight", "Strength w2", 0.1, 100.0, zero=True),
        slider("smoothness_position_sigma", "Reach \u03b8\u03b3", 0.3, 30.0),
        Slider(name="n_iterations", label="Iterations", min=0, max=30, value=5, tooltip=TIPS["n_iterations"]),
        FloatSlider(name="damping", label="Damping", min=0.0, max=0.95, step=0.05, value=0.0, tooltip=TIPS["damping"]),
        ComboBox(name="region", label="Region", choices=[AUTO, WHOLE, VISIBLE], value=AUTO, tooltip=TIPS["region"]),
        ComboBox(name="strokes", label="Strokes", choices=strokes, tooltip=TIPS["strokes"]),
        CheckBox(name="live", text="Live", value=True, tooltip=TIPS["live"]),
        PushButton(name="update_now", text="Update", tooltip=TIPS["update"]),
        PushButton(name="reset", text="Reset", tooltip=TIPS["reset"]),
        PushButton(name="cancel", text="Cancel", enabled=False, tooltip=TIPS["cancel"]),
        Label(name="status", label=""),
        ProgressBar(name="progress", label="", min=0, max=100, value=0, visible=False),
    ]
    return {widget.name: widget for widget in made}
