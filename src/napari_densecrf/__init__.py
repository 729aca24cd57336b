"""Fully connected CRFs that refine a rough segmentation, live in napari and from scripts."""

from .grid import take_probe
from .lattice import Lattice
from .params import CRFParams, PairwiseKernel
from .refine import Refinement, Refiner, Step, refine
from .tiles import plan_tiles, refine_tiles
from .tiling import TilePlan
from .unary import InputWarning, probabilities_from_labels

__all__ = [
    "CRFParams",
    "InputWarning",
    "Lattice",
    "PairwiseKernel",
    "Refinement",
    "Refiner",
    "Step",
    "TilePlan",
    "plan_tiles",
    "probabilities_from_labels",
    "refine",
    "refine_tiles",
    "take_probe",
]
