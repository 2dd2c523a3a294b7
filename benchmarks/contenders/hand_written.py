"""On a CPU: gradients written out in torch, without autograd, updated in place."""

import torch

from benchmarks.problem import Problem, Trainer, stepping


def trainer(problem: Problem, epochs: int) -> Trainer:
    images, targets, learning_rate = problem.floats, problem.targets, problem.learning_rate
    parameters = {name: value.clone().to(problem.device) for name, value in problem.start.items()}
    w1, b1, w2, b2, w3, b3 = parameters.values()

    @torch.no_grad()
    def step(batch: slice) -> None:
        x = images[batch]
        a1 = torch.addmm(b1, x, w1.T).sigmoid_()
        a2 = torch.addmm(b2, a1, w2.T).sigmoid_()
        a3 = torch.addmm(b3, a2, w3.T).sigmoid_()
        d3 = 2 * (a3 - targets[batch]) * a3 * (1 - a3)
        d2 = (d3 @ w3) * a2 * (1 - a2)
        d1 = (d2 @ w2) * a1 * (1 - a1)
        for weight, bias, delta, below in ((w3, b3, d3, a2), (w2, b2, d2, a1), (w1, b1, d1, x)):
            weight.addmm_(delta.T, below, alpha=-learning_rate)
            bias.sub_(delta.sum(0), alpha=learning_rate)

    return stepping(problem, epochs, step, lambda: [parameters])
