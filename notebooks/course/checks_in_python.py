"""The checkers of the exercises that are plain Python: `split_product` and `blocks_per_sm`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels.host.targets import TARGETS, THREADS_PER_WARP, Target
from notebooks.course.diagnosis import NOT_FILLED_IN, Verdict, allowance
from notebooks.course.precision import tensor_core_product, to_tf32


def split_product(function: Callable[[Tensor, Tensor, Any, Any], Tensor | None]) -> Verdict:
    """Check `function(a, b, product, to_tf32)`: float32's accuracy, out of `product` alone."""
    name = "exercise 8, a product of three"
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((4, 8, 3), (100, 784, 16)):
        a = torch.rand(rows, inner, generator=generator)
        b = torch.randn(inner, columns, generator=generator) * inner**-0.5
        calls = 0

        def product(left: Tensor, right: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return tensor_core_product(left, right)

        try:
            found = function(a, b, product, to_tf32)
        except Exception as stop:
            return Verdict(name, False, f"it stopped with {type(stop).__name__}: {stop}")
        if found is None:
            return Verdict(name, False, f"{NOT_FILLED_IN} (nothing was returned)")
        if not isinstance(found, Tensor) or found.shape != (rows, columns):
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return Verdict(name, False, f"a tensor [{rows}, {columns}] was expected, not {what}")
        if not calls:
            return Verdict(
                name, False, "every product must go through `product`: that is what the hardware has"
            )
        exact = a.double() @ b.double()
        error, allowed = float((found.double() - exact).norm()), allowance(exact, a @ b)
        if error > allowed:
            share = error / float((tensor_core_product(a, b).double() - exact).norm())
            return Verdict(
                name, False,
                f"the error is {error:.1e}, {allowed:.1e} is allowed; it is {share:.2f} of one TF32 product's: "
                f"{'nothing was gained' if share > 0.9 else 'a low part is still missing'} ({calls} products)",
            )  # fmt: skip
    return Verdict(name, True, f"as good as float32, out of {calls} products")


def blocks_per_sm(function: Callable[[int, int, int, Target], int | None]) -> Verdict:
    """Check `function(registers, warps, shared_bytes, sm)` on kernels of every size for every GPU generation."""
    name = "exercise 9, blocks on a multiprocessor"
    draw = random.Random(0)
    kernels = [
        (draw.randint(16, 255), draw.choice((1, 2, 4, 8, 16)), draw.randrange(0, 65_536, 256))
        for _ in range(200)
    ]
    # what limits each by itself comes first, so that a message is about one thing
    kernels = [(32, 8, 0), (32, 1, 0), (255, 8, 0), (168, 4, 0), (41, 4, 0), (32, 4, 32_768), *kernels]
    for sm in TARGETS.values():
        for registers, warps, shared in kernels:
            try:
                found = function(registers, warps, shared, sm)
            except Exception as stop:
                return Verdict(name, False, f"it stopped with {type(stop).__name__}: {stop}")
            if found is None:
                return Verdict(name, False, f"{NOT_FILLED_IN} (nothing was returned)")
            right = sm.blocks_per_sm(registers, warps, shared)
            if found != right:
                limits = _limits(registers, warps, shared, sm)
                tightest = min(limits, key=lambda limit: limits[limit])
                return Verdict(
                    name, False,
                    f"{registers} registers a thread, {warps} warps and {shared} bytes on {sm.name}: {right}, not "
                    f"{found}; what runs out first there is {tightest}",
                )  # fmt: skip
    return Verdict(name, True, f"right for {len(kernels)} kernels on {len(TARGETS)} generations of GPUs")


def _limits(registers: int, warps: int, shared: int, sm: Target) -> dict[str, int]:
    """How many blocks each resource alone would allow, by its name in words."""
    none = {"registers": 1, "warps": warps, "shared": 0}
    by_registers = sm.blocks_per_sm(registers, warps, none["shared"])
    by_shared = sm.blocks_per_sm(none["registers"], warps, shared)
    free = sm.blocks_per_sm(none["registers"], warps, none["shared"])
    threads = sm.max_warps_per_sm // warps * warps * THREADS_PER_WARP
    if free <= min(by_registers, by_shared):
        return {f"the room for blocks and for threads ({threads} threads)": free}
    return {
        "the register file (65,536)": by_registers,
        f"shared memory ({sm.shared_per_sm} bytes)": by_shared,
    }


#: By the names that `solutions` and `wrong` know them by.
FUNCTIONS: dict[str, Callable[[Any], Verdict]] = {
    "split_product": split_product,
    "blocks_per_sm": blocks_per_sm,
}
