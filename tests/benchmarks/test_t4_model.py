"""Cycles of listings that can be counted by hand, more work never takes less time, and the kernels' own code."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from sass_listings import CHAIN, FMAS, NESTED, listing

from benchmarks.sass import Loop, parse, read
from benchmarks.t4_model import (
    BLOCK_BARRIER,
    FIGURE,
    GPUS,
    H200,
    HIGH,
    LOW,
    POLL,
    T4,
    Gpu,
    Simulation,
    compiled,
    cooperative_step,
    enough,
    evaluation,
    fmas,
    known,
    lay,
    lesson,
    occupies,
    packed_step,
    work,
)
from breaknet.kernels._triton import HAVE_TRITON

#: Easy numbers: 64 FP32 lanes, so 32 / 64 cycles a warp instruction; 64 bytes a cycles of shared memory.
GPU = replace(
    T4,
    sms=10,
    clock_hz=1e9,
    alu_latency=4,
    shared_latency=30,
    l2_latency=200,
    special_latency=20,
    l2_bytes=32,
)


def test_a_loop_bound_by_its_pipe():
    """8 warps x 4 FMAs x 32 / 64 cycles = 16 cycles a turn; the branch only issues."""
    loop = read(FMAS).inner[0]
    assert work(loop, {}, GPU, FIGURE, 8)["fp32"] == 16
    assert work(loop, {}, GPU, FIGURE, 8)["issue"] == 8 * 5 / 4
    assert Simulation(GPU, FIGURE, 8).steady(loop, {}) == pytest.approx(16)


def test_a_loop_bound_by_its_chain():
    """One warp: ten FMAs, each 4 cycles behind the one before, against 10 x 0.5 cycles of the pipe."""
    loop = read(CHAIN).inner[0]
    assert Simulation(GPU, FIGURE, 1).steady(loop, {}) == pytest.approx(40)


def test_many_warps_hide_a_chain():
    """20 warps: 10 x 20 x 0.5 = 100 cycles of the pipe are more than the chain's 40."""
    assert Simulation(GPU, FIGURE, 20).steady(read(CHAIN).inner[0], {}) == pytest.approx(100)


def test_turns_multiply():
    """The kernel: one MOV, 1,000 turns of 16 cycles, one EXIT; the ends are a few cycles."""
    kernel = read(FMAS)
    trips = {kernel.inner[0].head: 1000.0}
    assert fmas(kernel, trips) == 4000
    assert Simulation(GPU, FIGURE, 8).run(kernel, trips) == pytest.approx(16_000, abs=20)
    assert work(kernel, trips, GPU, FIGURE, 8)["fp32"] == 16_000


@pytest.mark.parametrize("turns", [0.0, 0.25, 1.0, 7.0])
def test_part_of_a_turn_is_part_of_its_time(turns: float):
    """Code that runs every fourth step is a quarter of a turn a step."""
    kernel = read(CHAIN)
    cycles = Simulation(GPU, FIGURE, 1).run(kernel, {0: turns})
    assert cycles == pytest.approx(40 * turns, abs=6)


def test_a_grid_barrier_costs_its_round_trips():
    kernel = read(NESTED)
    (outer,) = kernel.inner
    chain, poll = outer.inner
    trips = {chain.head: 1.0, poll.head: POLL}
    without = Simulation(GPU, FIGURE, 1).steady(outer, {chain.head: 1.0, poll.head: 0.0})
    with_barrier = Simulation(GPU, FIGURE, 1).steady(outer, trips)
    assert with_barrier - without == pytest.approx(FIGURE.barrier_round_trips * 200, abs=10)
    assert fmas(outer, trips) == 1, "what a poll loop holds does not count"


def test_a_wait_for_a_load_ends_at_the_barrier_of_the_block():
    """A load from the L2 is used behind the barrier: 200 cycles; a store of it to shared memory does not wait."""
    body = ("L_x_0:", "LDG.E.SYS R0, [R2]", "BAR.SYNC 0x0", "FADD R1, R0, R0", "@P0 BRA >L_x_0", "EXIT")
    assert Simulation(GPU, FIGURE, 1).steady(read(listing(*body)).inner[0], {}) == pytest.approx(200, abs=8)


def test_a_load_asked_for_ahead_costs_nothing():
    """The same load used a turn later, in a loop that is longer than the latency."""
    ahead = ["FADD R1, R0, R0", "LDG.E.SYS R0, [R2]", *["FFMA R5, R5, R6, R5"] * 100]
    here = ["LDG.E.SYS R0, [R2]", "FADD R1, R0, R0", *["FFMA R5, R5, R6, R5"] * 100]
    times = [
        Simulation(GPU, FIGURE, 1).steady(read(listing("L_x_0:", *lines, "@P0 BRA >L_x_0")).inner[0], {})
        for lines in (ahead, here)
    ]
    assert times == [pytest.approx(400, abs=8), pytest.approx(600, abs=8)]


def test_meeting_takes_its_time():
    body = ("L_x_0:", *["BAR.SYNC 0x0"] * 3, "@P0 BRA >L_x_0")
    assert Simulation(GPU, FIGURE, 8).steady(read(listing(*body)).inner[0], {}) == pytest.approx(
        3 * BLOCK_BARRIER, abs=10
    )


@pytest.mark.parametrize(
    ("text", "busy"),
    [
        ("LDS.U R0, [R1]", 2.0),  # 128 B at 64 B/cycles
        ("STS.128 [R1], R4", 8.0),
        ("LDSM.16.M88.4 R0, [R1]", 8.0),
        ("SHFL.BFLY PT, R5, R4, 0x10, 0x1f", 2.0),
        ("LDG.E.128.SYS R0, [R2]", 8.0),
        ("LDG.E.U8.SYS R0, [R2]", 2.0),
    ],
)
def test_what_memory_instructions_take_of_the_way_to_the_caches(text: str, busy: float):
    assert occupies(parse(text), GPU, FIGURE)["shared"] == busy


def test_shared_operands_are_the_unknown():
    wide = parse("LDS.U.128 R0, [R4]")
    assert [occupies(wide, GPU, assumed)["shared"] for assumed in (LOW, FIGURE, HIGH)] == [2, 4, 8]
    narrow = parse("LDS.U.64 R0, [R4]")
    found = [occupies(narrow, GPU, assumed)["shared"] for assumed in (LOW, FIGURE, HIGH)]
    assert found == pytest.approx([2, 2 * 2**0.5, 4])


def test_traffic_to_the_l2_is_bytes_over_its_rate():
    assert occupies(parse("LDG.E.128.SYS R0, [R2]"), GPU, FIGURE)["l2"] == 512 / 32


def _cycles_of(loop: Loop, gpu=GPU, assumed=FIGURE, warps: int = 8) -> float:
    return Simulation(gpu, assumed, warps).steady(loop, {})


@pytest.mark.parametrize(
    "slower",
    [
        {"fp32_lanes": 32},
        {"shared_bytes": 32},
        {"l2_latency": 400},
        {"alu_latency": 8},
        {"shared_latency": 60},
        {"special_latency": 40, "special_lanes": 8},
        {"int_lanes": 32, "l2_bytes": 8},
    ],
)
def test_a_slower_gpu_is_never_faster(slower: dict[str, float]):
    body = read(
        listing(
            "L_x_0:", "LDG.E.128.SYS R0, [R20]", "STS.128 [R24], R0", "BAR.SYNC 0x0", "LDS.U.64 R4, [R25]",
            "FFMA R6, R4, R5, R6", "MUFU.EX2 R7, R6", "IADD3 R8, R8, R7, RZ", "BAR.SYNC 0x0", "@P0 BRA >L_x_0", "EXIT",
        )
    ).inner[0]  # fmt: skip
    assert _cycles_of(body, replace(GPU, **slower)) >= _cycles_of(body)


def test_more_work_and_more_warps_never_take_less():
    lines = "FFMA R0, R1, R2, R3"
    bodies = [
        read(listing("L_x_0:", *[lines] * count, "@P0 BRA >L_x_0")).inner[0] for count in range(1, 40, 6)
    ]
    times = [_cycles_of(body) for body in bodies]
    assert times == sorted(times)
    assert times[-1] > times[0]
    by_warps = [_cycles_of(bodies[-1], warps=warps) for warps in (1, 2, 4, 8, 16)]
    assert by_warps == sorted(by_warps)


def test_ends_lie_around_the_figure():
    loop = read(listing("L_x_0:", *["LDS.U.128 R0, [R4]"] * 20, "@P0 BRA >L_x_0")).inner[0]
    low, figure, high = (_cycles_of(loop, assumed=assumed) for assumed in (LOW, FIGURE, HIGH))
    assert low < figure < high


@pytest.mark.parametrize(
    ("driver_says", "name"),
    [("Tesla T4", "T4"), ("NVIDIA H200", "H200"), ("NVIDIA L40S", None), ("NVIDIA T400", None), (None, None)],
)
def test_gpus_are_known_by_their_drivers_names(driver_says: str | None, name: str | None):
    gpu = known(driver_says)
    assert (gpu.name if gpu else None) == name


def test_data_sheets_agree():
    """Peak float32 rates, in TFLOP/s, as the data sheets round them."""
    peaks = {gpu.name: 2 * gpu.fp32_lanes * gpu.sms * gpu.clock_hz / 1e12 for gpu in GPUS}
    assert peaks == pytest.approx({"T4": 8.1, "H200": 66.9}, rel=0.01)


needs_triton = pytest.mark.skipif(not HAVE_TRITON and not os.environ.get("CI"), reason="needs Triton")

#: float32 operations that a step of the lesson's network cannot do without, two of 784 x 16 x 100 FMAs.
STEP_OPERATIONS = 2 * 2 * 784 * 16 * 100


def peak(gpu: Gpu, sms: int) -> float:
    """float32 operations a second of so many SMs."""
    return 2 * gpu.fp32_lanes * sms * gpu.clock_hz


@needs_triton
def test_a_step_of_the_cooperative_trainer():
    """Longer than 27 SMs at their peak and two round trips to the L2; shorter than ten launches of 10 us."""
    estimate = cooperative_step(T4)
    least = STEP_OPERATIONS / peak(T4, 27) + 2 * T4.seconds(T4.l2_latency)
    assert least < estimate.low < estimate.figure < estimate.high < 100e-6


@needs_triton
def test_packed_training_fills_its_sm():
    one, all_of_them, one_more = (packed_step(T4, models) for models in (1, 40, 41))
    assert one.figure == all_of_them.figure
    assert one_more.figure == pytest.approx(2 * one.figure), "the 41st waits for an SM"
    assert STEP_OPERATIONS / peak(T4, 1) < one.figure < 20 * STEP_OPERATIONS / peak(T4, 1)


@needs_triton
def test_evaluation_grows_with_checkpoints_and_images():
    some, twice, wider = (
        evaluation(T4, 100, 60_000),
        evaluation(T4, 200, 60_000),
        evaluation(T4, 100, 120_000),
    )
    assert twice.figure == pytest.approx(2 * some.figure, rel=0.05)
    assert wider.figure == pytest.approx(2 * some.figure, rel=0.05)
    ideal = 2 * 100 * 60_000 * 784 * 16 / peak(T4, 40)
    assert ideal < some.low < 3 * ideal


@needs_triton
def test_the_lesson_is_made_of_its_parts():
    """One cooperative run at a time on a T4: 101,000 steps, then all checkpoints of all three runs."""
    whole = lesson(T4)
    evaluations = evaluation(T4, 200, 60_000).figure + evaluation(T4, 1_000, 10_100).figure
    assert whole.figure == pytest.approx(101_000 * cooperative_step(T4).figure + evaluations)


@needs_triton
@pytest.mark.slow
def test_a_larger_gpu_is_faster():
    """The same source, its own machine code and tiles; clean and shuffled train side by side on an H200."""
    assert cooperative_step(H200).figure < cooperative_step(T4).figure
    assert packed_step(H200, 40).figure < packed_step(T4, 40).figure
    assert evaluation(H200, 100, 60_000).figure < evaluation(T4, 100, 60_000).figure / 4
    evaluations = evaluation(H200, 200, 60_000).figure + evaluation(H200, 1_000, 10_100).figure
    assert lesson(H200).figure == pytest.approx(51_000 * cooperative_step(H200).figure + evaluations)


def test_trips_are_laid_on_loops_of_their_nesting():
    kernel = read(NESTED)
    trips = lay([(10, [(3, []), (POLL, [])])], kernel)
    assert [trips[loop.head] for loop in (kernel.inner[0], *kernel.inner[0].inner)] == [10, 3, POLL]


def test_loops_that_are_nested_otherwise_are_refused():
    with pytest.raises(ValueError, match=r"nested as \(\(\)\), not as \(\(\)\(\)\)"):
        lay([(10, [(3, [])])], read(NESTED))


def test_loops_without_the_works_fmas_are_refused():
    enough(512, 512, "a kernel")
    for found in (256, 2_000):
        with pytest.raises(ValueError, match=r"a kernel: .* FMAs a thread where the work needs 512"):
            enough(found, 512, "a kernel")


@needs_triton
def test_an_unknown_configuration_is_refused():
    with pytest.raises(ValueError, match="config: a supported one of evaluation_forward on sm_75"):
        compiled("evaluation_forward", "of another shape", 75)
