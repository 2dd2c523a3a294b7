"""Memory and blocks of the machine that runs PTX, and the mistakes that it must find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ptx_kernels import NUMBERS, THREADS, result, run

from tools.ptx_machine.memory import Fault

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


@pytest.mark.parametrize(
    ("between", "mask", "races"),
    [
        ("", 128, True),
        ("bar.warp.sync -1;", 128, True),  # another warp's
        ("bar.sync 0;", 128, False),
        ("", 4, True),  # another lane's
        ("bar.warp.sync -1;", 4, False),
        ("", 0, False),  # one's own
    ],
)
def test_a_missing_barrier_is_a_race(between: str, mask: int, races: bool) -> None:
    body = OTHER_HALF.format(between=between, mask=mask)
    if races:
        with pytest.raises(
            Fault, match=r"race: shared memory at \d+ is read while it is written; line \d+, 'ld"
        ):
            result(body)
    else:
        assert torch.equal(result(body), NUMBERS ^ mask // 4)


def test_a_write_after_anothers_read_is_a_race() -> None:
    body = OTHER_HALF.format(between="bar.sync 0;", mask=128)
    again = "st.shared.b32 [ %r12 + 0 ], %r3;"
    with pytest.raises(Fault, match=r"race: shared memory at \d+ is written while others use it"):
        result(body + again)
    result(body + "bar.sync 0;" + again)


PAIRS = """
    shr.u32 %r10, %r0, 1; shl.b32 %r11, %r10, {shift}; cvt.u64.u32 %rd9, %r11; add.s64 %rd4, %rd3, %rd9;
    xor.b32 %r13, %r10, 5; {change}
    {store}
    bar.sync 0; mov.b32 %r3, %r10;
"""
SAME_PLACE = {
    "shared": (2, "st.shared.b32 [ %r11 + 0 ], %r13;"),
    "shared, as Triton 3.9 writes": (2, "st.shared::cta.b32 [ %r11 + 0 ], %r13;"),
    "shared, two numbers": (3, "st.shared.v2.b32 [ %r11 + 0 ], {%r10, %r13};"),
    "global": (2, "st.global.b32 [ %rd4 + 0 ], { %r13 };"),
    "matrices": (4, "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r11], {%r13};"),
}


@pytest.mark.parametrize("name", SAME_PLACE)
def test_threads_may_store_to_one_place_only_the_same(name: str) -> None:
    """Each two threads store to one place in one instruction, the same or the one a bit more than the other."""
    shift, store = SAME_PLACE[name]
    if name == "matrices":
        # lanes 8 to 15 give no addresses: rows of the first four pairs of lanes, two of which lie at one address
        same, other = "mov.b32 %r13, 9;", "mov.b32 %r13, %r0;"
    else:
        same, other = "", "and.b32 %r14, %r0, 1; add.s32 %r13, %r13, %r14;"
    result(PAIRS.format(shift=shift, change=same, store=store), shared=4096)
    with pytest.raises(Fault, match=r"threads store to a place what another stores otherwise; line \d+, 'st"):
        result(PAIRS.format(shift=shift, change=other, store=store), shared=4096)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("ld.global.b32 { %r3 }, [ %rd4 + 4 ];", "global memory: 4 bytes past the end of 256 bytes"),
        (
            "mov.b64 %rd4, 64; ld.global.b32 { %r3 }, [ %rd4 + 0 ];",
            "global memory: .* in nothing that was allocated",
        ),
        (
            "mov.b32 %r10, 8; st.shared.b32 [ %r10 + 1024 ], %r1;",
            "shared memory: .* in nothing that was allocated",
        ),
        ("mov.b32 %r10, 8; st.shared.v2.b32 [ %r10 + 1012 ], {%r1, %r2};", "no multiple"),
        ("ld.global.v2.b32 { %r3, %r4 }, [ %rd4 + 4 ];", "no multiple"),
    ],
)
def test_addresses_outside_or_misaligned_are_faults(body: str, message: str) -> None:
    with pytest.raises(Fault, match=message):
        result(body)


def test_where_no_thread_takes_part_nothing_is_accessed() -> None:
    result("mov.b64 %rd4, 64; setp.ge.s32 %p1, %r0, 0; @!%p1 ld.global.b32 { %r3 }, [ %rd4 + 0 ];")


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
    write = """
        shl.b32 %r4, %r0, 4; shl.b32 %r5, %r0, 2; add.s32 %r6, %r1, 1000;
        stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r4], {%r1, %r6};
        bar.sync 0;
    """
    # rows of 16 bytes, one after another: the first matrix in words 0 to 31, the second in 32 to 63
    found = result(write + "ld.shared.b32 %r3, [%r5];", shared=4096).tolist()
    assert found == [*range(32), *range(1000, 1032)]
    back = "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r7, %r3}, [%r4];"
    assert torch.equal(result(write + back, shared=4096), 1000 + NUMBERS)


COPY = """
    shl.b32 %r4, %r0, 2; setp.lt.s32 %p1, %r0, 40; selp.b32 %r5, 4, 0, %p1;
    cp.async.ca.shared.global [ %r4 + 0 ], [ %rd4 + 0 ], 0x4, %r5;
    cp.async.commit_group;
"""


@pytest.mark.parametrize(("pending", "arrived"), [(0, [*range(40), *[0] * 24]), (1, [-1] * THREADS)])
def test_asynchronous_copies_arrive_when_they_are_waited_for(pending: int, arrived: list[int]) -> None:
    wait = f"cp.async.wait_group {pending}; bar.sync 0; ld.shared.b32 %r3, [%r4];"
    assert result(COPY + wait).tolist() == arrived


# ---- blocks --------------------------------------------------------------------------------------------------------

#: Block 0 writes 64 numbers and raises a counter; block 1 waits for it, reads them and adds its own number.
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
    add.s32 %r5, %r5, %r1;
    st.global.b32 [ %rd5 + 0 ], { %r5 };
$L__BB0_4:
"""


def send(body: str = MESSAGE, seed: int = 0, counter: int = 0, cooperative: bool = True) -> list[int]:
    data, out = torch.zeros_like(NUMBERS), torch.zeros_like(NUMBERS)
    raised = torch.tensor([counter], dtype=torch.int32)
    run(body, data, raised, out, blocks=2, cooperative=cooperative, seed=seed)
    return out.tolist()


#: Of an order in which block 1 comes first.
LATER_FIRST = next(seed for seed in range(99) if np.random.default_rng(seed).permutation(2)[0] == 1)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_wait_for_each_other(seed: int) -> None:
    assert send(seed=seed) == [(thread ^ 63) + 1 for thread in range(THREADS)]


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


def test_a_counter_that_is_not_zero_before_is_a_race() -> None:
    with pytest.raises(Fault, match=r"race: place \d+ of global memory is written, read by block 1"):
        send(counter=1, seed=LATER_FIRST)


def test_two_blocks_that_write_one_place() -> None:
    result("mov.b32 %r3, 1;")
    with pytest.raises(Fault, match="race: place"):
        result("mov.b32 %r3, 1;", blocks=2)


@pytest.mark.parametrize(
    "body",
    [
        "st.global.b32 [ %rd6 + 0 ], %r1; ld.global.b32 { %r3 }, [ %rd7 + 0 ];",
        "ld.global.b32 { %r4 }, [ %rd7 + 0 ]; st.global.b32 [ %rd6 + 0 ], %r1;",
        "st.global.b32 [ %rd6 + 0 ], %r1; st.global.b32 [ %rd7 + 0 ], %r1;",
        "red.global.gpu.relaxed.add.u32 [ %rd6 + 0 ], 1; ld.global.b32 { %r3 }, [ %rd6 + 0 ];",
    ],
)
def test_unordered_accesses_of_global_memory_in_a_block_are_races(body: str) -> None:
    other = "xor.b32 %r5, %r0, 32; mul.wide.u32 %rd9, %r5, 4; add.s64 %rd7, %rd3, %rd9;"
    with pytest.raises(Fault, match=r"race: place \d+ of global memory"):
        result(other + body + "bar.sync 0;")
    result(other + body.replace(";", "; bar.sync 0;"))


def test_a_deadlock_is_a_fault() -> None:
    with pytest.raises(Fault, match="deadlock, 1 blocks wait"):
        send(MESSAGE.replace("@%p3 bra", "bra"))
    with pytest.raises(Fault, match="not launched with them"):
        send(seed=LATER_FIRST, cooperative=False)


def test_a_divergent_branch_is_a_fault() -> None:
    with pytest.raises(Fault, match="divergent branch"):
        run("setp.lt.s32 %p1, %r0, 5;\n@%p1 bra $L__BB0_1;\nmov.b32 %r3, 0;\n$L__BB0_1:", NUMBERS)


def test_additions_give_the_number_before() -> None:
    counter, out = torch.zeros(1, dtype=torch.int32), torch.zeros_like(NUMBERS)
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
