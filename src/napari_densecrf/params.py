"""The numbers a user chooses: frozen, validated where they are made, JSON in and out."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeAlias

Sigma: TypeAlias = "float | tuple[float, ...]"

DEFAULT_N_ITERATIONS = 5
MOST_ITERATIONS = 100_000


@dataclass(frozen=True)
class PairwiseKernel:
    r"""One Gaussian kernel of the pairwise energy.

    Parameters
    ----------
    weight : float
        Strength ``w`` of the kernel, finite and not negative. 0 switches it off.
    position_sigma : float or tuple of float
        Reach of the kernel, in the unit of ``spacing`` (pixels where there is none). One number, or one per spatial
        axis. Positive.
    intensity_sigma : float or tuple of float, optional
        How different two pixels may look and still pull on each other, in the image's own units. One number, or one
        per channel. Positive. None makes a smoothness kernel, which looks at positions alone.

    Notes
    -----
    ``k(i, j) = exp(-|p_i - p_j|^2 / (2 position_sigma^2) - |I_i - I_j|^2 / (2 intensity_sigma^2))``,
    equation 3 of Kraehenbuehl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials",
    NIPS 2011.
    """

    weight: float
    position_sigma: Sigma
    intensity_sigma: Sigma | None = None

    def __post_init__(self) -> None:
        """Turn the numbers into plain floats, and refuse those that make no sense."""
        weight = _number("weight", self.weight)
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight is {weight!r}: expected a finite number that is not negative")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "position_sigma", _sigma("position_sigma", self.position_sigma))
        if self.intensity_sigma is not None:
            object.__setattr__(self, "intensity_sigma", _sigma("intensity_sigma", self.intensity_sigma))


@dataclass(frozen=True)
class CRFParams:
    """All parameters of a refinement.

    Parameters
    ----------
    kernels : tuple of PairwiseKernel
        The kernels whose weighted sum is the pairwise energy. The default is an appearance kernel (10, 80, 13) and a
        smoothness kernel (3, 3), the values of the reference implementation's README, for 8-bit images.
    compatibility : array_like of float, optional
        ``(n_labels, n_labels)`` symmetric costs ``mu(l, l')`` of seeing the two labels together, finite. None is
        Potts: 0 for equal labels, 1 for different ones.
    n_iterations : int
        Mean-field updates, 0 or more. 0 gives back the probabilities themselves.
    damping : float
        In [0, 1): share of the old natural parameters that each update keeps. 0 is the classic update.
    label_bias : sequence of float, optional
        ``(n_labels,)`` finite log-odds ``b_l`` that favour each class: ``psi_i(l) = -log p_i(l) - b_l``. Only their
        differences count. For objects there are two: background, objects. None is 0 for all.

    Raises
    ------
    ValueError, TypeError
        With one sentence that names what came and what is expected.
    """

    kernels: tuple[PairwiseKernel, ...] = field(default_factory=lambda: _reference_kernels())
    compatibility: tuple[tuple[float, ...], ...] | None = None
    n_iterations: int = DEFAULT_N_ITERATIONS
    damping: float = 0.0
    label_bias: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Freeze the values, and refuse those that make no sense."""
        kernels = tuple(self.kernels)
        for kernel in kernels:
            if not isinstance(kernel, PairwiseKernel):
                raise TypeError(f"kernels hold a {type(kernel).__name__}: expected PairwiseKernel")
        object.__setattr__(self, "kernels", kernels)
        if self.compatibility is not None:
            object.__setattr__(self, "compatibility", _compatibility(self.compatibility))
        object.__setattr__(self, "n_iterations", _count("n_iterations", self.n_iterations))
        damping = _number("damping", self.damping)
        if not 0 <= damping < 1:
            raise ValueError(f"damping is {damping!r}: expected a number from 0 up to, but not including, 1")
        object.__setattr__(self, "damping", damping)
        if self.label_bias is not None:
            object.__setattr__(self, "label_bias", _label_bias(self.label_bias))

    def coupled_in_time(self, time_sigma: float) -> CRFParams:
        """Return parameters for a film (T, Y, X) whose frames hold each other's labels.

        Parameters
        ----------
        time_sigma : float
            Reach in time of all kernels, in the unit of the spacing along T: frames, where that is 1. Positive.

        Returns
        -------
        CRFParams
            The position sigmas have one number more, first; these are for one axis more.

        Notes
        -----
        Time is one more position: ``exp(-|p_i - p_j|^2 / (2 position_sigma^2) - (t_i - t_j)^2 / (2 time_sigma^2))``.
        """
        kernels = []
        for kernel in self.kernels:
            sigma = kernel.position_sigma
            in_plane = sigma if isinstance(sigma, tuple) else (sigma, sigma)
            kernels.append(replace(kernel, position_sigma=(time_sigma, *in_plane)))
        return replace(self, kernels=tuple(kernels))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, as JSON has them."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def to_json(self) -> str:
        """Return the text that `from_json` reads and the command line takes as ``--params``."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CRFParams:
        """Make parameters from what `to_dict` gave; names left out take their defaults.

        Raises
        ------
        ValueError
            Where a name is unknown or a value is not acceptable.
        """
        given = _known(cls, values)
        if "kernels" in given:
            if not isinstance(given["kernels"], Iterable) or isinstance(given["kernels"], (str, Mapping)):
                raise ValueError(f"kernels are {given['kernels']!r}: expected a list of kernels")
            given["kernels"] = tuple(_kernel_from_dict(kernel) for kernel in given["kernels"])
        return cls(**given)

    @classmethod
    def from_json(cls, text: str) -> CRFParams:
        """Make parameters from the text of a JSON object, as `to_json` writes it.

        Raises
        ------
        ValueError
            Where the text is not JSON, a name is unknown or a value is not acceptable.
        """
        try:
            return cls.from_dict(json.loads(text))
        except RecursionError:
            raise ValueError("the text has brackets within brackets too deep for parameters") from None


def _reference_kernels() -> tuple[PairwiseKernel, ...]:
    return (
        PairwiseKernel(weight=10.0, position_sigma=80.0, intensity_sigma=13.0),
        PairwiseKernel(weight=3.0, position_sigma=3.0),
    )


def _kernel_from_dict(values: Any) -> PairwiseKernel:
    given = _known(PairwiseKernel, values)
    missing = [name for name in ("weight", "position_sigma") if name not in given]
    if missing:
        raise ValueError(f"a kernel lacks {' and '.join(missing)}: expected weight, position_sigma, intensity_sigma")
    return PairwiseKernel(**given)


def _known(cls: type, values: Any) -> dict[str, Any]:
    names = [entry.name for entry in fields(cls)]
    if not isinstance(values, Mapping):
        raise ValueError(f"parameters are a {type(values).__name__}: expected an object with {', '.join(names)}")
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]!r}: expected {', '.join(names)}")
    return dict(values)


def _number(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"{name} is {value!r}: expected a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large: expected a number below 1e308") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(value).__name__}: expected a number") from None


def _count(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: expected a whole number") from None
    if count < 0:
        raise ValueError(f"{name} is {count}: expected 0 or more")
    if count > MOST_ITERATIONS:
        raise ValueError(f"{name} is more than {MOST_ITERATIONS:,}: a few are enough, as 5 or 10")
    return count


def _sigma(name: str, value: Any) -> Sigma:
    scalar = not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0 or isinstance(value, str)
    sigmas = (_number(name, value),) if scalar else tuple(_number(name, sigma) for sigma in value)
    if not sigmas:
        raise ValueError(f"{name} is empty: expected a positive number, or one per axis")
    for sigma in sigmas:
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"{name} is {value!r}: expected positive, finite numbers")
    return sigmas[0] if scalar else sigmas


def _label_bias(value: Any) -> tuple[float, ...]:
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
        raise TypeError(f"label_bias is {value!r}: expected a number for each class")
    bias = tuple(_number("label_bias", number) for number in value)
    if len(bias) < 2 or not all(math.isfinite(number) for number in bias):
        raise ValueError(f"label_bias is {bias!r}: expected a finite number for each class")
    return bias


def _compatibility(value: Any) -> tuple[tuple[float, ...], ...]:
    try:
        costs = tuple(tuple(_number("compatibility", cost) for cost in row) for row in value)
    except TypeError:
        raise ValueError("compatibility is not a matrix of numbers: expected shape (n_labels, n_labels)") from None
    widths = {len(row) for row in costs}
    if widths != {len(costs)}:
        raise ValueError(
            f"compatibility has {len(costs)} rows of length {sorted(widths)}: expected shape (n_labels, n_labels)"
        )
    for first, row in enumerate(costs):
        for second, cost in enumerate(row):
            if not math.isfinite(cost):
                raise ValueError(f"compatibility[{first}, {second}] is {cost!r}: expected finite costs")
            if cost != costs[second][first]:
                raise ValueError(
                    f"compatibility is not symmetric: [{first}, {second}] is {cost!r}, [{second}, {first}] is "
                    f"{costs[second][first]!r}"
                )
    return costs
