"""The controls of a refinement: their names, their words, and the ranges that an image gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Label, ProgressBar, PushButton, Widget

from napari_densecrf._napari.problem.problem import CHANNELS, CLASSES, OBJECTS, SLICES
from napari_densecrf._napari.problem.request import AUTO, UNSAID, VISIBLE, WHOLE, Chosen
from napari_densecrf._napari.work.worker import Measured
from napari_densecrf.numbers import IN_PIXELS, MOST_DAMPING, MOST_ITERATIONS, NAMES, Numbers

from .log_slider import LinearSlider, LogSlider

# Log-odds. At this end of the slider, only pixels that the map is almost sure of keep their class.
MOST_BALANCE = 4.0
# A combo calls this with itself, to get its choices.
Offer = Callable[[object], Sequence[Any]]
# The controls that choose, and the fields of `Chosen` that they show.
CHOICES = {
    "image": "image",
    "probabilities": "map",
    "strokes": "strokes",
    "region": "region",
    "slices": "slices",
    "live": "live",
    "leading": "leading",
    "labels_are": "labels_are",
}
LABELS = {
    "appearance_weight": "Strength w1",
    "appearance_position_sigma": "Reach \u03b8\u03b1",
    "appearance_intensity_sigma": "Contrast \u03b8\u03b2",
    "smoothness_weight": "Strength w2",
    "smoothness_position_sigma": "Reach \u03b8\u03b3",
    "n_iterations": "Iterations",
    "damping": "Damping",
    "time_sigma": "Frames \u03b8t",
    "border": "Borders off by",
    "balance": "Balance",
}

TIPS = {
    "image": "The image whose edges the labels shall follow: one layer, or several selected together, one a channel.",
    "probabilities": "A rough map: one image with an axis for the classes, the foreground alone, a Labels layer, or "
    "several single-class layers selected together, maps or Labels.",
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
    "slices": "Whether the slices of a stack are images of their own, planes of one volume, or frames of a film that "
    "hold each other's labels.",
    "time_sigma": "Over how many frames they hold each other's labels. Higher: they flicker less; too high: what moves "
    "leaves a trail. (theta t)",
    "live": "Refine at every change.",
    "leading": "What the axes of the image before height and width are.",
    "labels_are": "Objects are kept apart, each with its number, and only their borders move; a class may be in "
    "many places.",
    "border": "How far the borders of objects may be off. Higher: they may move farther to follow the image.",
    "balance": "To the right: the second class, or objects, grow; to the left they shrink. What the map is sure of "
    "stays.",
    "remedy": "One click does what the line proposes.",
    "update": "Refine now.",
    "reset": "Set all numbers back to those proposed for this image.",
    "cancel": "Stop what is running.",
}


def make_controls(images: Offer, maps: Offer, joins: Offer) -> dict[str, Widget]:
    """Make the controls by name; scripts reach them as attributes of the widget."""
    start, chosen = Numbers(), Chosen()

    def slider(name: str, low: float, high: float, *, zero: bool = False) -> LogSlider:
        return LogSlider(
            (low, high), zero=zero, name=name, label=LABELS[name], value=getattr(start, name), tooltip=TIPS[name]
        )

    def linear(name: str, low: float, high: float, *, step: float = 0.05) -> LinearSlider:
        return LinearSlider(
            (low, high), step=step, name=name, label=LABELS[name], value=getattr(start, name), tooltip=TIPS[name]
        )

    def combo(name: str, label: str, choices: Offer | list[str], **options: Any) -> ComboBox:
        return ComboBox(name=name, label=label, choices=choices, tooltip=TIPS[name], **options)

    made: list[Widget] = [
        combo("image", "Image", images, nullable=True),
        combo("probabilities", "Segmentation", maps, nullable=True),
        Label(name="understood", label=""),
        combo("leading", "First axes are", [UNSAID, SLICES, CHANNELS], value=chosen.leading),
        combo("labels_are", "Labels are", [UNSAID, OBJECTS, CLASSES], value=chosen.labels_are),
        PushButton(name="remedy", label="", text="", tooltip=TIPS["remedy"]),
        slider("border", 0.3, 20.0),
        slider("appearance_weight", 0.1, 100.0, zero=True),
        slider("appearance_position_sigma", 1.0, 500.0),
        slider("appearance_intensity_sigma", 0.5, 255.0),
        slider("smoothness_weight", 0.1, 100.0, zero=True),
        slider("smoothness_position_sigma", 0.3, 30.0),
        linear("balance", -MOST_BALANCE, MOST_BALANCE),
        linear("n_iterations", 0, MOST_ITERATIONS, step=1),
        linear("damping", 0.0, MOST_DAMPING),
        combo("region", "Region", [AUTO, WHOLE, VISIBLE], value=chosen.region),
        combo("slices", "Slices", joins, value=chosen.slices),
        slider("time_sigma", 0.2, 10.0),
        CheckBox(name="live", text="Live", value=chosen.live, tooltip=TIPS["live"]),
        PushButton(name="update_now", text="Update", tooltip=TIPS["update"]),
        PushButton(name="reset", text="Reset", tooltip=TIPS["reset"]),
        PushButton(name="cancel", text="Cancel", enabled=False, tooltip=TIPS["cancel"]),
        Label(name="status", label=""),
        ProgressBar(name="progress", label="", min=0, max=100, value=0, visible=False),
    ]
    return {widget.name: widget for widget in made}


def fit_ranges(controls: Mapping[str, Any], measured: Measured) -> None:
    """Give the sliders the ranges and the units of an image."""
    problem, units = measured.problem, measured.units
    limits = {
        "appearance_position_sigma": (1.0, float(max(problem.shape[-2:]))),
        "smoothness_position_sigma": (0.3, 30.0),
        "border": (0.3, 20.0),
        "appearance_intensity_sigma": (0.5, 255.0),
    }
    for name, (low, high) in limits.items():
        unit = units.pixel if name in IN_PIXELS else units.intensity
        controls[name].set_limits((low * unit, high * unit))
    physical = problem.unit != "px"
    for name in NAMES:
        if name in IN_PIXELS:
            controls[name].set_unit(problem.unit, units.pixel if physical else None)
        else:
            controls[name].set_unit("", 0.0 if physical else None)
