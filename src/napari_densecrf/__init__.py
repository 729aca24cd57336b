"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from typing import TYPE_CHECKING, Any

from .blank import no_label
from .choose.classify import PixelClassifier, probabilities_from_strokes
from .choose.fit import Fit, FitStep, fit, fit_steps
from .choose.suggest import Suggestion, SuggestStep, suggest, suggest_steps
from .crf.influence import Influence, Pull, influence
from .crf.lattice.lattice import Lattice
from .crf.probe import take_probe
from .crf.refine import Refinement, Refiner, Step, refine
from .crf.unary import InputWarning, probabilities_from_labels, probabilities_from_masks
from .door.resampled import Along, MapOnImage
from .large.tiling import TilePlan
from .params import CRFParams, PairwiseKernel

if TYPE_CHECKING:
    from .large.tiles import plan_tiles, refine_tiles

__all__ = [
    "Along",
    "CRFParams",
    "Fit",
    "FitStep",
    "Influence",
    "InputWarning",
    "Lattice",
    "MapOnImage",
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
    "no_label",
    "plan_tiles",
    "probabilities_from_labels",
    "probabilities_from_masks",
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
        from .large import tiles

        return getattr(tiles, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
