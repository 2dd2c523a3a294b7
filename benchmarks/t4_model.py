"""Predicted times of the lesson's kernels on a GPU, from counts of their work: no GPU is needed.

The PTX machine runs what Triton compiles for the GPU and counts what it executes (`kernel_counts`). An SM takes as long
as its busiest unit: the schedulers, the float32 lanes, the tensor cores or shared memory. Rates are published ones;
docs/results.md lists their sources and every assumption. What this module gives is a prediction and is called so
wherever it stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from breaknet.kernels.jobs import Shape

SHAPE = Shape(784, 16, 16, 10)
SCHEDULERS, WARP, TRANSACTION_BYTES = 4, 32, 128
#: Round trips to the L2 until a grid's programs have met: measured on an H200 (858 ns), taken for a T4, too.
BARRIER_ROUND_TRIPS = 6
#: Meetings of a step of the cooperative trainer. After each a program reads what others wrote: one round trip more.
MEETINGS = 2
COOPERATIVE, PACKED, EVALUATION = "cooperative", "packed", "evaluation"
#: Evaluation on the tensor cores of a T4, in float16.
FLOAT16 = "evaluation-float16"


@dataclass(frozen=True)
class Gpu:
    """Published rates of one GPU: lanes and bytes are those of one SM in one cycle."""

    name: str
    pattern: str  # of the names that drivers report
    capability: int
    sms: int
    clock_hz: float
    fp32_lanes: int
    shared_bytes: int
    l2_latency: float  # cycles
    matrix_fmas: int  # of float16, by tensor cores


T4 = Gpu("T4", r"\bT4\b", 75, 40, 1.59e9, 64, 64, 194, 512)
H200 = Gpu("H200", r"\bH200\b", 90, 132, 1.98e9, 128, 128, 281, 2048)
GPUS = (T4, H200)


def known(name: str | None) -> Gpu | None:
    """The GPU that a driver calls `name`, or None where the model knows none of that name."""
    return next((gpu for gpu in GPUS if name and re.search(gpu.pattern, name)), None)


@dataclass(frozen=True)
class Counts:
    """The work of a launch: instructions of PTX and float32 FMAs by warps, transactions of shared memory.

    A unit is a training step of a network, or an image of a checkpoint. FMAs of tensor cores are counted number by
    number. Of the form in float16, whose operands come through the L1 cache, that is the same memory as shared memory,
    `shared` counts the cache's transactions, too.
    """

    units: int
    programs: int
    instructions: int
    fmas: int
    shared: int
    matrix_fmas: int = 0

    def seconds(self, gpu: Gpu) -> float:
        """Time of one program, the mean of all, that has an SM to itself or shares one that is busy all the time."""
        issue = self.instructions / SCHEDULERS
        fp32 = self.fmas * WARP / gpu.fp32_lanes
        shared = self.shared * TRANSACTION_BYTES / gpu.shared_bytes
        matrix = self.matrix_fmas / gpu.matrix_fmas
        return max(issue, fp32, shared, matrix) / self.programs / gpu.clock_hz


def cooperative_step(gpu: Gpu, counts: Counts) -> float:
    """Seconds of one step of one network by all programs of a cooperative launch, each on its own SM."""
    meeting = (BARRIER_ROUND_TRIPS + 1) * gpu.l2_latency / gpu.clock_hz
    return counts.seconds(gpu) / counts.units + MEETINGS * meeting


def packed_step(gpu: Gpu, counts: Counts, models: int) -> float:
    """Seconds of one step of each of `models` networks, each trained by one program."""
    return ceil(models / gpu.sms) * counts.seconds(gpu) / counts.units


def evaluation(gpu: Gpu, counts: Counts, checkpoints: int, images: int) -> float:
    """Seconds of cost and accuracy of so many checkpoints on so many images, in one launch."""
    programs = checkpoints * images * counts.programs / counts.units
    return ceil(programs / gpu.sms) * counts.seconds(gpu)


def lesson(gpu: Gpu, counts: Mapping[str, Counts]) -> float:
    """Seconds of all training and evaluation of the lesson on the GPU; nothing of the host.

    Its three runs train side by side as far as their programs fit the GPU, one an SM.
    """
    steps = 50_000, 50_000, 1_000
    side_by_side = gpu.sms // counts[COOPERATIVE].programs
    rounds = sum(steps[first] for first in range(0, len(steps), side_by_side))
    evaluated = evaluation(gpu, counts[FLOAT16], 200, 60_000)
    evaluated += evaluation(gpu, counts[FLOAT16], 1_000, 10_100)
    return rounds * cooperative_step(gpu, counts[COOPERATIVE]) + evaluated
