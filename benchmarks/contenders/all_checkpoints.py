"""Rung 8: every checkpoint on every image in one launch."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.problem import Parameters, Problem, Scorer
from breaknet.kernels.evaluation import evaluate_checkpoints, image_columns
from breaknet.model import PARAMETER_NAMES


def scorer(models: Parameters, problem: Problem) -> Scorer:
    """The checkpoints are rows on the device, as a trainer leaves them; the images are turned before, once for all."""
    rows = torch.cat([models[name].flatten(1) for name in PARAMETER_NAMES], dim=1).to(problem.device)
    images, labels = problem.bytes, torch.from_numpy(problem.labels).int().to(problem.device)
    columns = image_columns(images)

    def score() -> tuple[np.ndarray, np.ndarray]:
        cost, hits, _ = evaluate_checkpoints(rows, images, labels, problem.hidden, 10, columns=columns)
        return cost.cpu().numpy() / len(labels), hits.double().cpu().numpy() / len(labels)

    return Scorer(score)
