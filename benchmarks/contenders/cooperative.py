"""Rung 6: all steps of all epochs in one cooperative launch. Under the interpreter, its phase-split form."""

from __future__ import annotations

import torch

from benchmarks.problem import Problem, Trainer
from breaknet.kernels.host.tiles import TrainerConfig, cooperative_plan, interpreter_plan
from breaknet.kernels.host.trainers import CooperativeTrainer, SplitTrainer
from breaknet.kernels.jobs import JobRow, Shape, pack_parameters
from breaknet.model import PARAMETER_NAMES

LESSON = Shape(784, 16, 16, 10)


def trainer(problem: Problem, epochs: int) -> Trainer:
    """Raises RuntimeError where this GPU cannot hold the launch."""
    device, batch = problem.device, problem.batch_size
    labels = torch.from_numpy(problem.labels).int().to(device)
    live = pack_parameters([problem.start[name] for name in PARAMETER_NAMES])[None].to(device)
    checkpoints = torch.full((epochs, LESSON.parameters), float("nan"), device=device)
    form = CooperativeTrainer if device.type == "cuda" else SplitTrainer
    launcher = form(LESSON, config_for(problem), problem.bytes, labels, live, capacity=1)
    job = JobRow(0, 0, len(labels), batch, epochs, 0, 0, problem.learning_rate)

    def train() -> None:
        launcher.launch(checkpoints, [job])
        problem.wait()

    return Trainer(train, lambda: [dict(zip(PARAMETER_NAMES, LESSON.unpack(checkpoints[-1]), strict=True))])


def config_for(problem: Problem) -> TrainerConfig:
    """The tiles that the backend would take here."""
    if problem.device.type == "cuda":
        gpu = torch.cuda.get_device_properties(problem.device)
        capability = 10 * gpu.major + gpu.minor
        config = cooperative_plan(LESSON, problem.batch_size, capability, gpu.multi_processor_count)
    else:
        config = interpreter_plan(LESSON, problem.batch_size)
    if isinstance(config, str):
        raise RuntimeError(config)
    return config
