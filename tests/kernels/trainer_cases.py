"""Training problems of any shape for the trainers' tests, run with NaN-filled outputs and guarded memory."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from checks import assert_trained
from kernel_checks import Guarded
from torch import Tensor

from breaknet.kernels.host.packed_trainer import PackedTrainer
from breaknet.kernels.host.tiles import TENSOR, PackedConfig, TileConfig, packed_tiles
from breaknet.kernels.host.trainers import SplitTrainer
from breaknet.kernels.jobs import JobRow, Shape
from breaknet.model import PARAMETER_NAMES


@dataclass
class Problem:
    """Random images with neighbours that must not be read, labels likewise, and one start."""

    shape: Shape
    examples: int
    floats: bool = False
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        random = torch.Generator().manual_seed(self.seed)
        size = (self.examples, self.shape.inputs)
        pixels = torch.randint(0, 256, size, generator=random, dtype=torch.uint8)
        pixels *= (torch.rand(size, generator=random) < 0.3).to(torch.uint8)
        # rows of other jobs lie before and after: reading one in error changes the result, but no memory is harmed
        margin = torch.full((1100, self.shape.inputs), 255, dtype=torch.uint8)
        images = torch.cat([margin, pixels, margin])
        self.images = (images.float() / 256 if self.floats else images).to(self.device)
        labels = torch.randint(0, self.shape.outputs, (self.examples,), generator=random, dtype=torch.int32)
        margin_labels = torch.zeros(1100, dtype=torch.int32)
        self.labels = torch.cat([margin_labels, labels, margin_labels]).to(self.device)
        parts = [torch.rand(size, generator=random) - 0.5 for size in self.shape.tensor_shapes()]
        # as nn.Linear draws them: within 1 / sqrt(fan in)
        fans = (self.shape.inputs, self.shape.hidden1, self.shape.hidden2)
        scaled = [2 * part / fans[number // 2] ** 0.5 for number, part in enumerate(parts)]
        self.start = torch.cat([part.reshape(-1) for part in scaled])

    def job(self, batch: int, epochs: int, rate: float = 0.05, row: int = 0, **places: int) -> JobRow:
        """The job on all examples from `row` on."""
        places = {"label": 1100 + row, "live_row": 0, "checkpoint_row": 0, **places}
        return JobRow(
            image_row=1100 + row,
            examples=self.examples - row,
            batch=batch,
            epochs=epochs,
            learning_rate=rate,
            **places,
        )

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat row [P] by torch's names."""
        return dict(zip(PARAMETER_NAMES, self.shape.unpack(flat.cpu()), strict=True))

    def assert_as_exact_as_float32(self, job: JobRow, checkpoints: Tensor, start: Tensor) -> None:
        """Of a job of one step: its change of W1 errs at most 4 times what torch's float32 errs, against float64."""
        assert job.batch >= job.examples
        images = self.images[job.image_row :][: job.examples].cpu() / (1 if self.floats else 256)
        labels = self.labels[job.label :][: job.examples].cpu().long()
        target = torch.nn.functional.one_hot(labels, self.shape.outputs)

        def w1_after(dtype: torch.dtype) -> Tensor:
            parameters = [one.detach().to(dtype).requires_grad_() for one in self.shape.unpack(start)]
            y = images.to(dtype)
            for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
                y = torch.sigmoid(torch.nn.functional.linear(y, weight, bias))
            (gradient,) = torch.autograd.grad(((y - target) ** 2).sum(), parameters[0])
            return (parameters[0] - job.learning_rate * gradient).detach().double()

        exact = w1_after(torch.float64)
        found = self.shape.unpack(checkpoints[job.checkpoint_row].cpu())[0].double()
        error, allowed = (found - exact).norm(), 4 * (w1_after(torch.float32) - exact).norm()
        assert error <= allowed, f"W1 errs by {error:.3g}, over {allowed:.3g}"

    def assert_trained(self, job: JobRow, checkpoints: Tensor, start: Tensor | None = None) -> None:
        """Every epoch of the job against float64 from the checkpoint before it, by the step contract."""
        found = checkpoints[job.checkpoint_row :][: job.epochs].cpu()
        assert len(found) == job.epochs
        assert_trained(
            self.named(self.start if start is None else start),
            [self.named(row) for row in found],
            self.images[job.image_row :][: job.examples].cpu(),
            self.labels[job.label :][: job.examples].cpu(),
            job.batch,
            job.learning_rate,
        )


def train(
    problem: Problem, config: Any, jobs: list[JobRow], starts: Tensor | None = None, kind: Any = None
) -> Tensor:
    """The jobs' checkpoints from `starts` [R, P] or the problem's; memory guarded, outputs and scratch NaN before.

    `kind` is the trainer's class, by default that of the plan packed or split that takes `config`. Packed networks
    share programs wherever they may, as they do where they are more than a GPU has SMs.
    """
    if kind is None:
        kind = PackedTrainer if isinstance(config, PackedConfig) else SplitTrainer
    device, width = problem.device, problem.shape.parameters
    memory = {
        "live": Guarded((max(job.live_row for job in jobs) + 1, width), device=device),
        "checkpoints": Guarded(
            (max(job.checkpoint_row + job.epochs for job in jobs) or 1, width), device=device
        ),
    }
    live, checkpoints = memory["live"].tensor, memory["checkpoints"].tensor
    live.copy_(problem.start if starts is None else starts)
    trainer = kind(problem.shape, config, problem.images, problem.labels, live, capacity=len(jobs))
    if isinstance(config, PackedConfig):
        trainer.spread = 1
    else:
        for name, size in zip(("_partials", "_deltas"), config.scratch, strict=True):
            memory[name] = Guarded((len(jobs) * size,), device=device)
            setattr(trainer, name, memory[name].tensor)
    trainer.launch(checkpoints, jobs)
    for name, guarded in memory.items():
        guarded.assert_intact(name)
    for job in jobs:
        last = checkpoints[job.checkpoint_row + job.epochs - 1]
        if job.epochs == 0:
            last = (problem.start if starts is None else starts[job.live_row]).to(device)
        same = torch.equal(live[job.live_row].nan_to_num(7), last.nan_to_num(7))
        assert same, "current parameters and last checkpoint differ"
    return checkpoints


def skip_unless_supported(tiles: TileConfig | PackedConfig, device: torch.device) -> None:
    """The interpreter knows no tensor cores and runs what is for them anywhere."""
    if isinstance(tiles, PackedConfig) and tiles.form == "tensor" and device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if tiles not in TENSOR.get(10 * major + minor, ()):  # those of a fake GPU are fewer
            pytest.skip("not for this GPU")


@dataclass(frozen=True)
class Case:
    """A network, how it is fed and its tiles."""

    shape: Shape
    batch: int
    examples: int
    config: TileConfig | PackedConfig
    floats: bool = False

    def problem(self, device: torch.device, seed: int = 0) -> Problem:
        skip_unless_supported(self.config, device)
        return Problem(self.shape, self.examples, self.floats, seed, device)

    def run(self, device: torch.device, epochs: int = 1, rate: float | None = None, seed: int = 0) -> None:
        problem = self.problem(device, seed)
        job = problem.job(self.batch, epochs, min(0.5, 8 / self.batch) if rate is None else rate)
        problem.assert_trained(job, train(problem, self.config, [job]))


def packed(shape: Shape, batch: int, examples: int, floats: bool = False) -> Case:
    tiles = packed_tiles(shape, min(batch, examples), not floats)
    assert isinstance(tiles, PackedConfig), tiles
    return Case(shape, batch, examples, tiles, floats)
