"""The GPU trainers without the backend: all steps of all epochs of one network, or of many, in one launch.

Under the interpreter the cooperative form runs as its phases, one launch each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Problem, Trainer, unstacked
from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import (
    PackedConfig,
    TileConfig,
    cooperative_tiles,
    interpreter_tiles,
    packed_tiles,
)
from breaknet.kernels.host.trainers import CooperativeTrainer, SplitTrainer
from breaknet.kernels.jobs import JobRow, Shape, pack_parameters
from breaknet.model import PARAMETER_NAMES

LESSON = Shape(784, 16, 16, 10)


def cooperative(problem: Problem, epochs: int) -> Trainer:
    """One network, its steps shared by many programs. Raises RuntimeError where this GPU cannot hold the launch."""
    return (
        split(problem, epochs)
        if problem.device.type != "cuda"
        else _sliced(CooperativeTrainer, problem, epochs)
    )


def split(problem: Problem, epochs: int) -> Trainer:
    """The cooperative trainer's tiles, three launches a step."""
    return _sliced(SplitTrainer, problem, epochs)


def packed(problems: Sequence[Problem], epochs: int) -> Trainer:
    """Many networks on shared images, one program each."""

    def launcher(images: Tensor, labels: Tensor, current: Tensor) -> Any:
        return PackedTrainer(LESSON, packed_config(problems[0]), images, labels, current, len(problems))

    return _launched(launcher, problems, epochs)


def _sliced(form: type[CooperativeTrainer] | type[SplitTrainer], problem: Problem, epochs: int) -> Trainer:
    def launcher(images: Tensor, labels: Tensor, current: Tensor) -> Any:
        return form(LESSON, cooperative_config(problem), images, labels, current, capacity=1)

    return _launched(launcher, [problem], epochs)


def _launched(
    make: Callable[[Tensor, Tensor, Tensor], Any], problems: Sequence[Problem], epochs: int
) -> Trainer:
    """`make(images, labels, current parameters)` gives a launcher, all tensors on the device."""
    first = problems[0]
    images = len(first.labels)
    labels = torch.from_numpy(np.concatenate([one.labels for one in problems])).int().to(first.device)
    rows = [pack_parameters([one.start[name] for name in PARAMETER_NAMES]) for one in problems]
    current = torch.stack(rows).to(first.device)
    checkpoints = torch.full((len(problems) * epochs, LESSON.parameters), float("nan"), device=first.device)
    launcher = make(first.bytes, labels, current)
    jobs = [
        JobRow(0, row * images, images, one.batch_size, epochs, row, row * epochs, one.learning_rate)
        for row, one in enumerate(problems)
    ]

    def train() -> None:
        launcher.launch(checkpoints, jobs)
        first.wait()

    def parameters() -> list[dict[str, Tensor]]:
        last = LESSON.unpack(checkpoints[epochs - 1 :: epochs])
        return unstacked(dict(zip(PARAMETER_NAMES, last, strict=True)))

    return Trainer(train, parameters)


def cooperative_config(problem: Problem) -> TileConfig:
    """The tiles that the backend would take here."""
    if problem.device.type == "cuda":
        gpu = torch.cuda.get_device_properties(problem.device)
        capability = 10 * gpu.major + gpu.minor
        config = cooperative_tiles(LESSON, problem.batch_size, capability, gpu.multi_processor_count)
    else:
        config = interpreter_tiles(LESSON, problem.batch_size)
    if isinstance(config, str):
        raise RuntimeError(config)
    return config


def packed_capacity(problem: Problem) -> int:
    """The number of networks that train at the same time: one an SM at 8 warps; 2 under the interpreter."""
    if problem.device.type != "cuda":
        return 2
    gpu = torch.cuda.get_device_properties(problem.device)
    return gpu.multi_processor_count * 8 // packed_config(problem).num_warps


def packed_config(problem: Problem) -> PackedConfig:
    """The tiles that the backend would take."""
    config = packed_tiles(LESSON, min(problem.batch_size, len(problem.labels)), byte_images=True)
    if isinstance(config, str):
        raise RuntimeError(config)
    return config
