"""The trainer of the plan packed: many small networks in one launch, each trained by one program.

Jobs share one tensor of images and differ in labels, example count, start, learning rate, batch size and epochs. All
epochs of a launch run without the host. A job's bits depend on its own data, shape and tiles alone: not on its
neighbours, not on how its epochs are divided among launches.

Of three kernels `tiles.packed_tiles` picks: `packed_training.py` (byte images, both widths <= 32, batches that fit one
tile: activations and deltas in registers), `packed_training_tensor.py` (some of these, on some GPUs: one network in a
program, or a few that share images), `packed_training_general.py` (all the rest within the limits).
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
from breaknet.kernels.packed_training_tensor import packed_tensor_kernel

_PITCH = 16  # rows of images start at multiples of this many elements, so that loads are 16 bytes wide


class PackedTrainer(Trainer):
    """All epochs of its jobs in one launch, one program a job or a few; `launch` as of every `Trainer`."""

    config: PackedConfig

    def _allocate(self) -> None:
        self._rows = aligned_images(self.images)
        self._sizes = to_device(torch.tensor(astuple(self.shape), dtype=torch.int32), self.device)
        if self.config.form == "looped":
            self.max_batch = MAX_BATCH
        #: Networks share programs only where there are more than this many, which run at once.
        self.spread = 1
        if self.device.type == "cuda":
            self.spread = torch.cuda.get_device_properties(self.device).multi_processor_count

    def _launch(self, checkpoints: Tensor, jobs: Sequence[JobRow], table: Tensor, rates: Tensor) -> None:
        programs = len(jobs)
        if self.config.form == "looped":
            tile = self.config.rows
            rows = -(-max(min(job.batch, job.examples) for job in jobs) // tile) * tile
            size = programs * rows * (4 * self.config.width + MAX_OUTPUTS)
            area = torch.empty(size, dtype=torch.float32, device=self.device)
        else:
            together = min(self.config.networks, -(-len(jobs) // self.spread))
            places, programs = places_of(jobs, together, self.config.networks)
            slots = to_device(torch.tensor(places), self.device)
            table, rates = (self._in_slots(values, slots, programs) for values in (table, rates))
            rows = -(-self.shape.inputs // self.config.chunk) * self.config.chunk
            area = self._transposed_weights(jobs, slots, programs, rows)
        data = self._rows, self.labels, self.live, checkpoints, area, table, rates, self._sizes
        kernel_of(self.config)[(programs,)](*data, self._rows.stride(0), rows, **launch_options(self.config))

    def _in_slots(self, values: Tensor, slots: Tensor, programs: int) -> Tensor:
        """Each job's entry in its slot of programs * networks, zero elsewhere."""
        placed = values.new_zeros(programs * self.config.networks, *values.shape[1:])
        placed[slots] = values
        return placed

    def _transposed_weights(self, jobs: Sequence[JobRow], slots: Tensor, programs: int, rows: int) -> Tensor:
        """hidden1.weight as the kernels keep it: [programs, rows, networks * width], zero past both ends.

        The kernel that takes several networks has `config.rows` rows more, in which it keeps z and d1.
        """
        inputs, hidden1, config = self.shape.inputs, self.shape.hidden1, self.config
        picked = to_device(torch.tensor([job.live_row for job in jobs]), self.device)
        given = self.live[:, : hidden1 * inputs].index_select(0, picked).unflatten(1, (hidden1, inputs))
        rows += config.rows if config.form == "tensor" else 0
        area = self.live.new_zeros(programs * config.networks, rows, config.width)
        area[slots, :inputs, :hidden1] = given.transpose(1, 2)
        return area.unflatten(0, (programs, config.networks)).transpose(1, 2).flatten(2).contiguous()


def places_of(jobs: Sequence[JobRow], together: int, slots: int) -> tuple[list[int], int]:
    """For each job its program * slots + place in it, and how many programs there are.

    Up to `together` jobs share a program if they have the same images, batch, examples and epochs.
    """
    places: list[int] = []
    last: dict[tuple[int, ...], int] = {}  # the last job of a kind
    programs = 0
    for job in jobs:
        kind = job.image_row, job.examples, job.batch, job.epochs
        place = last.get(kind, -1) + 1
        if place % slots in (0, together):  # none of its kind, or its program is full
            place, programs = programs * slots, programs + 1
        last[kind] = place
        places.append(place)
    return places, programs


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
    return {"fused": packed_fused_kernel, "looped": packed_looped_kernel, "tensor": packed_tensor_kernel}[
        config.form
    ]


def compiler_options(config: PackedConfig) -> dict[str, Any]:
    """The compiler's options for a configuration."""
    return OPTIONS | {"num_warps": config.num_warps, "num_stages": config.num_stages}


def launch_options(config: PackedConfig) -> dict[str, Any]:
    """The kernel's compile-time argument and compiler options."""
    return {"TILES": config} | ({} if INTERPRETED else compiler_options(config))


def compile_packed(shape: Shape, config: PackedConfig, image_dtype: torch.dtype) -> None:
    """The kernel compiled for the current GPU; later launches find it in Triton's cache."""
    types = [image_dtype, torch.int32, *[torch.float32] * 3, torch.int64, torch.float32, torch.int32]
    pitch = -(-shape.inputs // _PITCH) * _PITCH
    kernel_of(config).warmup(*types, pitch, 16, grid=(1,), **launch_options(config))
