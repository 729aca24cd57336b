"""Kernels that are compiled by themselves, for others to call by their addresses.

What is common to kernels of many types, or called from several, is compiled once instead of in each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from .addresses import address_of, call_with
from .compile import kernel, reached_by_address


class SeparateType(types.Type):  # type: ignore[misc]
    """The Numba type of a `Separate`, which names the type of what is given to it."""

    def __init__(self, given: types.Type) -> None:
        self.given = given
        super().__init__(name=f"Separate({given})")


@register_model(SeparateType)
class _SeparateModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: object, of_type: SeparateType) -> None:
        super().__init__(manager, of_type, ir.IntType(64))


@unbox(SeparateType)
def _unbox(of_type, separate, c):
    address = c.pyapi.object_getattr_string(separate, "address")
    value = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(value, is_error=c.pyapi.c_api_error())


@intrinsic
def _address_for(typing, separate, given):
    """Return the address of a separate kernel; what is given must be of its type."""
    if separate.given != given:
        return None

    def generate(context, builder, signature, arguments):
        return arguments[0]

    return types.int64(separate, given), generate


@kernel()
def call_separate(separate, given):
    """Call a separate kernel with a tuple; while compiling, refuse one of another type than it was compiled for."""
    call_with(_address_for(separate, given), (address_of(given),))


class Separate:
    """A compiled kernel that others call with `call_separate`.

    Parameters
    ----------
    compiled : CFunc
    given : numba type
        Of the tuple that it takes.
    """

    def __init__(self, compiled: CFunc, given: types.Type) -> None:
        self._compiled = compiled
        self.address = int(compiled.address)
        # Numba asks any object for its type by this name.
        self._numba_type_ = SeparateType(given)


class SeparateKernel:
    """A function ``function(given)`` that is compiled by itself for each type of the tuple ``arguments_of(given)``."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function
        self._compiled: dict[types.Type, Separate] = {}

    def compiled_for(self, given: types.Type) -> Separate:
        """Return the kernel, compiled for a type."""
        if given not in self._compiled:
            compiled = reached_by_address(self._function, types.void(types.CPointer(given)))
            self._compiled[given] = Separate(compiled, given)
        return self._compiled[given]


def separate_kernel() -> Callable[[Callable[[Any], None]], SeparateKernel]:
    """Compile a function by itself, for kernels to call with `call_separate`."""
    return SeparateKernel
