"""The contenders that replay CUDA graphs, on a GPU: each step is right, also once another trainer's graphs are gone."""

import gc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.contenders import compiled, cuda_graph
from benchmarks.contenders.agreement import assert_agrees, exact_epochs
from benchmarks.measure import Context
from benchmarks.problem import Problem, Trainer, size_of

pytestmark = pytest.mark.gpu

#: By contender and fault what a line is replaced by.
MUTATIONS = {
    (cuda_graph, "warm-up not undone"): ("model.load_state_dict(problem.start)", "pass"),
    (cuda_graph, "the update not captured"): (
        "        captured()\n    model",
        "        cost(some_images, some_targets).backward()\n    model",
    ),
    (cuda_graph, "always the same images"): ("some_images.copy_(images[batch])", "some_images.add_(0)"),
    (cuda_graph, "always the same targets"): ("some_targets.copy_(targets[batch])", "some_targets.add_(0)"),
    (cuda_graph, "gradients added to"): (
        "\n    optimizer.zero_grad(set_to_none=True)\n    graph",
        "\n    graph",
    ),
    (cuda_graph, "gradients kept"): ("zero_grad(set_to_none=True)", "zero_grad(set_to_none=False)"),
    (compiled, "warm-up not undone"): ("model.load_state_dict(problem.start)", "pass"),
    (compiled, "gradients added to"): ("optimizer.zero_grad(set_to_none=True)", "pass"),
    (compiled, "always the same batch"): ("cost(images[batch]", "cost(images[: problem.batch_size]"),
}


def check(build: Callable[[Problem, int], Trainer]) -> None:
    """Three trainers take turns, the first goes, and the second goes on: right by float64."""
    problem = Context("cuda", size_of("quick")).training(500)
    trainers = [build(problem, 1) for _ in range(3)]
    kept = trainers[1]
    for _ in range(2):
        for one in trainers:
            one.train()
        del trainers[0], one
        gc.collect()
        torch.cuda.empty_cache()  # unmaps what was freed
    assert_agrees(kept.parameters()[0], exact_epochs(problem, 2), problem.start)


@pytest.mark.parametrize(
    "build",
    [cuda_graph.trainer, cuda_graph.network_trainer, compiled.trainer],
    ids=["module", "fused network", "compiled"],
)
def test_the_end_of_another_trainer_does_no_harm(build):
    check(build)


@pytest.mark.parametrize(("contender", "fault"), MUTATIONS)
def test_a_broken_line_is_noticed(contender, fault, tmp_path):
    old, new = MUTATIONS[contender, fault]
    source = Path(contender.__file__).read_text(encoding="utf-8")
    assert old in source, f"nothing to replace: {old!r}"
    file = tmp_path / "mutated.py"  # Dynamo looks into it
    file.write_text(source.replace(old, new), encoding="utf-8")
    mutated = ModuleType("mutated")
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), vars(mutated))
    with pytest.raises(AssertionError, match=r"error .* update"):
        check(mutated.trainer)
