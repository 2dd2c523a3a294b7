"""Loops of independent float32 multiply-adds that stay in registers: what a device computes when nothing else is asked.

Chains x = x * a + b with 0 < a < 1, so that values settle near b / (1 - a) and never vanish or overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from breaknet.kernels._triton import HAVE_TRITON, jit, tl, why_not

#: Chains of sixteen lanes; a processor with two units of four or five clocks' latency is kept busy by ten or so.
CHAINS = 6
#: Rounds of the GPU's loop without a branch between them.
UNROLLED = 4


def numba_loop(small: bool) -> tuple[Callable[[], Any], float]:
    """A call for one thread, which releases the interpreter lock, and the operations it does.

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

    def call() -> None:
        values = np.linspace(0.4, 0.6, 128, dtype=np.float32)
        chains(values, steps)

    call()  # compiles
    return call, 2.0 * LANES * CHAINS * steps


@jit
def multiply_adds_kernel(out_ptr, steps, BLOCK: tl.constexpr, UNROLLED: tl.constexpr):
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
    programs = 1
    if device.type == "cuda":
        programs = 16 * torch.cuda.get_device_properties(device).multi_processor_count
    steps = 10 if small else 5_000
    out = torch.empty(programs * block, device=device)

    def call() -> None:
        multiply_adds_kernel[(programs,)](out, steps, BLOCK=block, UNROLLED=UNROLLED)

    return call, 2.0 * 4 * UNROLLED * block * programs * steps
