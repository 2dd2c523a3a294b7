"""Launches of one phase-split trainer that differ in all that a CUDA graph must not remember; mutation tests.

Under the interpreter a trainer takes its steps one by one. On a GPU, and on the fake one of `make test-compiled`, it
captures graphs and replays them.
"""

import importlib
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor
from trainer_cases import Problem

from breaknet.kernels.host.tiles import tile_config
from breaknet.kernels.jobs import JobRow, Shape

SHAPE = Shape(13, 5, 6, 3)
WRONG = "error|not finite|current parameters|graphs|captur"

TABLE = "self._table[:count].copy_(table)"
KEY = "key = (checkpoints.data_ptr(), jobs, steps)"
STEP = "            self._step(checkpoints, jobs)\n            graph"
STEPS = "for _ in range(steps):\n                    self"
#: Faults that any launch shows, and those of graphs.
MUTATIONS = {
    "step not reset": ("self._counters.zero_()", "pass"),
    "table not copied": (TABLE, "pass"),  # the interpreter warns of dividing by its zeros
    "always the first table": (TABLE, f"self._table.any() or {TABLE}"),
    "rates not copied": ("self._rates[:count].copy_(rates)", "pass"),
}
GRAPH_MUTATIONS = {
    "another table": (TABLE, "self._table = table"),
    "always the same checkpoints": (KEY, "key = (jobs, steps)"),
    "jobs of another launch": (KEY, "key = (checkpoints.data_ptr(), steps)"),
    "steps of another launch": (KEY, "key = (checkpoints.data_ptr(), jobs)"),
    "loaded in a capture": (STEP, "            graph"),
    "a step captured too few": (STEPS, STEPS.replace("(steps)", "(steps - 1)")),
    "a replay too few": ("range(-(-steps // held))", "range(steps // held)"),
    "no capture": (
        "            with torch.cuda.graph(",
        "            with (lambda *_, **__: torch.no_grad())(",
    ),
}


def check(module: ModuleType, device: torch.device) -> None:
    """One trainer's launches, each against float64."""
    module.GRAPH_STEPS = 2
    problem = Problem(SHAPE, 10, device=device)
    checkpoints = [torch.empty(6, SHAPE.parameters, device=device) for _ in range(2)]
    live = torch.empty(2, SHAPE.parameters, device=device)
    trainer = module.SplitTrainer(
        SHAPE, tile_config(SHAPE, 16, 16), problem.images, problem.labels, live, capacity=2
    )
    short = problem.job(batch=16, epochs=1, rate=0.5)  # one step
    long = problem.job(batch=4, epochs=1, rate=0.2)  # three
    odd = problem.job(batch=9, epochs=3, rate=0.3, row=2, live_row=1, checkpoint_row=2)  # three again
    captured = 0
    for into, jobs, captures in (
        (0, [short], 1),
        (0, [replace(short, learning_rate=0.1, checkpoint_row=5)], 0),
        (0, [long], 1),
        (0, [replace(short, live_row=1, checkpoint_row=5), replace(odd, live_row=0)], 1),
        (0, [odd], 0),
        (1, [odd], 1),
        (0, [replace(long, epochs=0)], 0),
    ):
        live.copy_(problem.start)
        checkpoints[into].fill_(float("nan"))
        trainer.launch(checkpoints[into], jobs)
        assert_written(problem, jobs, checkpoints[into].cpu(), live.cpu())
        captured += captures
        assert len(trainer._graphs) == (captured if device.type == "cuda" else 0), "graphs"


def assert_written(problem: Problem, jobs: list[JobRow], checkpoints: Tensor, live: Tensor) -> None:
    """The jobs' checkpoints and current parameters by float64, all others untouched."""
    expected = problem.start.repeat(len(live), 1)
    others = set(range(len(checkpoints)))
    for job in jobs:
        problem.assert_trained(job, checkpoints)
        others -= set(range(job.checkpoint_row, job.checkpoint_row + job.epochs))
        if job.epochs:
            expected[job.live_row] = checkpoints[job.checkpoint_row + job.epochs - 1]
    assert torch.equal(live, expected), "current parameters"
    assert bool(checkpoints[sorted(others)].isnan().all()), "checkpoints of nobody"


def module_of(package: str) -> ModuleType:
    return importlib.import_module(f"{package}.host.trainers")


def test_every_launch_is_right(device, mutated):
    check(module_of(mutated("trainers", "", "")), device)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("fault", [*MUTATIONS, *GRAPH_MUTATIONS])
def test_a_broken_line_is_noticed(fault, device, mutated):
    if fault in GRAPH_MUTATIONS and device.type == "cpu":
        pytest.skip("graphs need a GPU, or the fake one")
    module = module_of(mutated("trainers", *(MUTATIONS | GRAPH_MUTATIONS)[fault]))
    with pytest.raises((AssertionError, RuntimeError), match=WRONG):
        check(module, device)
