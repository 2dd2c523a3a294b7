"""Breaknet's fused operators under autograd: linear + sigmoid a layer, summed squared error from labels."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer
from breaknet.kernels.linear_sigmoid import LinearSigmoid
from breaknet.kernels.summed_mse import summed_mse


def trainer(problem: Problem, epochs: int) -> Trainer:
    plain = problem.model()
    layers = (plain.hidden1, plain.hidden2, plain.output)
    model = nn.Sequential(*(LinearSigmoid.from_linear(layer) for layer in layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, batch = problem.floats, problem.batch_size
    labels = torch.from_numpy(problem.labels).to(problem.device)

    def train() -> None:
        for _ in range(epochs):
            for low in range(0, len(images), batch):
                optimizer.zero_grad(set_to_none=True)
                summed_mse(model(images[low : low + batch]), labels[low : low + batch]).backward()
                optimizer.step()
        problem.wait()

    return Trainer(train, lambda: [plain.state_dict()])  # the layers share its parameters
