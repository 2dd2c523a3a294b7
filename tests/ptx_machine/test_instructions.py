"""Each instruction that the machine knows, compared with Python's own arithmetic."""

import math
import operator
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from ptx_kernels import THREADS, module, result

from tools.ptx_machine.machine import Machine
from tools.ptx_machine.parser import Address, Immediate, Instruction, Name, Register, Vector, parse


def signed(number: int, bits: int = 32) -> int:
    return (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def half_bits(number: int) -> int:
    return int(np.float16(number).view(np.uint16))


def as_half(number: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float16(number))


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


SOME = [
    0, 1, -1, 2, 7, -7, 31, 32, 33, 255,
    256, 65_535, 65_536, 2**31 - 1, -(2**31), 123_456_789, -987_654_321,
]  # fmt: skip

#: What an instruction makes of two unsigned 32-bit numbers a and b.
INTEGERS: dict[str, Callable[[int, int], int]] = {
    "add.s32 %r3, %r1, %r2": lambda a, b: a + b,
    "sub.s32 %r3, %r1, %r2": lambda a, b: a - b,
    "neg.s32 %r3, %r1": lambda a, b: -a,
    "mul.lo.s32 %r3, %r1, %r2": lambda a, b: a * b,
    "mul.hi.s32 %r3, %r1, %r2": lambda a, b: signed(a) * signed(b) >> 32,
    "mad.lo.s32 %r3, %r1, %r2, 5": lambda a, b: a * b + 5,
    "mul.wide.s32 %rd7, %r1, %r2; mov.b64 {_, %r3}, %rd7": lambda a, b: signed(a) * signed(b) >> 32,
    "mul.wide.u32 %rd7, %r1, %r2; mov.b64 {_, %r3}, %rd7": lambda a, b: a * b >> 32,
    "cvt.u16.u32 %rs1, %r1; mul.wide.u16 %r3, %rs1, 300": lambda a, b: a % 2**16 * 300,
    "mad.wide.s32 %rd7, %r1, 3, -1; cvt.u32.u64 %r3, %rd7": lambda a, b: signed(a) * 3 - 1,
    "div.s32 %r3, %r1, %r2": lambda a, b: truncated(signed(a), signed(b)) if b else -1,
    "rem.s32 %r3, %r1, 7": lambda a, b: int(math.fmod(signed(a), 7)),
    "min.s32 %r3, %r1, %r2": lambda a, b: min(signed(a), signed(b)),
    "max.s32 %r3, %r1, %r2": lambda a, b: max(signed(a), signed(b)),
    "min.u32 %r3, %r1, %r2": min,
    "and.b32 %r3, %r1, %r2": lambda a, b: a & b,
    "or.b32 %r3, %r1, 0x55U": lambda a, b: a | 0x55,
    "xor.b32 %r3, %r1, -1": lambda a, b: a ^ 0xFFFFFFFF,
    "shl.b32 %r3, %r1, %r2": lambda a, b: a << b if b < 32 else 0,
    "shr.u32 %r3, %r1, %r2": lambda a, b: a >> b if b < 32 else 0,
    "shr.s32 %r3, %r1, %r2": lambda a, b: signed(a) >> min(b, 31),
    "shl.b64 %rd7, %rd9, 33; shr.s32 %r3, %r1, 3": lambda a, b: signed(a) >> 3,
    "bfe.u32 %r3, %r1, 4, 5": lambda a, b: a >> 4 & 31,
    "bfe.s32 %r3, %r1, 3, 1": lambda a, b: -(a >> 3 & 1),
    "prmt.b32 %r3, %r1, %r2, 0x7530U": lambda a, b: (
        a & 255 | (a >> 24) << 8 | (b >> 8 & 255) << 16 | (b >> 24) << 24
    ),
    "prmt.b32 %r3, %r1, 0, 0x9991U": lambda a, b: (a >> 8 & 255) | (0xFFFFFF00 if a >> 15 & 1 else 0),
    "bfi.b32 %r3, %r1, %r2, 16, 8": lambda a, b: (a & 255) << 16 | b & 0xFF00FFFF,
    "popc.b32 %r3, %r1": lambda a, b: a.bit_count(),
    "setp.lt.s32 %p1, %r1, %r2; selp.b32 %r3, 3, 4, %p1": lambda a, b: 3 if signed(a) < signed(b) else 4,
    "setp.lt.u32 %p1, %r1, %r2; selp.b32 %r3, 3, %r1, %p1": lambda a, b: 3 if a < b else a,
    "setp.ne.b32 %p1, %r1, 7; not.pred %p2, %p1; selp.b32 %r3, 1, 0, %p2": lambda a, b: int(a == 7),
    "setp.eq.b32 %p1, %r1, 0; setp.gt.s32 %p2, %r2, 0; and.pred %p3, %p1, %p2; selp.b32 %r3, 1, 0, %p3": (
        lambda a, b: int(a == 0 and signed(b) > 0)
    ),
    "cvt.s64.s32 %rd7, %r1; shl.b64 %rd8, %rd7, 1; cvt.u32.u64 %r3, %rd8": lambda a, b: a << 1,
    "cvt.u64.u32 %rd7, %r1; add.s64 %rd8, %rd7, %rd7; mov.b64 {%r4, %r3}, %rd8": lambda a, b: a >> 31,
    "cvt.u16.u32 %rs1, %r1; shr.s16 %rs2, %rs1, 8; cvt.u32.u16 %r3, %rs2": lambda a, b: (
        (signed(a % 2**16, 16) >> 8) % 2**16
    ),
    "mov.b64 %rd7, {%r1, %r2}; mov.b64 {_, %r3}, %rd7": lambda a, b: b,
    "mov.b32 %r5, 0x64006400; prmt.b32 %r4, %r1, %r5, 0x5351; sub.rn.f16x2 %r3, %r4, %r5": lambda a, b: (
        half_bits(a >> 8 & 255) | half_bits(a >> 24) << 16
    ),
}


#: The same of two float32 numbers.
FLOATS: dict[str, Callable[[float, float], float]] = {
    "add.f32 %r3, %r1, %r2": lambda a, b: a + b,
    "sub.f32 %r3, 0f3F800000, %r1": lambda a, b: 1 - a,
    "mul.f32 %r3, %r1, %r2": lambda a, b: a * b,
    "neg.f32 %r3, %r1": lambda a, b: -a,
    "abs.f32 %r3, %r1": lambda a, b: abs(a),
    "fma.rn.f32 %r3, %r1, %r2, %r1": lambda a, b: a * b + a,
    "div.full.f32 %r3, %r1, 0f40400000": lambda a, b: a / 3,
    "max.f32 %r3, %r1, %r2": lambda a, b: b if math.isnan(a) else a if math.isnan(b) else max(a, b),
    "max.NaN.f32 %r3, %r1, %r2": lambda a, b: math.nan if math.isnan(a + b) else max(a, b),
    "max.f32 %r3, %r1, 0f40000000, 0fBF800000": lambda a, b: 2.0 if math.isnan(a) else max(a, 2.0),
    "ex2.approx.f32 %r3, 0fC0200000": lambda a, b: 2**-2.5,
    "setp.num.f32 %p1, %r1, %r1; selp.f32 %r3, 0f40000000, 0f3F800000, %p1": lambda a, b: 2.0 - math.isnan(a),
    "setp.lt.f32 %p1, %r1, %r2; selp.f32 %r3, %r1, 0f3F800000, %p1": lambda a, b: a if a < b else 1.0,
    "cvt.f64.f32 %rd7, %r1; add.f64 %rd8, %rd7, 0d3FE0000000000000; cvt.rn.f32.f64 %r3, %rd8": (
        lambda a, b: a + 0.5
    ),
    "mov.b64 %rd7, {%r1, %r2}; fma.rn.f32x2 %rd8, %rd7, %rd7, %rd7; mov.b64 {_, %r3}, %rd8": lambda a, b: (
        b * b + b
    ),
    "mov.b32 %r4, 7; cvt.rn.f32.u32 %r3, %r4": lambda a, b: 7.0,
    "cvt.rn.f16.f32 %rs1, %r1; cvt.f32.f16 %r3, %rs1": lambda a, b: as_half(a),
    "cvt.rn.f16x2.f32 %r4, %r1, %r2; mov.b32 {_, %rs1}, %r4; cvt.f32.f16 %r3, %rs1": lambda a, b: as_half(a),
    "cvt.rn.f16x2.f32 %r4, %r1, %r2; mov.b32 {%rs1, _}, %r4; cvt.f32.f16 %r3, %rs1": lambda a, b: as_half(b),
}
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    text = "setp.{}.f32 %p1, %r1, %r2; selp.f32 %r3, 0f3F800000, 0f00000000, %p1"
    compare = getattr(operator, name)
    FLOATS[text.format(name)] = lambda a, b, of=compare: of(a, b) and a == a and b == b
    FLOATS[text.format(f"{name}u")] = lambda a, b, of=compare: of(a, b) or a != a or b != b

VALUES = [3 - thread for thread in range(THREADS)]


def of_warp(combine: Callable[[list[int]], int], thread: int) -> int:
    first = thread // 32 * 32
    return combine(VALUES[first : first + 32])


#: What a thread gets from the `VALUES` of its warp.
EXCHANGES: dict[str, Callable[[int], int]] = {
    "shfl.sync.bfly.b32 %r3, %r1, 5, 31, -1": lambda thread: VALUES[thread ^ 5],
    "shfl.sync.idx.b32 %r3, %r1, 3, 31, -1": lambda thread: VALUES[3 + thread // 32 * 32],
    "mov.b32 %r4, -1; redux.sync.add.s32 %r3, %r1, %r4": partial(of_warp, sum),
    "redux.sync.min.s32 %r3, %r1, -1": partial(of_warp, min),
    "redux.sync.max.s32 %r3, %r1, -1": partial(of_warp, max),
    "redux.sync.or.b32 %r3, %r1, -1": lambda thread: -1,
}


@pytest.mark.parametrize("text", INTEGERS)
def test_integer_instructions(text: str) -> None:
    pairs = torch.cartesian_prod(*[torch.tensor(SOME, dtype=torch.int32)] * 2)
    found = result(text + ";", *pairs.T.contiguous())
    assert found.tolist() == [signed(INTEGERS[text](a % 2**32, b % 2**32)) for a, b in pairs.tolist()]


@pytest.mark.parametrize("text", FLOATS)
def test_floating_instructions(text: str) -> None:
    some = torch.tensor([0.0, 1.0, -1.5, 3e-5, 1e20, -7.25, math.inf, math.nan])
    pairs = torch.cartesian_prod(some, some)
    values = torch.tensor([FLOATS[text](a, b) for a, b in pairs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(result(text + ";", *pairs.T.contiguous()), values.float(), equal_nan=True)


@pytest.mark.parametrize("text", EXCHANGES)
def test_exchanges_in_a_warp(text: str) -> None:
    found = result(text + ";", torch.tensor(VALUES, dtype=torch.int32))
    assert found.tolist() == [EXCHANGES[text](thread) for thread in range(THREADS)]


def test_reductions_of_part_of_a_warp_are_refused() -> None:
    with pytest.raises(ValueError, match="whole warps"):
        result("redux.sync.add.s32 %r3, %r1, 3;")


def test_an_fma_rounds_once() -> None:
    a = 1 + 2.0**-12
    one = torch.full((THREADS,), a)
    assert result("fma.rn.f32 %r3, %r1, %r1, 0fBF800000;", one, one)[0] == a * a - 1
    assert float(np.float32(np.float32(a * a) - np.float32(1))) != a * a - 1


def test_parsed_instructions() -> None:
    program = parse(
        module("$L__BB0_1:\n@!%p1 st.shared.v2.b32 [ %r1 + -8 ], { %r2, %r3 };\nbra.uni $L__BB0_1;")
    )
    at = program.labels["$L__BB0_1"]
    found = program.code[at]
    pair = Vector((Register("r", 2), Register("r", 3)))
    assert found.parts == ("st", "shared", "v2", "b32")
    assert found.operands == (Address(Register("r", 1), -8), pair)
    assert found.guard == (1, False)
    assert program.code[at + 1].operands == (Name("$L__BB0_1"),)
    assert isinstance(program.code[0], Instruction)
    assert parse(module("mov.b32 %r1, 0f40490FDB;")).code[-2].operands[1] == Immediate(0x40490FDB)


@pytest.mark.parametrize("text", ["frob.b32 %r1, %r2;", "@%p1 add.s32 %r1, %r1, 1;", "bar.sync 1;"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not known"):
        Machine(module(text), 0)
