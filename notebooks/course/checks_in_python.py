"""The checkers of the exercises in plain Python: `split_product` and `blocks_per_sm`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels.host.targets import TARGETS, THREADS_PER_WARP, Target
from notebooks.course.checking import NOT_FILLED_IN, Verdict, allowance, stopped
from notebooks.course.precision import tensor_core_product, to_tf32


def split_product(function: Callable[[Tensor, Tensor, Any, Any], Tensor | None]) -> Verdict:
    """Check `function(a, b, product, to_tf32)`: float32's accuracy, from `product` alone."""
    name = "exercise 8, a product in three parts"
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((4, 8, 3), (100, 784, 16)):
        a = torch.rand(rows, inner, generator=generator)
        b = torch.randn(inner, columns, generator=generator) * inner**-0.5
        calls = 0

        def product(left: Tensor, right: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return tensor_core_product(left, right)

        found, problem = _result(function, a, b, product, to_tf32)
        if problem:
            return Verdict(name, False, problem)
        if not isinstance(found, Tensor) or found.shape != (rows, columns):
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return Verdict(name, False, f"a tensor [{rows}, {columns}] was expected, not {what}")
        if not calls:
            return Verdict(name, False, "every product must use `product`: the hardware has no other")
        exact = a.double() @ b.double()
        error, allowed = float((found.double() - exact).norm()), allowance(exact, a @ b)
        if error > allowed:
            share = error / float((tensor_core_product(a, b).double() - exact).norm())
            return Verdict(
                name, False,
                f"the error is {error:.1e}, {allowed:.1e} is allowed; it is {share:.2f} of one TF32 product's: "
                f"{'nothing was gained' if share > 0.9 else 'a low part is still missing'} ({calls} products)",
            )  # fmt: skip
    return Verdict(name, True, f"as accurate as float32, with {calls} products")


def blocks_per_sm(function: Callable[[int, int, int, Target], int | None]) -> Verdict:
    """Check `function(registers, warps, shared_bytes, sm)` on kernels of every size for every GPU generation."""
    name = "exercise 9, blocks on an SM"
    draw = random.Random(0)
    # kernels with a single limiting resource come first, so that a message is about one thing
    kernels = [(32, 8, 0), (32, 1, 0), (255, 8, 0), (168, 4, 0), (41, 4, 0), (32, 4, 32_768)]
    for _ in range(200):
        registers, warps = draw.randint(16, 255), draw.choice((1, 2, 4, 8, 16))
        kernels.append((registers, warps, draw.randrange(0, 65_536, 256)))
    for sm in TARGETS.values():
        for kernel in kernels:
            found, problem = _result(function, *kernel, sm)
            exact = sm.blocks_per_sm(*kernel)
            if not problem and found != exact:
                registers, warps, shared = kernel
                problem = (
                    f"{registers} registers a thread, {warps} warps and {shared} bytes on {sm.name}: {exact}, not "
                    f"{found}; what runs out first there is {_tightest(*kernel, sm)}"
                )
            if problem:
                return Verdict(name, False, problem)
    return Verdict(name, True, f"correct for {len(kernels)} kernels on {len(TARGETS)} generations of GPUs")


def _result(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    """What a student's function returns, and what is wrong if it raises or returns nothing."""
    try:
        found = function(*arguments)
    except Exception as error:
        return None, stopped(error)
    return found, f"{NOT_FILLED_IN} (nothing was returned)" if found is None else None


def _tightest(registers: int, warps: int, shared: int, sm: Target) -> str:
    """The resource that runs out first, in words."""
    by_registers, by_shared, free = (
        sm.blocks_per_sm(*kernel) for kernel in ((registers, warps, 0), (1, warps, shared), (1, warps, 0))
    )
    if free <= min(by_registers, by_shared):
        threads = sm.max_warps_per_sm // warps * warps * THREADS_PER_WARP
        return f"the room for blocks and for threads ({threads} threads)"
    return (
        "the register file (65,536)"
        if by_registers <= by_shared
        else f"shared memory ({sm.shared_per_sm} bytes)"
    )


#: By the names in the tags of the notebooks' cells.
FUNCTIONS: dict[str, Callable[[Any], Verdict]] = {
    "split_product": split_product,
    "blocks_per_sm": blocks_per_sm,
}
