"""Breaknet's fused operators under autograd: linear + sigmoid a layer, summed squared error from labels."""

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer, stepping
from breaknet.kernels.linear_sigmoid import LinearSigmoid
from breaknet.kernels.summed_mse import summed_mse


def trainer(problem: Problem, epochs: int) -> Trainer:
    plain = problem.model()
    layers = (plain.hidden1, plain.hidden2, plain.output)
    model = nn.Sequential(*(LinearSigmoid.from_linear(layer) for layer in layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images = problem.floats
    labels = torch.from_numpy(problem.labels).to(problem.device)

    def step(batch: slice) -> None:
        optimizer.zero_grad(set_to_none=True)
        summed_mse(model(images[batch]), labels[batch]).backward()
        optimizer.step()

    return stepping(problem, epochs, step, lambda: [plain.state_dict()])  # the layers share its parameters
