"""What `gpu_host` hands out in the place of CUDA's and Triton's own objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import triton

if TYPE_CHECKING:
    from tools.ptx_machine.host import Gpus


class Refused(RuntimeError):
    """Something that CUDA, torch or Triton would refuse, or do with an undefined result."""


@dataclass(frozen=True)
class Launch:
    """One launch as Triton would pass it on."""

    kernel: str
    grid: tuple[int, ...]
    types: dict[str, str]
    constants: dict[str, Any]
    divisible: frozenset[str]
    options: dict[str, Any]
    arguments: dict[str, Any]
    gpu: int
    captured: bool


class Kernel:
    """Stands for a CompiledKernel."""

    def __init__(self, gpus: Gpus, source: Any, options: dict[str, Any]) -> None:
        self.gpus, self.src, self.options = gpus, source, options
        self.metadata = SimpleNamespace(shared=gpus.shared, num_warps=options["num_warps"])
        self.function = self.packed_metadata = None

    def launch_metadata(self, *_: Any) -> None:
        return None

    def _init_handles(self) -> None:
        if self.gpus.broken is not None and self.src.fn.__name__ == self.gpus.broken:
            raise triton.runtime.errors.OutOfResources(99, 1, "shared memory")
        self.n_regs, self.n_spills = self.gpus.registers, 0

    def run(self, x: int, y: int, z: int, *rest: Any) -> None:
        arguments = dict(zip(self.src.fn.arg_names, rest[6:], strict=True))
        self._init_handles()
        self.gpus.launch(self, (x, y, z), arguments)


class Event:
    """Stands for torch.cuda.Event."""

    def __init__(self, gpus: Gpus, enable_timing: bool = False) -> None:
        self.gpus, self.timed, self.moment = gpus, enable_timing, None

    def record(self, stream: Any = None) -> None:
        self.moment = self.gpus.tick()

    def synchronize(self) -> None:
        self.gpus.wait(self.moment)

    def elapsed_time(self, later: Event) -> float:
        if not (self.timed and later.timed) or self.gpus.finished < later.moment:
            raise Refused("elapsed_time: both events must be timed and have passed")
        return float(later.moment - self.moment)


@dataclass(eq=False)
class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    gpus: Gpus
    work: list[Any] = field(default_factory=list)

    def replay(self) -> None:
        for again in self.work:
            self.gpus.tick()
            again()
