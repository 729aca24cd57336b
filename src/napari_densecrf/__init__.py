"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from .fit import Fit, FitStep, fit, fit_steps
from .lattice import Lattice
from .params import CRFParams, PairwiseKernel
from .refine import Refinement, Refiner, Step, refine
from .suggest import Suggestion, SuggestStep, suggest, suggest_steps
from .unary import InputWarning, probabilities_from_labels

__all__ = [
    "CRFParams",
    "Fit",
    "FitStep",
    "InputWarning",
    "Lattice",
    "PairwiseKernel",
    "Refinement",
    "Refiner",
    "Step",
    "SuggestStep",
    "Suggestion",
    "fit",
    "fit_steps",
    "probabilities_from_labels",
    "refine",
    "suggest",
    "suggest_steps",
]
