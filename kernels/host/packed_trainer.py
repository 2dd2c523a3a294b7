"""The trainer of the plan packed: many small networks in one launch, one program a network.

Jobs share one tensor of images and differ in labels, example count, start, learning rate, batch size and epochs. All
epochs of a launch run without the host. A job's bits depend on its own data, shape and tiles alone: not on its
neighbours, not on how its epochs are divided among launches.

Two kernels do it, and `tiles.packed_tiles` says which: `packed_training.py` (byte images, both widths <= 32, batches
that fit one tile: everything but the first layer in registers) and `packed_training_general.py` (all the rest within
the limits). All products are IEEE float32 FMAs.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import INTERPRETED
from breaknet.kernels.host.tiles import PackedConfig
from breaknet.kernels.host.trainers import OPTIONS, Trainer
from breaknet.kernels.jobs import MAX_BATCH, MAX_OUTPUTS, JobRow, Shape, to_device
from breaknet.kernels.packed_training import packed_fused_kernel
from breaknet.kernels.packed_training_general import packed_looped_kernel

_PITCH = 16  # rows of images start at multiples of this many elements, so that loads are 16 bytes wide


class PackedTrainer(Trainer):
    """All epochs of its jobs in one launch, one program a job; `launch` as of every `Trainer`."""

    config: PackedConfig

    def _allocate(self) -> None:
        self._rows = aligned_images(self.images)
        self._sizes = to_device(torch.tensor(astuple(self.shape), dtype=torch.int32), self.device)
        if self.config.form == "looped":
            self.max_batch = MAX_BATCH

    def _launch(self, checkpoints: Tensor, jobs: Sequence[JobRow], table: Tensor, rates: Tensor) -> None:
        if self.config.form == "fused":
            area = self._transposed_weights(jobs)
            rows = area.shape[1]
        else:
            tile = self.config.rows
            rows = -(-max(min(job.batch, job.examples) for job in jobs) // tile) * tile
            size = len(jobs) * rows * (4 * self.config.width + MAX_OUTPUTS)
            area = torch.empty(size, dtype=torch.float32, device=self.device)
        data = self._rows, self.labels, self.live, checkpoints, area, table, rates, self._sizes
        kernel_of(self.config)[(len(jobs),)](*data, self._rows.stride(0), rows, **launch_options(self.config))

    def _transposed_weights(self, jobs: Sequence[JobRow]) -> Tensor:
        """hidden1.weight of the jobs as the fused kernel keeps it: [J, inputs, width], zero past both ends."""
        inputs, hidden1 = self.shape.inputs, self.shape.hidden1
        rows = -(-inputs // self.config.chunk) * self.config.chunk
        area = self.live.new_zeros(len(jobs), rows, self.config.width)
        picked = to_device(torch.tensor([job.live_row for job in jobs]), self.device)
        given = self.live[:, : hidden1 * inputs].index_select(0, picked).unflatten(1, (hidden1, inputs))
        area[:, :inputs, :hidden1] = given.transpose(1, 2)
        return area


def aligned_images(images: Tensor) -> Tensor:
    """`images` [N, K] itself if its rows start at multiples of 16 elements, else a copy whose do, as a view [N, K].

    784 bytes are fine as they are; 1,000 are copied to rows of 1,008 whose ends are zero.
    """
    length, inputs = images.shape
    if inputs % _PITCH == 0 and images.data_ptr() % 16 == 0:
        return images
    rows = torch.zeros(length, -(-inputs // _PITCH) * _PITCH, dtype=images.dtype, device=images.device)
    rows[:, :inputs] = images
    return rows[:, :inputs]


def kernel_of(config: PackedConfig) -> Any:
    """The kernel that runs a configuration."""
    return packed_fused_kernel if config.form == "fused" else packed_looped_kernel


def launch_options(config: PackedConfig) -> dict[str, Any]:
    """The kernel's compile-time argument and compiler options."""
    return {"TILES": config} | ({} if INTERPRETED else OPTIONS | {"num_warps": config.num_warps})


def compile_packed(shape: Shape, config: PackedConfig, image_dtype: torch.dtype) -> None:
    """The kernel compiled for the current GPU; later launches find it in Triton's cache."""
    types = [image_dtype, torch.int32, *[torch.float32] * 3, torch.int64, torch.float32, torch.int32]
    pitch = -(-shape.inputs // _PITCH) * _PITCH
    kernel_of(config).warmup(*types, pitch, 16, grid=(1,), **launch_options(config))
