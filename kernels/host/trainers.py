"""Launches of the cooperative and the phase-split trainer: memory, checks, and nothing a step on the host.

    trainer = CooperativeTrainer(shape, config, images, labels, live, capacity=2)
    trainer.launch(checkpoints, [JobRow(...), JobRow(...)])     # asynchronous on a GPU

images uint8 or float32 [M, K], labels int32 [L], live float32 [R, P] and checkpoints float32 [C, P] are contiguous and
on one device; `launch` trains the jobs' live rows and writes their checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import interpreted
from breaknet.kernels.cooperative_training import cooperative_training_kernel
from breaknet.kernels.grid_barrier import COUNTER_STRIDE
from breaknet.kernels.host.targets import CompileCase, target_for
from breaknet.kernels.host.tiles import WARPS, TrainerConfig, cooperative_plan, split_plan
from breaknet.kernels.jobs import JobRow, Shape, job_tables, to_device
from breaknet.kernels.split_training import split_training_kernel

#: Registers are said outright: left to itself the assembler may stop at 128 a thread and spill.
OPTIONS: dict[str, Any] = {"num_warps": WARPS, "num_stages": 1, "maxnreg": 255, "enable_fp_fusion": True}
#: The forms that are compiled and checked without a GPU: (hidden widths, batch, kind of images) of each trainer,
#: and by capability the multiprocessors of GPUs that differ in the slices they get.
SHIPPED_COOPERATIVE = (
    ((16, 16), 10, "*u8"),
    ((16, 16), 100, "*u8"),
    ((16, 16), 100, "*fp32"),
    ((16, 16), 1024, "*u8"),
    ((32, 32), 100, "*u8"),
    ((64, 64), 100, "*u8"),
)
SHIPPED_SPLIT = (
    ((16, 16), 100, "*u8"),
    ((64, 64), 100, "*u8"),
    ((128, 128), 10, "*u8"),
    ((128, 128), 1024, "*fp32"),
)
PROCESSORS = {75: (16, 40), 80: (108,), 86: (28, 72), 89: (24, 58), 90: (132,), 100: (148,), 120: (36, 170)}
#: Most steps that one CUDA graph of the split trainer holds, three launches each.
GRAPH_STEPS = 250


class NotResident(RuntimeError):
    """The programs of a cooperative launch would not all run at once, so that its barrier would never open."""


class _Trainer:
    """What both trainers share: the checked tensors, scratch for `capacity` jobs, the job table on the device."""

    def __init__(
        self, shape: Shape, config: TrainerConfig, images: Tensor, labels: Tensor, live: Tensor, capacity: int
    ) -> None:
        _check(shape, images, labels, live)
        if capacity < 1:
            raise ValueError(f"capacity: 1 or more jobs, not {capacity}")
        self.shape, self.config, self.capacity = shape, config, capacity
        self.images, self.labels, self.live = images, labels, live
        self.device = images.device
        self.programs = config.programs(shape)
        partials, deltas = config.scratch(shape)
        self._partials = torch.empty(capacity * partials, dtype=torch.float32, device=self.device)
        self._deltas = torch.empty(capacity * deltas, dtype=torch.float32, device=self.device)

    def _checked(self, checkpoints: Tensor, jobs: Sequence[JobRow]) -> tuple[Tensor, Tensor]:
        """The job table and the rates on the device, copied without waiting for it."""
        parameters = self.shape.parameters
        if not 1 <= len(jobs) <= self.capacity:
            raise ValueError(f"jobs: 1 to {self.capacity} a launch, not {len(jobs)}")
        _check_matrix("checkpoints", checkpoints, torch.float32, parameters, self.device)
        for job in jobs:
            if job.batch > self.config.rows and job.examples > self.config.rows:
                raise ValueError(f"jobs: batches of up to {self.config.rows} rows, not {job.batch}")
            for name, start, length, size in (
                ("image", job.image_row, job.examples, self.images.shape[0]),
                ("label", job.label, job.examples, self.labels.shape[0]),
                ("live", job.live_row, 1, self.live.shape[0]),
                ("checkpoint", job.checkpoint_row, job.epochs, checkpoints.shape[0]),
            ):
                if start + length > size:
                    raise ValueError(f"jobs: {name} rows {start} to {start + length} of {size}")
        table, rates = job_tables(jobs)
        return to_device(table, self.device), to_device(rates, self.device)


class CooperativeTrainer(_Trainer):
    """All epochs of its jobs in one cooperative launch."""

    def __init__(
        self, shape: Shape, config: TrainerConfig, images: Tensor, labels: Tensor, live: Tensor, capacity: int
    ) -> None:
        super().__init__(shape, config, images, labels, live, capacity)
        self._arrivals = torch.zeros(capacity * COUNTER_STRIDE, dtype=torch.int32, device=self.device)

    def arguments(self, checkpoints: Tensor, table: Tensor, rates: Tensor) -> list[Any]:
        """The kernel's arguments before `first_program`."""
        return [
            self.images,
            self.labels,
            self.live,
            checkpoints,
            self._partials,
            self._deltas,
            self._arrivals,
            table,
            rates,
        ]

    @cached_property
    def at_once(self) -> int:
        """How many jobs of this kind the GPU holds at once, by the needs of the compiled kernel.

        Raises:
            NotResident: not even one.
        """
        with torch.cuda.device(self.device):
            kernel = compile_cooperative(self.shape, self.config, self.images.dtype)
            return resident_jobs(kernel, self.programs, self.device)

    def probe(self) -> None:
        """Launch as many jobs as there is room for, with no epochs, and wait: does this GPU launch cooperatively?

        Raises:
            NotResident: it does not, with the driver's reason.
        """
        rows = self.live.shape[0]
        try:
            # each with a row of its own, because it is read and, unchanged, written
            self.launch(
                self.live,
                [
                    JobRow(0, 0, 1, 1, 0, live_row=number % rows, checkpoint_row=0, learning_rate=1.0)
                    for number in range(min(self.capacity, self.at_once))
                ],
            )
            torch.cuda.synchronize(self.device)
        except NotResident:
            raise
        except Exception as error:  # the driver's are RuntimeErrors, but not all of Triton's are
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise NotResident(f"cooperative: the launch was refused: {reason[0]}") from error

    def launch(self, checkpoints: Tensor, jobs: Sequence[JobRow]) -> None:
        """Train; returns at once on a GPU.

        Raises:
            ValueError: jobs that reach past the tensors, or too many.
            NotResident: more jobs than fit the GPU at once, or CPU tensors: the interpreter runs programs one after
                another, and the first would wait for ever.
        """
        table, rates = self._checked(checkpoints, jobs)
        if self.device.type == "cpu":
            raise NotResident("cooperative: the interpreter runs one program after another; use SplitTrainer")
        with torch.cuda.device(self.device):
            most = max(job.epochs * job.steps_an_epoch for job in jobs)
            if 2 * most * self.programs >= 2**31:  # arrivals that a barrier counts
                raise ValueError(f"jobs: {(2**30 - 1) // self.programs} steps a launch at most, not {most}")
            if len(jobs) > self.at_once:
                raise NotResident(f"cooperative: {len(jobs)} jobs at once, and this GPU holds {self.at_once}")
            self._arrivals.zero_()
            grid = (len(jobs) * self.programs,)
            cooperative_training_kernel[grid](
                *self.arguments(checkpoints, table, rates), 0, **cooperative_options(self.shape, self.config)
            )


class SplitTrainer(_Trainer):
    """Three launches a step; on a GPU as replays of a CUDA graph."""

    def __init__(
        self, shape: Shape, config: TrainerConfig, images: Tensor, labels: Tensor, live: Tensor, capacity: int
    ) -> None:
        super().__init__(shape, config, images, labels, live, capacity)
        # a graph remembers addresses, so what changes from launch to launch is copied to where it looks
        table, rates = job_tables([])
        self._table = table.new_zeros(capacity, *table.shape[1:]).to(self.device)
        self._rates = rates.new_zeros(capacity).to(self.device)
        self._clock = torch.zeros(capacity, 2, dtype=torch.int32, device=self.device)
        self._graphs: dict[tuple[int, int, int], Any] = {}

    def _step(self, checkpoints: Tensor, jobs: int) -> None:
        for phase in (1, 2, 3):
            split_training_kernel[(self.programs, jobs)](
                *self.arguments(checkpoints), **split_options(self.shape, self.config, phase)
            )

    def arguments(self, checkpoints: Tensor) -> list[Any]:
        """The kernel's arguments."""
        return [
            self.images,
            self.labels,
            self.live,
            checkpoints,
            self._partials,
            self._deltas,
            self._clock,
            self._table,
            self._rates,
        ]

    def launch(self, checkpoints: Tensor, jobs: Sequence[JobRow]) -> None:
        """Train; returns without waiting on a GPU. Raises ValueError as `CooperativeTrainer.launch` does."""
        table, rates = self._checked(checkpoints, jobs)
        count = len(jobs)
        self._table[:count].copy_(table)
        self._rates[:count].copy_(rates)
        self._clock.zero_()
        steps = max(job.epochs * job.steps_an_epoch for job in jobs)
        if not self.graphed:
            for _ in range(steps):
                self._step(checkpoints, count)
            return
        with torch.cuda.device(self.device):
            held = min(steps, GRAPH_STEPS)
            if held:
                graph = self._graph(checkpoints, count, held)
                for _ in range(-(-steps // held)):  # steps past the end find every job done
                    graph.replay()

    @property
    def graphed(self) -> bool:
        """Whether steps are replays of a CUDA graph; the interpreter takes them one by one."""
        return self.device.type != "cpu"

    def _graph(self, checkpoints: Tensor, jobs: int, steps: int) -> Any:
        """The graph of so many steps; to capture it, one step of the jobs is trained."""
        key = (checkpoints.data_ptr(), jobs, steps)
        if key not in self._graphs:
            # nothing may be compiled or loaded while a stream is captured; the clock counts this step like any other
            self._step(checkpoints, jobs)
            graph = torch.cuda.CUDAGraph()
            # torch's own capture stream belongs to the first device that was captured on; and the caller's other
            # threads may go on asking for memory
            with torch.cuda.graph(
                graph, stream=torch.cuda.Stream(self.device), capture_error_mode="thread_local"
            ):
                for _ in range(steps):
                    self._step(checkpoints, jobs)
            self._graphs[key] = graph
        return self._graphs[key]


def cooperative_options(shape: Shape, config: TrainerConfig) -> dict[str, Any]:
    """The cooperative kernel's constexprs and compiler options."""
    constexprs: dict[str, Any] = {**config.constexprs(shape), "INTERPRETED": interpreted()}
    return constexprs | ({} if interpreted() else OPTIONS | {"launch_cooperative_grid": True})


def split_options(shape: Shape, config: TrainerConfig, phase: int) -> dict[str, Any]:
    """The phase-split kernel's constexprs and compiler options."""
    constexprs: dict[str, Any] = {**config.constexprs(shape), "PHASE": phase}
    return constexprs | ({} if interpreted() else OPTIONS)


def compile_cooperative(shape: Shape, config: TrainerConfig, image_dtype: torch.dtype) -> Any:
    """The cooperative kernel compiled for the current GPU; later launches find it in Triton's cache."""
    types = [image_dtype, torch.int32, *[torch.float32] * 4, torch.int32, torch.int64, torch.float32]
    return cooperative_training_kernel.warmup(*types, 0, grid=(1,), **cooperative_options(shape, config))


def compile_split(shape: Shape, config: TrainerConfig, image_dtype: torch.dtype) -> None:
    """The three phases compiled for the current GPU; later launches find them in Triton's cache."""
    types = [image_dtype, torch.int32, *[torch.float32] * 4, torch.int32, torch.int64, torch.float32]
    for phase in (1, 2, 3):
        split_training_kernel.warmup(*types, grid=(1,), **split_options(shape, config, phase))


def resident_jobs(kernel: Any, programs: int, device: torch.device) -> int:
    """How many jobs of `programs` programs each the device holds at once, by the compiled kernel's needs.

    Raises:
        NotResident: none.
    """
    kernel._init_handles()
    properties = torch.cuda.get_device_properties(device)
    target = target_for(properties.major * 10 + properties.minor)
    blocks = target.blocks_per_sm(kernel.n_regs, WARPS, kernel.metadata.shared)
    room = blocks * properties.multi_processor_count
    if room < programs:
        raise NotResident(
            f"cooperative: {programs} programs must be resident at once and {properties.name} holds {room} "
            f"({properties.multi_processor_count} multiprocessors, {blocks} each at {kernel.n_regs} registers a "
            f"thread and {kernel.metadata.shared} bytes of shared memory)"
        )
    return room // programs


def _check(shape: Shape, images: Tensor, labels: Tensor, live: Tensor) -> None:
    reason = shape.unsupported()
    if reason is not None:
        raise ValueError(reason)
    if images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"images: uint8 or float32, not {images.dtype}")
    _check_matrix("images", images, images.dtype, shape.inputs, images.device)
    _check_matrix("live", live, torch.float32, shape.parameters, images.device)
    if labels.dtype != torch.int32 or labels.dim() != 1 or labels.device != images.device:
        raise ValueError(f"labels: int32 [L] on {images.device}, not {labels.dtype} {list(labels.shape)}")


def _check_matrix(name: str, tensor: Tensor, dtype: torch.dtype, columns: int, device: torch.device) -> None:
    if tensor.dtype != dtype or tensor.dim() != 2 or tensor.shape[1] != columns or not tensor.is_contiguous():
        raise ValueError(
            f"{name}: contiguous {dtype} [rows, {columns}], not {tensor.dtype} {list(tensor.shape)}"
        )
    if tensor.device != device:
        raise ValueError(f"{name}: on {device}, not on {tensor.device}")


def compile_cases(capability: int) -> list[CompileCase]:
    """The shipped forms of both trainers at 784 inputs and 10 outputs, by widths, batches and kind of image."""
    pointers = {"labels_ptr": "*i32", "jobs_ptr": "*i64"}
    pointers |= dict.fromkeys(("live_ptr", "checkpoints_ptr", "partials_ptr"), "*fp32")
    pointers |= dict.fromkeys(("deltas_ptr", "rates_ptr"), "*fp32")
    cases = {}
    for hidden, batch, kind in SHIPPED_COOPERATIVE:
        shape = Shape(784, *hidden, 10)
        for processors in PROCESSORS[capability]:
            config = cooperative_plan(shape, batch, capability, processors)
            if isinstance(config, str):
                continue  # GPUs this small train it phase-split
            name = f"{shape} batch {batch} {kind[1:]}, {config.input_block} inputs a slice"
            cases[name] = CompileCase(
                kernel=cooperative_training_kernel,
                name="cooperative_training",
                config=name,
                signature=pointers | {"images_ptr": kind, "arrivals_ptr": "*i32", "first_program": "i32"},
                constexprs={**config.constexprs(shape), "INTERPRETED": False},
                cooperative=True,
                **OPTIONS,
            )
    for hidden, batch, kind in SHIPPED_SPLIT:
        shape = Shape(784, *hidden, 10)
        config = split_plan(shape, batch, capability)
        assert isinstance(config, TrainerConfig), config
        for phase in (1, 2, 3):
            name = f"{shape} batch {batch} {kind[1:]}, phase {phase}"
            cases[name] = CompileCase(
                kernel=split_training_kernel,
                name="split_training",
                config=name,
                signature=pointers | {"images_ptr": kind, "clock_ptr": "*i32"},
                constexprs={**config.constexprs(shape), "PHASE": phase},
                **OPTIONS,
            )
    return list(cases.values())
