"""The machine that runs PTX: instructions against Python's own arithmetic, and the mistakes that it must find."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from ptx_machine import Machine
from ptx_memory import Fault
from ptx_text import Address, Immediate, Instruction, Name, Register, Vector, parse

THREADS = 64


def module(body: str, parameters: int = 3, threads: int = THREADS) -> str:
    """A kernel whose parameters are tensors; %rd1, %rd2 ... hold their addresses, %r0 the thread."""
    declared = ",\n".join(
        f"\t.param .u64 .ptr .global .align 1 kernel_param_{number}" for number in range(parameters)
    )
    loads = "\n".join(
        f"\tld.param.b64 \t%rd{number + 1}, [kernel_param_{number}];" for number in range(parameters)
    )
    lines = "\n".join("\t" + line.strip() for line in body.strip().splitlines())
    return f"""
.version 8.7
.target sm_75
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.visible .entry kernel(
{declared}
)
.reqntid {threads}
{{
\t.reg .pred \t%p<9>;
\t.reg .b16 \t%rs<9>;
\t.reg .b32 \t%r<40>;
\t.reg .b64 \t%rd<20>;
{loads}
\tmov.u32 \t%r0, %tid.x;
{lines}
\tret;
}}
"""


def run(
    body: str, *tensors: torch.Tensor, shared: int = 1024, blocks: int = 1, **options: bool | int
) -> None:
    Machine(module(body, len(tensors)), shared).run((blocks, 1, 1), tensors, **options)


def words(numbers: list[int]) -> torch.Tensor:
    """A number for each thread, as int32; the last one again and again."""
    bits = [(number + (1 << 31)) % (1 << 32) - (1 << 31) for number in numbers]
    return torch.tensor(bits + bits[-1:] * (THREADS - len(bits)), dtype=torch.int32)


def signed(number: int, bits: int = 32) -> int:
    return (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


LOAD = """
    mul.wide.u32 %rd9, %r0, 4;
    add.s64 %rd4, %rd1, %rd9;
    add.s64 %rd5, %rd2, %rd9;
    add.s64 %rd6, %rd3, %rd9;
    ld.global.b32 { %r1 }, [ %rd4 + 0 ];
    ld.global.b32 { %r2 }, [ %rd5 + 0 ];
"""
STORE = "\nst.global.b32 [ %rd6 + 0 ], { %r3 };"
SOME = [
    0,
    1,
    -1,
    2,
    7,
    -7,
    31,
    32,
    33,
    255,
    256,
    65_535,
    65_536,
    2**31 - 1,
    -(2**31),
    123_456_789,
    -987_654_321,
]

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
}


@pytest.mark.parametrize("text", INTEGERS)
def test_integer_instructions(text: str) -> None:
    pairs = [(a, b) for a in SOME for b in SOME]
    found: list[int] = []
    for first in range(0, len(pairs), THREADS):
        some = pairs[first : first + THREADS]
        out = words([0])
        run(LOAD + text + ";" + STORE, words([a for a, _ in some]), words([b for _, b in some]), out)
        found += out.tolist()[: len(some)]
    wanted = [signed(INTEGERS[text](a % 2**32, b % 2**32)) for a, b in pairs]
    assert found == wanted


#: The same of two float32 numbers.
FLOATS: dict[str, Callable[[float, float], float]] = {
    "add.f32 %r3, %r1, %r2": lambda a, b: a + b,
    "sub.f32 %r3, 0f3F800000, %r1": lambda a, b: 1 - a,
    "mul.f32 %r3, %r1, %r2": lambda a, b: a * b,
    "neg.f32 %r3, %r1": lambda a, b: -a,
    "fma.rn.f32 %r3, %r1, %r2, %r1": lambda a, b: a * b + a,
    "div.full.f32 %r3, %r1, 0f40400000": lambda a, b: a / 3,
    "max.f32 %r3, %r1, %r2": lambda a, b: b if math.isnan(a) else a if math.isnan(b) else max(a, b),
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
    "cvt.rn.f32.u32 %r3, %r0": lambda a, b: -1.0,  # the thread's number, by the test
}


@pytest.mark.parametrize("text", FLOATS)
def test_floating_instructions(text: str) -> None:
    some = [0.0, 1.0, -1.5, 3e-5, 1e20, -7.25, float("inf"), float("nan")]
    a, b = (torch.tensor([pair[i] for pair in ((x, y) for x in some for y in some)]) for i in (0, 1))
    out = torch.zeros(THREADS)
    run(LOAD + text + ";" + STORE, a, b, out)
    if "%r0" in text:
        wanted = torch.arange(THREADS).float()
    else:
        values = [FLOATS[text](x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        wanted = torch.tensor(values, dtype=torch.float64).float()
    torch.testing.assert_close(out, wanted, equal_nan=True)


def test_a_fused_multiply_add_rounds_once() -> None:
    a = 1 + 2.0**-12
    one, out = torch.full((THREADS,), a), torch.zeros(THREADS)
    run(LOAD + "fma.rn.f32 %r3, %r1, %r1, 0fBF800000;" + STORE, one, one, out)
    assert out[0] == a * a - 1
    assert float(np.float32(np.float32(a * a) - np.float32(1))) != a * a - 1


def test_shuffles() -> None:
    numbers, out = words(list(range(100, 100 + THREADS))), words([0])
    run(LOAD + "shfl.sync.bfly.b32 %r3, %r1, 5, 31, -1;" + STORE, numbers, numbers, out)
    assert out.tolist() == [100 + (thread ^ 5) for thread in range(THREADS)]
    run(LOAD + "shfl.sync.idx.b32 %r3, %r1, 3, 31, -1;" + STORE, numbers, numbers, out)
    assert out.tolist() == [103 + thread // 32 * 32 for thread in range(THREADS)]


def test_text_is_taken_apart() -> None:
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
    assert parse(module("mov.b32 %r1, 0f40490FDB;")).code[-2].operands[1] == Immediate(
        struct.unpack("f", struct.pack("f", math.pi))[0]
    )


@pytest.mark.parametrize("text", ["frob.b32 %r1, %r2;", "@%p1 add.s32 %r1, %r1, 1;", "bar.sync 1;"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not known"):
        Machine(module(text), 0)


# ---- memory --------------------------------------------------------------------------------------------------------

OTHER_HALF = """
    mov.b32 %r10, global_smem;
    shl.b32 %r11, %r0, 2;
    add.s32 %r12, %r10, %r11;
    st.shared.b32 [ %r12 + 0 ], %r1;
    {between}
    xor.b32 %r13, %r11, {mask};
    add.s32 %r14, %r10, %r13;
    ld.shared.b32 %r3, [%r14];
"""


def test_shared_memory_is_ordered_by_a_barrier() -> None:
    numbers, out = words(list(range(THREADS))), words([0])
    run(LOAD + OTHER_HALF.format(between="bar.sync 0;", mask=128) + STORE, numbers, numbers, out)
    assert out.tolist() == [thread ^ 32 for thread in range(THREADS)]


@pytest.mark.parametrize(
    ("between", "mask", "races"),
    [
        ("", 128, True),
        ("bar.warp.sync -1;", 128, True),  # another warp's
        ("", 4, True),  # another lane's
        ("bar.warp.sync -1;", 4, False),
        ("", 0, False),  # one's own
    ],
)
def test_a_missing_barrier_is_a_race(between: str, mask: int, races: bool) -> None:
    numbers, out = words(list(range(THREADS))), words([0])
    body = LOAD + OTHER_HALF.format(between=between, mask=mask) + STORE
    if races:
        with pytest.raises(
            Fault, match=r"race: shared memory at \d+ is read while it is written; line \d+, 'ld"
        ):
            run(body, numbers, numbers, out)
    else:
        run(body, numbers, numbers, out)
        assert out.tolist() == [thread ^ mask // 4 for thread in range(THREADS)]


def test_a_write_after_anothers_read_is_a_race() -> None:
    numbers, out = words(list(range(THREADS))), words([0])
    body = LOAD + OTHER_HALF.format(between="bar.sync 0;", mask=128)
    again = "st.shared.b32 [ %r12 + 0 ], %r3;"
    with pytest.raises(Fault, match=r"race: shared memory at \d+ is written while others use it"):
        run(body + again + STORE, numbers, numbers, out)
    run(body + "bar.sync 0;" + again + STORE, numbers, numbers, out)


def test_addresses_outside_are_faults() -> None:
    numbers, out = words([5]), words([0])
    with pytest.raises(Fault, match="4 bytes past the end of 252 bytes"):
        run(LOAD + STORE, torch.zeros(63, dtype=torch.int32), numbers, out)
    with pytest.raises(Fault, match="in no tensor"):
        run(LOAD + "mov.b64 %rd4, 64; ld.global.b32 { %r3 }, [ %rd4 + 0 ];", numbers, numbers, out)
    with pytest.raises(Fault, match="shared memory: address"):
        run(LOAD + "mov.b32 %r10, 8; st.shared.b32 [ %r10 + 1024 ], %r1;", numbers, numbers, out)
    with pytest.raises(Fault, match="no multiple"):
        run(LOAD + "ld.global.v2.b32 { %r3, %r4 }, [ %rd4 + 4 ];", numbers, numbers, out)
    # where no thread takes part nothing is accessed
    never = "mov.b64 %rd4, 64; setp.lt.s32 %p1, %r0, 0; @%p1 ld.global.b32 { %r3 }, [ %rd4 + 0 ];"
    run(LOAD + never, numbers, numbers, out)


def test_bytes_and_vectors() -> None:
    source = torch.arange(256, dtype=torch.uint8)
    out = torch.zeros(THREADS, 2, dtype=torch.int32)
    body = """
        shl.b32 %r1, %r0, 2; cvt.u64.u32 %rd4, %r1; add.s64 %rd5, %rd1, %rd4;
        ld.global.b8 { %rs1 }, [ %rd5 + 1 ]; ld.global.b32 { %r3 }, [ %rd5 + 0 ]; cvt.u32.u16 %r2, %rs1;
        shl.b32 %r5, %r0, 3; cvt.u64.u32 %rd6, %r5; add.s64 %rd7, %rd2, %rd6;
        st.global.v2.b32 [ %rd7 + 0 ], { %r2, %r3 };
    """
    run(body, source, out)
    assert out[:, 0].tolist() == list(range(1, 256, 4))
    assert torch.equal(out[:, 1], source.view(torch.int32))


def test_matrices_are_held_four_lanes_to_a_row() -> None:
    """Matrix i's rows lie at the addresses of lanes 8 i .. 8 i + 7; lane j holds word j % 4 of row j / 4."""
    numbers, out = words(list(range(THREADS))), words([0])
    body = """
        shl.b32 %r4, %r0, 4; shl.b32 %r5, %r0, 2; add.s32 %r6, %r1, 1000;
        {write}
        bar.sync 0;
        {read}
    """
    write = "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r4], {%r1, %r6};"
    read = "ld.shared.b32 %r3, [%r5];"
    run(LOAD + body.format(write=write, read=read) + STORE, numbers, numbers, out, shared=4096)
    # rows of 16 bytes, one after another: the first matrix in words 0 to 31, the second in 32 to 63
    assert out.tolist()[:32] == list(range(32))
    assert out.tolist()[32:] == [1000 + lane for lane in range(32)]
    back = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r7, %r3}, [%r4];"
    run(LOAD + body.format(write=write, read=back) + STORE, numbers, numbers, out, shared=4096)
    assert out.tolist() == [1000 + thread for thread in range(THREADS)]


COPY = """
    shl.b32 %r4, %r0, 2; setp.lt.s32 %p1, %r0, 40; selp.b32 %r5, 4, 0, %p1;
    cp.async.ca.shared.global [ %r4 + 0 ], [ %rd4 + 0 ], 0x4, %r5;
    cp.async.commit_group;
"""


def test_asynchronous_copies_arrive_when_they_are_waited_for() -> None:
    numbers, out = words(list(range(7, 7 + THREADS))), words([0])
    read = "ld.shared.b32 %r3, [%r4];"
    run(LOAD + COPY + "cp.async.wait_group 0; bar.sync 0;" + read + STORE, numbers, numbers, out)
    assert out.tolist() == [7 + thread if thread < 40 else 0 for thread in range(THREADS)]
    run(LOAD + COPY + "cp.async.wait_group 1; bar.sync 0;" + read + STORE, numbers, numbers, out)
    assert out.tolist() == [-1] * THREADS


# ---- blocks --------------------------------------------------------------------------------------------------------

#: Block 0 writes 64 numbers and raises a counter; block 1 waits for it and reads them.
MESSAGE = """
    mov.u32 %r1, %ctaid.x; mul.wide.u32 %rd9, %r0, 4; add.s64 %rd4, %rd1, %rd9; add.s64 %rd5, %rd3, %rd9;
    xor.b32 %r2, %r0, 63; mul.wide.u32 %rd10, %r2, 4; add.s64 %rd6, %rd1, %rd10;
    setp.eq.b32 %p1, %r1, 1; setp.eq.b32 %p2, %r0, 0;
    @%p1 bra $L__BB0_2;
    st.global.b32 [ %rd4 + 0 ], { %r0 };
    bar.sync 0;
    @%p2 atom.global.gpu.release.add.u32 %r3, [ %rd2 + 0 ], 1;
    bra.uni $L__BB0_4;
$L__BB0_2:
    ld.acquire.gpu.global.s32 %r4, [%rd2];
    setp.lt.s32 %p3, %r4, 1;
    @%p3 bra $L__BB0_2;
    bar.sync 0;
    ld.global.b32 { %r5 }, [ %rd6 + 0 ];
    st.global.b32 [ %rd5 + 0 ], { %r5 };
$L__BB0_4:
"""


def send(body: str, seed: int = 0, **options: bool) -> list[int]:
    data, counter, out = words([0]), torch.zeros(1, dtype=torch.int32), words([0])
    run(body, data, counter, out, blocks=2, cooperative=True, seed=seed, **options)
    return out.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_blocks_wait_for_each_other(seed: int) -> None:
    assert send(MESSAGE, seed) == [thread ^ 63 for thread in range(THREADS)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("atom.global.gpu.release", "atom.global.gpu.relaxed"),
        ("ld.acquire", "ld.relaxed"),
        ("bar.sync 0;\n    @%p2", "@%p2"),
        ("bar.sync 0;\n    ld.global", "ld.global"),
    ],
)
def test_whatever_orders_blocks_is_needed(old: str, new: str) -> None:
    assert old in MESSAGE
    with pytest.raises(Fault, match=r"race: place \d+ of global memory is read, written by block 0"):
        send(MESSAGE.replace(old, new))


def test_two_blocks_that_write_one_place() -> None:
    body = LOAD + "mov.b32 %r3, 1;" + STORE
    run(body, words([1]), words([1]), words([1]))
    with pytest.raises(Fault, match="race: place"):
        run(body, words([1]), words([1]), words([1]), blocks=2)


def test_waiting_for_ever_is_a_fault() -> None:
    with pytest.raises(Fault, match="1 blocks wait for ever"):
        send(MESSAGE.replace("@%p3 bra", "bra"))
    alone = words([0]), torch.zeros(1, dtype=torch.int32), words([0])
    seed = next(seed for seed in range(99) if np.random.default_rng(seed).permutation(2)[0] == 1)
    with pytest.raises(Fault, match="not launched with them"):
        run(MESSAGE, *alone, blocks=2, seed=seed)


def test_threads_that_part_ways_are_a_fault() -> None:
    with pytest.raises(Fault, match="part ways"):
        run("setp.lt.s32 %p1, %r0, 5;\n@%p1 bra $L__BB0_1;\nmov.b32 %r3, 0;\n$L__BB0_1:", words([0]))


def test_additions_give_the_number_before() -> None:
    counter, out = torch.zeros(1, dtype=torch.int32), words([0])
    body = """
        mul.wide.u32 %rd9, %r0, 4; add.s64 %rd4, %rd2, %rd9;
        atom.global.gpu.relaxed.add.u32 %r3, [ %rd1 + 0 ], 2;
        st.global.b32 [ %rd4 + 0 ], { %r3 };
    """
    run(body, counter, out)
    assert counter.item() == 2 * THREADS
    assert sorted(out.tolist()) == list(range(0, 2 * THREADS, 2))
    run("red.global.gpu.release.add.u32 [ %rd1 + 0 ], 1;", counter)
    assert counter.item() == 3 * THREADS
