"""Times from counts that can be worked out by hand."""

from dataclasses import replace

import pytest

from benchmarks.t4_model import (
    COOPERATIVE,
    FLOAT16,
    GPUS,
    H200,
    T4,
    Counts,
    cooperative_step,
    evaluation,
    known,
    lesson,
    packed_step,
)

#: Easy numbers: a warp's FMA takes 32 / 64 cycles , a transaction 128 / 64.
GPU = replace(T4, sms=10, clock_hz=1e9, l2_latency=200)
#: Two steps of one program, 1,000 cycles of shared memory each.
COUNTS = Counts(units=2, programs=1, instructions=400, fmas=100, shared=1_000)


@pytest.mark.parametrize(
    ("counts", "nanoseconds"),
    [
        (COUNTS, 2_000),
        (replace(COUNTS, fmas=5_000), 2_500),
        (replace(COUNTS, instructions=16_000), 4_000),
        (replace(COUNTS, matrix_fmas=512 * 3_000), 3_000),
        (replace(COUNTS, programs=4), 500),
    ],
    ids=["shared memory", "float32 lanes", "schedulers", "tensor cores", "mean of the programs"],
)
def test_the_busiest_unit_sets_the_time(counts: Counts, nanoseconds: int):
    assert counts.seconds(GPU) == pytest.approx(nanoseconds * 1e-9)


def test_programs_meet_twice_in_a_cooperative_step():
    """A step of 2,000 / 2 cycles, and twice six round trips of 200 cycles to meet and one to read."""
    assert cooperative_step(GPU, COUNTS) == pytest.approx((1_000 + 2 * 7 * 200) * 1e-9)


@pytest.mark.parametrize(("models", "rounds"), [(1, 1), (10, 1), (11, 2), (20, 2)])
def test_the_eleventh_network_shares_an_sm(models: int, rounds: int):
    assert packed_step(GPU, COUNTS, models) == pytest.approx(rounds * 1_000e-9)


def test_evaluation_grows_with_checkpoints_and_images():
    """2,000 ns a program of 256 images of a checkpoint, ten at once."""
    tiles = Counts(units=1_024, programs=4, instructions=0, fmas=0, shared=4_000)
    assert evaluation(GPU, tiles, 10, 256) == pytest.approx(2e-6)
    assert evaluation(GPU, tiles, 10, 257) == pytest.approx(4e-6)
    assert evaluation(GPU, tiles, 100, 2_560) == pytest.approx(200e-6)


@pytest.mark.parametrize(("programs", "steps"), [(10, 101_000), (5, 51_000), (3, 50_000)])
def test_the_lesson_is_made_of_its_parts(programs: int, steps: int):
    """One run after another, two side by side, or all three."""
    counts = {COOPERATIVE: replace(COUNTS, programs=programs), FLOAT16: COUNTS}
    parts = evaluation(GPU, COUNTS, 200, 60_000) + evaluation(GPU, COUNTS, 1_000, 10_100)
    parts += steps * cooperative_step(GPU, counts[COOPERATIVE])
    assert lesson(GPU, counts) == pytest.approx(parts)


@pytest.mark.parametrize(
    ("driver_says", "name"),
    [("Tesla T4", "T4"), ("NVIDIA H200", "H200"), ("NVIDIA L40S", None), ("NVIDIA T400", None), (None, None)],
)
def test_gpus_are_known_by_their_drivers_names(driver_says: str | None, name: str | None):
    gpu = known(driver_says)
    assert (gpu.name if gpu else None) == name


def test_data_sheets_agree():
    """Peak rates, in TFLOP/s, as the data sheets round them; an H200's of tensor cores is at a lower clock."""
    peaks = {gpu.name: 2 * gpu.fp32_lanes * gpu.sms * gpu.clock_hz / 1e12 for gpu in GPUS}
    assert peaks == pytest.approx({"T4": 8.1, "H200": 66.9}, rel=0.01)
    peaks = {gpu.name: 2 * gpu.matrix_fmas * gpu.sms * gpu.clock_hz / 1e12 for gpu in GPUS}
    assert peaks == pytest.approx({"T4": 65, "H200": 989 * 1.98 / 1.83}, rel=0.01)


def test_a_grid_barrier_takes_what_was_measured():
    """858 ns of an H200, in its own cycles."""
    meetings = cooperative_step(H200, replace(COUNTS, shared=0, fmas=0, instructions=0))
    assert meetings / 2 - H200.l2_latency / H200.clock_hz == pytest.approx(858e-9, rel=0.01)
