"""What the tests of packed training share: made-up jobs, launches with guarded outputs, the float64 judge."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from breaknet.kernels.host import packed_trainer
from breaknet.kernels.host.packed_tiles import PackedPlan, parameter_count

GUARD = 37  # floats around every output that must stay as they are


@dataclass(frozen=True)
class Shape:
    """A network and how it is fed."""

    inputs: int
    hidden: tuple[int, int]
    outputs: int
    batch: int
    examples: int
    byte_images: bool = True


@dataclass(frozen=True)
class Work:
    """One job of a launch."""

    labels: Tensor
    start: Tensor
    batch: int
    examples: int
    learning_rate: float
    epochs: int = 1
    first_image: int = 0


def make_images(shape: Shape, spare: int = 0, seed: int = 0) -> Tensor:
    """Images with a tail of `spare` rows that no job may touch unless told to."""
    generator = torch.Generator().manual_seed(seed)
    size = (shape.examples + spare, shape.inputs)
    images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    images[torch.rand(size, generator=generator) < 0.6] = 0
    return images if shape.byte_images else images.float() / 200 - 0.1


def make_work(shape: Shape, seed: int = 1, **changes: object) -> Work:
    generator = torch.Generator().manual_seed(seed)
    count = parameter_count(shape.inputs, shape.hidden, shape.outputs)
    work = Work(
        labels=torch.randint(0, shape.outputs, (shape.examples,), generator=generator).to(torch.uint8),
        start=(torch.rand(count, generator=generator) - 0.5) * (2 / shape.inputs**0.5),
        batch=shape.batch,
        examples=shape.examples,
        learning_rate=min(0.5, 8 / shape.batch),  # the gradient is a sum over the batch
    )
    return replace(work, **changes)  # type: ignore[arg-type]


def launch(
    images: Tensor, jobs: list[Work], shape: Shape, device: torch.device
) -> tuple[list[Tensor], Tensor, PackedPlan]:
    """Checkpoints [epochs, P] of each job, the parameters left behind [J, P], and the plan.

    Everything around the outputs is checked to be as it was: NaN.
    """
    count = len(jobs[0].start)
    offsets, end = [], GUARD
    for job in jobs:
        offsets.append(end)
        end += job.epochs * count + GUARD
    checkpoints = torch.full((end,), float("nan"), device=device)
    rows = torch.full((len(jobs), count + GUARD), float("nan"), device=device)
    rows[:, :count] = torch.stack([job.start for job in jobs])
    firsts = [sum(len(other.labels) for other in jobs[:number]) for number in range(len(jobs))]
    chosen = packed_trainer.train_packed(
        images.to(device),
        torch.cat([job.labels for job in jobs]).to(device),
        rows[:, :count],
        checkpoints,
        hidden=shape.hidden,
        outputs=shape.outputs,
        learning_rates=[job.learning_rate for job in jobs],
        batch_sizes=[job.batch for job in jobs],
        epochs=[job.epochs for job in jobs],
        examples=[job.examples for job in jobs],
        first_image=[job.first_image for job in jobs],
        first_label=firsts,
        checkpoint_offsets=offsets,
    )
    checkpoints, rows = checkpoints.cpu(), rows.cpu()
    blocks = []
    for offset, job in zip(offsets, jobs, strict=True):
        blocks.append(checkpoints[offset : offset + job.epochs * count].view(job.epochs, count).clone())
        checkpoints[offset : offset + job.epochs * count] = float("nan")
    assert checkpoints.isnan().all(), "wrote outside the checkpoints"
    assert rows[:, count:].isnan().all(), "wrote outside the parameters"
    return blocks, rows[:, :count], chosen


def pieces(row: Tensor, shape: Shape) -> list[Tensor]:
    """The six parameter tensors of a flat row, flat."""
    first, second = shape.hidden
    sizes = [first * shape.inputs, first, second * first, second, shape.outputs * second, shape.outputs]
    return list(row.split(sizes))


def error(images: Tensor, job: Work, checkpoints: Tensor, shape: Shape) -> float:
    """The largest error over epochs and parameter tensors in units of what the step contract allows; 1 passes.

    Each epoch is judged by float64 steps from the float32 state before it. A step may err by 1e-5 of its update
    and 1e-7 of the parameter; an epoch of n steps by n times that, its steps taken as equally large.
    """
    rows = slice(job.first_image, job.first_image + job.examples)
    steps = -(-job.examples // job.batch)
    worst = 0.0
    before = job.start
    for after in checkpoints:
        assert after.isfinite().all()
        exact = packed_trainer.train_packed_spec(
            images[rows],
            job.labels[: job.examples],
            before.double(),
            hidden=shape.hidden,
            outputs=shape.outputs,
            learning_rate=job.learning_rate,
            batch_size=job.batch,
            epochs=1,
        )[0]
        for mine, true, old in zip(*(pieces(row, shape) for row in (after, exact, before)), strict=True):
            update = (true - old).norm().item()
            allowed = 1e-5 * update + 1e-7 * steps * old.norm().item() + 1e-30
            worst = max(worst, (mine - true).norm().item() / allowed)
        before = after
    return worst


def check(images: Tensor, job: Work, checkpoints: Tensor, shape: Shape) -> None:
    """Fail unless every epoch of `checkpoints` keeps the contract."""
    found = error(images, job, checkpoints, shape)
    assert found <= 1, f"{found:.3g} times the error allowed"
