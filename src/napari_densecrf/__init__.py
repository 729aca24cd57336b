"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .blank import no_label
from .choose.classify import PixelClassifier, probabilities_from_strokes
from .choose.fit import Fit, FitStep, fit, fit_steps
from .choose.start import refine, safe_params
from .choose.suggest import Suggestion, SuggestStep, suggest, suggest_steps
from .crf.influence import Influence, Pull, influence
from .crf.lattice.lattice import Lattice
from .crf.probe import take_probe
from .crf.refine import Refinement, Refiner, Step
from .crf.unary import InputWarning, probabilities_from_labels, probabilities_from_masks
from .door.resampled import Along, MapOnImage
from .large.tiling import TilePlan
from .params import CRFParams, PairwiseKernel

if TYPE_CHECKING:
    from .choose.objects import ObjectNumbers, refine_objects, suggest_for_objects
    from .crf.objects.refine import ObjectRefinement, ObjectRefiner
    from .large.object_tiles import refine_objects_tiles
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
    "ObjectNumbers",
    "ObjectRefinement",
    "ObjectRefiner",
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
    "refine_objects",
    "refine_objects_tiles",
    "refine_tiles",
    "safe_params",
    "suggest",
    "suggest_for_objects",
    "suggest_steps",
    "take_probe",
]


# Dask, scipy's and scikit-image's parts take as long to import as all else: only for those who use them.
_IMPORTED_LATE = {
    "ObjectNumbers": "choose.objects",
    "ObjectRefinement": "crf.objects.refine",
    "ObjectRefiner": "crf.objects.refine",
    "plan_tiles": "large.tiles",
    "refine_objects": "choose.objects",
    "refine_objects_tiles": "large.object_tiles",
    "refine_tiles": "large.tiles",
    "suggest_for_objects": "choose.objects",
}


def __getattr__(name: str) -> Any:
    """Import what is imported late."""
    if name in _IMPORTED_LATE:
        return getattr(import_module(f".{_IMPORTED_LATE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
