"""The energies of the map that came last: while weights are tried, the same map comes again and again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .meanfield import Beginning
from .unary import Unary, favoured

# A copy of the map is kept to see whether it is the same; past so many bytes it is not worth the memory.
MOST_BYTES = 2**28


@dataclass
class LastMap:
    """A map with its strokes, and what was made of it.

    Parameters
    ----------
    probabilities : array
        A copy.
    strokes : array, optional
        A copy.
    unary : Unary
        Without a bias.
    beginning : Beginning, optional
        Of the iterations, with the bias that came last.
    """

    probabilities: NDArray[np.generic]
    strokes: NDArray[np.generic] | None
    unary: Unary
    beginning: Beginning | None = None
    _favoured: tuple[tuple[float, ...] | None, Unary] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, probabilities: NDArray[np.generic], strokes: ArrayLike | None, unary: Unary) -> LastMap | None:
        """Return what is to be kept of a map; None where it is masked, or large, or was mended with a warning."""
        if isinstance(probabilities, np.ma.MaskedArray) or isinstance(strokes, np.ma.MaskedArray) or unary.mended:
            return None
        given = None if strokes is None else np.array(strokes)
        if probabilities.nbytes + (0 if given is None else given.nbytes) > MOST_BYTES:
            return None
        return cls(probabilities.copy(), given, unary)

    def is_of(self, probabilities: NDArray[np.generic], strokes: ArrayLike | None) -> bool:
        """Tell whether this is the same map with the same strokes, number by number."""
        if isinstance(probabilities, np.ma.MaskedArray) or isinstance(strokes, np.ma.MaskedArray):
            return False
        return _same(self.probabilities, probabilities) and (
            strokes is self.strokes is None
            or (strokes is not None and self.strokes is not None and _same(self.strokes, np.asarray(strokes)))
        )

    def favoured(self, label_bias: tuple[float, ...] | None) -> Unary:
        """Return the energies with a bias: the same object as last time where the bias is the same."""
        if label_bias is None:
            return self.unary
        if self._favoured is None or self._favoured[0] != label_bias:
            self._favoured = label_bias, favoured(self.unary.copied(), label_bias)
        return self._favoured[1]


def _same(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)
