"""GPUs that are not there: torch and Triton find them, every launch is checked, and the compiled kernel runs.

    with FakeGpus(capability=75, processors=40) as gpus:
        x = torch.ones(64, device="cuda")
        kernel[(1,)](x, ...)
    gpus.launches  # in order, with their arguments

Tensors are CPU tensors (`device_memory`); a launch runs the PTX that Triton compiles for the capability (`machine`).
With `computes=False` launches are recorded and checked, and nothing is compiled or run: new memory is zeros and stays
so. What is taken over from CUDA and torch, and refused where they would refuse it:

- A kernel is compiled for a thread's current GPU and launched on it, with tensors that lie there, of the types that it
  was compiled for.
- A graph holds the launches of its capture, on a stream of the current GPU. Meanwhile no thread may wait for the GPU,
  and the capturing one neither compiles nor loads a kernel.
- A cooperative launch of more programs than are resident is refused with the driver's words.

Kernels must be compiled, not interpreted, so TRITON_INTERPRET must not be set when they are decorated.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import compile as compile_with_triton

from tools.ptx_machine.device_memory import DeviceMemory, Placement, Refused
from tools.ptx_machine.machine import Machine
from tools.ptx_machine.traffic import Traffic

_POINTERS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.uint8: "*u8",
    torch.int8: "*i8", torch.int16: "*i16", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
#: Registers and bytes of shared memory of an SM, which say how many cooperative programs are resident.
_SM_REGISTERS = _SM_SHARED = 65_536


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

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return lambda *arguments: self.run(*grid, *(None,) * 6, *arguments)

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


@dataclass(frozen=True)
class Stream:
    """In place of torch.cuda.Stream; work on all of them runs in the order of the calls."""

    gpu: int


class Graph:
    """In place of torch.cuda.CUDAGraph: the launches of its capture, which keep their tensors alive."""

    work: list[Callable[[], None]] | None = None

    def replay(self) -> None:
        if self.work is None:
            raise Refused("replay: no capture has ended before")
        for again in self.work:
            again()


class FakeGpus(DeviceMemory):
    """While entered, torch and Triton find `count` GPUs of `processors` SMs each."""

    seed = 0  # of the order in which blocks take turns
    edit: Callable[[str], str] = staticmethod(lambda ptx: ptx)  # applied to the PTX before it is run
    traffic: Traffic | None = None  # counts accesses of memory, where it is given
    uncounted: Sequence[str] = ()  # kernels whose accesses are not
    cooperative = True  # whether the driver launches cooperatively at all
    broken: Callable[[Kernel], bool] = staticmethod(lambda kernel: False)  # which need more than there is

    def __init__(
        self, capability: int, processors: int, count: int = 1, *, computes: bool = True,
        registers: int = 255, shared: int = 32_768,
    ) -> None:  # fmt: skip
        super().__init__(count)
        self.capability, self.processors, self.computes = capability, processors, computes
        self.registers = registers  # of a thread of any kernel
        self.shared = shared  # bytes of a kernel that is not compiled
        if not computes:
            self.unwritten = 0.0
        self.launches: list[Launch] = []
        self.compiled: list[tuple[str, int, int]] = []  # kernel, GPU, launches before it
        self._functions: set[Any] = set()  # which keep what was compiled, and `compile`
        self._capturer: int | None = None
        self._capture_stream: Stream | None = None  # torch's own, made for the first capture

    # ---- kernels ---------------------------------------------------------------------------------------------------

    def compile(self, source: Any, target: Any = None, options: Any = None, **_: Any) -> Kernel:
        """In place of triton.compile."""
        self._functions.add(source.fn)
        if self._captures_here():
            raise Refused(f"{source.fn.__name__}: compiled and loaded while a stream is captured")
        self.compiled.append((source.fn.__name__, self.current, len(self.launches)))
        kernel = Kernel(self, source, options)
        if self.computes:
            built: Any = compile_with_triton(source, target=self.get_current_target(), options=options)
            kernel.machine = Machine(self.edit(built.asm["ptx"]), built.metadata.shared)
            kernel.metadata.shared = built.metadata.shared
        return kernel

    def launch(self, kernel: Kernel, grid: tuple[int, int, int], arguments: dict[str, Any]) -> None:
        """Check, record and run; in a capture, run at each replay."""
        source = kernel.src
        names = source.fn.arg_names
        types = {one: kind for one, kind in source.signature.items() if kind != "constexpr"}
        self._check_grid(kernel, grid)
        self._check_arguments(source.fn.__name__, types, arguments)
        self.launches.append(
            Launch(
                source.fn.__name__, grid, types,
                constants={names[path[0]]: value for path, value in source.constants.items()},
                divisible=frozenset(names[path[0]] for path, found in source.attrs.items() if found),
                options=kernel.options, arguments=arguments, gpu=self.current, captured=self._captures_here(),
            )
        )  # fmt: skip
        run = partial(self._run, kernel, grid, [arguments[name] for name in types])
        if self.capturing is not None and self._captures_here():
            self.capturing.append(run)
        else:
            run()

    def _check_grid(self, kernel: Kernel, grid: tuple[int, int, int]) -> None:
        name, programs = kernel.src.fn.__name__, grid[0] * grid[1] * grid[2]
        if not (1 <= grid[0] < 2**31 and 1 <= grid[1] < 65_536 and 1 <= grid[2] < 65_536):
            raise Refused(f"{name}: a grid of {grid}")
        if programs >= 2**31:
            raise Refused(f"{name}: a grid of {grid} overflows Triton's count")
        if not kernel.options["launch_cooperative_grid"]:
            return
        if not self.cooperative:
            raise RuntimeError("Triton Error [CUDA]: operation not supported")
        registers = self.registers * 32 * kernel.options["num_warps"]
        resident = min(_SM_REGISTERS // registers, _SM_SHARED // max(1, kernel.metadata.shared))
        if programs > resident * self.processors:
            raise RuntimeError("Triton Error [CUDA]: too many blocks in cooperative launch")

    def _check_arguments(self, name: str, types: dict[str, str], arguments: dict[str, Any]) -> None:
        for one, kind in types.items():
            value = arguments[one]
            if kind.startswith("*"):
                if not isinstance(value, Tensor) or _POINTERS[value.dtype] != kind:
                    raise Refused(f"{name}: {one} is compiled for {kind}, not {value!r}")
                if self.place(value) != self.current:
                    raise Refused(f"{name}: {one} lies on {value.device}, launched on GPU {self.current}")
            elif kind == "i32" and not -(2**31) <= value < 2**31:
                raise Refused(f"{name}: {one} = {value} is no i32")

    def _run(self, kernel: Kernel, grid: tuple[int, int, int], arguments: list[Any]) -> None:
        self.tick()
        if kernel.machine is None:
            return
        kernel.machine.traffic = None if kernel.src.fn.__name__ in self.uncounted else self.traffic
        cooperative = bool(kernel.options["launch_cooperative_grid"])
        with torch._C.DisableTorchFunction(), torch.no_grad():
            kernel.machine.run(grid, arguments, cooperative=cooperative, seed=self.seed)

    # ---- graphs ----------------------------------------------------------------------------------------------------

    def _captures_here(self) -> bool:
        return self.capturing is not None and threading.get_ident() == self._capturer

    @contextmanager
    def graph(
        self, graph: Graph, pool: Any = None, stream: Stream | None = None, capture_error_mode: str = "global"
    ) -> Iterator[None]:
        """In place of torch.cuda.graph."""
        self.wait()
        if stream is None:
            stream = self._capture_stream = self._capture_stream or Stream(self.current)
        if stream.gpu != self.current:
            raise Refused(f"graph: captured on a stream of GPU {stream.gpu}, launches go to {self.current}")
        self.capturing, self._capturer = [], threading.get_ident()
        try:
            if threading.active_count() > 1:
                time.sleep(0.1)  # long enough for another thread to come to a wait, if it may
            yield
            graph.work = self.capturing
        finally:
            self.capturing = None

    # ---- torch's and Triton's own names ----------------------------------------------------------------------------

    def get_current_device(self) -> int:
        return self.current

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def _stream(self, device: Any = None) -> Stream:
        index = self.current if device is None else self.index(device)
        assert index is not None, device
        return Stream(index)

    def _properties(self, device: Any = None) -> SimpleNamespace:
        return SimpleNamespace(
            name="fake", major=self.capability // 10, minor=self.capability % 10,
            multi_processor_count=self.processors, total_memory=2**34,
        )  # fmt: skip

    def __enter__(self) -> FakeGpus:
        self._stack = ExitStack()
        names: dict[str, Any] = {
            "is_available": lambda: True, "device_count": lambda: self.count, "current_device": lambda: self.current,
            "get_device_capability": lambda device=None: divmod(self.capability, 10),
            "get_device_name": lambda device=None: "fake", "get_device_properties": self._properties,
            "mem_get_info": lambda device=None: (2**33, 2**34),
            "synchronize": lambda device=None: self.wait(), "Event": partial(Event, self),
            "device": self.device, "device_of": lambda tensor: self.device(tensor.device),
            "current_stream": self._stream, "Stream": self._stream,
            "CUDAGraph": Graph, "graph": self.graph, "is_current_stream_capturing": self._captures_here,
        }  # fmt: skip
        self._stack.enter_context(patch.multiple(torch.cuda, **names))
        # the machine knows products of warps, not of groups of them
        self._stack.enter_context(patch.dict(os.environ, DISABLE_MMA_V3="1"))
        run = threading.Thread.run

        def run_placed(thread: threading.Thread) -> None:
            with Placement(self):
                run(thread)

        self._stack.enter_context(patch.object(threading.Thread, "run", run_placed))
        self._stack.enter_context(patch.object(triton.compiler, "compile", self.compile))
        self._stack.enter_context(patch.object(triton.runtime.driver, "_active", self))
        self._stack.callback(self._forget)
        self._stack.enter_context(Placement(self))
        return self

    def _forget(self) -> None:
        """Have Triton forget what was compiled for these GPUs."""
        for function in self._functions:
            function.device_caches.clear()

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
