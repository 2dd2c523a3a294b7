"""Machine code as instructions in nested loops: registers, pipes, loops."""

from __future__ import annotations

import pytest
from sass_listings import CHAIN, FMAS, NESTED, listing

from benchmarks.sass import parse, read


@pytest.mark.parametrize(
    ("text", "writes", "reads"),
    [
        ("FFMA R0, R1, -R2.reuse, |R3|", {"R0"}, {"R1", "R2", "R3"}),
        ("@!P1 FADD R4, R4, R5", {"R4"}, {"P1", "R4", "R5"}),
        ("LDS.U.128 R8, [R2+0x10]", {"R8", "R9", "R10", "R11"}, {"R2"}),
        ("STS.128 [R3], R4", set(), {"R3", "R4", "R5", "R6", "R7"}),
        ("LDG.E.64.SYS R6, [R2.64+UR4]", {"R6", "R7"}, {"R2", "R3", "UR4", "UR5"}),
        ("STG.E.SYS [R2], R4", set(), {"R2", "R3", "R4"}),
        ("ISETP.GE.AND P0, PT, R1, R2, P3", {"P0"}, {"R1", "R2", "P3"}),
        ("SHFL.BFLY PT, R5, R4, 0x10, 0x1f", {"R5"}, {"R4"}),
        ("IADD3 R2, P0, R3, R4, RZ", {"R2", "P0"}, {"R3", "R4"}),
        ("IMAD.WIDE R2, R4, R5, R6", {"R2", "R3"}, {"R4", "R5", "R6", "R7"}),
        ("CS2R R4, SRZ", {"R4", "R5"}, set()),
        ("RED.E.ADD.STRONG.GPU [UR8], R56", set(), {"UR8", "UR9", "R56"}),
        ("BAR.SYNC 0x0", set(), set()),
    ],
)
def test_registers_that_an_instruction_writes_and_reads(text: str, writes: set[str], reads: set[str]):
    one = parse(text)
    assert (set(one.writes), set(one.reads)) == (writes, reads)


@pytest.mark.parametrize(
    ("text", "pipe"),
    [
        ("FFMA R0, R1, R2, R3", "fp32"),
        ("IMAD R0, R1, R2, R3", "fp32"),
        ("IADD3 R0, R1, R2, R3", "int"),
        ("FSETP.GT.AND P0, PT, R1, R2, PT", "int"),
        ("I2FP.F32.U32 R0, R1", "int"),
        ("I2F.U32 R0, R1", "special"),
        ("MUFU.EX2 R0, R1", "special"),
        ("LDS.U R0, [R1]", "shared"),
        ("SHFL.BFLY PT, R5, R4, 0x10, 0x1f", "shared"),
        ("LDG.E.128.SYS R0, [R4]", "global"),
        ("BAR.SYNC.DEFER_BLOCKING 0x0", "control"),
        ("BSSY B0, `(.L_x_4)", "control"),
        ("UIADD3 UR4, UR4, 0x1, URZ", "control"),
    ],
)
def test_the_pipe_of_an_instruction(text: str, pipe: str):
    assert parse(text).pipe == pipe


@pytest.mark.parametrize(
    ("text", "count"), [("LDG.E.U8.SYS R0, [R2]", 1), ("LDG.E.SYS R0, [R2]", 4), ("STS.128 [R0], R4", 16)]
)
def test_bytes_a_thread(text: str, count: int):
    assert parse(text).bytes_a_thread == count


def test_a_loop_holds_what_is_between_its_head_and_its_branch():
    kernel = read(FMAS)
    assert kernel.shape() == "()"
    (loop,) = kernel.inner
    assert loop.head == 1
    assert [one.mnemonic for one in loop.own] == ["FFMA"] * 4 + ["BRA"]
    assert [one.fmas for one in loop.own] == [1, 1, 1, 1, 0]
    assert [one.mnemonic for one in kernel.own] == ["MOV", "EXIT"]


def test_loops_nest_and_padding_is_none():
    kernel = read(NESTED)
    assert kernel.shape() == "(()())"
    (outer,) = kernel.inner
    assert [one.mnemonic for one in outer.own] == ["FADD", "FMUL", "BRA"]
    assert [len(one.own) for one in outer.inner] == [2, 3]


def test_a_jump_forward_is_no_loop():
    assert read(listing("@P0 BRA >L_x_0", "FADD R0, R0, R1", "L_x_0:", "EXIT")).shape() == ""


def test_a_call_that_nothing_returns_from_leaves_the_loop():
    """As the compiler writes it for sm_80: out by CALL, back by an unconditional branch."""
    kernel = read(
        listing(
            "L_x_0:",
            "FADD R0, R0, R1",
            "@P0 CALL.REL.NOINC >L_x_1",
            "BRA >L_x_0",
            "L_x_1:",
            "FMUL R0, R0, R1",
            "EXIT",
        )
    )
    (loop,) = kernel.inner
    assert [one.mnemonic for one in loop.own] == ["FADD", "CALL.REL.NOINC", "BRA"]


def test_two_branches_to_one_head_are_one_loop():
    kernel = read(
        listing("L_x_0:", "FADD R0, R0, R1", "@P0 BRA >L_x_0", "FMUL R0, R0, R1", "@P1 BRA >L_x_0", "EXIT")
    )
    assert kernel.shape() == "()"
    assert len(kernel.inner[0].own) == 4


def test_a_path_for_diverged_threads_belongs_to_no_loop():
    kernel = read(
        listing(
            "L_x_0:", "BRA.DIV UR4, >L_x_1", "L_x_2:", "@P0 BRA >L_x_0", "EXIT", "L_x_1:", "NOP", "BRA >L_x_2"
        )
    )
    assert [one.mnemonic for one in kernel.inner[0].own] == ["BRA.DIV", "BRA"]
    assert [one.mnemonic for one in kernel.own] == ["EXIT"]


def test_a_kernel_may_begin_with_its_loop():
    assert [loop.head for loop in read(CHAIN).inner] == [0]


def test_a_listing_without_instructions_is_refused():
    with pytest.raises(ValueError, match="sass: a listing"):
        read("nothing\nhere")


def test_loops_that_cross_are_refused():
    lines = (
        "L_x_0:",
        "FADD R0, R0, R1",
        "L_x_1:",
        "FMUL R0, R0, R1",
        "@P0 BRA >L_x_0",
        "@P1 BRA >L_x_1",
        "EXIT",
    )
    with pytest.raises(ValueError, match=r"sass: loops that nest, not one at \(1, 4\) that crosses 3"):
        read(listing(*lines))
