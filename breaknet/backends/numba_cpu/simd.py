"""Sixteen float32 numbers as one value of a numba function: the few operations that the kernels are written in.

numba's own loops keep the sixteen sums of a hidden layer in memory. Here `lanes16` is an LLVM `<16 x float>`, which
LLVM keeps in registers: one AVX-512 register, two AVX ones, four of SSE or NEON. Nothing names a processor, so the
same code is right on all of them and numba compiles it for the one at hand.

Indices are int64 and are not checked: the kernels' callers size the arrays.
"""

import operator
from collections.abc import Callable
from inspect import Signature
from inspect import signature as signature_of
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


# --- lane by lane: + - * ------------------------------------------------------------------------------------------


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


# --- parts of LLVM IR ----------------------------------------------------------------------------------------------


def constant(value: float) -> ir.Constant:
    """Sixteen copies of a number known now, of the float32 nearest to it."""
    return ir.Constant(VECTOR, [float(value)] * LANES)


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


def is_flat(array: Any, dtype: Any = types.float32) -> bool:
    """Whether an argument is a C-contiguous array of a dtype, of any if that is None."""
    return isinstance(array, types.Array) and dtype in (None, array.dtype) and array.layout == "C"


# --- operations: an intrinsic from the function that writes its IR ---------------------------------------------------


def operation(
    result: types.Type | None, *values: types.Type, of: tuple[types.Type, ...] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Of code(context, builder, *values): an intrinsic that takes `values`.

    With `of` it takes a C-contiguous array of one of these dtypes (of any, if there are none) and an index before them,
    and code gets their address. A result of None is the array's dtype.
    """

    def define(code: Callable[..., Any]) -> Any:
        def typed(typing_context, *given):
            taken = values if of is None else (given[0], types.int64, *values)
            if of is not None and not any(is_flat(given[0], dtype) for dtype in of or (None,)):
                return None

            def write(context, builder, sig, args):
                if of is not None:
                    args = (address_of(context, builder, sig.args[0], *args[:2]), *args[2:])
                found = code(context, builder, *args)
                return context.get_dummy_value() if found is None else found

            return (result or given[0].dtype)(*taken), write

        # numba binds a call to the names after the first: one for the typing context, then those of the arguments
        names = list(signature_of(code).parameters.values())[of is None :]
        typed.__signature__ = Signature(names)  # type: ignore[attr-defined]
        typed.__name__, typed.__doc__, typed.__module__ = code.__name__, code.__doc__, code.__module__
        return intrinsic(typed)

    return define


# --- memory --------------------------------------------------------------------------------------------------------


@operation(lanes16, of=(types.float32,))
def load(context, builder, address):
    """a.flat[index : index + 16]."""
    vector = builder.load(builder.bitcast(address, VECTOR.as_pointer()))
    vector.align = ALIGN
    return vector


@operation(types.void, lanes16, of=(types.float32,))
def store(context, builder, address, x):
    """a.flat[index : index + 16] = x."""
    builder.store(x, builder.bitcast(address, VECTOR.as_pointer())).align = ALIGN


@operation(lanes16, of=(types.float32,))
def spread(context, builder, address):
    """Sixteen copies of a.flat[index]."""
    return _copies(builder, builder.load(address))


@operation(types.UniTuple(lanes16, 4), of=(types.float32,))
def spread4(context, builder, address):
    """Four values, each as sixteen copies: one load and four shuffles, where `spread` would be four loads."""
    values = builder.load(builder.bitcast(address, FOUR.as_pointer()))
    values.align = ALIGN
    undefined = ir.Constant(FOUR, ir.Undefined)
    masks = [ir.Constant(INTEGERS, [j] * LANES) for j in range(4)]
    copies = [builder.shuffle_vector(values, undefined, mask) for mask in masks]
    return context.make_tuple(builder, types.UniTuple(lanes16, 4), copies)


@operation(types.int64, of=(types.uint16,))
def word4(context, builder, address):
    """uint16 a.flat[index : index + 4] as one int64, for `split4`; index must be a multiple of 4, the array aligned.

    An atomic load, so that it stays where it is written: a loop that reads its next word before it uses the last one
    has every address a whole round early, where the compiler would move the load to its first use.
    """
    return builder.load_atomic(builder.bitcast(address, INDEX.as_pointer()), "monotonic", 8)


@operation(types.UniTuple(types.int64, 4), types.int64)
def split4(context, builder, word):
    """The four numbers of a `word4`, as int64 (little-endian, as every processor numba knows)."""
    mask = ir.Constant(INDEX, 0xFFFF)
    parts = [builder.and_(builder.lshr(word, ir.Constant(INDEX, 16 * j)), mask) for j in range(4)]
    return context.make_tuple(builder, types.UniTuple(types.int64, 4), parts)


@operation(lanes16, types.float32)
def fill(context, builder, number):
    """Sixteen copies of a float32."""
    return _copies(builder, number)


@operation(None, of=())
def pick(context, builder, address):
    """a.flat[index] of an array of any number type: without Python's reading of negative indices."""
    return builder.load(address)


@operation(types.boolean, of=(types.int64,))
def is_set(context, builder, address):
    """Whether int64 a.flat[index] is not zero; an atomic load, so that the compiler cannot read it once for all."""
    return builder.icmp_signed("!=", builder.load_atomic(address, "monotonic", 8), ir.Constant(INDEX, 0))


# --- masks ---------------------------------------------------------------------------------------------------------


def _sixty_four(builder: Any, address: Any) -> Any:
    """The 64 numbers from an address on."""
    number = address.type.pointee
    vector = builder.load(builder.bitcast(address, ir.VectorType(number, INDEX.width).as_pointer()))
    vector.align = 1 if isinstance(number, ir.IntType) else ALIGN
    return vector


@operation(types.int64, of=(types.float32, types.uint8))
def lit64(context, builder, address):
    """Bit k: whether a.flat[index + k], uint8 or float32, is not zero; NaN is not."""
    numbers = _sixty_four(builder, address)
    floating = isinstance(address.type.pointee, ir.FloatType)
    compare = builder.fcmp_unordered if floating else builder.icmp_unsigned
    return builder.bitcast(compare("!=", numbers, ir.Constant(numbers.type, None)), INDEX)


@operation(types.int64, of=(types.float32, types.uint8))
def level64(context, builder, address):
    """Bit k: whether a.flat[index + k] and a.flat[index + k + 1], uint8 or float32, are equal; NaN equals nothing."""
    following = builder.gep(address, [ir.Constant(INDEX, 1)], inbounds=True)
    floating = isinstance(address.type.pointee, ir.FloatType)
    compare = builder.fcmp_ordered if floating else builder.icmp_unsigned
    equal = compare("==", _sixty_four(builder, address), _sixty_four(builder, following))
    return builder.bitcast(equal, INDEX)


@operation(types.int64, types.int64)
def ones(context, builder, mask):
    """The number of set bits of an int64."""
    return builder.ctpop(mask)


@operation(types.int64, types.int64)
def lowest(context, builder, mask):
    """The number of the lowest bit that is set in an int64 other than 0."""
    return builder.cttz(mask, ir.Constant(ir.IntType(1), 1))


# --- arithmetic ----------------------------------------------------------------------------------------------------


@operation(lanes16, lanes16, lanes16, lanes16)
def fma(context, builder, x, y, z):
    """x * y + z."""
    return fma_of(builder, x, y, z)
