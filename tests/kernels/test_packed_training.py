"""Packed training against float64 steps: shapes, ragged edges, many jobs, bad input."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainer_cases import Problem, train_packed

from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.host.packed_trainer import PackedTrainer, aligned_images
from breaknet.kernels.host.tiles import PACKED, PackedConfig, packed_tiles
from breaknet.kernels.jobs import JobRow, Shape

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

INPUTS = (50, 784, 1000)
WIDTHS = (1, 7, 16, 33, 128)
OUTPUTS = (2, 10, 16)
BATCHES = (1, 10, 100, 129, 1024)
PARTNERS = {1: 16, 7: 1, 16: 7, 33: 16, 128: 33}  # the other hidden width
EXAMPLES = {1: 2, 10: 13, 100: 103, 129: 131, 1024: 140}  # a full batch and a short one where that is quick


@dataclass(frozen=True)
class Case:
    """A network and how it is fed."""

    shape: Shape
    batch: int
    examples: int
    byte_images: bool = True

    def problem(self, device: torch.device, seed: int = 0) -> Problem:
        return Problem(self.shape, self.examples, not self.byte_images, seed, device)

    @property
    def tiles(self) -> PackedConfig | str:
        return packed_tiles(self.shape, min(self.batch, self.examples), self.byte_images)

    @property
    def rate(self) -> float:
        return min(0.5, 8 / self.batch)  # the gradient is a sum over the batch


def case_of(inputs: int, width: int, outputs: int, batch: int, number: int) -> Case:
    hidden = (width, PARTNERS[width]) if number % 2 else (PARTNERS[width], width)
    return Case(Shape(inputs, *hidden, outputs), batch, EXAMPLES[batch], byte_images=number % 3 != 2)


def covering() -> list[Case]:
    """Every pair of two axes' values in some case: batches x widths as they are, the rest chosen greedily."""
    chosen, seen = [], set()
    for number, (batch, width) in enumerate(itertools.product(BATCHES, WIDTHS)):

        def pairs(inputs: int, outputs: int, batch=batch, width=width) -> set:
            return {("ib", inputs, batch), ("iw", inputs, width), ("ow", outputs, width),
                    ("ob", outputs, batch), ("io", inputs, outputs)}  # fmt: skip

        # wide inputs cost the interpreter most, so they go with the fewest rows where there is a choice
        best = max(
            itertools.product(INPUTS, OUTPUTS),
            key=lambda pair, pairs=pairs: (len(pairs(*pair) - seen), -pair[0]),
        )
        seen |= pairs(*best)
        chosen.append(case_of(best[0], width, best[1], batch, number))
    return chosen


def run_case(case: Case, device: torch.device, tiles: PackedConfig | None = None, epochs: int = 1) -> None:
    problem = case.problem(device)
    job = problem.job(case.batch, epochs, case.rate)
    problem.assert_trained(job, train_packed(problem, tiles or case.tiles, [job]))


def test_the_selection_covers_every_pair():
    axes = [
        (case.shape.inputs, max(case.shape.hidden1, case.shape.hidden2), case.shape.outputs, case.batch)
        for case in covering()
    ]
    for (i, first), (j, second) in itertools.combinations(enumerate((INPUTS, WIDTHS, OUTPUTS, BATCHES)), 2):
        # width 1 is paired with 16 and 7 with 1, so the larger width stands for the pair
        seen = {(row[i], row[j]) for row in axes}
        for a, b in itertools.product(first, second):
            a, b = (max(value, PARTNERS[value]) if axis == 1 else value for axis, value in ((i, a), (j, b)))
            assert (a, b) in seen, (a, b)


def name_of(case: Case) -> str:
    return f"{case.shape}-{case.batch}-{case.examples}-{'byte' if case.byte_images else 'float'}"


@pytest.mark.parametrize("case", covering(), ids=name_of)
def test_one_epoch_keeps_the_step_contract(case: Case, device: torch.device):
    run_case(case, device)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_every_shape(inputs, width, outputs, batch, device):
    byte_images = (inputs + width + outputs + batch) % 2 == 0
    run_case(Case(Shape(inputs, width, width, outputs), batch, EXAMPLES[batch], byte_images), device)


@pytest.mark.parametrize(
    "case",
    [
        Case(Shape(50, 16, 16, 10), 1024, 1030),
        pytest.param(Case(Shape(784, 16, 16, 10), 1024, 1030), marks=pytest.mark.slow),
        pytest.param(Case(Shape(50, 128, 128, 10), 1024, 1030), marks=pytest.mark.slow),
        pytest.param(Case(Shape(50, 20, 33, 16), 1000, 2003, byte_images=False), marks=pytest.mark.slow),
    ],
    ids=name_of,
)
def test_batches_of_many_tiles(case: Case, device: torch.device):
    run_case(case, device)


#: Tiles as others have, or large ones, in the interpreter's time.
SLOW = (PACKED[6], PACKED[8], PACKED[9], PACKED[11])


@pytest.mark.parametrize(
    "tiles",
    [pytest.param(tiles, marks=pytest.mark.slow if tiles in SLOW else ()) for tiles in PACKED],
    ids=lambda tiles: f"{tiles.form} {tiles.name}",
)
def test_every_form_over_two_epochs(tiles: PackedConfig, device: torch.device):
    """A full batch and a short one, twice, in each form, whatever `packed_tiles` would pick."""
    batch = tiles.rows - 1 if tiles.form == "fused" else tiles.rows + 3
    shape = Shape(18, tiles.width, max(1, tiles.width - 5), 10)
    run_case(Case(shape, batch, batch + 5, tiles.byte_images), device, tiles, epochs=2)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    inputs=st.integers(1, 40),
    hidden=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    outputs=st.integers(2, 16),
    batch=st.integers(1, 40),
    examples=st.integers(1, 45),
    byte_images=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_shape(inputs, hidden, outputs, batch, examples, byte_images, seed, device):
    case = Case(Shape(inputs, *hidden, outputs), batch, min(examples, 4 * batch), byte_images)
    problem = case.problem(device, seed)
    job = problem.job(batch, epochs=1, rate=1.0)
    problem.assert_trained(job, train_packed(problem, case.tiles, [job]))


# -- many jobs -------------------------------------------------------------------------------------------------

FUSED = Case(Shape(30, 7, 16, 10), 16, 37)
LOOPED = Case(Shape(16, 7, 33, 10), 12, 14)
both = pytest.mark.parametrize("case", [FUSED, LOOPED], ids=["fused", "looped"])


def mixed(problem: Problem, case: Case) -> tuple[list[JobRow], torch.Tensor]:
    """Jobs that differ in all that may differ within a launch, and their starts."""
    whole, short = problem.job(case.batch, epochs=2, rate=case.rate), problem.examples - 9
    jobs = [
        replace(whole, live_row=4, checkpoint_row=4),
        replace(whole, epochs=1, learning_rate=0.01, label=1105, live_row=0, checkpoint_row=3),
        replace(whole, epochs=0, live_row=1),
        replace(whole, epochs=1, image_row=1109, examples=5, live_row=2, checkpoint_row=2),
        replace(whole, batch=case.batch - 3, examples=short, label=1109, live_row=3, checkpoint_row=0),
    ]
    return jobs, torch.stack([problem.start * (1 - number / 8) for number in range(5)])


@both
def test_jobs_do_not_know_of_each_other(case: Case, device: torch.device):
    problem = case.problem(device)
    jobs, starts = mixed(problem, case)
    assert isinstance(case.tiles, PackedConfig)
    assert case.tiles.form == ("fused" if case is FUSED else "looped")
    together = train_packed(problem, case.tiles, jobs, starts)
    for job in jobs:
        problem.assert_trained(job, together, starts[job.live_row])
    for job in (jobs[0], jobs[4]):
        alone = replace(job, live_row=0, checkpoint_row=0)
        found = train_packed(problem, case.tiles, [alone], starts[job.live_row][None])
        assert torch.equal(found, together[job.checkpoint_row :][: job.epochs])


@both
def test_chunks_of_epochs_give_the_same_bits(case: Case, device: torch.device):
    problem = case.problem(device)
    job = problem.job(case.batch, epochs=3)
    whole = train_packed(problem, case.tiles, [job])
    first = train_packed(problem, case.tiles, [replace(job, epochs=1)])
    rest = train_packed(problem, case.tiles, [replace(job, epochs=2)], first.cpu())
    assert torch.equal(whole, torch.cat([first, rest]))


def test_a_job_that_diverges_leaves_the_others_alone(device: torch.device):
    problem = FUSED.problem(device)
    jobs = [problem.job(16, 1, rate, live_row=row, checkpoint_row=row) for row, rate in enumerate((0.5, 0.1))]
    alone = train_packed(problem, FUSED.tiles, jobs)
    wild = problem.job(16, 1, live_row=2, checkpoint_row=2)
    starts = torch.stack([problem.start, problem.start, torch.full_like(problem.start, float("nan"))])
    together = train_packed(problem, FUSED.tiles, [jobs[0], wild, jobs[1]], starts)
    assert together[2].isnan().any()
    assert torch.equal(together[:2], alone)


# -- the launcher ----------------------------------------------------------------------------------------------


def test_tiles():
    lesson = packed_tiles(Shape(784, 16, 16, 10), 100, True)
    assert isinstance(lesson, PackedConfig)
    assert (lesson.form, lesson.name) == ("fused", "rows128 width16 byte")
    assert lesson == packed_tiles(Shape(784, 1, 9, 10), 65, True)
    floats = packed_tiles(Shape(784, 16, 16, 10), 100, False)
    assert isinstance(floats, PackedConfig)
    assert floats.form == "looped"


@pytest.mark.parametrize(
    ("shape", "batch", "word"),
    [
        (Shape(784, 129, 16, 10), 100, "hidden1"),
        (Shape(784, 16, 0, 10), 100, "hidden2"),
        (Shape(784, 16, 16, 1), 100, "outputs"),
        (Shape(784, 16, 16, 17), 100, "outputs"),
        (Shape(784, 16, 16, 10), 1025, "batch_size"),
        (Shape(0, 16, 16, 10), 100, "inputs"),
    ],
)
def test_beyond_the_limits_the_reason_names_the_argument(shape, batch, word):
    reason = packed_tiles(shape, batch, True)
    assert isinstance(reason, str)
    assert reason.startswith(word)


@pytest.mark.parametrize("byte_images", [True, False])
def test_every_shape_within_the_limits_has_tiles(byte_images):
    for first, second, batch in itertools.product((1, 2, 16, 17, 32, 33, 64, 65, 128), repeat=3):
        tiles = packed_tiles(Shape(784, first, second, 10), batch * 8, byte_images)
        assert isinstance(tiles, PackedConfig)
        assert tiles.width >= max(first, second)
        assert tiles.form == "looped" or tiles.rows >= batch * 8
        assert tiles.byte_images == byte_images


def test_no_element_of_a_chunk_is_loaded_twice():
    """What the fused kernel relies on: as many elements as threads."""
    for tiles in PACKED:
        assert tiles.chunk * tiles.width >= 32 * tiles.num_warps


def test_images_are_copied_only_where_their_rows_lie_badly(device):
    straight = torch.zeros(5, 784, dtype=torch.uint8, device=device)
    assert aligned_images(straight) is straight
    odd = torch.arange(5 * 50, device=device).reshape(5, 50).to(torch.uint8)
    copy = aligned_images(odd)
    assert copy.stride() == (64, 1)
    assert torch.equal(copy, odd)
    off = torch.zeros(5 * 784 + 1, dtype=torch.uint8, device=device)[1:].view(5, 784)
    assert aligned_images(off).data_ptr() % 16 == 0


def test_batches_beyond_the_tiles_are_refused(device):
    problem = FUSED.problem(device)
    live = problem.start[None].clone().to(device)
    trainer = PackedTrainer(problem.shape, FUSED.tiles, problem.images, problem.labels, live, 1)
    with pytest.raises(ValueError, match="batches of up to 16 rows, not 17"):
        trainer.launch(torch.empty_like(live), [problem.job(17, epochs=1)])
    trainer.launch(torch.empty_like(live), [replace(problem.job(17, epochs=1), examples=16)])


# -- on a GPU --------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize(
    "case",
    [
        Case(Shape(784, 16, 16, 10), 100, 5000),
        Case(Shape(784, 128, 64, 10), 300, 2000),
        Case(Shape(50, 7, 20, 16), 33, 999),
    ],
    ids=name_of,
)
def test_the_same_bits_twenty_times(case: Case, device: torch.device):
    problem = case.problem(device)
    jobs = [
        problem.job(case.batch, 5, rate=0.05, label=1100 + row, live_row=row, checkpoint_row=5 * row)
        for row in range(200)
    ]
    first = train_packed(problem, case.tiles, jobs)
    for job in (jobs[0], jobs[99], jobs[199]):
        problem.assert_trained(job, first)
        alone = train_packed(problem, case.tiles, [replace(job, live_row=0, checkpoint_row=0)])
        assert torch.equal(alone, first[job.checkpoint_row :][:5])
    for _ in range(19):
        assert torch.equal(train_packed(problem, case.tiles, jobs), first)
