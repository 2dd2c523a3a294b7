"""What this device can reach at all, measured here: bytes copied and float32 operations in a second.

    measured("cuda") -> {"bytes_per_s": ..., "flop_per_s": ...}

Bytes are those read and written by a copy of an array much larger than any cache. Operations are those of the faster
of a large float32 matrix product and, where numba or Triton is at hand, a loop of multiply-adds that stays in
registers. Both use the whole device, so a way that keeps one of two cores is at least 2 from its floor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import perf_counter

import torch

from benchmarks.machine import core_count

log = logging.getLogger("benchmarks")

_REPEATS = 5


@lru_cache
def measured(device: str, small: bool = False) -> dict[str, float]:
    """The ceilings of "cpu" or "cuda", measured once in a process; `small` tries the code, its figures mean nothing."""
    place = torch.device(device)
    rates = [_product_rate(place, small)]
    loop = _loop_rate(place, small)
    if loop is not None:
        rates.append(loop)
    return {"bytes_per_s": _copy_rate(place, small), "flop_per_s": max(rates)}


def _least_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of several calls after a first that warms up; the least, since a ceiling is what can be reached."""
    times = []
    for _ in range(_REPEATS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - began)
    return min(times[1:])


def _copy_rate(device: torch.device, small: bool) -> float:
    count = 2**16 if small else 2**28 if device.type == "cuda" else 2**26
    source = torch.rand(count, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * count / _least_seconds(lambda: target.copy_(source), device)


def _product_rate(device: torch.device, small: bool) -> float:
    """Of a float32 matrix product, without TF32, which is torch's own default for products."""
    side = 64 if small else 8192 if device.type == "cuda" else 2048
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    out = torch.empty_like(left)
    return 2.0 * side**3 / _least_seconds(lambda: torch.mm(left, right, out=out), device)


def _loop_rate(device: torch.device, small: bool) -> float | None:
    """Of multiply-adds in registers; None without a compiler for them, or where it fails."""
    try:
        if device.type == "cuda":
            from benchmarks.microbenchmarks.ceilings import triton_loop

            call, operations = triton_loop(device, small)
        else:
            from benchmarks.microbenchmarks.ceilings import numba_loop

            one, each = numba_loop(small)
            cores = core_count()
            pool = ThreadPoolExecutor(cores)

            def call() -> object:
                return list(pool.map(lambda _: one(), range(cores)))

            operations = each * cores
        return operations / _least_seconds(call, device)
    except ImportError:
        return None
    except Exception as error:  # such as Triton's without a C compiler: the other ceilings are worth having
        log.warning("the loop of multiply-adds is left out: %s: %s", type(error).__name__, error)
        return None
