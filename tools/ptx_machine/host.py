"""GPUs that are not there: what the host does for one runs on CPU tensors, and every launch is looked at.

    gpus = Gpus(capability=75, processors=40)
    with gpus:
        breaknet.train(..., backend="triton", device="cuda")
    gpus.launches  # what was launched, in order

What it takes over from CUDA and torch, and refuses where they would:

- A tensor lies on a GPU or on the host, and those of two places do not mix, except in a copy.
- Each thread has a current GPU. A kernel is compiled for it and launched on it, with tensors that lie there.
- A copy to page-locked memory that is not waited for arrives once an event after it has been waited for: NaN till then.
- A graph holds the launches of its capture. No thread may wait for the GPU meanwhile.
- A cooperative launch of more programs than are resident is refused with the driver's words.

Kernels are not compiled: a launch does what the kernel's documentation says, in torch (`kernel_effects`), from the
very arguments that Triton would pass on; `ptx/compiled_gpus.py` has GPUs that do run compiled kernels. Run it without
TRITON_INTERPRET, so in a process of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import triton
from kernel_effects import EFFECTS
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from triton.backends.compiler import GPUTarget

from tools.ptx_machine.host_parts import Event, Graph, Kernel, Launch, Refused

_POINTERS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.uint8: "*u8",
    torch.int8: "*i8", torch.int16: "*i16", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
_WAITS = {
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
}
_FREE = {torch.Tensor.__getitem__, torch.Tensor.__setitem__, torch.Tensor.to, torch.Tensor.type}


class Place(TorchFunctionMode):
    """Tells tensors of the host from those of a GPU, in the thread that enters it."""

    def __init__(self, gpus: Gpus) -> None:
        super().__init__()
        self.gpus = gpus

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.gpus.call(func, args, dict(kwargs or {}))


class Gpus:
    """While entered, torch and Triton find `count` GPUs of this kind."""

    def __init__(
        self, capability: int = 75, processors: int = 40, count: int = 1, registers: int = 255, shared: int = 32_768
    ) -> None:  # fmt: skip
        self.capability, self.processors, self.count = capability, processors, count
        self.registers, self.shared = registers, shared
        self.cooperative = True  # whether the driver launches cooperatively at all
        self.broken: str | None = None  # name of a kernel that needs more than there is
        self.launches: list[Launch] = []
        self.compiled: list[tuple[str, int, int]] = []  # kernel, GPU, launches before it
        self.host_waits = 0
        self.finished = 0
        self._moment = 0
        self._capturing: Graph | None = None
        self._capturer: int | None = None
        self._here = threading.local()
        self._on: dict[int, tuple[StorageWeakRef, int]] = {}
        self._pinned: dict[int, StorageWeakRef] = {}
        self._copies: list[tuple[int, Tensor, Tensor]] = []

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self) -> int:
        self._moment += 1
        return self._moment

    def wait(self, moment: int | None = None) -> None:
        """All up to `moment` is done: the copies among it arrive."""
        if self._capturing is not None:
            raise Refused("operation not permitted when stream is capturing")
        self.finished = max(self.finished, self._moment if moment is None else moment)
        with torch._C.DisableTorchFunction():
            for at, target, value in self._copies:
                if at <= self.finished:
                    target.copy_(value)
        self._copies = [copy for copy in self._copies if copy[0] > self.finished]

    # ---- places ----------------------------------------------------------------------------------------------------

    @property
    def current(self) -> int:
        return getattr(self._here, "index", 0)

    @contextmanager
    def device(self, device: Any):
        before, index = self.current, self._index(device)
        self._here.index = before if index is None else index
        try:
            yield
        finally:
            self._here.index = before

    def set_current(self, index: int) -> None:
        self._here.index = index

    def device_of(self, tensor: Tensor) -> Any:
        return self.device(tensor.device)

    def _index(self, device: Any) -> int | None:
        if isinstance(device, int):
            return device if device >= 0 else None
        device = torch.device(device)
        if device.type != "cuda":
            return None
        index = self.current if device.index is None else device.index
        if index >= self.count:
            raise Refused(f"CUDA error: invalid device ordinal {index}")
        return index

    def place(self, tensor: Tensor) -> int | None:
        with torch._C.DisableTorchFunction():
            found = self._on.get(tensor.untyped_storage()._cdata)
        return None if found is None else found[1]

    def _put(self, tensor: Tensor, index: int) -> Tensor:
        with torch._C.DisableTorchFunction():
            reference = StorageWeakRef(tensor.untyped_storage())
        self._on[reference.cdata] = (reference, index)
        return tensor

    def _pin(self, tensor: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            reference = StorageWeakRef(tensor.untyped_storage())
        self._pinned[reference.cdata] = reference
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._pinned

    # ---- operators -------------------------------------------------------------------------------------------------

    def call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__" and func == torch.Tensor.device.__get__:
            index = self.place(args[0])
            return func(*args) if index is None else torch.device("cuda", index)
        if name == "__get__" and func == torch.Tensor.is_cuda.__get__:
            return self.place(args[0]) is not None
        if func is torch.Tensor.get_device:
            index = self.place(args[0])
            return -1 if index is None else index
        if func is torch.Tensor.pin_memory:
            if self.place(args[0]) is not None:
                raise Refused("pin_memory: only dense CPU tensors can be pinned")
            return self._pin(args[0].clone())
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            return self._to(func, args, kwargs)
        if func is torch.Tensor.copy_:
            return self._copy(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        places = {index for tensor in tensors if (index := self.place(tensor)) is not None}
        if places and func is torch.Tensor.numpy:
            raise Refused("can't convert cuda device type tensor to numpy")
        if places and func in _WAITS:
            self.host_waits += 1
            self.wait()
        if places and func not in _FREE:
            strangers = [one for one in tensors if self.place(one) is None and one.dim() > 0]
            if len(places) > 1 or strangers:
                raise Refused(f"{name}: expected all tensors to be on the same device")
        index = next(iter(places), None)
        if kwargs.get("device") is not None:
            index = self._index(kwargs["device"])
            kwargs["device"] = "cpu"
        pinned = kwargs.pop("pin_memory", False)
        found = func(*args, **kwargs)
        if index is not None:
            self.tick()
            tree_map(lambda leaf: self._put(leaf, index) if isinstance(leaf, Tensor) else leaf, found)
        elif pinned:
            self._pin(found)
        return found

    def _to(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        target = kwargs.get("device")
        if func is torch.Tensor.cpu:
            target = "cpu"
        for one in rest:
            if isinstance(one, (str, torch.device, int)) and not isinstance(one, bool):
                target = one
            elif isinstance(one, Tensor):
                target = one.device
        here = self.place(tensor)
        there = here if target is None else self._index(target)
        dtype = next(
            (one for one in [*rest, kwargs.get("dtype")] if isinstance(one, torch.dtype)), tensor.dtype
        )
        copy = kwargs.get("copy", False) or here != there or dtype != tensor.dtype
        if not copy:
            return tensor
        result = tensor.to(dtype, copy=True)
        if there is not None:
            self.tick()
            return self._put(result, there)
        if here is not None:
            self.host_waits += 1
            self.wait()
        return result

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        here, there = self.place(source), self.place(target)
        moment = self.tick()
        if here is None or there is not None:
            return target.copy_(source)
        if not non_blocking or not self._is_pinned(target):
            self.host_waits += 1
            self.wait()
            return target.copy_(source)
        self._copies.append((moment, target.detach(), source.clone()))
        return target.fill_(float("nan") if target.is_floating_point() else 0)

    # ---- kernels ---------------------------------------------------------------------------------------------------

    def compile(self, source: Any, target: Any = None, options: Any = None, **_: Any) -> Kernel:
        if self._captures_here():
            raise Refused(f"{source.fn.__name__}: compiled and loaded while a stream is captured")
        self.compiled.append((source.fn.__name__, self.current, len(self.launches)))
        return Kernel(self, source, options)

    def launch(self, kernel: Kernel, grid: tuple[int, int, int], arguments: dict[str, Any]) -> None:
        source, name = kernel.src, kernel.src.fn.__name__
        names = source.fn.arg_names
        types = {one: kind for one, kind in source.signature.items() if kind != "constexpr"}
        if not (1 <= grid[0] < 2**31 and 1 <= grid[1] < 65_536 and 1 <= grid[2] < 65_536):
            raise Refused(f"{name}: a grid of {grid}")
        if grid[0] * grid[1] * grid[2] >= 2**31:
            raise Refused(f"{name}: a grid of {grid} overflows Triton's count")
        for one, kind in types.items():
            value = arguments[one]
            if kind.startswith("*"):
                if not isinstance(value, Tensor) or _POINTERS[value.dtype] != kind:
                    raise Refused(f"{name}: {one} is compiled for {kind}, not {value!r}")
                if self.place(value) != self.current:
                    raise Refused(f"{name}: {one} lies on {value.device}, launched on GPU {self.current}")
            elif kind == "i32" and not -(2**31) <= value < 2**31:
                raise Refused(f"{name}: {one} = {value} is no i32")
        if kernel.options["launch_cooperative_grid"]:
            blocks = min(
                65_536 // (self.registers * 32 * kernel.options["num_warps"]),
                65_536 // kernel.metadata.shared,
            )
            if not self.cooperative:
                raise RuntimeError("Triton Error [CUDA]: operation not supported")
            if grid[0] * grid[1] * grid[2] > blocks * self.processors:
                raise RuntimeError("Triton Error [CUDA]: too many blocks in cooperative launch")
        constants = {names[path[0]]: value for path, value in source.constants.items()}
        divisible = frozenset(names[path[0]] for path, attributes in source.attrs.items() if attributes)
        captured = self._captures_here()
        self.launches.append(
            Launch(name, grid, types, constants, divisible, kernel.options, arguments, self.current, captured)
        )
        effect = partial(self.effect, kernel, grid, {**constants, **arguments})
        if captured:
            assert self._capturing is not None
            self._capturing.work.append(effect)
        else:
            self.tick()
            effect()

    def _captures_here(self) -> bool:
        return self._capturing is not None and threading.get_ident() == self._capturer

    def effect(self, kernel: Kernel, grid: tuple[int, int, int], arguments: dict[str, Any]) -> None:
        """What a launch does."""
        with torch._C.DisableTorchFunction(), torch.no_grad():
            EFFECTS[kernel.src.fn.__name__](grid, SimpleNamespace(**arguments))

    @contextmanager
    def graph(self, graph: Graph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"):
        self.wait()
        self._capturing, self._capturer = graph, threading.get_ident()
        try:
            time.sleep(0.1)  # long enough for another thread to come to a wait, if it may
            yield
        finally:
            self._capturing = None

    # ---- torch's and Triton's own names ----------------------------------------------------------------------------

    def get_current_device(self) -> int:
        return self.current

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def _properties(self, device: Any = None) -> SimpleNamespace:
        return SimpleNamespace(
            name="stand-in", major=self.capability // 10, minor=self.capability % 10,
            multi_processor_count=self.processors, total_memory=2**34,
        )  # fmt: skip

    def __enter__(self) -> Gpus:
        self._stack = ExitStack()
        stream = SimpleNamespace(cuda_stream=0, wait_stream=lambda other: None)
        names = {
            "is_available": lambda: True, "device_count": lambda: self.count, "current_device": lambda: self.current,
            "get_device_capability": lambda device=None: divmod(self.capability, 10),
            "get_device_name": lambda device=None: "stand-in", "get_device_properties": self._properties,
            "synchronize": lambda device=None: self.wait(), "current_stream": lambda device=None: stream,
            "Event": partial(Event, self), "device": self.device, "device_of": self.device_of,
            "Stream": lambda device=None: stream, "CUDAGraph": partial(Graph, self), "graph": self.graph,
        }  # fmt: skip
        for name, stand_in in names.items():
            self._stack.enter_context(patch.object(torch.cuda, name, stand_in))
        from breaknet.backends import check
        from breaknet.backends.triton_gpu import backend

        pool = partial(ThreadPoolExecutor, initializer=lambda: Place(self).__enter__())
        for module in (backend, check):
            self._stack.enter_context(patch.object(module, "ThreadPoolExecutor", pool))
        self._stack.enter_context(patch.object(triton.compiler, "compile", self.compile))
        driver = triton.runtime.driver
        self._stack.enter_context(patch.object(driver, "_active", self))
        for name, module in list(sys.modules.items()):
            if name.startswith("breaknet.kernels."):
                for kernel in vars(module).values():
                    if isinstance(kernel, triton.JITFunction):
                        kernel.device_caches.clear()  # what was compiled for the last GPUs
        self._stack.enter_context(Place(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
