"""The controls of a refinement: their names, their words, and the ranges that an image gives them."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, Label, ProgressBar, PushButton, Slider, Widget

from napari_densecrf._napari.problem.axes import Problem
from napari_densecrf.params import CRFParams, PairwiseKernel

from .log_slider import LogSlider

ONE_BY_ONE, VOLUME, FILM = "One by one", "As a volume", "Coupled in time"
AUTO, WHOLE, VISIBLE = "Automatic", "Whole slice", "Visible part"

# Weak and far, as such settings do the least harm to thin structures; sigmas are of a robust range of 255.
DEFAULTS = {
    "appearance_weight": 3.0,
    "appearance_position_sigma": 40.0,
    "appearance_intensity_sigma": 12.5,
    "smoothness_weight": 1.5,
    "smoothness_position_sigma": 1.5,
    "n_iterations": 5,
    "damping": 0.0,
    "time_sigma": 1.0,
}

# What a request is made of.
INPUTS = ("image", "probabilities", "region", "slices", "live", *DEFAULTS)

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
    "slices": "Whether the slices of a stack are images of their own, planes of one volume, or frames of a film that "
    "hold each other's labels.",
    "time_sigma": "Over how many frames they hold each other's labels. Higher: they flicker less; too high: what moves "
    "leaves a trail. (theta t)",
    "live": "Refine at every change.",
    "update": "Refine now.",
    "reset": "Set all numbers back to those proposed for this image.",
    "cancel": "Stop what is running.",
}


def make_controls(images: Any, maps: Any, joins: Any) -> dict[str, Any]:
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
        ComboBox(name="slices", label="Slices", choices=joins, value=ONE_BY_ONE, tooltip=TIPS["slices"]),
        slider("time_sigma", "Frames \u03b8t", 0.2, 10.0),
        CheckBox(name="live", text="Live", value=True, tooltip=TIPS["live"]),
        PushButton(name="update_now", text="Update", tooltip=TIPS["update"]),
        PushButton(name="reset", text="Reset", tooltip=TIPS["reset"]),
        PushButton(name="cancel", text="Cancel", enabled=False, tooltip=TIPS["cancel"]),
        Label(name="status", label=""),
        ProgressBar(name="progress", label="", min=0, max=100, value=0, visible=False),
    ]
    return {widget.name: widget for widget in made}


def params_of(controls: dict[str, Any]) -> CRFParams:
    """Return the numbers of the controls, whole and frozen."""
    value = {name: controls[name].value for name in DEFAULTS}
    return CRFParams(
        kernels=(
            PairwiseKernel(
                value["appearance_weight"], value["appearance_position_sigma"], value["appearance_intensity_sigma"]
            ),
            PairwiseKernel(value["smoothness_weight"], value["smoothness_position_sigma"]),
        ),
        n_iterations=value["n_iterations"],
        damping=value["damping"],
    )


def values_of(params: CRFParams) -> dict[str, Any]:
    """Return what the controls show for parameters: one appearance and one smoothness kernel, isotropic.

    Raises
    ------
    ValueError
        For parameters that the controls cannot show.
    """
    if params.compatibility is not None:
        raise ValueError("the sliders have no compatibility: all pairs of different classes cost the same")
    appearance = [kernel for kernel in params.kernels if kernel.intensity_sigma is not None]
    smoothness = [kernel for kernel in params.kernels if kernel.intensity_sigma is None]
    sigmas = [sigma for kernel in params.kernels for sigma in (kernel.position_sigma, kernel.intensity_sigma)]
    if max(len(appearance), len(smoothness)) > 1 or any(isinstance(sigma, tuple) for sigma in sigmas):
        raise ValueError("the sliders show one appearance and one smoothness kernel, with one number a sigma")
    values: dict[str, Any] = {"n_iterations": params.n_iterations, "damping": params.damping}
    for name, kernels in (("appearance", appearance), ("smoothness", smoothness)):
        values[f"{name}_weight"] = kernels[0].weight if kernels else 0.0
        if kernels:
            values[f"{name}_position_sigma"] = kernels[0].position_sigma
    if appearance:
        values["appearance_intensity_sigma"] = appearance[0].intensity_sigma
    return values


def joins_of(problem: Problem | None) -> tuple[str, ...]:
    """Return what the slices of a stack may be: no film where its only leading axis is called z."""
    if problem is None:
        return ONE_BY_ONE, VOLUME, FILM
    return (ONE_BY_ONE, VOLUME, FILM) if problem.may_be_film or len(problem.shape) != 3 else (ONE_BY_ONE, VOLUME)


def relative(controls: dict[str, Any], problem: Problem, robust_range: float) -> dict[str, Any]:
    """Return the numbers as they would be for pixels of size 1 and a range of 255: what fits other images too."""
    factors = _factors(problem, robust_range)
    return {name: controls[name].value / factors.get(name, 1) for name in DEFAULTS}


def set_relative(controls: dict[str, Any], numbers: dict[str, Any], problem: Problem, robust_range: float) -> None:
    """Show numbers that `relative` gave, in the units of an image; leave out what is none."""
    factors = _factors(problem, robust_range)
    for name in DEFAULTS:
        value = numbers.get(name)
        if isinstance(value, (int, float)) and 0 <= value < 1e6:
            with controls[name].changed.blocked():
                exact = int(value) if name == "n_iterations" else float(f"{value * factors.get(name, 1):.6g}")
                controls[name].value = exact


def _factors(problem: Problem, robust_range: float) -> dict[str, float]:
    """Return the unit of each sigma: a pixel, or a 255th of the robust range."""
    return {
        "appearance_position_sigma": problem.spacing[1],
        "smoothness_position_sigma": problem.spacing[1],
        "appearance_intensity_sigma": robust_range / 255,
    }


def fit_ranges(controls: dict[str, Any], problem: Problem, robust_range: float, *, keep: bool) -> None:
    """Give the sliders the ranges and the proposed numbers of an image.

    Parameters
    ----------
    controls : dict
    problem : Problem
    robust_range : float
        What 255 is to an 8-bit image.
    keep : bool
        Leave numbers alone that are not the proposed ones.
    """
    factors = _factors(problem, robust_range)
    pixel = problem.spacing[1]
    limits = {
        "appearance_position_sigma": (1.0, max(problem.shape[-2:])),
        "smoothness_position_sigma": (0.3, 30.0),
        "appearance_intensity_sigma": (0.5, 255.0),
    }
    for name, (low, high) in limits.items():
        slider, factor = controls[name], factors[name]
        untouched = slider.value == slider.default
        slider.default = float(f"{DEFAULTS[name] * factor:.3g}")
        with slider.changed.blocked():
            if untouched or not keep:
                slider.value = slider.default
        slider.set_limits((low * factor, high * factor))
    physical = problem.unit != "px"
    for name in DEFAULTS:
        if name.endswith("position_sigma"):
            controls[name].set_unit(problem.unit, pixel if physical else None)
        elif isinstance(controls[name], LogSlider):
            controls[name].set_unit("", 0.0 if physical else None)
