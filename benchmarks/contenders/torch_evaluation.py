"""Evaluation of many checkpoints in vectorised torch: one network after another, or all first layers as one product."""

import numpy as np
import torch
from torch import nn

from benchmarks.problem import Evaluator, Parameters, Problem

#: So many images by so many checkpoints at a time, so that the outputs stay in a CPU's caches; a GPU takes more.
BLOCK = {"cpu": (1_000, 100), "cuda": (10_000, 100)}


def one_by_one(models: Parameters, problem: Problem) -> Evaluator:
    """Cost and accuracy of models [C, ...] as a tidy loop has them: all images through a module, network by network."""
    device = problem.device
    model = problem.model()
    names = list(models)
    many = zip(*(models[name].to(device) for name in names), strict=True)
    states = [dict(zip(names, values, strict=True)) for values in many]
    images, labels = problem.floats, torch.from_numpy(problem.labels).to(device)

    @torch.no_grad()
    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        cost = torch.zeros(len(states), dtype=torch.float64, device=device)
        hits = torch.zeros(len(states), dtype=torch.int64, device=device)
        targets = nn.functional.one_hot(labels, 10).float()
        for number, state in enumerate(states):
            model.load_state_dict(state)
            output = model(images)
            cost[number] = ((output - targets) ** 2).sum(dtype=torch.float64)
            hits[number] = (output.argmax(1) == labels).sum()
        return (cost / len(images)).cpu().numpy(), (hits.double() / len(images)).cpu().numpy()

    return evaluate


def wide(models: Parameters, problem: Problem) -> Evaluator:
    """The same, blocked for the caches: one product for many first layers, batched small layers."""
    device = problem.device
    block, at_once = BLOCK[device.type]
    w1, b1, w2, b2, w3, b3 = (value.to(device) for value in models.values())
    images, labels = problem.floats, torch.from_numpy(problem.labels).to(device)
    count, width = b1.shape

    @torch.no_grad()
    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        cost = torch.zeros(count, dtype=torch.float64, device=device)
        hits = torch.zeros(count, dtype=torch.int64, device=device)
        targets = nn.functional.one_hot(labels, 10).float()
        for first in range(0, count, at_once):
            some = slice(first, first + at_once)
            together = w1[some].reshape(-1, w1.shape[2]).T.contiguous()
            for low in range(0, len(images), block):
                here = slice(low, low + block)
                hidden = torch.addmm(b1[some].reshape(-1), images[here], together).sigmoid_()
                hidden = hidden.reshape(len(hidden), -1, width).transpose(0, 1)
                hidden = torch.baddbmm(b2[some, None], hidden, w2[some].transpose(1, 2)).sigmoid_()
                output = torch.baddbmm(b3[some, None], hidden, w3[some].transpose(1, 2)).sigmoid_()
                cost[some] += ((output - targets[here]) ** 2).sum((1, 2)).double()
                hits[some] += (output.argmax(2) == labels[here]).sum(1)
        return (cost / len(images)).cpu().numpy(), (hits.double() / len(images)).cpu().numpy()

    return evaluate
