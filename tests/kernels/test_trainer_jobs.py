"""Jobs that share launches, and networks that share programs: none knows of another, by the bit."""

from dataclasses import replace

import pytest
import torch
from trainer_cases import Case, Problem, packed, train

from breaknet.kernels._triton import HAVE_TRITON
from breaknet.kernels.host.packed_trainer import places_of
from breaknet.kernels.host.tiles import TENSOR, tile_config
from breaknet.kernels.jobs import JobRow, Shape

pytestmark = pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")

SMALL = Shape(50, 7, 16, 10)
SPLIT = Case(SMALL, 16, 40, tile_config(SMALL, 16, 32))
FUSED = packed(Shape(30, 7, 16, 10), 16, 37)
LOOPED = packed(Shape(16, 7, 33, 10), 12, 14)
TENSORS = Case(SMALL, 16, 40, TENSOR[90][1])
every_form = pytest.mark.parametrize(
    "case", [SPLIT, FUSED, LOOPED, TENSORS], ids=["split", "fused", "looped", "tensor"]
)


def mixed(problem: Problem, case: Case) -> tuple[list[JobRow], torch.Tensor]:
    """Jobs that differ in all that may differ within a launch, and their starts; checkpoint row 4 is nobody's."""
    whole, short = problem.job(case.batch, epochs=2, rate=0.5), problem.examples - 9
    jobs = [
        replace(whole, live_row=4, checkpoint_row=5),
        replace(whole, epochs=1, learning_rate=0.01, label=1105, live_row=0, checkpoint_row=3),
        replace(whole, epochs=0, live_row=1),
        replace(whole, epochs=1, image_row=1109, examples=5, live_row=2, checkpoint_row=2),
        replace(whole, batch=case.batch - 3, examples=short, label=1109, live_row=3, checkpoint_row=0),
    ]
    return jobs, torch.stack([problem.start * (1 - number / 8) for number in range(5)])


@every_form
@pytest.mark.usefixtures("any_column_alike")
def test_jobs_do_not_know_of_each_other(case, device):
    problem = case.problem(device)
    jobs, starts = mixed(problem, case)
    together = train(problem, case.config, jobs, starts)
    assert bool(together[4].isnan().all()), "a row that is nobody's was written"
    for job in jobs:
        problem.assert_trained(job, together, starts[job.live_row])
    for job in (jobs[0], jobs[4]):
        alone = replace(job, live_row=0, checkpoint_row=0)
        found = train(problem, case.config, [alone], starts[job.live_row][None])
        assert torch.equal(found, together[job.checkpoint_row :][: job.epochs]), "bits depend on neighbours"


@pytest.mark.usefixtures("any_column_alike")
def test_networks_that_share_a_program_do_not_know_of_each_other(device):
    """Which of them share one depends on the order of the jobs; a network without company gives the same bits."""
    problem = TENSORS.problem(device)
    job = problem.job(TENSORS.batch, epochs=2, rate=0.5)
    jobs = [
        replace(
            job, learning_rate=0.5 / number, label=1099 + number, live_row=number, checkpoint_row=2 * number
        )
        for number in range(1, 6)
    ]
    starts = torch.stack([problem.start * (1 - number / 8) for number in range(6)])
    starts[3] = float("nan")
    found = [
        train(problem, TENSORS.config, order, starts) for order in (jobs, jobs[::-1], jobs[1:] + jobs[:1])
    ]
    for one in jobs:
        alone = train(problem, TENSORS.config, [one], starts[: one.live_row + 1])
        rows = slice(one.checkpoint_row, one.checkpoint_row + 2)
        assert all(torch.equal(alone[rows].nan_to_num(7), some[rows].nan_to_num(7)) for some in found)
        if one.live_row != 3:
            problem.assert_trained(one, alone, starts[one.live_row])


def test_who_shares_a_program():
    job = Problem(SMALL, 10).job(batch=4, epochs=1)
    kinds = [
        job,
        replace(job, image_row=1099),
        replace(job, examples=9),
        replace(job, batch=3),
        replace(job, epochs=2),
    ]
    others = replace(job, label=0, live_row=7, checkpoint_row=7, learning_rate=0.7)
    assert places_of([*kinds, others, *kinds, job], 2, 2) == ([0, 2, 4, 6, 8, 1, 10, 3, 5, 7, 9, 11], 6)
    assert places_of([job] * 7, 4, 4) == ([0, 1, 2, 3, 4, 5, 6], 2)
    assert places_of([job] * 3, 1, 4) == ([0, 4, 8], 3)
    assert places_of([job] * 5, 2, 4) == ([0, 1, 4, 5, 8], 3)


@every_form
@pytest.mark.usefixtures("any_column_alike")
def test_chunks_of_epochs_give_the_same_bits(case, device):
    problem = case.problem(device)
    job = problem.job(case.batch, epochs=3)
    whole = train(problem, case.config, [job])
    first = train(problem, case.config, [replace(job, epochs=1)])
    rest = train(problem, case.config, [replace(job, epochs=2)], first.cpu())
    assert torch.equal(whole, torch.cat([first, rest]))


@every_form
@pytest.mark.usefixtures("any_column_alike")
def test_a_job_that_diverges_leaves_the_others_alone(case, device):
    problem = case.problem(device)
    jobs = [
        problem.job(case.batch, 1, rate, live_row=row, checkpoint_row=row)
        for row, rate in enumerate((0.5, 0.1))
    ]
    alone = train(problem, case.config, jobs)
    wild = problem.job(case.batch, 1, live_row=2, checkpoint_row=2)
    starts = torch.stack([problem.start, problem.start, torch.full_like(problem.start, float("nan"))])
    together = train(problem, case.config, [jobs[0], wild, jobs[1]], starts)
    assert together[2].isnan().any()
    assert torch.equal(together[:2], alone)


@every_form
def test_labels_of_minus_one_train_nothing(case, device):
    problem = case.problem(device)
    problem.labels[1100:-1100] = -1
    assert torch.equal(train(problem, case.config, [problem.job(case.batch, 1)])[0].cpu(), problem.start)


def test_bytes_and_their_floats_give_the_same_bits(device):
    results = [
        train(problem, SPLIT.config, [problem.job(batch=10, epochs=1)])
        for problem in (Problem(SMALL, 25, floats, device=device) for floats in (False, True))
    ]
    assert torch.equal(*results)
