"""The rung that replays a CUDA graph, on a stand-in for CUDA graphs; with a line of it broken the check must fail."""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from graph_stand_in import GraphStandIn, Refused

from benchmarks.contenders import cuda_graph
from benchmarks.contenders.agreement import assert_agrees, exact_epoch
from benchmarks.contenders.contender import checked_trainer, single
from benchmarks.lab import Lab
from benchmarks.problem import Problem, Trainer
from benchmarks.sizes import size_of

STEPS, EPOCHS = 3, 2
WRONG = (AssertionError, "error .* update")  # as the float64 check says it

SABOTAGES = {
    "warm-up not undone": ("    model.load_state_dict(problem.start)  # into", "    # into", *WRONG),
    "the update not captured": (
        "        step()\n    model",
        "        nn.functional.mse_loss(model(some_images), some_targets, reduction='sum').backward()\n    model",
        *WRONG,
    ),
    "always the same images": ("some_images.copy_(images[low : low + batch])", "some_images.add_(0)", *WRONG),
    "always the same targets": ("some_targets.copy_(targets[low : low + batch])", "some_targets.add_(0)", *WRONG),
    "gradients added to": ("\n    optimizer.zero_grad(set_to_none=True)\n    graph", "\n    graph", *WRONG),
    "gradients kept": ("zero_grad(set_to_none=True)", "zero_grad(set_to_none=False)", *WRONG),
    "the data written to": ("images[:batch].clone()", "images[:batch]", AssertionError, "written to"),
    # without whoever reads or writes them outside the graph these tensors are freed
    "parameters freed": ("problem.start)  # into", "problem.start, assign=True)  # into", Refused, "been freed"),
    "images freed": ("some_images.copy_(images[low : low + batch])", "pass", Refused, "been freed"),
    "targets freed": ("some_targets.copy_(targets[low : low + batch])", "pass", Refused, "been freed"),
    "no warm-up": ("WARM_UP = 3", "WARM_UP = 0", Refused, "first time"),
    "a host read": ("optimizer.step()", "optimizer.step(); float(images[0, 0])", Refused, "not permitted"),
    "streams not in order": ("    aside.wait_stream", "    (lambda stream: None)", Refused, "two streams"),
    "torch's capture stream": (", stream=torch.cuda.Stream(problem.device)", "", Refused, "workspace"),
}  # fmt: skip


def check(rung: ModuleType) -> None:
    """As a session of measuring does: a trainer of a few steps is checked and dropped, another goes on training."""
    batch = size_of("rehearse").batch_size
    problem = Lab("cpu", size_of("rehearse")).training(STEPS * batch)
    floats, targets = problem.floats.clone(), problem.targets.clone()
    with GraphStandIn() as gpu:
        few = checked_trainer(single(rung.trainer), [problem], STEPS - 1)
        trainer = rung.trainer(problem, EPOCHS)
        del few
        gc.collect()
        prepared = gpu.launches, gpu.replays
        trainer.train()
        trained = gpu.launches, gpu.replays
        trainer.train()
    assert torch.equal(problem.floats, floats), "the images were written to"
    assert torch.equal(problem.targets, targets), "the targets were written to"
    assert_trained(problem, trainer, 2 * EPOCHS)
    launches, replays = (after - before for before, after in zip(prepared, trained, strict=True))
    assert (launches, replays) == (2 * STEPS * EPOCHS, STEPS * EPOCHS), "two copies and a replay are a step"
    assert gpu.captures == 2, "a trainer captures once"


def assert_trained(problem: Problem, trainer: Trainer, epochs: int) -> None:
    (found,) = trainer.parameters()
    exact: dict[str, np.ndarray] = {name: value.numpy() for name, value in problem.start.items()}
    for _ in range(epochs):
        before = {name: torch.from_numpy(value) for name, value in exact.items()}
        exact = exact_epoch(problem.images, problem.labels, before, problem.batch_size, problem.learning_rate)
    assert_agrees(found, exact, problem.start)


def sabotaged(old: str, new: str) -> ModuleType:
    """The rung with `old` replaced by `new` everywhere."""
    source = Path(cuda_graph.__file__).read_text(encoding="utf-8")
    assert old in source, f"nothing to sabotage: {old!r}"
    rung = ModuleType("sabotaged_cuda_graph")
    exec(compile(source.replace(old, new), "sabotaged_cuda_graph.py", "exec"), vars(rung))
    return rung


@pytest.mark.parametrize("foreach", [True, False])
def test_the_replayed_step_is_right_again_and_again(foreach, monkeypatch):
    # on a GPU torch updates all parameters in one launch, on a CPU one by one
    devices = ["cpu"] if foreach else []
    optimizer = import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimizer, "_get_foreach_kernels_supported_devices", lambda: devices)
    check(cuda_graph)


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_line_is_noticed(name):
    old, new, error, words = SABOTAGES[name]
    with pytest.raises(error, match=words):
        check(sabotaged(old, new))


@pytest.mark.gpu
def test_on_a_gpu_the_end_of_another_graph_does_no_harm():
    problem = Lab("cuda", size_of("quick")).training(500)
    trainers = [cuda_graph.trainer(problem, EPOCHS) for _ in range(3)]
    trainers[0].train()
    trainer = trainers[1]
    del trainers
    gc.collect()
    torch.cuda.empty_cache()  # unmaps what was freed
    trainer.train()
    assert_trained(problem, trainer, EPOCHS)
