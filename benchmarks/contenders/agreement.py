"""Agreement with float64, which every contender must show before it is timed: an epoch of training, evaluations."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import EvaluatorBuilder, Parameters, Problem, Trainer, TrainerBuilder, unstacked
from breaknet import reference


def exact_epochs(problem: Problem, epochs: int = 1) -> Parameters:
    """The problem's parameters after so many epochs, float64 on the CPU."""
    return reference.epochs(
        problem.start, problem.images, problem.labels,
        epochs=epochs, batch_size=problem.batch_size, learning_rate=problem.learning_rate,
    )[-1]  # fmt: skip


def assert_agrees(
    found: Mapping[str, Tensor], exact: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> None:
    """Within 1e-4 of the update, which a wrong loop misses by far and float32 keeps over a few steps."""
    for name, expected in exact.items():
        error = torch.dist(found[name].detach().double().cpu(), expected)
        update = torch.dist(expected, start[name].double().cpu())
        assert error <= 1e-4 * update, f"{name}: error {error:.1e}, update {update:.1e}"


def checked_trainer(build: TrainerBuilder, problems: Sequence[Problem], check_steps: int) -> Trainer:
    """A trainer of a few steps that has done them and agrees with float64 in every problem.

    Raises:
        AssertionError: it does not, naming the parameter.
    """
    few = [problem.first(check_steps * problem.batch_size) for problem in problems]
    trainer = build(few, 1)
    trainer.train()
    found = trainer.parameters()
    assert len(found) == len(few), f"parameters of {len(found)} networks, not {len(few)}"
    for parameters, one in zip(found, few, strict=True):
        assert_agrees(parameters, exact_epochs(one), one.start)
    return trainer


def check_evaluator(build: EvaluatorBuilder, models: Parameters, problem: Problem, images: int) -> None:
    """Evaluate models [C, ...] on the first `images` images and compare.

    Raises:
        AssertionError: an accuracy or a cost is off, naming the network.
    """
    few = problem.first(min(images, len(problem.labels)))
    assert_evaluations(*build(models, few)(), models, few)


def assert_evaluations(
    cost: np.ndarray | None, accuracy: np.ndarray, models: Parameters, problem: Problem
) -> None:
    """Costs within 1e-5 of float64's, which a plain float32 sum keeps; accuracies exact but for near ties."""
    exact = [reference.evaluation(one, problem.images, problem.labels) for one in unstacked(models)]
    assert accuracy.shape == (len(exact),), f"accuracies {accuracy.shape}, not {(len(exact),)}"
    off = np.abs(accuracy - [one.accuracy for one in exact]) - [one.near_ties for one in exact]
    assert (off <= 1e-9).all(), f"accuracy of network {off.argmax()} off by {off.max():.1e}"
    if cost is not None:
        expected = np.array([one.cost for one in exact])
        error = np.abs(cost - expected) / expected
        assert (error <= 1e-5).all(), f"cost of network {error.argmax()} off by {error.max():.1e}"
