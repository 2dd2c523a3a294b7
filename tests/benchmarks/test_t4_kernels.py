"""The model on the kernels' own machine code for a T4."""

from __future__ import annotations

import os

import pytest
from sass_listings import NESTED

from benchmarks.t4.compiled import compiled
from benchmarks.t4.control_flow import read
from benchmarks.t4.model import POLL
from benchmarks.t4.rates import H100, T4, Gpu
from benchmarks.t4.workloads import cooperative_step, enough, evaluation, lay, lesson, packed_step
from breaknet.kernels._triton import HAVE_TRITON

needs_triton = pytest.mark.skipif(not HAVE_TRITON and not os.environ.get("CI"), reason="needs Triton")

#: float32 operations that a step of the lesson's network cannot do without, two of 784 x 16 x 100 multiply-adds.
STEP_OPERATIONS = 2 * 2 * 784 * 16 * 100


def peak(gpu: Gpu, processors: int) -> float:
    """float32 operations a second of so many SMs."""
    return 2 * gpu.fp32_lanes * processors * gpu.clock_hz


@needs_triton
def test_a_step_of_the_persistent_trainer():
    """Longer than 27 SMs at their peak and two round trips to the L2; shorter than ten launches of 10 us."""
    estimate = cooperative_step(T4)
    least = STEP_OPERATIONS / peak(T4, 27) + 2 * T4.seconds(T4.l2_latency)
    assert least < estimate.low < estimate.figure < estimate.high < 100e-6
    parts = estimate.parts
    total = parts["two grid barriers"] + parts["phase 2 (deltas)"] + parts["phases 1 and 3 (a slice)"]
    assert T4.seconds(total) == pytest.approx(estimate.figure)
    assert parts["phases 1 and 3 (a slice)"] > 2 * 128 * 16 * 32 / 64, "128 rows, 32 inputs a slice, 64 lanes"


@needs_triton
def test_packed_training_fills_its_processor():
    one, all_of_them, one_more = (packed_step(T4, models) for models in (1, 40, 41))
    assert one.figure == all_of_them.figure
    assert one_more.figure == pytest.approx(2 * one.figure), "the 41st waits for a processor"
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
    judging = evaluation(T4, 200, 60_000).figure + evaluation(T4, 1_000, 10_100).figure
    assert whole.figure == pytest.approx(101_000 * cooperative_step(T4).figure + judging)


@needs_triton
@pytest.mark.slow
def test_a_larger_gpu_is_faster():
    """The same source, its own machine code and tiles; clean and shuffled train side by side on an H100."""
    assert cooperative_step(H100).figure < cooperative_step(T4).figure
    assert packed_step(H100, 40).figure < packed_step(T4, 40).figure
    assert evaluation(H100, 100, 60_000).figure < evaluation(T4, 100, 60_000).figure / 4
    judging = evaluation(H100, 200, 60_000).figure + evaluation(H100, 1_000, 10_100).figure
    assert lesson(H100).figure == pytest.approx(51_000 * cooperative_step(H100).figure + judging)


def test_trips_are_laid_on_loops_of_their_nesting():
    kernel = read(NESTED)
    trips = lay([(10, [(3, []), (POLL, [])])], kernel)
    assert [trips[loop.head] for loop in list(kernel.walk())[1:]] == [10, 3, POLL]


def test_loops_that_are_nested_otherwise_are_refused():
    with pytest.raises(ValueError, match=r"nested as \(\(\)\), not as \(\(\)\(\)\)"):
        lay([(10, [(3, [])])], read(NESTED))


def test_loops_without_the_works_multiply_adds_are_refused():
    enough(512, 512, "a kernel")
    for found in (256, 2_000):
        with pytest.raises(ValueError, match=r"a kernel: .* multiply-adds a thread where the work needs 512"):
            enough(found, 512, "a kernel")


@needs_triton
def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="config: a shipped form of evaluation_forward"):
        compiled("evaluation_forward", "of another shape", "sm_75")
