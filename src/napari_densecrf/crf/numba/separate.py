"""Kernels that are compiled by themselves, for others to call by their addresses.

What is common to kernels of many types is compiled once instead of in each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .addresses import address_of, call_with
from .by_type import CompiledByType, known_address
from .compile import inlined


@inlined()
def call_separate(known, given):
    """Call the function that is known for the type of a tuple with it; return False where there is none."""
    address = known_address(known, given)
    if address:
        call_with(address, (address_of(given),))
    return address != 0


def separate_kernel() -> Callable[[Callable[[Any], None]], CompiledByType]:
    """Compile a function by itself, for kernels to call with `call_separate` and its ``known``."""
    return partial(CompiledByType, n_more=0)
