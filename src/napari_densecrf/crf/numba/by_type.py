"""Functions that are compiled once for each type of what they are given, and found by the number of that type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numpy.typing import NDArray

from .addresses import number_of_type, type_number
from .compile import inlined, reached_by_address
from .watch import checkpoint


@inlined()
def known_address(known, given):
    """Return the address of the function that is known for the type of a tuple; 0 where there is none."""
    wanted = number_of_type(given)
    for k in range(len(known)):
        if known[k, 0] == wanted:
            return known[k, 1]
    return np.int64(0)


class CompiledByType:
    """A function ``function(given, *more)``, compiled for each type of the tuple ``arguments_of(given)``.

    Parameters
    ----------
    function : callable
    n_more : int
        Of int64 behind what is given.

    Attributes
    ----------
    known : (n, 2) int64
        What `known_address` takes: the numbers of types, and the addresses of what is compiled for them.
    """

    def __init__(self, function: Callable[..., None], n_more: int) -> None:
        self._function, self._n_more = function, n_more
        self._compiled: list[CFunc] = []
        self.known: NDArray[np.int64] = np.empty((0, 2), np.int64)

    def compile_for(self, given: types.Type) -> None:
        """Compile the function for what has this type.

        Raises
        ------
        RuntimeError
            Where it is compiled for that type: what calls it then has another one.
        """
        if type_number(given) in self.known[:, 0]:
            raise RuntimeError(f"{self._function.__name__} is called with other types than {given}")
        signature = types.void(types.CPointer(given), *[types.int64] * self._n_more)
        compiled = reached_by_address(self._function, signature)
        self._compiled.append(compiled)
        self.known = np.concatenate([self.known, [[type_number(given), compiled.address]]])
        checkpoint()
