"""Launches of a piece of work, counted while it runs: by torch's profiler, or by wrapped dispatchers for numba."""

import itertools
import logging
import re
from collections.abc import Callable, Iterable
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

    def for_itself(event: Any) -> bool:
        parent = event.cpu_parent
        while parent is not None and not _OPERATOR.match(parent.name):
            parent = parent.cpu_parent
        return parent is None

    return sum(1 for event in events if _OPERATOR.match(event.name) and for_itself(event))


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


def of_numba(run: Callable[[], object], units: float, device: torch.device) -> dict[str, float]:
    """For one of `units` units: calls from Python of functions that numba has compiled, in whatever thread."""
    from numba.core.dispatcher import Dispatcher

    calls, original = itertools.count(), Dispatcher.__call__

    def counted(dispatcher: Any, *arguments: Any, **named: Any) -> Any:
        next(calls)  # a single step of the interpreter, so no thread's call is lost
        return original(dispatcher, *arguments, **named)

    Dispatcher.__call__ = counted  # compiled code does not come through here
    try:
        run()
    finally:
        del Dispatcher.__call__  # what is left is the inherited one
    return {"compiled_calls": next(calls) / units}
