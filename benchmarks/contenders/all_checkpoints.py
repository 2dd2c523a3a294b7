"""Every checkpoint on every image in one launch."""

import numpy as np
import torch

from benchmarks.problem import Evaluator, Parameters, Problem
from breaknet.kernels.evaluation import Tile, evaluate_checkpoints, image_columns
from breaknet.model import PARAMETER_NAMES


def evaluator(models: Parameters, problem: Problem, tile: Tile | None = None) -> Evaluator:
    """The checkpoints are rows on the device, as a trainer leaves them; the images are transposed once, before."""
    rows = torch.cat([models[name].flatten(1) for name in PARAMETER_NAMES], dim=1).to(problem.device)
    images, labels = problem.bytes, torch.from_numpy(problem.labels).int().to(problem.device)
    columns = image_columns(images)

    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        given = rows, images, labels, problem.hidden, 10
        cost, hits, _ = evaluate_checkpoints(*given, columns=columns, tile=tile)
        return cost.cpu().numpy() / len(labels), hits.double().cpu().numpy() / len(labels)

    return evaluate
