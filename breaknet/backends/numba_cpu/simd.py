"""Sixteen float32 numbers as one value of a numba function: the few operations that the kernels are written in.

numba's own loops keep the sixteen sums of a hidden layer in memory. Here `lanes16` is an LLVM `<16 x float>`, which
LLVM keeps in registers: one AVX-512 register, two AVX ones, four of SSE or NEON. Nothing names a processor, so the
same code is right on all of them and numba compiles it for the one at hand.

    load(a, i), store(a, i, x)      a.flat[i : i + 16], from and to a C-contiguous float32 array
    spread(a, i), fill(s)           sixteen copies of a.flat[i], or of the number s
    spread4(a, i)                   four of them: copies of a.flat[i] ... a.flat[i + 3], read at once
    word4(a, i), split4(word)       uint16 a.flat[i : i + 4] read at once, and the int64 values of the four
    pick(a, i)                      the number a.flat[i]
    x + y, x - y, x * y, x / y      lane by lane, IEEE float32
    fma(x, y, z)                    x * y + z, fused where the processor has it, else rounded twice
    lit64(a, i), level64(a, i)      int64 whose bit k says whether a.flat[i + k] is not 0, is equal to the next number
    ones(mask), lowest(mask)        how many bits are set, and the number of the lowest one
    stop_requested(flag)            whether another thread has set flag[0], read afresh at every call

Indices are int64 and are not checked: the kernels' callers size the arrays.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

LANES = 16

_FLOAT = ir.FloatType()
INDEX = ir.IntType(64)
_INT = ir.IntType(32)
VECTOR = ir.VectorType(_FLOAT, LANES)
INTEGERS = ir.VectorType(_INT, LANES)
FOUR = ir.VectorType(_FLOAT, 4)
ALIGN = 4  # bytes: any float32 address will do


class Lanes16(types.Type):
    """numba's type of sixteen float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="lanes16")


lanes16 = Lanes16()


@register_model(Lanes16)
class _Lanes16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


# --- lane by lane: + - * / ----------------------------------------------------------------------------------------


def _lane_operator(symbol: Callable[..., Any], instruction: str) -> None:
    class Template(ConcreteTemplate):
        cases = [signature(lanes16, lanes16, lanes16)]  # noqa: RUF012

    infer_global(symbol)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    lower_builtin(symbol, lanes16, lanes16)(lower)


_lane_operator(operator.add, "fadd")
_lane_operator(operator.sub, "fsub")
_lane_operator(operator.mul, "fmul")
_lane_operator(operator.truediv, "fdiv")


# --- parts of LLVM IR ----------------------------------------------------------------------------------------------


def constant(value: float) -> ir.Constant:
    """Sixteen copies of a number known now, of the float32 nearest to it."""
    return ir.Constant(VECTOR, [float(value)] * LANES)


def integer_constant(value: int) -> ir.Constant:
    return ir.Constant(INTEGERS, [value] * LANES)


def _copies(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INTEGERS, [0] * LANES))


def fma_of(builder: Any, x: Any, y: Any, z: Any) -> Any:
    # fmuladd, not fma: without a fused instruction the latter is sixteen calls of the C library
    name = "llvm.fmuladd.v16f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
    return builder.call(function, [x, y, z])


def address_of(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value=array).data
    return builder.gep(data, [index], inbounds=True)


def load_from(builder: Any, address: Any) -> Any:
    vector = builder.load(builder.bitcast(address, VECTOR.as_pointer()))
    vector.align = ALIGN
    return vector


def store_to(builder: Any, vector: Any, address: Any) -> None:
    builder.store(vector, builder.bitcast(address, VECTOR.as_pointer())).align = ALIGN


def is_flat(array: Any, dtype: Any = types.float32) -> bool:
    return isinstance(array, types.Array) and array.dtype == dtype and array.layout == "C"


# --- memory --------------------------------------------------------------------------------------------------------


@intrinsic
def load(typing_context, array, index):
    """a.flat[index : index + 16]."""
    if not is_flat(array):
        return None

    def code(context, builder, sig, args):
        return load_from(builder, address_of(context, builder, sig.args[0], args[0], args[1]))

    return lanes16(array, types.int64), code


@intrinsic
def store(typing_context, array, index, x):
    """a.flat[index : index + 16] = x."""
    if not is_flat(array):
        return None

    def code(context, builder, sig, args):
        store_to(builder, args[2], address_of(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes16), code


@intrinsic
def spread(typing_context, array, index):
    """Sixteen copies of a.flat[index]."""
    if not is_flat(array):
        return None

    def code(context, builder, sig, args):
        return _copies(builder, builder.load(address_of(context, builder, sig.args[0], args[0], args[1])))

    return lanes16(array, types.int64), code


@intrinsic
def spread4(typing_context, array, index):
    """Four values, each as sixteen copies: one load and four shuffles, where `spread` would be four loads."""
    if not is_flat(array):
        return None

    def code(context, builder, sig, args):
        address = address_of(context, builder, sig.args[0], args[0], args[1])
        values = builder.load(builder.bitcast(address, FOUR.as_pointer()))
        values.align = ALIGN
        undefined = ir.Constant(FOUR, ir.Undefined)
        copies = [
            builder.shuffle_vector(values, undefined, ir.Constant(INTEGERS, [j] * LANES)) for j in range(4)
        ]
        return context.make_tuple(builder, sig.return_type, copies)

    return types.UniTuple(lanes16, 4)(array, types.int64), code


@intrinsic
def word4(typing_context, array, index):
    """uint16 a.flat[index : index + 4] as one int64, for `split4`; index must be a multiple of 4, the array aligned.

    An atomic load, so that it stays where it is written: a loop that reads its next word before it uses the last one
    has every address a whole round early, where the compiler would move the load to its first use.
    """
    if not is_flat(array, types.uint16):
        return None

    def code(context, builder, sig, args):
        address = address_of(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(builder.bitcast(address, INDEX.as_pointer()), "monotonic", 8)

    return types.int64(array, types.int64), code


@intrinsic
def split4(typing_context, word):
    """The four numbers of a `word4`, as int64 (little-endian, as every processor numba knows)."""

    def code(context, builder, sig, args):
        mask = ir.Constant(INDEX, 0xFFFF)
        parts = [builder.and_(builder.lshr(args[0], ir.Constant(INDEX, 16 * j)), mask) for j in range(4)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(types.int64, 4)(types.int64), code


@intrinsic
def fill(typing_context, number):
    """Sixteen copies of a float32."""

    def code(context, builder, sig, args):
        return _copies(builder, args[0])

    return lanes16(types.float32), code


@intrinsic
def pick(typing_context, array, index):
    """a.flat[index] of an array of any number type: without Python's reading of negative indices."""
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None

    def code(context, builder, sig, args):
        return builder.load(address_of(context, builder, sig.args[0], args[0], args[1]))

    return array.dtype(array, types.int64), code


@intrinsic
def stop_requested(typing_context, flag):
    """Whether flag[0] (int64) is not zero; an atomic load, so that the compiler cannot read it once for all."""
    if not is_flat(flag, types.int64):
        return None

    def code(context, builder, sig, args):
        address = address_of(context, builder, sig.args[0], args[0], ir.Constant(INDEX, 0))
        value = builder.load_atomic(address, "monotonic", 8)
        return builder.icmp_signed("!=", value, ir.Constant(INDEX, 0))

    return types.boolean(flag), code


# --- masks ---------------------------------------------------------------------------------------------------------


def _mask_of(context: Any, builder: Any, array_type: Any, array: Any, index: Any, neighbour: bool) -> Any:
    """64 numbers of an array compared with zero (which differs?) or with the one after (which are equal?)."""
    number = context.get_data_type(array_type.dtype)
    many = ir.VectorType(number, INDEX.width)

    def read(ahead: int) -> Any:
        place = builder.add(index, ir.Constant(INDEX, ahead))
        address = address_of(context, builder, array_type, array, place)
        vector = builder.load(builder.bitcast(address, many.as_pointer()))
        vector.align = array_type.dtype.bitwidth // 8
        return vector

    other = read(1) if neighbour else ir.Constant(many, None)
    if isinstance(array_type.dtype, types.Float):
        # NaN is not zero, and equal to nothing
        compare, relation = (builder.fcmp_ordered, "==") if neighbour else (builder.fcmp_unordered, "!=")
    else:
        compare, relation = builder.icmp_unsigned, "==" if neighbour else "!="
    return builder.bitcast(compare(relation, read(0), other), INDEX)


def _is_pixels(array: Any) -> bool:
    return is_flat(array) or is_flat(array, types.uint8)


@intrinsic
def lit64(typing_context, array, index):
    """Bit k: whether a.flat[index + k], uint8 or float32, is not zero."""
    if not _is_pixels(array):
        return None

    def code(context, builder, sig, args):
        return _mask_of(context, builder, sig.args[0], *args, neighbour=False)

    return types.int64(array, types.int64), code


@intrinsic
def level64(typing_context, array, index):
    """Bit k: whether a.flat[index + k] and a.flat[index + k + 1], uint8 or float32, are equal."""
    if not _is_pixels(array):
        return None

    def code(context, builder, sig, args):
        return _mask_of(context, builder, sig.args[0], *args, neighbour=True)

    return types.int64(array, types.int64), code


@intrinsic
def ones(typing_context, mask):
    """How many bits of an int64 are set."""

    def code(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.int64(types.int64), code


@intrinsic
def lowest(typing_context, mask):
    """The number of the lowest bit that is set in an int64 other than 0."""

    def code(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


# --- arithmetic ----------------------------------------------------------------------------------------------------


@intrinsic
def fma(typing_context, x, y, z):
    """x * y + z."""

    def code(context, builder, sig, args):
        return fma_of(builder, *args)

    return lanes16(lanes16, lanes16, lanes16), code
