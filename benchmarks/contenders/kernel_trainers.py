"""The GPU trainers without the backend: all steps of all epochs of one network, or of many, in one launch.

Under the interpreter the cooperative form runs as its phases, one launch each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.floors import LESSON
from benchmarks.problem import Problem, Trainer, unstacked
from breaknet.backends.triton_gpu.grouping import INTERPRETED_AT_ONCE, SPLIT_AT_ONCE, Gpu, choose
from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import PackedConfig, packed_tiles
from breaknet.kernels.host.trainers import CooperativeTrainer, SplitTrainer
from breaknet.kernels.jobs import JobRow, pack_parameters
from breaknet.model import PARAMETER_NAMES


def cooperative(problems: Sequence[Problem], epochs: int) -> Trainer:
    """One network, its steps shared by many programs. Raises BackendError where this GPU cannot hold the launch."""
    kind = CooperativeTrainer if problems[0].device.type == "cuda" else SplitTrainer
    return _launched(kind, "cooperative", problems, epochs)


def split(problems: Sequence[Problem], epochs: int) -> Trainer:
    """The cooperative trainer's tiles, three launches a step."""
    return _launched(SplitTrainer, "cooperative", problems, epochs)


def packed(problems: Sequence[Problem], epochs: int, config: PackedConfig | None = None) -> Trainer:
    """Many networks on shared images, each trained by one program alone, in the form of this GPU if none is given."""
    return _launched(PackedTrainer, "packed", problems, epochs, config=config)


def packed_forms(capability: int, batch: int) -> dict[str, PackedConfig]:
    """The forms in which the lesson's network can be packed there, by name: that which is launched comes first."""
    launched, fma = packed_tiles(LESSON, batch, True, capability), packed_tiles(LESSON, batch, True)
    assert isinstance(launched, PackedConfig)
    assert isinstance(fma, PackedConfig)
    tensor = {} if launched == fma else {f"tensor-{launched.networks}x{launched.chunk}": launched}
    return tensor | {"fma": fma}


def form_of(config: PackedConfig) -> dict[str, Any]:
    """The form of a configuration's products, for a row's conditions."""
    form = "tensor cores" if config.form == "tensor" else "FMA"
    return {"form": form, "networks_a_program": config.networks, "chunk": config.chunk}


def as_chosen(problems: Sequence[Problem], epochs: int) -> Trainer:
    """By the plan that `train_many` chooses for so many networks: what a user gets.

    Cooperatively as many train side by side as fit the GPU, the others after them.
    """
    plan, tiles = _chosen(problems[0], len(problems))
    if plan == "packed":
        return packed(problems, epochs)
    gpu = Gpu.of(problems[0].device)
    fit = (
        INTERPRETED_AT_ONCE
        if gpu is None
        else gpu.sms // tiles.programs
        if plan == "cooperative"
        else SPLIT_AT_ONCE
    )
    kind = CooperativeTrainer if gpu is not None and plan == "cooperative" else SplitTrainer
    return _launched(kind, plan, problems, epochs, fit)


def plan_of(problem: Problem, models: int) -> dict[str, Any]:
    """The plan of `as_chosen`, for a row's conditions."""
    plan, config = _chosen(problem, models)
    return {"plan": plan} | (form_of(config) if plan == "packed" else {})


def packed_form(problem: Problem, models: int) -> dict[str, Any]:
    """The form of `packed`, for a row's conditions: rows of different ones are those of different kernels."""
    return form_of(tiles(problem, "packed"))


def _chosen(problem: Problem, models: int) -> tuple[str, Any]:
    batch = min(problem.batch_size, len(problem.labels))
    return choose(LESSON, torch.uint8, batch, models, Gpu.of(problem.device), None)


def _launched(
    kind: Any,
    plan: str,
    problems: Sequence[Problem],
    epochs: int,
    at_once: int | None = None,
    config: PackedConfig | None = None,
) -> Trainer:
    """All networks in one launch, or `at_once` of them in each."""
    at_once = at_once or len(problems)
    first = problems[0]
    images = len(first.labels)
    labels = torch.from_numpy(np.concatenate([one.labels for one in problems])).int().to(first.device)
    rows = [pack_parameters([one.start[name] for name in PARAMETER_NAMES]) for one in problems]
    current = torch.stack(rows).to(first.device)
    checkpoints = torch.full((len(problems) * epochs, LESSON.parameters), float("nan"), device=first.device)
    chosen, capacity = config or tiles(first, plan), min(at_once, len(problems))
    launcher = kind(LESSON, chosen, first.bytes, labels, current, capacity)
    jobs = [
        JobRow(0, row * images, images, one.batch_size, epochs, row, row * epochs, one.learning_rate)
        for row, one in enumerate(problems)
    ]

    def train() -> None:
        for start in range(0, len(jobs), at_once):
            launcher.launch(checkpoints, jobs[start : start + at_once])
        first.wait()

    def parameters() -> list[dict[str, Tensor]]:
        last = LESSON.unpack(checkpoints[epochs - 1 :: epochs])
        return unstacked(dict(zip(PARAMETER_NAMES, last, strict=True)))

    return Trainer(train, parameters)


def tiles(problem: Problem, plan: str) -> Any:
    """The tiles that the backend takes here for one such network."""
    batch = min(problem.batch_size, len(problem.labels))
    return choose(LESSON, torch.uint8, batch, 1, Gpu.of(problem.device), plan)[1]


def packed_capacity(problem: Problem, config: PackedConfig | None = None) -> int:
    """The number of networks that train at the same time: a program an SM at 8 warps; 2 under the interpreter."""
    gpu, config = Gpu.of(problem.device), config or tiles(problem, "packed")
    return 2 if gpu is None else gpu.sms * 8 // config.num_warps * config.networks
