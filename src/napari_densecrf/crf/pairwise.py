"""The kernels of the model: what each must be able to do, and the one on the lattice.

The other one, on the grid, is in grid_gaussian.py.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_densecrf.crf.lattice.lattice import Lattice


class PairwiseTerm(Protocol):
    """A normalised kernel k~ with j = i left out."""

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""

    def add_messages(self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32]) -> None:
        """Add ``weight * sum_{j != i} k~(i, j) Q_j``, all (n_points, n_channels)."""


class LatticeGaussian:
    """A kernel on the permutohedral lattice, normalised symmetrically, with the lattice's own diagonal left out.

    Parameters
    ----------
    lattice : Lattice
        Which becomes part of this kernel: its weights are normalised in place.
    """

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.diagonal, self._total = lattice.normalise()

    def total(self) -> NDArray[np.float32]:
        """Return (n_points,): ``sum_{j != i} k~(i, j)``."""
        return self._total

    def add_messages(self, marginals: NDArray[np.float32], weight: float, messages: NDArray[np.float32]) -> None:
        """Add ``weight * sum_{j != i} k~(i, j) Q_j``; see `PairwiseTerm`."""
        lattice = self.lattice
        received = lattice.slice(lattice.gather_and_blur(lattice.splat(marginals)))
        received -= self.diagonal[:, None] * marginals
        received *= np.float32(weight)
        messages += received
