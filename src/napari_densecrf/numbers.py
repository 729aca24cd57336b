"""The numbers of the sliders, named in this place alone: one appearance kernel, one smoothness kernel, iterations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .params import DEFAULT_N_ITERATIONS, CRFParams, PairwiseKernel

# Digits of a number that is shown; of one that was set, as many as its slider keeps.
DIGITS, MORE_DIGITS = 3, 6
# What the sliders show at most.
MOST_ITERATIONS, MOST_DAMPING = 30, 0.95
# Relative numbers that are read from settings lie below this.
LARGEST = 1e6


@dataclass(frozen=True)
class Units:
    """Units in which the same numbers suit different images.

    Parameters
    ----------
    pixel : float
        Size of a pixel, in the unit of the image's spacing.
    intensity : float
        A 255th of the image's robust range.
    """

    pixel: float
    intensity: float


@dataclass(frozen=True)
class Numbers:
    """One appearance and one smoothness kernel, isotropic, with Potts compatibility.

    The defaults are weak and far, as such settings do the least harm to thin structures; they are relative: sigmas of
    position in pixels, of intensity in 255ths of the robust range.

    Parameters
    ----------
    appearance_weight, appearance_position_sigma, appearance_intensity_sigma : float
        w1, theta_alpha, theta_beta.
    smoothness_weight, smoothness_position_sigma : float
        w2, theta_gamma.
    n_iterations : int
    damping : float
    time_sigma : float
        theta_t, in frames: counts only where the frames of a film are coupled.
    border : float
        How far the borders of objects may be off; counts only for objects.
    balance : float
        Log-odds that favour the second of two classes, or objects against the background.
    favours : tuple of float
        Where there are more than two classes: log-odds that favour each; empty where none is favoured. They belong to
        the classes of one map, so no preset has them.
    """

    appearance_weight: float = 3.0
    appearance_position_sigma: float = 40.0
    appearance_intensity_sigma: float = 12.5
    smoothness_weight: float = 1.5
    smoothness_position_sigma: float = 1.5
    n_iterations: int = DEFAULT_N_ITERATIONS
    damping: float = 0.0
    time_sigma: float = 1.0
    border: float = 2.0
    balance: float = 0.0
    favours: tuple[float, ...] = ()

    @classmethod
    def of_params(cls, params: CRFParams, like: Numbers | None = None) -> Numbers:
        """Return the numbers of parameters; those that the parameters do not have are ``like`` others.

        Raises
        ------
        ValueError
            For parameters of another form.
        """
        if params.compatibility is not None:
            raise ValueError("the sliders have no compatibility: all pairs of different classes cost the same")
        appearance = [kernel for kernel in params.kernels if kernel.intensity_sigma is not None]
        smoothness = [kernel for kernel in params.kernels if kernel.intensity_sigma is None]
        sigmas = [sigma for kernel in params.kernels for sigma in (kernel.position_sigma, kernel.intensity_sigma)]
        if max(len(appearance), len(smoothness)) > 1 or any(isinstance(sigma, tuple) for sigma in sigmas):
            raise ValueError("the sliders show one appearance and one smoothness kernel, with one number a sigma")
        if params.n_iterations > MOST_ITERATIONS or params.damping > MOST_DAMPING:
            raise ValueError(f"the sliders go up to {MOST_ITERATIONS} iterations and a damping of {MOST_DAMPING}")
        bias = params.label_bias or (0.0, 0.0)
        values: dict[str, Any] = {"n_iterations": params.n_iterations, "damping": params.damping}
        two = len(bias) == 2
        values["balance"], values["favours"] = (bias[1] - bias[0], ()) if two else (0.0, tuple(bias))
        for name, kernels in (("appearance", appearance), ("smoothness", smoothness)):
            values[f"{name}_weight"] = kernels[0].weight if kernels else 0.0
            if kernels:
                values[f"{name}_position_sigma"] = kernels[0].position_sigma
        if appearance:
            values["appearance_intensity_sigma"] = appearance[0].intensity_sigma
        return replace(like or cls(), **values)

    @property
    def params(self) -> CRFParams:
        """What `refine` takes."""
        return CRFParams(
            kernels=(
                PairwiseKernel(self.appearance_weight, self.appearance_position_sigma, self.appearance_intensity_sigma),
                PairwiseKernel(self.smoothness_weight, self.smoothness_position_sigma),
            ),
            n_iterations=self.n_iterations,
            damping=self.damping,
        )

    @property
    def balanced_params(self) -> CRFParams:
        """What `refine` takes of two classes, and `refine_objects`: with the balance."""
        return replace(self.params, label_bias=(0.0, self.balance) if self.balance else None)

    def params_for(self, n_balanced: int) -> CRFParams:
        """Return what `refine` takes of so many classes that can be balanced; 0 where none can."""
        if n_balanced == 2:
            return self.balanced_params
        known = len(self.favours) == n_balanced and any(self.favours)
        return replace(self.params, label_bias=self.favours if known else None)

    def favouring(self, index: int, n_classes: int, by: float) -> Numbers:
        """Return the numbers with one of the classes favoured more, by this much."""
        if n_classes == 2:
            return self.changed(balance=self.balance + (by if index else -by))
        favours = list(self.favours) if len(self.favours) == n_classes else [0.0] * n_classes
        favours[index] += by
        return self.changed(favours=tuple(favours) if any(favours) else ())

    @property
    def reach(self) -> float:
        """How far the kernels that are on reach: the larger of their position sigmas."""
        kernels = (
            (self.appearance_weight, self.appearance_position_sigma),
            (self.smoothness_weight, self.smoothness_position_sigma),
        )
        return max((sigma for weight, sigma in kernels if weight), default=0.0)

    def changed(self, **values: Any) -> Numbers:
        """Return the numbers with some of them replaced."""
        return replace(self, **values)

    def in_units(self, units: Units, digits: int = DIGITS) -> Numbers:
        """Return relative numbers as those of an image."""
        return self.changed(
            **{name: _short(getattr(self, name) * unit, digits) for name, unit in _units(units).items()}
        )

    def relative_to(self, units: Units) -> Numbers:
        """Return numbers of an image as they would be for other images too: the inverse of `in_units`."""
        return self.changed(**{name: getattr(self, name) / unit for name, unit in _units(units).items()})

    def shortened(self, digits: int = DIGITS) -> Numbers:
        """Return the numbers rounded to this many digits, as people read and type them."""
        names = [name for name in NAMES if name != "n_iterations"]
        return self.changed(**{name: _short(getattr(self, name), digits) for name in names})

    def updated(self, values: Mapping[str, Any]) -> Numbers:
        """Return relative numbers with some of them replaced; what is no number, or makes no sense, is left out."""
        usable = {name: value for name, value in values.items() if name in NAMES and _is_usable(name, value)}
        favours = values.get("favours")
        if isinstance(favours, (list, tuple)) and all(_is_usable("balance", favour) for favour in favours):
            usable["favours"] = tuple(favours)
        if "n_iterations" in usable:
            usable["n_iterations"] = int(usable["n_iterations"])
        return self.changed(**usable)

    def as_dict(self) -> dict[str, Any]:
        """Return those of the sliders by name."""
        return {name: getattr(self, name) for name in NAMES}


# Each has a slider; those that favour one of many classes have rows of their own.
NAMES = tuple(entry.name for entry in fields(Numbers) if entry.name != "favours")
# Those of an image's own units.
IN_PIXELS = ("appearance_position_sigma", "smoothness_position_sigma", "border")
IN_INTENSITIES = ("appearance_intensity_sigma",)


def _units(units: Units) -> dict[str, float]:
    """Return the unit of each number that has one."""
    return {**dict.fromkeys(IN_PIXELS, units.pixel), **dict.fromkeys(IN_INTENSITIES, units.intensity)}


def _is_usable(name: str, value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    if name == "balance":
        return abs(value) < LARGEST
    return 0 < value < LARGEST if name.endswith("sigma") or name == "border" else 0 <= value < LARGEST


def _short(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
