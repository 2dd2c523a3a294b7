"""The phase-split trainer's CUDA graphs, on a stand-in for them; with a line broken the check must fail."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from graph_stand_in import GraphStandIn, Refused
from torch import Tensor
from trainer_cases import Problem

from breaknet.kernels._triton import interpreted
from breaknet.kernels.host import trainers
from breaknet.kernels.host.tiles import tile_config
from breaknet.kernels.jobs import JobRow, Shape

pytestmark = pytest.mark.skipif(not interpreted(), reason="kernels on CPU tensors, by Triton's interpreter")

SHAPE = Shape(13, 5, 6, 3)
HELD = 2  # steps of a graph

WRONG = (AssertionError, "error|not finite|live row")  # as the float64 check says it
TABLE = "self._table[:count].copy_(table)"
KEY = "key = (checkpoints.data_ptr(), jobs, steps)"
STEP = "            self._step(checkpoints, jobs)\n            graph"
CAPTURED = "    for _ in range(steps - 1):\n                    self"
GRAPH = "            with torch.cuda.graph("
SABOTAGES = {
    "clock not reset": ("self._clock.zero_()", "pass", *WRONG),
    "table not copied": (TABLE, "pass", *WRONG),  # the interpreter warns of dividing by its zeros
    "the first table for ever": (TABLE, f"self._table.any() or {TABLE}", *WRONG),
    "another table": (TABLE, "self._table = table", Refused, "been freed"),
    "rates not copied": ("self._rates[:count].copy_(rates)", "pass", *WRONG),
    "the same checkpoints for ever": (KEY, "key = (jobs, steps)", *WRONG),
    "jobs of another launch": (KEY, "key = (checkpoints.data_ptr(), steps)", *WRONG),
    "steps of another launch": (KEY, "key = (checkpoints.data_ptr(), jobs)", *WRONG),
    "loaded in a capture": (STEP, "            graph", Refused, "first time"),
    "a step captured too few": ("    for _ in range(steps):\n                    self", CAPTURED, *WRONG),
    "a replay too few": ("range(-(-steps // held))", "range(steps // held)", *WRONG),
    "no capture": (GRAPH, "            with (lambda *_, **__: torch.no_grad())(", Refused, "no capture"),
    "another device's stream": (", stream=torch.cuda.Stream(self.device)", "", Refused, "a stream of cuda:1"),
}  # fmt: skip


def check(launch: ModuleType) -> None:
    """One trainer's launches, which differ in all that a graph must not remember, each against float64."""
    config = tile_config(SHAPE, 16, 16)
    problem = Problem(SHAPE, 10)
    checkpoints = [torch.empty(6, SHAPE.parameters) for _ in range(2)]
    live = torch.empty(2, SHAPE.parameters)
    with GraphStandIn() as gpu:
        launch.split_training_kernel = gpu.kernel(launch.split_training_kernel)
        launch.GRAPH_STEPS = HELD
        launch.SplitTrainer.graphed = True
        with torch.cuda.device("cuda:1"):  # someone else's
            nothing = torch.cuda.CUDAGraph()
            with torch.cuda.graph(nothing):
                pass
        trainer = launch.SplitTrainer(SHAPE, config, problem.images, problem.labels, live, capacity=2)
        for number, (into, jobs, captures) in enumerate(launches(problem)):
            print(f"launch {number}: {jobs}")
            live.copy_(problem.start)
            checkpoints[into].fill_(float("nan"))
            gc.collect()  # the interpreter leaves cycles that keep tensors alive
            before = gpu.captures
            trainer.launch(checkpoints[into], jobs)
            assert_written(problem, jobs, checkpoints[into], live)
            assert gpu.captures - before == captures, "captures"


def launches(problem: Problem) -> list[tuple[int, list[JobRow], int]]:
    """For each launch the number of its checkpoints, its jobs, and the graphs that it has to capture."""
    short = problem.job(batch=16, epochs=1, rate=0.5)  # one step
    long = problem.job(batch=4, epochs=1, rate=0.2)  # three
    odd = problem.job(batch=9, epochs=3, rate=0.3, row=2, live_row=1, checkpoint_row=2)  # three again
    return [
        (0, [short], 1),
        (0, [replace(short, learning_rate=0.1, checkpoint_row=5)], 0),
        (0, [long], 1),
        (0, [replace(short, live_row=1, checkpoint_row=5), replace(odd, live_row=0)], 1),
        (0, [odd], 0),
        (1, [odd], 1),
        (0, [replace(long, epochs=0)], 0),
    ]


def assert_written(problem: Problem, jobs: list[JobRow], checkpoints: Tensor, live: Tensor) -> None:
    """The jobs' checkpoints and live rows by float64, all others untouched."""
    expected = problem.start.repeat(len(live), 1)
    others = set(range(len(checkpoints)))
    for job in jobs:
        problem.assert_trained(job, checkpoints)
        others -= set(range(job.checkpoint_row, job.checkpoint_row + job.epochs))
        if job.epochs:
            expected[job.live_row] = checkpoints[job.checkpoint_row + job.epochs - 1]
    assert torch.equal(live, expected), "live rows"
    assert bool(checkpoints[sorted(others)].isnan().all()), "checkpoints of nobody"


def copy_of(old: str = "", new: str = "") -> ModuleType:
    """A copy of the launches' module in which `old` reads `new`."""
    source = Path(trainers.__file__).read_text(encoding="utf-8")
    assert old in source, f"nothing to sabotage: {old!r}"
    launch = ModuleType("sabotaged_training_launch")
    exec(compile(source.replace(old, new), "sabotaged_training_launch.py", "exec"), vars(launch))
    return launch


def test_replayed_graphs_train_every_launch_right():
    check(copy_of())


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_line_is_noticed(name):
    old, new, error, words = SABOTAGES[name]
    with pytest.raises(error, match=words):
        check(copy_of(old, new))


def test_only_the_interpreter_takes_steps_one_by_one():
    problem = Problem(SHAPE, 10)
    config, live = tile_config(SHAPE, 16, 16), problem.start[None].clone()
    trainer = trainers.SplitTrainer(SHAPE, config, problem.images, problem.labels, live, 1)
    assert not trainer.graphed
    trainer.device = torch.device("cuda", 0)
    assert trainer.graphed
