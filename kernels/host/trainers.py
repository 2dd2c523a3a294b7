"""The trainers of the plans cooperative and split, and what every trainer shares: checks, memory, the job table.

    trainer = CooperativeTrainer(shape, tiles, images, labels, live, capacity=2)
    trainer.launch(checkpoints, [JobRow(...), JobRow(...)])     # asynchronous on a GPU

images uint8 or float32 [M, K], labels int32 [L], live float32 [R, P] (the current parameters) and checkpoints float32
[C, P] are contiguous and on one device; `launch` trains the jobs' rows of `live` and writes their checkpoints.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, INTERPRETED, why_not
from breaknet.kernels.cooperative_training import cooperative_training_kernel
from breaknet.kernels.grid_barrier import COUNTER_STRIDE
from breaknet.kernels.host.targets import target_for
from breaknet.kernels.host.tiles import WARPS, TileConfig
from breaknet.kernels.jobs import JOB_COLUMNS, JobRow, Shape, job_tables, to_device

#: Registers are said outright: left to itself the assembler may stop at 128 a thread and spill.
OPTIONS: dict[str, Any] = {"num_warps": WARPS, "num_stages": 1, "maxnreg": 255, "enable_fp_fusion": True}
#: Most steps that one CUDA graph of the split trainer holds, three launches each.
GRAPH_STEPS = 250


class NotResident(RuntimeError):
    """The programs of a cooperative launch would not all run at once, so that its barrier would never open."""


class Trainer:
    """The checked tensors and the job table; all jobs have one network and its tiles, a launch at most `capacity` jobs.

    Raises:
        ValueError: a tensor or a network that does not fit, naming it.
        RuntimeError: where Triton cannot run.
    """

    def __init__(
        self, shape: Shape, config: Any, images: Tensor, labels: Tensor, live: Tensor, capacity: int
    ) -> None:
        if reason := shape.unsupported():
            raise ValueError(reason)
        if images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"images: uint8 or float32, not {images.dtype}")
        _check_matrix("images", images, images.dtype, shape.inputs, images.device)
        _check_matrix("live", live, torch.float32, shape.parameters, images.device)
        if labels.dtype != torch.int32 or labels.dim() != 1 or labels.device != images.device:
            raise ValueError(f"labels: int32 [L] on {images.device}, not {labels.dtype} {list(labels.shape)}")
        if capacity < 1:
            raise ValueError(f"capacity: 1 or more jobs, not {capacity}")
        if not HAVE_TRITON:
            raise RuntimeError(f"training needs Triton: {why_not()}")
        if images.device.type != "cuda" and not INTERPRETED:
            raise RuntimeError("training needs a CUDA device, or TRITON_INTERPRET=1 to run on the CPU")
        self.shape, self.config, self.capacity, self.max_batch = shape, config, capacity, config.rows
        self.images, self.labels, self.live, self.device = images, labels, live, images.device
        self._allocate()

    def _allocate(self) -> None:
        raise NotImplementedError

    def launch(self, checkpoints: Tensor, jobs: Sequence[JobRow]) -> None:
        """Train; returns at once on a GPU.

        Raises:
            ValueError: too many jobs, or jobs that reach past the tensors or into each other's rows.
        """
        self._check_jobs(checkpoints, jobs)
        table, rates = job_tables(jobs)
        with torch.cuda.device_of(self.live):
            self._launch(checkpoints, jobs, to_device(table, self.device), to_device(rates, self.device))

    def _launch(self, checkpoints: Tensor, jobs: Sequence[JobRow], table: Tensor, rates: Tensor) -> None:
        raise NotImplementedError

    def _check_jobs(self, checkpoints: Tensor, jobs: Sequence[JobRow]) -> None:
        if not 1 <= len(jobs) <= self.capacity:
            raise ValueError(f"jobs: 1 to {self.capacity} a launch, not {len(jobs)}")
        _check_matrix("checkpoints", checkpoints, torch.float32, self.shape.parameters, self.device)
        for job in jobs:
            if min(job.batch, job.examples) > self.max_batch:
                raise ValueError(f"jobs: batches of up to {self.max_batch} rows, not {job.batch}")
            if job.epochs * job.steps_an_epoch >= 2**31:
                raise ValueError(f"jobs: fewer than 2^31 steps a launch, not {job.epochs} epochs of {job}")
            for name, start, length, size in (
                ("image", job.image_row, job.examples, self.images.shape[0]),
                ("label", job.label, job.examples, self.labels.shape[0]),
                ("live", job.live_row, 1, self.live.shape[0]),
                ("checkpoint", job.checkpoint_row, job.epochs, checkpoints.shape[0]),
            ):
                if start + length > size:
                    raise ValueError(f"jobs: {name} rows {start} to {start + length} of {size}")
        _check_apart("live", [(job.live_row, 1) for job in jobs])
        _check_apart("checkpoint", [(job.checkpoint_row, job.epochs) for job in jobs if job.epochs])


class _PhasedTrainer(Trainer):
    """Both trainers of `cooperative_training_kernel`: scratch and counters for `capacity` jobs."""

    config: TileConfig

    def _allocate(self) -> None:
        partials, deltas = self.config.scratch
        self._partials = torch.empty(self.capacity * partials, dtype=torch.float32, device=self.device)
        self._deltas = torch.empty(self.capacity * deltas, dtype=torch.float32, device=self.device)
        self._counters = torch.zeros(self.capacity, COUNTER_STRIDE, dtype=torch.int32, device=self.device)

    def arguments(self, checkpoints: Tensor, table: Tensor, rates: Tensor) -> list[Any]:
        """The kernel's arguments before `first_program`."""
        scratch = self._partials, self._deltas, self._counters
        return [self.images, self.labels, self.live, checkpoints, *scratch, table, rates]


class CooperativeTrainer(_PhasedTrainer):
    """All epochs of its jobs in one cooperative launch.

    `launch` raises NotResident for more jobs than fit the GPU at once, and for CPU tensors: the interpreter runs
    programs one after another, and the first would never get past its barrier.
    """

    @cached_property
    def at_once(self) -> int:
        """The number of jobs of this kind that the GPU holds at once, by the needs of the compiled kernel.

        Raises:
            NotResident: not even one.
        """
        with torch.cuda.device(self.device):
            kernel = compile_cooperative(self.shape, self.config, self.images.dtype)
            kernel._init_handles()
        gpu, programs = torch.cuda.get_device_properties(self.device), self.config.programs
        target = target_for(gpu.major * 10 + gpu.minor)
        blocks = target.blocks_per_sm(kernel.n_regs, WARPS, kernel.metadata.shared)
        room = blocks * gpu.multi_processor_count
        if room < programs:
            raise NotResident(
                f"cooperative: {programs} programs must be resident at once and {gpu.name} holds {room} "
                f"({gpu.multi_processor_count} SMs, {blocks} each at {kernel.n_regs} registers a "
                f"thread and {kernel.metadata.shared} bytes of shared memory)"
            )
        return room // programs

    def probe(self) -> None:
        """Launch as many jobs as there is room for, with no epochs, and wait: does this GPU launch cooperatively?

        Raises:
            NotResident: it does not, with the driver's reason.
        """
        try:
            # each with a row of its own, because it is read and, unchanged, written
            rows = range(min(self.capacity, self.at_once, self.live.shape[0]))
            self.launch(self.live, [JobRow(0, 0, 1, 1, 0, row, 0, learning_rate=1.0) for row in rows])
            torch.cuda.synchronize(self.device)
        except NotResident:
            raise
        except Exception as error:  # the driver's are RuntimeErrors, but not all of Triton's are
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise NotResident(f"cooperative: the launch was refused: {reason[0]}") from error

    def _launch(self, checkpoints: Tensor, jobs: Sequence[JobRow], table: Tensor, rates: Tensor) -> None:
        if self.device.type == "cpu":
            raise NotResident("cooperative: the interpreter runs one program after another; use SplitTrainer")
        programs = self.config.programs
        longest = max(job.epochs * job.steps_an_epoch for job in jobs)
        if 2 * longest * programs >= 2**31:  # arrivals that a barrier counts
            raise ValueError(f"jobs: {(2**30 - 1) // programs} steps a launch at most, not {longest}")
        if len(jobs) > self.at_once:
            raise NotResident(f"cooperative: {len(jobs)} jobs at once, and this GPU holds {self.at_once}")
        self._counters.zero_()
        cooperative_training_kernel[(len(jobs) * programs,)](
            *self.arguments(checkpoints, table, rates), 0, **launch_options(self.shape, self.config)
        )


class SplitTrainer(_PhasedTrainer):
    """Three launches a step; on a GPU as replays of a CUDA graph, under the interpreter one by one."""

    def _allocate(self) -> None:
        super()._allocate()
        # a graph remembers addresses, so what changes from launch to launch is copied to where it looks
        self._table = torch.zeros(self.capacity, JOB_COLUMNS, dtype=torch.int64, device=self.device)
        self._rates = torch.zeros(self.capacity, dtype=torch.float32, device=self.device)
        self._graphs: dict[tuple[int, int, int], Any] = {}

    def _launch(self, checkpoints: Tensor, jobs: Sequence[JobRow], table: Tensor, rates: Tensor) -> None:
        count = len(jobs)
        self._table[:count].copy_(table)
        self._rates[:count].copy_(rates)
        self._counters.zero_()
        steps = max(job.epochs * job.steps_an_epoch for job in jobs)
        if self.device.type == "cpu":
            for _ in range(steps):
                self._step(checkpoints, count)
        elif steps:
            held = min(steps, GRAPH_STEPS)
            graph = self._graph(checkpoints, count, held)
            for _ in range(-(-steps // held)):  # steps past the end find every job done
                graph.replay()

    def _step(self, checkpoints: Tensor, jobs: int) -> None:
        arguments = self.arguments(checkpoints, self._table, self._rates)
        for phase in (1, 2, 3):
            cooperative_training_kernel[(jobs * self.config.programs,)](
                *arguments, 0, **launch_options(self.shape, self.config, phase)
            )

    def _graph(self, checkpoints: Tensor, jobs: int, steps: int) -> Any:
        """The graph of so many steps; to capture it, one step of the jobs is trained."""
        key = (checkpoints.data_ptr(), jobs, steps)
        if key not in self._graphs:
            # nothing may be compiled or loaded while a stream is captured; this step counts like any other
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


def launch_options(shape: Shape, config: TileConfig, phase: int = 0) -> dict[str, Any]:
    """The kernel's compile-time arguments and compiler options."""
    constexprs: dict[str, Any] = {"PHASE": phase, "NET": shape, "TILES": config}
    return constexprs | ({} if INTERPRETED else OPTIONS | {"launch_cooperative_grid": phase == 0})


def compile_cooperative(shape: Shape, config: TileConfig, image_dtype: torch.dtype, phase: int = 0) -> Any:
    """The kernel compiled for the current GPU; later launches find it in Triton's cache."""
    types = [image_dtype, torch.int32, *[torch.float32] * 4, torch.int32, torch.int64, torch.float32]
    return cooperative_training_kernel.warmup(*types, 0, grid=(1,), **launch_options(shape, config, phase))


def compile_split(shape: Shape, config: TileConfig, image_dtype: torch.dtype) -> None:
    """The same for the three phases."""
    for phase in (1, 2, 3):
        compile_cooperative(shape, config, image_dtype, phase)


def _check_matrix(name: str, tensor: Tensor, dtype: torch.dtype, columns: int, device: torch.device) -> None:
    if tensor.dtype != dtype or tensor.dim() != 2 or tensor.shape[1] != columns or not tensor.is_contiguous():
        raise ValueError(
            f"{name}: contiguous {dtype} [rows, {columns}], not {tensor.dtype} {list(tensor.shape)}"
        )
    if tensor.device != device:
        raise ValueError(f"{name}: on {device}, not on {tensor.device}")


def _check_apart(name: str, blocks: list[tuple[int, int]]) -> None:
    for (start, length), (following, _) in pairwise(sorted(blocks)):
        if start + length > following:
            raise ValueError(f"jobs: {name} rows of its own for every job, not two over row {following}")
