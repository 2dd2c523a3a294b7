"""The layout of a network, its jobs and its parameters in memory: shared by every trainer and by whoever launches them.

Parameters are one flat float32 row of P in torch's own order, so that a trainer's checkpoint needs no repacking:

    hidden1.weight [H1, K], hidden1.bias [H1], hidden2.weight [H2, H1], hidden2.bias [H2],
    output.weight [O, H2], output.bias [O]

A job is one row of an int64 table (`JobRow`) and one learning rate. Images of all jobs are rows of one
[M, K] tensor and labels entries of one int32 vector, so that jobs can share either.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

JOB_COLUMNS = 8  # of the job table: the fields of `JobRow` but the last, padded to a power of two

MAX_INPUTS = 16_384
MAX_HIDDEN = 128
MAX_OUTPUTS = 16
MAX_BATCH = 1_024


def padded(width: int, least: int = 16) -> int:
    """The tile that holds `width` columns: the next power of two, at least `least` (a dot's least edge)."""
    return max(least, 1 << (width - 1).bit_length())


@dataclass(frozen=True)
class Shape:
    """A network K -> H1 -> H2 -> O with a sigmoid after each layer. Kernels take one as a compile-time argument."""

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
        shapes = self.tensor_shapes()
        parts = rows.split([math.prod(shape) for shape in shapes], dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def unsupported(self, batch: int = 1) -> str | None:
        """Why no trainer of these kernels takes this network in such batches, in one line; None if all can."""
        for name, value, least, largest in (
            ("inputs", self.inputs, 1, MAX_INPUTS),
            ("hidden1", self.hidden1, 1, MAX_HIDDEN),
            ("hidden2", self.hidden2, 1, MAX_HIDDEN),
            ("outputs", self.outputs, 2, MAX_OUTPUTS),
            ("batch_size", batch, 1, MAX_BATCH),
        ):
            if not least <= value <= largest:
                return f"{name}: {least} to {largest} for the Triton kernels, not {value}"
        return None

    def __str__(self) -> str:
        return f"{self.inputs}-{self.hidden1}-{self.hidden2}-{self.outputs}"


@dataclass(frozen=True)
class JobRow:
    """One job of a launch: the columns of the table as `device_functions.load_job` reads them, and a learning rate."""

    image_row: int  # first row of the job's images
    label: int  # first entry of the job's labels
    examples: int  # >= 1
    batch: int  # examples a step, >= 1; the last batch of an epoch holds what is left
    epochs: int  # to train in this launch, >= 0
    live_row: int  # its row of the current parameters, read at the start and left trained
    checkpoint_row: int  # row of the checkpoints that its first epoch of this launch goes to
    learning_rate: float

    def __post_init__(self) -> None:
        if self.examples < 1 or self.batch < 1:
            raise ValueError(f"examples, batch: 1 or more, not {self.examples} and {self.batch}")
        if min(self.epochs, self.image_row, self.label, self.live_row, self.checkpoint_row) < 0:
            raise ValueError(f"epochs, rows and labels: 0 or more, not {self}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate: finite and above 0, not {self.learning_rate}")

    @property
    def steps_an_epoch(self) -> int:
        return -(-self.examples // self.batch)


def pack_parameters(tensors: Sequence[Tensor]) -> Tensor:
    """One flat float32 CPU row [P] from the six parameters in torch's order."""
    return torch.cat([tensor.detach().reshape(-1).to("cpu", torch.float32) for tensor in tensors])


def job_tables(jobs: Sequence[JobRow]) -> tuple[Tensor, Tensor]:
    """The int64 table [J, JOB_COLUMNS] and the float32 learning rates [J], on the CPU."""
    rows = [[*astuple(job)[:-1], 0] for job in jobs]
    table = torch.tensor(rows, dtype=torch.int64).view(len(jobs), JOB_COLUMNS)
    return table, torch.tensor([job.learning_rate for job in jobs], dtype=torch.float32)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small CPU tensor moved to `device`, without waiting for what the device is doing."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
