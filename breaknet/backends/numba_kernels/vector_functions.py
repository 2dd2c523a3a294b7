"""Functions of sixteen lanes, in the same terms as `vector_ir`: what one operation of a processor does not do.

exp(x), sigmoid(x)              lane by lane, within 1.1 and 2.5 units in the last place
equal(x, y)                     1.0 where the lanes are equal, else 0.0
exceeds(x, best, u, v)          u where x takes best's place as the largest so far, else v
transpose(a, i, step, b, j)     b[j + 16 c + r] = a[i + step r + c] for r, c in 0..15
add_wide(a, i, x)               a.flat[i : i + 16] += x in float64
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vector_ir import (
    INDEX,
    INTEGERS,
    LANES,
    VECTOR,
    address_of,
    constant,
    fma_of,
    integer_constant,
    is_flat,
    lanes16,
    load_from,
    store_to,
)

# exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 with ln 2 in two parts, the first of few enough bits that n
# times it is exact. On r in [-ln2/2, ln2/2], exp(r) = 1 + r + r^2 q(r), q the polynomial of degree 4 that makes the
# largest relative error least, found by reweighted least squares: 5e-9 with its coefficients rounded to float32.
# Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
_LOG2E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_Q = (
    0.0013813144760206342,
    0.008369418792426586,
    0.04166845604777336,
    0.16666515171527863,
    0.4999999403953552,
)
_ROUNDER = 12582912.0
_ROUNDER_BITS = 0x4B400000
_EXP_LOWEST, _EXP_HIGHEST = -104.0, 89.0  # beyond them exp is 0 and infinite in float32
_SIGMOID_LIMIT = 87.0


def _exp_parts(builder: Any, x: Any) -> tuple[Any, Any]:
    """e^r and the integers n of e^x = 2^n e^r; x must be within [-104, 89] or NaN."""
    shifted = fma_of(builder, x, constant(_LOG2E), constant(_ROUNDER))
    n = builder.fsub(shifted, constant(_ROUNDER))
    r = fma_of(builder, n, constant(-_LN2_HIGH), x)
    r = fma_of(builder, n, constant(-_LN2_LOW), r)
    square = builder.fmul(r, r)
    c4, c3, c2, c1, c0 = (constant(coefficient) for coefficient in _Q)
    # two shorter chains instead of one long one
    upper = fma_of(builder, fma_of(builder, c4, r, c3), r, c2)
    q = fma_of(builder, upper, square, fma_of(builder, c1, r, c0))
    p = builder.fadd(fma_of(builder, q, square, r), constant(1.0))
    return p, builder.sub(builder.bitcast(shifted, INTEGERS), integer_constant(_ROUNDER_BITS))


def _clamp(builder: Any, x: Any, lowest: float, highest: float) -> Any:
    # an ordered comparison is false for NaN, which therefore passes both bounds
    low, high = constant(lowest), constant(highest)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    return builder.select(builder.fcmp_ordered("<", x, low), low, x)


def _power_of_two(builder: Any, exponents: Any) -> Any:
    biased = builder.add(exponents, integer_constant(127))
    return builder.bitcast(builder.shl(biased, integer_constant(23)), VECTOR)


def _exp(builder: Any, x: Any) -> Any:
    p, n = _exp_parts(builder, _clamp(builder, x, _EXP_LOWEST, _EXP_HIGHEST))
    # 2^n in two factors: n reaches 128 and -150, past what one float32 power of two can say
    half = builder.ashr(n, integer_constant(1))
    p = builder.fmul(p, _power_of_two(builder, half))
    return builder.fmul(p, _power_of_two(builder, builder.sub(n, half)))


def _sigmoid(builder: Any, x: Any) -> Any:
    # within +-87 2^n is one number, and no result is subnormal (which would be slow, in later products too)
    negative = builder.fsub(constant(-0.0), x)
    p, n = _exp_parts(builder, _clamp(builder, negative, -_SIGMOID_LIMIT, _SIGMOID_LIMIT))
    power = builder.fmul(p, _power_of_two(builder, n))
    return builder.fdiv(constant(1.0), builder.fadd(power, constant(1.0)))


@intrinsic
def exp(typing_context, x):
    """e^x."""

    def code(context, builder, sig, args):
        return _exp(builder, args[0])

    return lanes16(lanes16), code


@intrinsic
def sigmoid(typing_context, x):
    """1 / (1 + e^-x)."""

    def code(context, builder, sig, args):
        return _sigmoid(builder, args[0])

    return lanes16(lanes16), code


@intrinsic
def equal(typing_context, x, y):
    """1.0 where x == y, else 0.0."""

    def code(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("==", *args), constant(1.0), constant(0.0))

    return lanes16(lanes16, lanes16), code


@intrinsic
def exceeds(typing_context, x, best, chosen, otherwise):
    """`chosen` where x > best or x is the first NaN, else `otherwise`: the order of torch.argmax."""

    def code(context, builder, sig, args):
        x, best, chosen, otherwise = args
        above = builder.fcmp_unordered(">", x, best)
        takes = builder.and_(above, builder.fcmp_ordered("ord", best, best))
        return builder.select(takes, chosen, otherwise)

    return lanes16(lanes16, lanes16, lanes16, lanes16), code


@intrinsic
def add_wide(typing_context, array, index, x):
    """a.flat[index : index + 16] += x, in float64."""
    if not is_flat(array, types.float64):
        return None

    def code(context, builder, sig, args):
        wide = ir.VectorType(ir.DoubleType(), LANES)
        address = address_of(context, builder, sig.args[0], args[0], args[1])
        address = builder.bitcast(address, wide.as_pointer())
        before = builder.load(address)
        before.align = 8
        builder.store(builder.fadd(before, builder.fpext(args[2], wide)), address).align = 8
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes16), code


@intrinsic
def transpose(typing_context, source, start, step, target, place):
    """target[place + 16 c + r] = source[start + step r + c] for r, c in 0..15."""
    if not (is_flat(source) and is_flat(target)):
        return None

    def code(context, builder, sig, args):
        source, start, step, target, place = args
        rows = []
        for r in range(LANES):
            index = builder.add(start, builder.mul(step, ir.Constant(INDEX, r)))
            rows.append(load_from(builder, address_of(context, builder, sig.args[0], source, index)))
        # swap the two off-diagonal blocks of size `distance` in every block twice that size: 8, 4, 2, 1
        distance = LANES // 2
        while distance:
            low = [i if not i & distance else i - distance + LANES for i in range(LANES)]
            high = [i + distance if not i & distance else i + LANES for i in range(LANES)]
            low_mask, high_mask = ir.Constant(INTEGERS, low), ir.Constant(INTEGERS, high)
            for r in range(LANES):
                if not r & distance:
                    upper, lower = rows[r], rows[r + distance]
                    rows[r] = builder.shuffle_vector(upper, lower, low_mask)
                    rows[r + distance] = builder.shuffle_vector(upper, lower, high_mask)
            distance //= 2
        for c, row in enumerate(rows):
            index = builder.add(place, ir.Constant(INDEX, LANES * c))
            store_to(builder, row, address_of(context, builder, sig.args[3], target, index))
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64), code
