"""Every checkpoint on every image in one launch."""

import numpy as np
import torch

from benchmarks.problem import Evaluator, Parameters, Problem
from breaknet.kernels._triton import capability_of
from breaknet.kernels.evaluation import (
    TENSOR_TILES_75,
    TILES,
    Tile,
    evaluate_checkpoints,
    prepared_images,
    tile_of,
)
from breaknet.kernels.jobs import Shape
from breaknet.model import PARAMETER_NAMES


def evaluator(models: Parameters, problem: Problem, tile: Tile | None = None) -> Evaluator:
    """The checkpoints are rows on the device, as a trainer leaves them; the images are laid out once, before."""
    rows = torch.cat([models[name].flatten(1) for name in PARAMETER_NAMES], dim=1).to(problem.device)
    images, labels = problem.bytes, torch.from_numpy(problem.labels).int().to(problem.device)
    prepared = prepared_images(images, None if tile is None else tile.tensor)

    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        given = rows, images, labels, problem.hidden, 10
        cost, hits, _ = evaluate_checkpoints(*given, prepared=prepared, tile=tile)
        return cost.cpu().numpy() / len(labels), hits.double().cpu().numpy() / len(labels)

    return evaluate


def evaluator_by_fma(models: Parameters, problem: Problem) -> Evaluator:
    """The form for float32 images, on bytes."""
    return evaluator(models, problem, TILES[16])


def evaluator_in_float16(models: Parameters, problem: Problem) -> Evaluator:
    """The form of a T4, on whatever GPU this is."""
    return evaluator(models, problem, TENSOR_TILES_75[16])


def form_of(tile: Tile) -> str:
    """The form of a tile's products, for a row's conditions."""
    return {"": "FMA", "bfloat16": "tensor cores", "float16": "float16 tensor cores"}[tile.tensor]


def form(problem: Problem, models: int) -> dict[str, str]:
    """The form that is launched by default: rows of different ones are those of different kernels."""
    net = Shape(784, *problem.hidden, 10)
    return {"form": form_of(tile_of(net, torch.uint8, capability_of(problem.device)))}
