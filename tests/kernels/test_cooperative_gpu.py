"""The trainers on a GPU, which alone can show that they do not hang and nothing races."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sanitizer_reports import refused_hazards
from trainer_cases import Problem, train

from breaknet.kernels.host import trainers
from breaknet.kernels.host.tiles import TileConfig, cooperative_tiles, packed_tiles
from breaknet.kernels.jobs import JobRow, Shape

pytestmark = pytest.mark.gpu

LESSON = Shape(784, 16, 16, 10)


def capability() -> int:
    major, minor = torch.cuda.get_device_capability(torch.device("cuda"))
    return 10 * major + minor


def config_here(shape: Shape, batch: int) -> TileConfig:
    properties = torch.cuda.get_device_properties(torch.device("cuda"))
    config = cooperative_tiles(shape, batch, capability(), properties.multi_processor_count)
    assert isinstance(config, TileConfig), config
    return config


def trained(problem: Problem, config: TileConfig, jobs: list[JobRow]) -> torch.Tensor:
    """Checkpoints of the jobs, in launches of as many as fit the GPU."""
    live = problem.start.repeat(len(jobs), 1).to(problem.device)
    trainer = trainers.CooperativeTrainer(
        problem.shape, config, problem.images, problem.labels, live, len(jobs)
    )
    rows = max(job.checkpoint_row + job.epochs for job in jobs)
    checkpoints = torch.full((rows, problem.shape.parameters), float("nan"), device=problem.device)
    for first in range(0, len(jobs), trainer.at_once):
        trainer.launch(checkpoints, jobs[first : first + trainer.at_once])
    return checkpoints


def twenty_times(train_once: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The checkpoints, which must be the same bits each time."""
    first = train_once()
    assert not bool(first.isnan().any())
    for _ in range(19):
        assert torch.equal(train_once(), first)
    return first


def test_fifty_thousand_steps_twenty_times_without_a_hang_and_with_the_same_bits(device):
    problem = Problem(LESSON, 50_000, device=device)
    config, job = config_here(LESSON, 100), problem.job(batch=100, epochs=100, rate=0.02)
    twenty_times(lambda: trained(problem, config, [job]))


def test_the_same_bits_alone_and_beside_other_jobs(device):
    problem = Problem(LESSON, 10_050, device=device)
    config = config_here(LESSON, 100)
    job = problem.job(batch=100, epochs=5)
    alone = trained(problem, config, [job])
    for _ in range(20):
        jobs = [
            job,
            problem.job(batch=90, epochs=4, row=40, rate=0.2, live_row=1, checkpoint_row=5),
            problem.job(batch=100, epochs=7, row=5000, live_row=2, checkpoint_row=9),
        ]
        together = trained(problem, config, jobs)
        assert torch.equal(together[:5], alone)
        for other in jobs[1:]:
            rows = slice(other.checkpoint_row, other.checkpoint_row + other.epochs)
            by_itself = trained(problem, config, [replace(other, live_row=0, checkpoint_row=0)])
            assert torch.equal(together[rows], by_itself)


@pytest.mark.parametrize("hidden", [(16, 16), (33, 7), (64, 64)])
@pytest.mark.parametrize("batch", [1, 10, 100, 129, 1024])
def test_cooperative_and_phase_split_launches_are_both_right(hidden, batch, device):
    shape = Shape(784, *hidden, 10)
    problem = Problem(shape, 2 * batch + 7, device=device)
    config, job = config_here(shape, batch), problem.job(batch=batch, epochs=3, rate=min(0.05, 5 / batch))
    problem.assert_trained(job, train(problem, config, [job], kind=trainers.CooperativeTrainer))
    problem.assert_trained(job, train(problem, config, [job]))


def test_replayed_graphs_train_as_one_launch_does_and_give_the_same_bits_twenty_times(device):
    problem = Problem(LESSON, 10_050, device=device)
    config = config_here(LESSON, 100)
    jobs = [
        problem.job(batch=100, epochs=7),
        problem.job(batch=90, epochs=3, row=40, live_row=1, checkpoint_row=7),
    ]
    first = twenty_times(lambda: train(problem, config, jobs))
    for job in jobs:
        problem.assert_trained(job, first)


@pytest.mark.parametrize(
    ("shape", "batch", "examples"),
    [(LESSON, 100, 5000), (Shape(784, 128, 64, 10), 300, 2000), (Shape(50, 7, 20, 16), 33, 999)],
    ids=str,
)
def test_two_hundred_packed_jobs_give_the_same_bits_twenty_times(shape, batch, examples, device):
    problem, config = Problem(shape, examples, device=device), packed_tiles(shape, batch, True, capability())
    jobs = [
        problem.job(batch, 5, rate=0.05, label=1100 + row, live_row=row, checkpoint_row=5 * row)
        for row in range(200)
    ]
    first = twenty_times(lambda: train(problem, config, jobs))
    for job in (jobs[0], jobs[99], jobs[199]):
        problem.assert_trained(job, first)
        alone = train(problem, config, [replace(job, live_row=0, checkpoint_row=0)])
        assert torch.equal(alone, first[job.checkpoint_row :][:5])


def test_more_jobs_than_are_resident_are_refused(device):
    problem = Problem(LESSON, 100, device=device)
    config = config_here(LESSON, 100)
    live = problem.start.repeat(200, 1).to(device)
    trainer = trainers.CooperativeTrainer(LESSON, config, problem.images, problem.labels, live, 200)
    jobs = [problem.job(batch=100, epochs=1, live_row=row, checkpoint_row=row) for row in range(200)]
    with pytest.raises(trainers.NotResident, match="at once"):
        trainer.launch(torch.empty(200, LESSON.parameters, device=device), jobs)


def test_the_next_launch_may_be_queued_before_the_last_is_done(device):
    """Launches must not wait for the device: ten of them are queued in less time than one takes."""
    problem = Problem(LESSON, 50_000, device=device)
    config = config_here(LESSON, 100)
    live = problem.start[None].clone().to(device)
    trainer = trainers.CooperativeTrainer(LESSON, config, problem.images, problem.labels, live, 1)
    checkpoints = torch.empty(20, LESSON.parameters, device=device)
    job = problem.job(batch=100, epochs=20, rate=0.02)
    trainer.launch(checkpoints, [job])
    torch.cuda.synchronize()
    events = [torch.cuda.Event() for _ in range(10)]
    for event in events:
        trainer.launch(checkpoints, [job])
        event.record()
    assert not events[-1].query(), "a launch waited for the device"
    torch.cuda.synchronize()


SANITIZED = """
import sys
sys.path[:0] = {paths!r}
import torch
from dataclasses import replace
from test_cooperative_gpu import LESSON, capability, config_here, trained
from trainer_cases import Problem, train
from breaknet.kernels.host.tiles import packed_tiles
problem = Problem(LESSON, 250, device=torch.device("cuda"))
config, job = config_here(LESSON, 100), problem.job(batch=100, epochs=2)
problem.assert_trained(job, trained(problem, config, [job]))
problem.assert_trained(job, train(problem, config, [job]))
packed = packed_tiles(LESSON, 100, True, capability())
jobs = [replace(job, label=1100 + row, live_row=row, checkpoint_row=2 * row) for row in range(packed.networks + 1)]
found = train(problem, packed, jobs)
for one in jobs:
    problem.assert_trained(one, found)
print("trained as it should be")
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer(tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not on the path")
    here = Path(__file__).parent
    code = SANITIZED.format(paths=[str(here.parent), str(here), str(here.parents[1])])
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert "trained as it should be" in done.stdout, (done.stdout + done.stderr)[-3000:]
    if tool == "racecheck":
        assert not refused_hazards(done.stdout)
    else:
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
