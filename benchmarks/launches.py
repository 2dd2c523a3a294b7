"""Launches of a piece of work, counted while it runs: by torch's profiler, or by wrapped dispatchers for numba."""

from __future__ import annotations

import itertools
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

log = logging.getLogger("benchmarks")

#: The driver's and the runtime's calls that put work on a GPU's queue.
HOST_LAUNCH = re.compile(
    r"^(cudaLaunch\w*|cuLaunch\w*|cudaGraphLaunch\w*|cuGraphLaunch\w*|cudaMemcpy\w*|cudaMemset\w*|cuMemcpy\w*|cuMemset\w*)$"
)
_OPERATOR = re.compile(r"^(?!autograd::|torch::|cuda::)\w+::\w+")
_COPY = re.compile(r"^(Memcpy|Memset)\b")


def of_torch(run: Callable[[], object], units: float, device: torch.device) -> dict[str, float]:
    """For one of `units` units: torch operators on a CPU; on a GPU kernels, copies and launches from the host.

    Nothing where the profiler sees no kernel of a GPU: it may not be allowed to look.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize(device)
    with profile(activities=activities, acc_events=True) as profiler:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = list(profiler.events() or ())
    if device.type != "cuda":
        return {"torch_operators": operators(events) / units}
    counted = gpu_launches(events)
    if not counted["kernels"]:
        log.warning("launches are not counted: the profiler shows no kernel on the GPU")
        return {}
    return {name: count / units for name, count in counted.items()}


def operators(events: Iterable[Any]) -> int:
    """Torch operators that were called for themselves, not by another operator."""
    return sum(1 for event in events if _is_operator(event) and not _inside_operator(event))


def gpu_launches(events: Iterable[Any]) -> dict[str, int]:
    """Kernels that ran on the device, copies and fills that did, and calls of the host that launched work."""
    counted = {"kernels": 0, "copies": 0, "host_launches": 0}
    for event in events:
        if event.device_type == torch.autograd.DeviceType.CUDA:
            if not getattr(event, "is_user_annotation", False):
                counted["copies" if _COPY.match(event.name) else "kernels"] += 1
        elif HOST_LAUNCH.match(event.name):
            counted["host_launches"] += 1
    return counted


def _is_operator(event: Any) -> bool:
    return bool(_OPERATOR.match(event.name))


def _inside_operator(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if _is_operator(parent):
            return True
        parent = parent.cpu_parent
    return False


def of_numba(run: Callable[[], object], units: float, device: torch.device) -> dict[str, float]:
    """For one of `units` units: calls from Python of functions that numba has compiled, in whatever thread."""
    with _counted_dispatchers() as calls:
        run()
        # a counter can only be read by moving it on
        return {"compiled_calls": next(calls) / units}


class _Counted:
    """A compiled function whose calls are counted; everything else is passed on."""

    def __init__(self, compiled: Any, calls: Iterator[int]) -> None:
        self._compiled, self._calls = compiled, calls

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        next(self._calls)  # a single step of the interpreter, so no thread's call is lost
        return self._compiled(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)


@contextmanager
def _counted_dispatchers() -> Iterator[Iterator[int]]:
    """Every numba function that a module of ours holds by name, wrapped; compiled code calls the originals."""
    from numba.core.dispatcher import Dispatcher

    calls = itertools.count()
    replaced = []
    for module in [
        module for name, module in sys.modules.items() if name.startswith(("breaknet", "benchmarks"))
    ]:
        for name, value in list(vars(module).items()):
            if isinstance(value, Dispatcher):
                replaced.append((module, name, value))
                setattr(module, name, _Counted(value, calls))
    try:
        yield calls
    finally:
        for module, name, value in replaced:
            setattr(module, name, value)
