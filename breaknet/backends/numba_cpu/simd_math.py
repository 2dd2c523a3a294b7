"""Functions of sixteen lanes built from the operations of `simd`."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import part
from .simd import (
    ALIGN,
    FOUR,
    INDEX,
    INTEGERS,
    LANES,
    VECTOR,
    address_of,
    constant,
    fma_of,
    is_flat,
    lanes16,
    operation,
)

# 1 / (1 + e^-x): n = round(-x / ln 2) and -x = n ln 2 - r, so e^-x = 2^n e^-r, with ln 2 in two parts, the first of few
# enough bits that n times it is exact. For |r| <= ln2/2, e^-r = (even - odd) / (even + odd), even = 1 + r^2 / 10 and
# odd = r (1/2 + r^2 / 120): Pade's approximation of tanh(r/2) = odd / even, within 6e-9 with its numbers in float32.
# So the sigmoid is (even + odd) / (even + odd + 2^n (even - odd)), and its one division does for both fractions.
# Adding 1.5 * 2^23 + 127 rounds to an integer: n + 127 is then in the low bits, where 2^n is one shift away.
_LOG2E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_ROUNDER = 12582912.0 + 127
_EXPONENT_AT = 23
# within +-87 2^n is one number, and no result is subnormal (which would be slow, in later products too)
_SIGMOID_LIMIT = 87.0


@operation(lanes16, lanes16)
def sigmoid(context, builder, x):
    """1 / (1 + e^-x), within 2.5 units in the last place for |x| <= 87."""
    low, high = constant(-_SIGMOID_LIMIT), constant(_SIGMOID_LIMIT)
    # an ordered comparison is false for NaN, which therefore passes both bounds
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    shifted = fma_of(builder, x, constant(-_LOG2E), constant(_ROUNDER))
    n = builder.fsub(shifted, constant(_ROUNDER))
    r = fma_of(builder, n, constant(_LN2_HIGH), x)
    r = fma_of(builder, n, constant(_LN2_LOW), r)
    square = builder.fmul(r, r)
    even = fma_of(builder, square, constant(1 / 10), constant(1.0))
    odd_by_r = fma_of(builder, square, constant(1 / 120), constant(1 / 2))
    above = fma_of(builder, odd_by_r, r, even)
    below = fma_of(builder, odd_by_r, builder.fsub(constant(-0.0), r), even)
    places = ir.Constant(INTEGERS, [_EXPONENT_AT] * LANES)
    power = builder.shl(builder.bitcast(shifted, INTEGERS), places)
    return builder.fdiv(above, fma_of(builder, builder.bitcast(power, VECTOR), below, above))


@operation(lanes16, lanes16, lanes16)
def equal(context, builder, x, y):
    """1.0 where x == y, else 0.0."""
    return builder.select(builder.fcmp_ordered("==", x, y), constant(1.0), constant(0.0))


@operation(lanes16, lanes16, lanes16, lanes16, lanes16)
def exceeds(context, builder, x, best, chosen, otherwise):
    """`chosen` where x > best or x is the first NaN, else `otherwise`: the order of torch.argmax."""
    above = builder.fcmp_unordered(">", x, best)
    takes = builder.and_(above, builder.fcmp_ordered("ord", best, best))
    return builder.select(takes, chosen, otherwise)


@operation(types.void, lanes16, of=(types.float64,))
def add_wide(context, builder, address, x):
    """a.flat[index : index + 16] += x, in float64."""
    wide = ir.VectorType(ir.DoubleType(), LANES)
    address = builder.bitcast(address, wide.as_pointer())
    before = builder.load(address)
    before.align = 8
    builder.store(builder.fadd(before, builder.fpext(x, wide)), address).align = 8


@intrinsic
def transpose4(typing_context, source, start, target, place):
    """target[place + 16 c + r] = source[start + 16 r + c] for r, c in 0..3."""
    if not (is_flat(source) and is_flat(target)):
        return None

    def code(context, builder, sig, args):
        source, start, target, place = args
        rows = []
        for r in range(4):
            index = builder.add(start, ir.Constant(INDEX, LANES * r))
            address = address_of(context, builder, sig.args[0], source, index)
            rows.append(builder.load(builder.bitcast(address, FOUR.as_pointer())))
            rows[-1].align = ALIGN
        for c, column in enumerate(_transposed(builder, rows)):
            index = builder.add(place, ir.Constant(INDEX, LANES * c))
            address = address_of(context, builder, sig.args[2], target, index)
            builder.store(column, builder.bitcast(address, FOUR.as_pointer())).align = ALIGN
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), code


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of four vectors of four: rows 0 and 2 and rows 1 and 3 interleaved, and these two again."""

    def interleaved(x: Any, y: Any) -> list[Any]:
        halves = ((0, 4, 1, 5), (2, 6, 3, 7))
        masks = (ir.Constant(ir.VectorType(ir.IntType(32), 4), half) for half in halves)
        return [builder.shuffle_vector(x, y, mask) for mask in masks]

    even, odd = interleaved(rows[0], rows[2]), interleaved(rows[1], rows[3])
    return [column for x, y in zip(even, odd, strict=True) for column in interleaved(x, y)]


@part
def transpose(source, start, target, place):
    """target[place + 16 c + r] = source[start + 16 r + c] for r, c in 0..15.

    In blocks of four by four: shuffles that cross the halves of a register are slow on some processors.
    """
    for r in range(0, LANES, 4):
        for c in range(0, LANES, 4):
            transpose4(source, start + r * LANES + c, target, place + c * LANES + r)
