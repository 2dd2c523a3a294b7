"""A tidy nn.Module loop. The data is one tensor on the device, a batch a slice of it."""

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer, stepping


def trainer(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, targets = problem.floats, problem.targets

    def step(batch: slice) -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(model(images[batch]), targets[batch], reduction="sum").backward()
        optimizer.step()

    return stepping(problem, epochs, step, lambda: [model.state_dict()])
