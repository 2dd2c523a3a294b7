"""Breaknet's fused operators under autograd: layer by layer, and the whole network with its cost as one."""

import torch
from torch import nn

from benchmarks.problem import Problem, Trainer, stepping
from breaknet.kernels.fused_network import FusedNetwork
from breaknet.kernels.linear_sigmoid import LinearSigmoid
from breaknet.kernels.summed_mse import summed_mse


def trainer(problem: Problem, epochs: int) -> Trainer:
    """A fused operator a layer, and one for the cost."""
    plain = problem.model()
    layers = (plain.hidden1, plain.hidden2, plain.output)
    model = nn.Sequential(*(LinearSigmoid.from_linear(layer) for layer in layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    images, labels = problem.floats, labels_of(problem)

    def step(batch: slice) -> None:
        optimizer.zero_grad(set_to_none=True)
        summed_mse(model(images[batch]), labels[batch]).backward()
        optimizer.step()

    return stepping(problem, epochs, step, lambda: [plain.state_dict()])  # the layers share its parameters


def network_trainer(problem: Problem, epochs: int) -> Trainer:
    """One operator for all layers and the cost."""
    network = network_of(problem)
    optimizer = torch.optim.SGD(network.parameters(), lr=problem.learning_rate)
    images, labels = problem.floats, labels_of(problem)

    def step(batch: slice) -> None:
        optimizer.zero_grad(set_to_none=True)
        network(images[batch], labels[batch]).backward()
        optimizer.step()

    return stepping(problem, epochs, step, lambda: [network.state_dict()])


def network_of(problem: Problem) -> FusedNetwork:
    """The problem's network at its start, as a FusedNetwork on its device."""
    plain = problem.model()
    widths = plain.hidden1.out_features, plain.hidden2.out_features
    network = FusedNetwork(plain.hidden1.in_features, widths, plain.output.out_features).to(problem.device)
    network.load_state_dict(plain.state_dict())
    return network


def labels_of(problem: Problem) -> torch.Tensor:
    return torch.from_numpy(problem.labels).to(problem.device)
