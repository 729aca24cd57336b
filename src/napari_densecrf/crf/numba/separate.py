"""Kernels that are compiled by themselves, for others to call by their addresses.

What is common to kernels of many types is compiled once instead of in each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numpy.typing import NDArray

from .addresses import address_of, call_with, number_of_type, type_number
from .compile import inlined, reached_by_address
from .watch import kernel_is_ready


@inlined()
def call_separate(known, given):
    """Call the function that is known for the type of a tuple with it; return False where there is none."""
    wanted = number_of_type(given)
    for k in range(len(known)):
        if known[k, 0] == wanted:
            call_with(known[k, 1], (address_of(given),))
            return True
    return False


class SeparateKernel:
    """A function ``function(given)``, compiled by itself for each type of the tuple ``arguments_of(given)``.

    Attributes
    ----------
    known : (n, 2) int64
        What `call_separate` takes: the numbers of types, and the addresses of what is compiled for them.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function
        self._compiled: list[CFunc] = []
        self.known: NDArray[np.int64] = np.empty((0, 2), np.int64)

    def compile_for(self, given: tuple[Any, ...]) -> None:
        """Compile the function for the type of this tuple.

        Raises
        ------
        RuntimeError
            Where it is compiled for that type: what calls it then has another one.
        """
        given_type = nb.typeof(given)
        if type_number(given_type) in self.known[:, 0]:
            raise RuntimeError(f"{self._function.__name__} is called with other types than {given_type}")
        compiled = reached_by_address(self._function, types.void(types.CPointer(given_type)))
        self._compiled.append(compiled)
        self.known = np.concatenate([self.known, [[type_number(given_type), compiled.address]]])
        kernel_is_ready()


def separate_kernel() -> Callable[[Callable[[Any], None]], SeparateKernel]:
    """Compile a function by itself, for kernels to call with `call_separate`."""
    return SeparateKernel
