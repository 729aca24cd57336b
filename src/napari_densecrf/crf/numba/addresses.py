"""Calls between compiled functions by their addresses: what is called so is compiled once, by itself.

Numba copies what a compiled function calls into the caller, and compiles it there anew. That is what small kernels
want. A large one called from several places, or from a parallel loop, which alone goes through LLVM four times, is
better reached by its address: the caller then holds a call and nothing else. What is given goes as one tuple, through
memory. Each type has a number, by which a function for it is found (by_type.py): none is called with what it was not
compiled for.
"""

from __future__ import annotations

from hashlib import sha256

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WORD = ir.IntType(64)


def type_number(numba_type: types.Type) -> int:
    """Return a number for a type, the same in every process: what is given with it is found by it."""
    return int.from_bytes(sha256(str(numba_type).encode()).digest()[:8], "little", signed=True)


@intrinsic
def number_of_type(typing, value):
    """Return `type_number` of the type of a value, a constant of the compiled code."""
    number = type_number(value)

    def generate(context, builder, signature, arguments):
        return ir.Constant(_WORD, number)

    return types.int64(value), generate


@intrinsic
def address_of(typing, value):
    """Return the address of a copy of a value; it holds until the function returns that asks for it."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, arguments[0]), _WORD)

    return types.int64(value), generate


def _borrowed(context, builder, of_type, value):
    """Return a value whose arrays have no owner, so that nobody counts who refers to them."""
    if isinstance(of_type, types.BaseTuple):
        parts = [
            _borrowed(context, builder, part, builder.extract_value(value, k)) for k, part in enumerate(of_type.types)
        ]
        return context.make_tuple(builder, of_type, parts)
    if isinstance(of_type, types.Array):
        array = context.make_array(of_type)(context, builder, value)
        array.meminfo = array.parent = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    return value


@intrinsic
def arguments_of(typing, given):
    """Return the tuple that a function was given by its address. Its arrays are borrowed from the caller.

    ``given[0]`` would do it too, but would count references at each slice of an array, which takes longer than some
    loops over them; and Numba 0.68 stumbles over truth values in it, which memory has in another width.
    """

    def generate(context, builder, signature, arguments):
        as_value = context.get_value_type(signature.return_type).as_pointer()
        value = builder.load(builder.bitcast(arguments[0], as_value))
        return _borrowed(context, builder, signature.return_type, value)

    return given.dtype(given), generate


@intrinsic
def call_with(typing, address, arguments):
    """Call the function at an address, which returns nothing, with a tuple of int64."""

    def generate(context, builder, signature, values):
        words = cgutils.unpack_tuple(builder, values[1])
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), [_WORD] * len(words)).as_pointer())
        builder.call(function, words)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate
