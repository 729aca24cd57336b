"""Vectors of a few float32 in one register, and prefetching: LLVM has them, Numba does not.

LLVM makes vector code of long loops, not of the three to twenty channels of a vertex or a pixel. Here their vectors
are written out. How many lanes they have is the length of a tuple, a constant when a kernel is compiled.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

# Channels go through vectors of one width: of sixteen where that divides them, which is 15 to 20 % quicker from 32
# channels on, else of four. A mixture of both is slower than four alone at 20 channels, and no quicker past them.
ONE, TWO, FOUR, SIXTEEN = (0,), (0,) * 2, (0,) * 4, (0,) * 16


def lanes_of(n_channels: int) -> tuple[int, ...]:
    """Return the lanes that go through so many channels. Kernels are compiled for these, when they are needed."""
    if n_channels <= 2:
        return ONE if n_channels == 1 else TWO
    return FOUR if n_channels % 16 else SIXTEEN


def padded(n_channels: int) -> int:
    """Return how many channels are kept for so many: as many as fill vectors, by `FOUR` at least past two."""
    return n_channels if n_channels <= 2 else -(-n_channels // 4) * 4


class Lanes(types.Type):  # type: ignore[misc]
    """The Numba type of a vector of float32."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: object, lanes: Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(ir.FloatType(), lanes.width))


def _pointer(context, builder, array_type, array, index, width):
    """Return where a vector lies in a flat, contiguous array."""
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), width).as_pointer())


@intrinsic
def load(typing, lanes, flat, index):
    """Return ``flat[index : index + len(lanes)]``."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[1], arguments[1], arguments[2], signature.return_type.width)
        return impl_ret_untracked(context, builder, signature.return_type, builder.load(pointer, align=4))

    return Lanes(len(lanes))(lanes, flat, types.intp), generate


@intrinsic
def store(typing, flat, index, vector):
    """Write ``flat[index : index + width] = vector``."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], signature.args[2].width)
        builder.store(arguments[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(flat, types.intp, vector), generate


def _spread(builder, scalar, width):
    vector = ir.VectorType(ir.FloatType(), width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


@intrinsic
def spread(typing, lanes, scalar):
    """Return a vector that is ``scalar`` in every lane."""

    def generate(context, builder, signature, arguments):
        return _spread(builder, arguments[1], signature.return_type.width)

    return Lanes(len(lanes))(lanes, types.float32), generate


@intrinsic
def plus(typing, a, b):
    """Return ``a + b``, lane by lane."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=("contract", "nsz"))

    return a(a, b), generate


@intrinsic
def times(typing, a, b):
    """Return ``a * b``, lane by lane."""

    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments, flags=("contract", "nsz"))

    return a(a, b), generate


@intrinsic
def larger(typing, a, b):
    """Return the larger of each lane."""

    def generate(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, b), generate


def _reduce(builder, vector, combine):
    """Halve the vector until one lane is left."""
    width = vector.type.count
    while width > 1:
        width //= 2
        low, high = (
            builder.shuffle_vector(
                vector,
                ir.Constant(vector.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(start, start + width))),
            )
            for start in (0, width)
        )
        vector = combine(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def sum_of(typing, vector):
    """Return the sum of the lanes, halves first."""

    def generate(context, builder, signature, arguments):
        return _reduce(builder, arguments[0], lambda a, b: builder.fadd(a, b, flags=("nsz",)))

    return types.float32(vector), generate


@intrinsic
def largest_of(typing, vector):
    """Return the largest of the lanes."""

    def generate(context, builder, signature, arguments):
        return _reduce(builder, arguments[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(vector), generate


@intrinsic
def prefetch(typing, flat, index):
    """Ask for the cache line of ``flat[index]``, which need not exist, before it is read."""

    def generate(context, builder, signature, arguments):
        number, pointer_type = ir.IntType(32), ir.IntType(8).as_pointer()
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer_type],
            ir.FunctionType(ir.VoidType(), [pointer_type, number, number, number]),
        )
        to_read, keep, as_data = (ir.Constant(number, value) for value in (0, 3, 1))
        address = builder.bitcast(builder.gep(data, [arguments[1]]), pointer_type)
        builder.call(function, [address, to_read, keep, as_data])
        return context.get_dummy_value()

    return types.void(flat, types.intp), generate
