"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from .classify import PixelClassifier, probabilities_from_strokes
from .fit import Fit, FitStep, fit, fit_steps
from .grid import take_probe
from .influence import Influence, Pull, influence
from .lattice import Lattice
from .params import CRFParams, PairwiseKernel
from .refine import Refinement, Refiner, Step, refine
from .suggest import Suggestion, SuggestStep, suggest, suggest_steps
from .tiles import plan_tiles, refine_tiles
from .tiling import TilePlan
from .unary import InputWarning, probabilities_from_labels

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
