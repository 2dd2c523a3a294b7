"""What a fake GPU hands out in place of CUDA's and Triton's own objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import triton

from tools.ptx_machine.machine import Machine

if TYPE_CHECKING:
    from tools.ptx_machine.fake_gpu import FakeGpus


class Refused(RuntimeError):
    """Something that CUDA, torch or Triton would refuse, or do with an undefined result."""


@dataclass(frozen=True)
class Launch:
    """One launch as Triton would pass it on."""

    kernel: str
    grid: tuple[int, ...]
    types: dict[str, str]
    constants: dict[str, Any]
    divisible: frozenset[str]  # arguments that are multiples of 16
    options: dict[str, Any]
    arguments: dict[str, Any]
    gpu: int
    captured: bool


class Kernel:
    """In place of a CompiledKernel."""

    machine: Machine | None = None

    def __init__(self, gpus: FakeGpus, source: Any, options: dict[str, Any]) -> None:
        self.gpus, self.src, self.options = gpus, source, options
        self.metadata = SimpleNamespace(shared=gpus.shared, num_warps=options["num_warps"])
        self.function = self.packed_metadata = None

    def launch_metadata(self, *_: Any) -> None:
        return None

    def _init_handles(self) -> None:
        if self.gpus.broken(self):
            raise triton.runtime.errors.OutOfResources(99, 1, "shared memory")
        self.n_regs, self.n_spills = self.gpus.registers, 0

    def run(self, x: int, y: int, z: int, *rest: Any) -> None:
        arguments = dict(zip(self.src.fn.arg_names, rest[6:], strict=True))
        self._init_handles()
        self.gpus.launch(self, (x, y, z), arguments)


class Event:
    """In place of torch.cuda.Event; its times are counts of what the GPU was given to do."""

    def __init__(self, gpus: FakeGpus, enable_timing: bool = False) -> None:
        self.gpus, self.timed = gpus, enable_timing
        self.moment: int | None = None

    def record(self, stream: Any = None) -> None:
        self.moment = self.gpus.tick()

    def synchronize(self) -> None:
        self.gpus.wait(self.moment)

    def elapsed_time(self, later: Event) -> float:
        if not (self.timed and later.timed and self.moment and later.moment):
            raise Refused("elapsed_time: both events must be timed and recorded")
        if self.gpus.finished < later.moment:
            raise Refused("elapsed_time: the later event has not passed")
        return float(later.moment - self.moment)


@dataclass(eq=False)
class Stream:
    """In place of torch.cuda.Stream; work on all of them runs in the order of the calls."""

    gpu: int
    cuda_stream: int = 0

    def wait_stream(self, other: Stream) -> None:
        pass


@dataclass(eq=False)
class Graph:
    """In place of torch.cuda.CUDAGraph: the launches of its capture, which keep their tensors alive."""

    gpus: FakeGpus
    work: list[Any] = field(default_factory=list)
    complete: bool = False

    def replay(self) -> None:
        if not self.complete:
            raise Refused("replay: no capture has ended before")
        for again in self.work:
            self.gpus.tick()
            again()
