"""A tidy nn.Module loop. The data is one tensor on the device, a batch a slice of it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer


def trainer(problem: Problem, epochs: int) -> Trainer:
    model = problem.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, targets, batch = problem.floats, problem.targets, problem.batch_size

    def train() -> None:
        for _ in range(epochs):
            for low in range(0, len(images), batch):
                optimizer.zero_grad(set_to_none=True)
                output = model(images[low : low + batch])
                nn.functional.mse_loss(output, targets[low : low + batch], reduction="sum").backward()
                optimizer.step()
        problem.wait()

    return Trainer(train, lambda: [model.state_dict()])
