"""Marks on a device's time line: CUDA events on a GPU, the host's clock where launches return when they are done."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from torch import Tensor


def mark(device: torch.device) -> Any:
    """A mark after all that has been launched so far."""
    if device.type != "cuda":
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def wait(moment: Any) -> None:
    """Return once the device has come to the mark."""
    if not isinstance(moment, float):
        moment.synchronize()


def seconds_between(earlier: Any, later: Any) -> float:
    """The time between two marks that the device has passed."""
    if isinstance(earlier, float):
        return later - earlier
    return earlier.elapsed_time(later) / 1000.0


def to_host(tensor: Tensor) -> Tensor:
    """A CPU copy that is complete once a mark made after this call has been reached."""
    if tensor.device.type != "cuda":
        return tensor.clone()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
