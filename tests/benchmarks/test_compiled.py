"""The rung that torch.compile puts into CUDA graphs, on a stand-in for them; broken lines must be noticed.

What Inductor compiles for a CPU is checked in test_ladder_rungs.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.contenders import compiled
from benchmarks.contenders.agreement import assert_agrees, exact_epoch
from benchmarks.lab import Lab
from benchmarks.problem import Problem
from benchmarks.sizes import size_of

STEPS = 3
WRONG = "error .* update"  # as the float64 check says it

SABOTAGES = {
    "warm-up not undone": ("    model.load_state_dict(problem.start)\n", "", WRONG),
    "gradients added to": ("        optimizer.zero_grad(set_to_none=True)\n", "", WRONG),
    "gradients kept": ("zero_grad(set_to_none=True)", "zero_grad(set_to_none=False)", WRONG),
    "a step marked in its middle": (
        "        cost(images[low : low + batch], targets[low : low + batch]).backward()",
        "        found = cost(images[low : low + batch], targets[low : low + batch])\n"
        "        torch.compiler.cudagraph_mark_step_begin()\n"
        "        found.backward()",
        WRONG,
    ),
    "always the same batch": ("cost(images[low : low + batch]", "cost(images[:batch]", WRONG),
    "other parameters than warm": ("(problem.start)\n", "(problem.start, assign=True)\n", WRONG),
    "too short a warm-up": ("range(3)", "range(1)", "was recorded"),
    "compiled for any size": (", dynamic=False", "", "more than one size"),
}


@pytest.fixture(autouse=True)
def _needs_dynamo():
    if not torch._dynamo.eval_frame.is_dynamo_supported():
        pytest.skip("torch.compile does not know this Python")


def check(rung: ModuleType) -> None:
    """Two trainers at once, then two of another size, as sessions of measuring have them."""
    from graph_trees_stand_in import GraphTreesStandIn

    sizes = [replace(size_of("rehearse"), batch_size=batch) for batch in (10, 20)]
    with GraphTreesStandIn() as trees:
        for number, size in enumerate(sizes, start=1):
            problem = Lab("cpu", size).training(STEPS * size.batch_size)
            for trainer in [rung.trainer(problem, 2) for _ in range(2)]:
                recordings, replays = trees.recordings, trees.replays
                trainer.train()
                (found,) = trainer.parameters()
                assert_agrees(found, two_epochs(problem), problem.start)
                assert trees.recordings == recordings, "something was recorded in what is timed"
                assert trees.replays - replays == 2 * 2 * STEPS, "two replays are a step"
            assert not trees.dynamic, "compiled for more than one size"
            assert trees.compiled == 2 * number, "the passes of a size are compiled once"


def two_epochs(problem: Problem):
    start, how = problem.start, (problem.batch_size, problem.learning_rate)
    first = exact_epoch(problem.images, problem.labels, start, *how)
    first = {name: torch.from_numpy(value) for name, value in first.items()}
    return exact_epoch(problem.images, problem.labels, first, *how)


def sabotaged(folder: Path, old: str, new: str) -> ModuleType:
    """The rung with `old` replaced by `new`, in a file, which Dynamo looks into."""
    source = Path(compiled.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"nothing to sabotage: {old!r}"
    file = folder / "sabotaged_compiled.py"
    file.write_text(source.replace(old, new), encoding="utf-8")
    rung = ModuleType("sabotaged_compiled")
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), vars(rung))
    return rung


def test_compiled_steps_are_right_and_all_replayed():
    check(compiled)


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_line_is_noticed(name, tmp_path):
    old, new, words = SABOTAGES[name]
    with pytest.raises(AssertionError, match=words):
        check(sabotaged(tmp_path, old, new))


@pytest.mark.gpu
def test_on_a_gpu_one_trainer_does_not_disturb_another():
    problem = Lab("cuda", size_of("quick")).training(500)
    trainers = [compiled.trainer(problem, 1) for _ in range(3)]
    trainer = trainers[1]
    for _ in range(2):
        for one in trainers:
            one.train()
        del trainers[0], one
        gc.collect()
    (found,) = trainer.parameters()
    assert_agrees(found, two_epochs(problem), problem.start)
