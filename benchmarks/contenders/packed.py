"""Rung 7: many networks in one launch, one program each, on shared images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.problem import Problem, Trainer, unstacked
from breaknet.backends.triton_gpu.packed import PackedTrainer
from breaknet.kernels.host.packed_trainer import plan
from breaknet.kernels.jobs import JobRow, Shape, pack_parameters
from breaknet.model import PARAMETER_NAMES

LESSON = Shape(784, 16, 16, 10)


def trainer(problems: Sequence[Problem], epochs: int) -> Trainer:
    first = problems[0]
    device, images = first.device, len(first.labels)
    labels = torch.from_numpy(np.concatenate([problem.labels for problem in problems])).int().to(device)
    rows = [pack_parameters([problem.start[name] for name in PARAMETER_NAMES]) for problem in problems]
    live = torch.stack(rows).to(device)
    checkpoints = torch.full((len(problems) * epochs, LESSON.parameters), float("nan"), device=device)
    launcher = PackedTrainer(LESSON, first.bytes, labels, live, first.batch_size)
    jobs = [
        JobRow(0, row * images, images, problem.batch_size, epochs, row, row * epochs, problem.learning_rate)
        for row, problem in enumerate(problems)
    ]

    def train() -> None:
        launcher.launch(checkpoints, jobs)
        first.wait()

    def parameters() -> list[dict[str, torch.Tensor]]:
        last = LESSON.unpack(checkpoints[epochs - 1 :: epochs])
        return unstacked(dict(zip(PARAMETER_NAMES, last, strict=True)))

    return Trainer(train, parameters)


def capacity(problem: Problem) -> int:
    """How many networks train at the same time: one a multiprocessor at 8 warps; 2 under the interpreter."""
    if problem.device.type != "cuda":
        return 2
    gpu = torch.cuda.get_device_properties(problem.device)
    capability = 10 * gpu.major + gpu.minor
    config = plan(
        LESSON.inputs, (LESSON.hidden1, LESSON.hidden2), LESSON.outputs, problem.batch_size, capability
    )
    if isinstance(config, str):
        raise RuntimeError(config)
    return gpu.multi_processor_count * 8 // config.num_warps
