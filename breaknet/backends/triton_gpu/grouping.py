"""Which jobs train together, in which way and on which tiles; and the trainers that do it.

A job's own sizes and the GPU fix its tiles, never its neighbours: jobs whose kind is equal share launches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BackendError
from ...kernels.host.tiles import TrainerConfig, cooperative_plan, interpreter_plan, split_plan
from ...kernels.jobs import Shape, pack_parameters
from ...model import PARAMETER_NAMES
from ..interface import Parameters, TrainingJob
from .device_data import Placed

if TYPE_CHECKING:
    from ...kernels.host.packed_trainer import PackedPlan
    from .rounds import RunningJob, Trainer

#: Packed, a network is trained by one program, about ten times as slowly as cooperatively, but all
#: multiprocessors have one: from this many full rounds of cooperative jobs on, packing is expected to win.
PACKED_FROM_ROUNDS = 10
#: Jobs side by side where only memory bounds them.
SPLIT_AT_ONCE = 16
#: Jobs side by side on the CPU, where nothing runs at the same time.
INTERPRETED_AT_ONCE = 2


@dataclass(frozen=True)
class Gpu:
    """What plans depend on."""

    capability: int
    processors: int

    @staticmethod
    def of(device: torch.device) -> Gpu | None:
        """The GPU's facts; None for the CPU under the interpreter."""
        if device.type != "cuda":
            return None
        properties = torch.cuda.get_device_properties(device)
        return Gpu(properties.major * 10 + properties.minor, properties.multi_processor_count)


@dataclass(frozen=True)
class Kind:
    """What jobs must have in common to share launches."""

    plan: str
    shape: Shape
    dtype: torch.dtype
    config: TrainerConfig | PackedPlan


@dataclass(frozen=True)
class Group:
    """The jobs of one kind, by their numbers in the caller's list."""

    kind: Kind
    numbers: tuple[int, ...]
    batch: int  # of one of the jobs
    gpu: Gpu | None

    @property
    def plan(self) -> str:
        return self.kind.plan

    @property
    def shape(self) -> Shape:
        return self.kind.shape

    def compilations(self, jobs: list[TrainingJob], device: torch.device) -> list[Callable[[], object]]:
        """What to compile before the first launch, to be run in threads; the trainer comes first."""
        from ...kernels.evaluation import evaluate_checkpoints
        from ...kernels.host.trainers import compile_cooperative, compile_split

        config, shape, dtype = self.kind.config, self.shape, self.kind.dtype
        if self.gpu is None:
            return []

        def compile_trainer() -> None:
            with torch.cuda.device(device):
                if not isinstance(config, TrainerConfig):
                    _train_nothing(shape, dtype, self.batch, device)
                elif self.plan == "cooperative":
                    compile_cooperative(shape, config, dtype)
                else:
                    compile_split(shape, config, dtype)

        def compile_evaluation(judged: torch.dtype) -> None:
            with torch.cuda.device(device):
                images, labels, rows = _blank(shape, judged, device, 17)
                evaluate_checkpoints(rows, images, labels, (shape.hidden1, shape.hidden2), shape.outputs)

        of_group = [jobs[number] for number in self.numbers]
        judged = {dtype, *(job.valid.images.dtype for job in of_group if job.valid is not None)}
        return [compile_trainer, *(partial(compile_evaluation, kind) for kind in judged)]

    def as_split(self, jobs: list[TrainingJob]) -> list[Group]:
        """The same jobs, phase-split, each on the tiles that it would have by itself."""
        by_kind: dict[Kind, list[int]] = defaultdict(list)
        for number in self.numbers:
            batch = effective_batch(jobs[number])
            by_kind[kind_of(self.shape, batch, self.kind.dtype, 1, self.gpu, "split")].append(number)
        return [replace(self, kind=kind, numbers=tuple(numbers)) for kind, numbers in by_kind.items()]

    def running(self, jobs: list[TrainingJob], placed: dict[int, Placed]) -> list[RunningJob]:
        """The group's jobs, ready to run, each with the live row of its place in the group."""
        from .rounds import RunningJob

        return [
            RunningJob(
                number=number,
                train=placed[id(jobs[number].train)],
                valid=None if jobs[number].valid is None else placed[id(jobs[number].valid)],
                epochs=jobs[number].epochs,
                batch=effective_batch(jobs[number]),
                learning_rate=jobs[number].learning_rate,
                live_row=row,
            )
            for row, number in enumerate(self.numbers)
        ]

    def trainer(
        self, jobs: list[TrainingJob], running: list[RunningJob], device: torch.device
    ) -> tuple[Trainer, int]:
        """A trainer for the group's jobs and how many of them it takes at once.

        Raises:
            NotResident: where the compiled cooperative kernel does not fit the GPU after all.
        """
        from ...kernels.host.trainers import CooperativeTrainer, SplitTrainer

        live = torch.stack([pack_parameters([job.start[name] for name in PARAMETER_NAMES]) for job in jobs])
        live = live.to(device)
        images, labels, config = running[0].train.images, running[0].train.labels, self.kind.config
        if not isinstance(config, TrainerConfig):
            from .packed import PackedTrainer

            # one program fills a multiprocessor at 8 warps
            at_once = len(jobs) if self.gpu is None else self.gpu.processors * 8 // config.num_warps
            return PackedTrainer(self.shape, images, labels, live, self.batch), at_once
        data = self.shape, config, images, labels, live
        if self.plan == "cooperative" and self.gpu is not None:
            at_once = min(len(jobs), self.gpu.processors // config.programs(self.shape))
            cooperative = CooperativeTrainer(*data, capacity=at_once)
            cooperative.probe()
            return cooperative, min(at_once, cooperative.at_once)
        at_once = min(len(jobs), INTERPRETED_AT_ONCE if self.gpu is None else SPLIT_AT_ONCE)
        return SplitTrainer(*data, capacity=at_once), at_once


def grouped(jobs: list[TrainingJob], device: torch.device, plan: str | None) -> list[Group]:
    """The jobs by kind.

    Without a named plan, networks of one shape are packed where they are many. Few are trained cooperatively where
    the grid fits the GPU and phase-split where it does not.

    Raises:
        BackendError: the named plan cannot take some job.
    """
    gpu = Gpu.of(device)
    alike = Counter((shape_of(job), job.train.images.dtype) for job in jobs)
    by_kind: dict[Kind, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        shape, dtype = shape_of(job), job.train.images.dtype
        by_kind[kind_of(shape, effective_batch(job), dtype, alike[shape, dtype], gpu, plan)].append(number)
    return [
        Group(kind, tuple(numbers), effective_batch(jobs[numbers[0]]), gpu)
        for kind, numbers in by_kind.items()
    ]


def kind_of(
    shape: Shape, batch: int, dtype: torch.dtype, alike: int, gpu: Gpu | None, plan: str | None
) -> Kind:
    """How one job is trained; `alike` is how many jobs have its network and kind of images.

    Raises:
        BackendError: `plan` is named and cannot take it.
    """
    wanted: tuple[str, ...]
    if plan is not None:
        wanted = (plan,)
    else:
        tiles = _config("cooperative", shape, batch, dtype, gpu)
        fit = 1 if not isinstance(tiles, TrainerConfig) else _side_by_side(tiles, shape, gpu)
        wanted = ("cooperative", "split") if alike < PACKED_FROM_ROUNDS * fit else ("packed", "split")
    reason = ""
    for candidate in wanted:
        config = _config(candidate, shape, batch, dtype, gpu)
        if not isinstance(config, str):
            return Kind(candidate, shape, dtype, config)
        reason = config
    raise BackendError(f"plan {wanted[-1]!r} cannot take this: {reason}")


def _side_by_side(config: TrainerConfig, shape: Shape, gpu: Gpu | None) -> int:
    return INTERPRETED_AT_ONCE if gpu is None else gpu.processors // config.programs(shape)


def _config(
    plan: str, shape: Shape, batch: int, dtype: torch.dtype, gpu: Gpu | None
) -> TrainerConfig | PackedPlan | str:
    if plan == "packed":
        from ...kernels.host.packed_trainer import plan as packed_plan

        hidden = (shape.hidden1, shape.hidden2)
        capability = 75 if gpu is None else gpu.capability
        return packed_plan(
            shape.inputs, hidden, shape.outputs, batch, capability, byte_images=dtype == torch.uint8
        )
    if gpu is None:
        return interpreter_plan(shape, batch)
    if plan == "cooperative":
        return cooperative_plan(shape, batch, gpu.capability, gpu.processors)
    return split_plan(shape, batch, gpu.capability)


def _blank(
    shape: Shape, dtype: torch.dtype, device: torch.device, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`count` images, their labels and as many rows of parameters as nothing is compiled specially for, all zero."""
    return (
        torch.zeros(count, shape.inputs, dtype=dtype, device=device),
        torch.zeros(count, dtype=torch.int32, device=device),
        torch.zeros(17, shape.parameters, device=device),
    )


def _train_nothing(shape: Shape, dtype: torch.dtype, batch: int, device: torch.device) -> None:
    """A packed launch of no epochs, for which its kernel is compiled."""
    from .packed import PackedTrainer

    images, labels, rows = _blank(shape, dtype, device, batch)
    PackedTrainer(shape, images, labels, rows, batch).launch(rows, [])


def effective_batch(job: TrainingJob) -> int:
    """The rows of its largest batch: no more than it has examples."""
    return min(job.batch_size, len(job.train))


def shape_of(job: TrainingJob) -> Shape:
    """The job's network."""
    weights = (job.start["hidden1.weight"], job.start["hidden2.weight"], job.start["output.weight"])
    return Shape(weights[0].shape[1], weights[0].shape[0], weights[1].shape[0], weights[2].shape[0])


def shape_of_parameters(stacked: Parameters) -> Shape:
    """The network of stacked parameters [C, ...]."""
    hidden1, hidden2, outputs = (
        stacked[f"{layer}.bias"].shape[1] for layer in ("hidden1", "hidden2", "output")
    )
    return Shape(stacked["hidden1.weight"].shape[2], hidden1, hidden2, outputs)
