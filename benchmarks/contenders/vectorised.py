"""Rung 2: the accuracy of a network as one comparison of all images."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.contenders.contender import as_array, one_network
from benchmarks.problem import Parameters, Problem, Scorer


def scorer(models: Parameters, problem: Problem) -> Scorer:
    model = one_network(models, problem)
    images, labels = problem.floats, torch.from_numpy(problem.labels).to(problem.device)

    @torch.no_grad()
    def score() -> tuple[None, np.ndarray]:
        right = (model(images).argmax(1) == labels).sum()
        return None, as_array(int(right) / len(labels))

    return Scorer(score)
