"""The memory of GPUs that are not there: CPU tensors, each known to lie on a GPU or on the host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

_WAITS = {getattr(Tensor, name) for name in ("item", "tolist", "__bool__", "__int__", "__float__")}
_MIXES = {getattr(Tensor, name) for name in ("__getitem__", "__setitem__", "to", "type")}
_ALLOCATES = {torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty}
#: What a tensor that lies on a GPU says of it.
_ANSWERS: dict[Any, Callable[[int], Any]] = {
    Tensor.device.__get__: lambda index: torch.device("cuda", index),
    Tensor.is_cuda.__get__: lambda index: True,  # type: ignore[attr-defined]
    Tensor.get_device: lambda index: index,
}


class Refused(RuntimeError):
    """Something that CUDA, torch or Triton would refuse, or do with an undefined result."""


class Placement(TorchFunctionMode):
    """Every call of torch in the thread that enters it goes through `DeviceMemory.call`."""

    def __init__(self, memory: DeviceMemory) -> None:
        super().__init__()
        self.memory = memory

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.memory.call(func, args, dict(kwargs or {}))


class DeviceMemory:
    """The places of tensors, each thread's current GPU, and what the host has waited for.

    Tensors of two places do not mix, except in a copy. New memory is NaN, or `unwritten`. A copy to page-locked memory
    that is not waited for arrives once an event after it has been waited for, and is NaN until then.
    """

    unwritten = float("nan")

    def __init__(self, count: int) -> None:
        self.count = count
        self.host_waits = 0  # by results that the host reads
        self.finished = 0  # the moment up to which work is waited for
        self.capturing: list[Callable[[], None]] | None = None  # work so far of the graph that is captured
        self._moment = 0
        self._here = threading.local()
        self._on: dict[int, tuple[StorageWeakRef, int | None]] = {}  # a GPU, or None for page-locked memory
        self._copies: list[tuple[int, Tensor, Tensor]] = []

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self) -> int:
        self._moment += 1
        return self._moment

    def wait(self, moment: int | None = None) -> None:
        """All up to `moment` is done: the copies among it arrive."""
        if self.capturing is not None:
            raise Refused("operation not permitted when stream is capturing")
        self.finished = max(self.finished, self._moment if moment is None else moment)
        with torch._C.DisableTorchFunction():
            for at, target, value in self._copies:
                if at <= self.finished:
                    target.copy_(value)
        self._copies = [copy for copy in self._copies if copy[0] > self.finished]

    def _host_wait(self) -> None:
        self.host_waits += 1
        self.wait()

    # ---- places ----------------------------------------------------------------------------------------------------

    @property
    def current(self) -> int:
        return getattr(self._here, "index", 0)

    def set_current(self, index: int) -> None:
        self._here.index = index

    @contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before, index = self.current, self.index(device)
        self.set_current(before if index is None else index)
        try:
            yield
        finally:
            self.set_current(before)

    def index(self, device: Any) -> int | None:
        """The number of a GPU that exists; None for the host."""
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
        """The GPU that a tensor lies on; None for the host."""
        with torch._C.DisableTorchFunction():
            found = self._on.get(tensor.untyped_storage()._cdata)
        return None if found is None else found[1]

    def _put(self, tensor: Tensor, index: int | None) -> Tensor:
        with torch._C.DisableTorchFunction():
            # keeps the memory from being taken for other memory once it is gone
            reference = StorageWeakRef(tensor.untyped_storage())
        self._on[reference.cdata] = (reference, index)
        return tensor

    # ---- operators -------------------------------------------------------------------------------------------------

    def call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One of torch's functions on tensors of any place."""
        if func in _ANSWERS and (index := self.place(args[0])) is not None:
            return _ANSWERS[func](index)
        if func is Tensor.pin_memory:
            if self.place(args[0]) is not None:
                raise Refused("pin_memory: only dense CPU tensors can be pinned")
            return self._put(args[0].clone(), None)
        if func is Tensor.cpu:
            return self._to(args[0], "cpu")
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        if func is Tensor.copy_:
            return self._copy(*args, **kwargs)
        return self._compute(func, args, kwargs)

    def _compute(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        places = {index for tensor in tensors if (index := self.place(tensor)) is not None}
        if places and func is Tensor.numpy:
            raise Refused("can't convert cuda device type tensor to numpy")
        if places and func in _WAITS:
            self._host_wait()
        if places and func not in _MIXES:
            strangers = [one for one in tensors if self.place(one) is None and one.dim() > 0]
            if len(places) > 1 or strangers:
                raise Refused(f"{func.__name__}: expected all tensors to be on the same device")
        index = next(iter(places), None)
        if kwargs.get("device") is not None:
            index = self.index(kwargs["device"])
            kwargs["device"] = "cpu"
        pinned = kwargs.pop("pin_memory", False)
        found = func(*args, **kwargs)
        if index is not None:
            self.tick()
            tree_map(lambda leaf: self._put(leaf, index) if isinstance(leaf, Tensor) else leaf, found)
            if func in _ALLOCATES:
                found.fill_(self.unwritten if found.is_floating_point() else 0)
        elif pinned:
            self._put(found, None)
        return found

    def _to(self, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        here = self.place(tensor)
        there = here if device is None else self.index(device)
        if not copy and here == there and dtype in (None, tensor.dtype):
            return tensor
        result = tensor.to(dtype or tensor.dtype, copy=True)
        if there is not None:
            self.tick()
            return self._put(result, there)
        if here is not None:
            self._host_wait()
        return result

    def _copy(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        here, there = self.place(source), self.place(target)
        moment = self.tick()
        if here is None or there is not None:
            return target.copy_(source)
        if not non_blocking or target.untyped_storage()._cdata not in self._on:
            self._host_wait()
            return target.copy_(source)
        self._copies.append((moment, target.detach(), source.clone()))
        return target.fill_(float("nan") if target.is_floating_point() else 0)
