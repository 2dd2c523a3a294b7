"""The ceilings of a device, measured here: bytes copied and float32 operations in a second.

    measured("cuda") -> {"bytes_per_s": ..., "flop_per_s": ...}

Bytes are those read and written by a copy of an array much larger than any cache. Operations are those of the faster
of a large float32 matrix product and, where numba or Triton is at hand, a loop of FMAs that stays in registers. Both
use the whole device, so a contender that keeps one of two cores is at least 2 from its floor.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.machine import core_count
from breaknet.kernels._triton import HAVE_TRITON, jit, tl, why_not

log = logging.getLogger("benchmarks")

_REPEATS = 5
#: Chains of sixteen lanes; a core with two units of four or five cycles' latency is kept busy by ten or so.
CHAINS = 6
#: Rounds of the GPU's loop without a branch between them.
UNROLLED = 4


@lru_cache
def measured(device: str, small: bool = False) -> dict[str, float]:
    """The ceilings of "cpu" or "cuda", measured once in a process; `small` tries the code, its figures mean nothing."""
    place = torch.device(device)
    operations = max(_product_rate(place, small), _loop_rate(place, small))
    return {"bytes_per_s": _copy_rate(place, small), "flop_per_s": operations}


def _least_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of several calls after a first that warms up; the least, since a ceiling is what can be reached."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(_REPEATS + 1):
        wait()
        began = perf_counter()
        call()
        wait()
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
    left, right, out = (torch.rand(side, side, device=device) for _ in range(3))
    return 2.0 * side**3 / _least_seconds(lambda: torch.mm(left, right, out=out), device)


def _loop_rate(device: torch.device, small: bool) -> float:
    """Of FMAs in registers; 0 without a compiler for them, or where it fails."""
    try:
        call, operations = triton_loop(device, small) if device.type == "cuda" else numba_loop(small)
        return operations / _least_seconds(call, device)
    except ImportError:
        return 0.0
    except Exception as error:  # such as Triton's without a C compiler: the other ceilings are worth having
        log.warning("the loop of FMAs is left out: %s: %s", type(error).__name__, error)
        return 0.0


# chains x = x * a + b with 0 < a < 1, so that values settle near b / (1 - a) and never vanish or overflow


def numba_loop(small: bool) -> tuple[Callable[[], Any], float]:
    """A call that keeps every core busy, and the operations it does.

    Raises:
        ImportError: without numba.
    """
    from numba import njit

    from breaknet.backends.numba_cpu.simd import LANES, fma, load, store

    @njit(nogil=True)
    def chains(values: Any, steps: int) -> None:
        a, b = load(values, 0), load(values, 16)
        x0, x1, x2 = load(values, 32), load(values, 48), load(values, 64)
        x3, x4, x5 = load(values, 80), load(values, 96), load(values, 112)
        for _ in range(steps):
            x0, x1, x2 = fma(x0, a, b), fma(x1, a, b), fma(x2, a, b)
            x3, x4, x5 = fma(x3, a, b), fma(x4, a, b), fma(x5, a, b)
        store(values, 32, x0 + x1 + x2 + x3 + x4 + x5)

    steps = 100 if small else 4_000_000

    def one(_: int) -> None:
        chains(np.linspace(0.4, 0.6, 128, dtype=np.float32), steps)

    one(0)  # compiles
    cores = core_count()
    pool = ThreadPoolExecutor(cores)
    return lambda: list(pool.map(one, range(cores))), 2.0 * LANES * CHAINS * steps * cores


@jit
def fma_kernel(out_ptr, steps, BLOCK: tl.constexpr, UNROLLED: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x0 = offsets.to(tl.float32) * 1e-9 + 0.5
    x1 = x0 + 0.01
    x2 = x0 + 0.02
    x3 = x0 + 0.03
    a = x0 * 0.0 + 0.75
    b = x0 * 0.0 + 0.125
    for _ in range(steps):
        for _ in tl.static_range(UNROLLED):
            x0 = x0 * a + b
            x1 = x1 * a + b
            x2 = x2 * a + b
            x3 = x3 * a + b
    tl.store(out_ptr + offsets, x0 + x1 + x2 + x3)


def triton_loop(device: torch.device, small: bool) -> tuple[Callable[[], Any], float]:
    """A launch that fills the device, and the operations it does.

    Raises:
        ImportError: without a usable Triton.
    """
    if not HAVE_TRITON:
        raise ImportError(why_not())
    block = 64 if small else 1024  # by 4 warps: 8 values in each of 4 chains a thread
    gpu = device.type == "cuda"
    programs = 16 * torch.cuda.get_device_properties(device).multi_processor_count if gpu else 1
    steps = 10 if small else 5_000
    out = torch.empty(programs * block, device=device)

    def call() -> None:
        fma_kernel[(programs,)](out, steps, BLOCK=block, UNROLLED=UNROLLED)

    return call, 2.0 * 4 * UNROLLED * block * programs * steps
