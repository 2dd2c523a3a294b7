"""Which jobs share launches: by plan, network, kind of images and tiles; and the trainer of each group.

Of a packed launch those of the same images, batch and epochs stand side by side, so that they can share programs.

A job's own sizes and the GPU fix its tiles, never its neighbours: jobs that agree in all of these share launches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ...errors import BackendError
from ...kernels.host.tiles import (
    PackedConfig,
    TileConfig,
    cooperative_tiles,
    interpreter_tiles,
    packed_tiles,
    split_tiles,
)
from ...kernels.jobs import Shape, pack_parameters
from ...model import PARAMETER_NAMES
from ..interface import TrainingJob

if TYPE_CHECKING:
    from ...kernels.host.trainers import Trainer
    from .rounds import DeviceData

#: From how many full rounds of cooperative jobs on packing wins: a step of a program takes as long as these. On an
#: H200 a round of two jobs took 6.14 us a step and a program by FMAs 50 us. On tensor cores prototypes took 31 us for
#: one network, 40 for two and 73 for four; one in a program with room for four, as just above the threshold, is not
#: measured and taken to be no slower than by FMAs.
PACKED_FROM_ROUNDS = 9
#: The same on sm_75, of half the lanes: predicted by the benchmarks' model of a T4, 114 us and 6.9 us.
PACKED_FROM_ROUNDS_SM_75 = 17
#: Jobs side by side where only memory bounds them.
SPLIT_AT_ONCE = 16
#: Jobs side by side on the CPU, where nothing runs at the same time.
INTERPRETED_AT_ONCE = 2


@dataclass(frozen=True)
class Gpu:
    """The facts of a GPU that plans depend on."""

    capability: int
    sms: int

    @staticmethod
    def of(device: torch.device) -> Gpu | None:
        """The GPU's facts; None for the CPU under the interpreter."""
        if device.type != "cuda":
            return None
        properties = torch.cuda.get_device_properties(device)
        return Gpu(properties.major * 10 + properties.minor, properties.multi_processor_count)


@dataclass(eq=False)
class Group:
    """Jobs that share launches, by their numbers in the caller's list."""

    plan: str
    shape: Shape
    dtype: torch.dtype  # of the training images
    config: TileConfig | PackedConfig
    gpu: Gpu | None
    numbers: list[int] = field(default_factory=list)

    def compilations(self, jobs: list[TrainingJob], device: torch.device) -> list[Callable[[], object]]:
        """The compilations before the first launch, to be run in threads; the trainer's comes first."""
        if self.gpu is None:
            return []
        valid = [jobs[number].valid for number in self.numbers]
        kinds = {self.dtype, *(examples.images.dtype for examples in valid if examples is not None)}
        return [
            partial(self._compile_trainer, device),
            *(partial(_compile_evaluation, self.shape, kind, device) for kind in kinds),
        ]

    def _compile_trainer(self, device: torch.device) -> None:
        from ...kernels.host import packed_trainer, trainers

        compilers: dict[str, Callable[..., object]] = {
            "cooperative": trainers.compile_cooperative,
            "split": trainers.compile_split,
            "packed": packed_trainer.compile_packed,
        }
        with torch.cuda.device(device):
            compilers[self.plan](self.shape, self.config, self.dtype)

    def trainer(self, jobs: list[TrainingJob], data: DeviceData, device: torch.device) -> Trainer:
        """A trainer for the group's jobs, one row of parameters each; `data` is any job's.

        Raises:
            NotResident: where the compiled cooperative kernel does not fit the GPU after all.
        """
        from ...kernels.host.packed_trainer import PackedTrainer
        from ...kernels.host.trainers import CooperativeTrainer, SplitTrainer

        starts = [[jobs[number].start[name] for name in PARAMETER_NAMES] for number in self.numbers]
        live = torch.stack([pack_parameters(start) for start in starts]).to(device)
        kind: Any
        config: Any = self.config
        if self.plan == "packed":
            # one program fills an SM at 8 warps
            kind = PackedTrainer
            most = len(jobs) if self.gpu is None else self.gpu.sms * 8 // config.num_warps * config.networks
        elif self.gpu is None:
            kind, most = SplitTrainer, INTERPRETED_AT_ONCE
        elif self.plan == "cooperative":
            kind, most = CooperativeTrainer, self.gpu.sms // config.programs
        else:
            kind, most = SplitTrainer, SPLIT_AT_ONCE
        capacity = min(len(self.numbers), most)
        trainer = kind(self.shape, config, data.images, data.labels, live, capacity)
        if isinstance(trainer, CooperativeTrainer):
            trainer.probe()
            trainer.capacity = min(capacity, trainer.at_once)
        return trainer


def _compile_evaluation(shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
    """Evaluation's kernel, by a launch on as many zeros as no kernel is compiled specially for."""
    from ...kernels.evaluation import evaluate_checkpoints

    with torch.cuda.device(device):
        images = torch.zeros(17, shape.inputs, dtype=dtype, device=device)
        labels = torch.zeros(17, dtype=torch.int32, device=device)
        rows = torch.zeros(17, shape.parameters, dtype=torch.float32, device=device)
        evaluate_checkpoints(rows, images, labels, (shape.hidden1, shape.hidden2), shape.outputs)


def grouped(
    jobs: list[TrainingJob], device: torch.device, plan: str | None, numbers: Iterable[int] | None = None
) -> list[Group]:
    """The jobs, or those of the given numbers, in groups.

    Without a named plan, networks of one shape are packed where they are many. Few are trained cooperatively where
    the grid fits the GPU and split where it does not.

    Raises:
        BackendError: the named plan cannot take some job.
    """
    gpu = Gpu.of(device)
    alike = Counter((shape_of(job), job.train.images.dtype) for job in jobs)
    groups: dict[tuple, Group] = {}
    for number in range(len(jobs)) if numbers is None else numbers:
        job = jobs[number]
        kind = shape_of(job), job.train.images.dtype
        chosen = choose(*kind, effective_batch(job), alike[kind], gpu, plan)
        groups.setdefault((kind, chosen), Group(chosen[0], *kind, chosen[1], gpu)).numbers.append(number)
    for group in groups.values():
        if group.plan == "packed":
            _put_side_by_side(group.numbers, jobs)
    return list(groups.values())


def _put_side_by_side(numbers: list[int], jobs: list[TrainingJob]) -> None:
    """Sort the numbers so that jobs which can share a program, or an evaluation, follow each other."""
    first: dict[tuple[int, ...], int] = {}
    places = {}
    for number in numbers:
        job = jobs[number]
        kind = id(job.train.images), effective_batch(job), job.epochs
        places[number] = first.setdefault(kind, number)
    numbers.sort(key=lambda number: (places[number], number))


def choose(
    shape: Shape, dtype: torch.dtype, batch: int, alike: int, gpu: Gpu | None, plan: str | None
) -> tuple[str, TileConfig | PackedConfig]:
    """The plan and the tiles of one job; `alike` is how many jobs have its network and kind of images.

    Raises:
        BackendError: `plan` is named and cannot take it.
    """

    def tiles_of(plan: str) -> TileConfig | PackedConfig | str:
        if plan == "packed":
            return packed_tiles(shape, batch, dtype == torch.uint8, None if gpu is None else gpu.capability)
        if gpu is None:
            return interpreter_tiles(shape, batch)
        if plan == "cooperative":
            return cooperative_tiles(shape, batch, gpu.capability, gpu.sms)
        return split_tiles(shape, batch)

    wanted: tuple[str, ...] = ("cooperative", "split")
    if plan is not None:
        wanted = (plan,)
    else:
        tiles, fit = tiles_of("cooperative"), 1
        if isinstance(tiles, TileConfig):
            fit = INTERPRETED_AT_ONCE if gpu is None else gpu.sms // tiles.programs
        tiles = tiles_of("packed")
        if isinstance(tiles, PackedConfig):
            sm_75 = gpu is not None and gpu.capability < 80
            if alike >= fit * (PACKED_FROM_ROUNDS_SM_75 if sm_75 else PACKED_FROM_ROUNDS):
                wanted = ("packed", "split")
    for candidate in wanted:
        tiles = tiles_of(candidate)
        if not isinstance(tiles, str):
            return candidate, tiles
    raise BackendError(f"plan {wanted[-1]!r} cannot take this: {tiles}")


def effective_batch(job: TrainingJob) -> int:
    """The rows of its largest batch: no more than it has examples."""
    return min(job.batch_size, len(job.train.images))


def shape_of(job: TrainingJob) -> Shape:
    """The job's network."""
    weights = (job.start["hidden1.weight"], job.start["hidden2.weight"], job.start["output.weight"])
    return Shape(weights[0].shape[1], *(len(weight) for weight in weights))
