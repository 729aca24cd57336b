"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from .grid import take_probe
from .lattice import Lattice
from .params import CRFParams, PairwiseKernel
from .refine import Refinement, Refiner, Step, refine
from .unary import InputWarning, probabilities_from_labels

__all__ = [
    "CRFParams",
    "InputWarning",
    "Lattice",
    "PairwiseKernel",
    "Refinement",
    "Refiner",
    "Step",
    "probabilities_from_labels",
    "refine",
    "take_probe",
]
