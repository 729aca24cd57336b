"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from typing import TYPE_CHECKING, Any

from .classify import PixelClassifier, probabilities_from_strokes
from .fit import Fit, FitStep, fit, fit_steps
from .grid import take_probe
from .influence import Influence, Pull, influence
from .lattice import Lattice
from .params import CRFParams, PairwiseKernel
from .refine import Refinement, Refiner, Step, refine
from .suggest import Suggestion, SuggestStep, suggest, suggest_steps
from .tiling import TilePlan
from .unary import InputWarning, probabilities_from_labels

if TYPE_CHECKING:
    from .tiles import plan_tiles, refine_tiles

__all__ = [
    "CRFParams",
    "Fit",
    "FitStep",
    "Influence",
    "InputWarning",
    "Lattice",
    "PairwiseKernel",
    "PixelClassifier",
    "Pull",
    "Refinement",
    "Refiner",
    "Step",
    "SuggestStep",
    "Suggestion",
    "TilePlan",
    "fit",
    "fit_steps",
    "influence",
    "plan_tiles",
    "probabilities_from_labels",
    "probabilities_from_strokes",
    "refine",
    "refine_tiles",
    "suggest",
    "suggest_steps",
    "take_probe",
]


def __getattr__(name: str) -> Any:
    """Import Dask, which takes as long as all else, only for those who use it."""
    if name in ("plan_tiles", "refine_tiles"):
        from . import tiles

        return getattr(tiles, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
