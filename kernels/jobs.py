"""How a network, its jobs and its parameters lie in memory: shared by the trainers and by whoever launches them.

Parameters are one flat float32 row of P in torch's own order, so that a trainer's checkpoint needs no repacking:

    hidden1.weight [H1, K], hidden1.bias [H1], hidden2.weight [H2, H1], hidden2.bias [H2],
    output.weight [O, H2], output.bias [O]

A job is one row of an int64 table (columns below) and one learning rate. Images of all jobs are rows of one
[M, K] tensor and labels entries of one int32 vector, so that jobs can share either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Columns of the job table. Plain ints here; kernels read them through `tl.constexpr` twins.
IMAGE_ROW = 0  # first row of the job's images
LABEL = 1  # first entry of the job's labels
EXAMPLES = 2  # how many examples it has, >= 1
BATCH = 3  # examples a step, >= 1; the last batch of an epoch holds what is left
EPOCHS = 4  # epochs to train in this launch, >= 0
LIVE_ROW = 5  # its row of the live parameters, read at the start and left trained
CHECKPOINT_ROW = 6  # row of the checkpoints that its first epoch of this launch goes to
JOB_COLUMNS = 8  # padded to a power of two

INPUT_LIMIT = 16_384
HIDDEN_LIMIT = 128
OUTPUT_LIMIT = 16


@dataclass(frozen=True)
class Shape:
    """A network K -> H1 -> H2 -> O with a sigmoid after each layer."""

    inputs: int
    hidden1: int
    hidden2: int
    outputs: int

    @property
    def parameters(self) -> int:
        """P, the length of a flat row."""
        return sum(rows * (columns + 1) for rows, columns in self._layers())

    def _layers(self) -> tuple[tuple[int, int], ...]:
        return (self.hidden1, self.inputs), (self.hidden2, self.hidden1), (self.outputs, self.hidden2)

    def tensor_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the six parameters in torch's order."""
        return tuple(shape for rows, columns in self._layers() for shape in ((rows, columns), (rows,)))

    def unpack(self, rows: Tensor) -> list[Tensor]:
        """Views of the six parameters in flat rows [..., P]: each [..., *its shape]."""
        parts, start = [], 0
        for shape in self.tensor_shapes():
            size = torch.Size(shape).numel()
            parts.append(rows[..., start : start + size].unflatten(-1, shape))
            start += size
        return parts

    def unsupported(self) -> str | None:
        """Why no trainer of these kernels takes this network, in one line; None when they do."""
        for name, value, least, most in (
            ("inputs", self.inputs, 1, INPUT_LIMIT),
            ("hidden1", self.hidden1, 1, HIDDEN_LIMIT),
            ("hidden2", self.hidden2, 1, HIDDEN_LIMIT),
            ("outputs", self.outputs, 2, OUTPUT_LIMIT),
        ):
            if not least <= value <= most:
                return f"{name}: {least} to {most} for the Triton kernels, not {value}"
        return None

    def __str__(self) -> str:
        return f"{self.inputs}-{self.hidden1}-{self.hidden2}-{self.outputs}"


@dataclass(frozen=True)
class JobRow:
    """One job of a launch, by the columns of the table."""

    image_row: int
    label: int
    examples: int
    batch: int
    epochs: int
    live_row: int
    checkpoint_row: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.examples < 1 or self.batch < 1:
            raise ValueError(f"examples, batch: 1 or more, not {self.examples} and {self.batch}")
        if min(self.epochs, self.image_row, self.label, self.live_row, self.checkpoint_row) < 0:
            raise ValueError(f"epochs, rows and labels: 0 or more, not {self}")

    @property
    def steps_an_epoch(self) -> int:
        return -(-self.examples // self.batch)


def pack_parameters(tensors: Sequence[Tensor]) -> Tensor:
    """One flat float32 CPU row [P] from the six parameters in torch's order."""
    return torch.cat([tensor.detach().reshape(-1).to("cpu", torch.float32) for tensor in tensors])


def job_tables(jobs: Sequence[JobRow]) -> tuple[Tensor, Tensor]:
    """The int64 table [J, JOB_COLUMNS] and the float32 learning rates [J], on the CPU."""
    table = torch.zeros(len(jobs), JOB_COLUMNS, dtype=torch.int64)
    for row, job in zip(table, jobs, strict=True):
        row[IMAGE_ROW], row[LABEL], row[EXAMPLES], row[BATCH] = (
            job.image_row,
            job.label,
            job.examples,
            job.batch,
        )
        row[EPOCHS], row[LIVE_ROW], row[CHECKPOINT_ROW] = job.epochs, job.live_row, job.checkpoint_row
    return table, torch.tensor([job.learning_rate for job in jobs], dtype=torch.float32)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small CPU tensor moved to `device`, without waiting for what the device is doing."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
