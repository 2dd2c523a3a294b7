"""The checkers of the exercises in plain Python: `split_product` and `blocks_per_sm`."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import torch
from torch import Tensor

from breaknet.kernels.host.targets import TARGETS, THREADS_PER_WARP, Target
from notebooks.course.checking import NOT_FILLED_IN, allowance
from notebooks.course.exercises import Exercise
from notebooks.course.precision import tensor_core_product, to_tf32

BLANK = f"{NOT_FILLED_IN} (nothing was returned)"


@dataclass(frozen=True)
class Function(Exercise):
    """A function to be written."""

    check: Callable[[Callable[..., Any]], tuple[bool, str]]


def _try_product(function: Callable[[Tensor, Tensor, Any, Any], Tensor]) -> tuple[bool, str]:
    """float32's accuracy, from `product` alone."""
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((4, 8, 3), (100, 784, 16)):
        a = torch.rand(rows, inner, generator=generator)
        b = torch.randn(inner, columns, generator=generator) * inner**-0.5
        product = Mock(side_effect=tensor_core_product)
        found = function(a, b, product, to_tf32)
        if found is None:
            return False, BLANK
        if not isinstance(found, Tensor) or found.shape != (rows, columns):
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return False, f"a tensor [{rows}, {columns}] was expected, not {what}"
        if not product.called:
            return False, "every product must use `product`: the hardware has no other"
        exact = a.double() @ b.double()
        error, allowed = float((found.double() - exact).norm()), allowance(exact, a @ b)
        if error > allowed:
            share = error / float((tensor_core_product(a, b).double() - exact).norm())
            missing = "nothing was gained" if share > 0.9 else "a low part is still missing"
            return False, (
                f"the error is {error:.1e}, {allowed:.1e} is allowed; it is {share:.2f} of one TF32 product's: "
                f"{missing} ({product.call_count} products)"
            )
    return True, f"as accurate as float32, with {product.call_count} products"


def _try_blocks(function: Callable[[int, int, int, Target], int]) -> tuple[bool, str]:
    """`function(registers, warps, shared_bytes, sm)` on kernels of every size for every GPU generation."""
    draw = random.Random(0)
    # kernels with a single limiting resource come first, so that a message is about one thing
    kernels = [(32, 8, 0), (32, 1, 0), (255, 8, 0), (168, 4, 0), (41, 4, 0), (32, 4, 32_768)]
    for _ in range(200):
        registers, warps = draw.randint(16, 255), draw.choice((1, 2, 4, 8, 16))
        kernels.append((registers, warps, draw.randrange(0, 65_536, 256)))
    for sm, kernel in itertools.product(TARGETS.values(), kernels):
        found, exact = function(*kernel, sm), sm.blocks_per_sm(*kernel)
        if found is None:
            return False, BLANK
        if found != exact:
            registers, warps, shared = kernel
            return False, (
                f"{registers} registers a thread, {warps} warps and {shared} bytes on {sm.name}: {exact}, not "
                f"{found}; what runs out first there is {_tightest(*kernel, sm)}"
            )
    return True, f"correct for {len(kernels)} kernels on {len(TARGETS)} generations of GPUs"


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


_CROSS_TERMS = "(product(a_high, b_low) + product(a_low, b_high))"
_ROUNDED = "-(-registers * 32 // 256) * 256"

split_product = Function(
    "split_product",
    "exercise 8, a product in three parts",
    _try_product,
    mistakes={
        (f" + {_CROSS_TERMS}", ""): "nothing was gained",
        (_CROSS_TERMS, "product(a_high, b_low)"): "a low part",
        (f"product(a_high, b_high) + {_CROSS_TERMS}", "a @ b"): "use `product`",
    },
)
blocks_per_sm = Function(
    "blocks_per_sm",
    "exercise 9, blocks on an SM",
    _try_blocks,
    mistakes={
        ("by_registers, by_shared,", "by_registers,"): "shared memory",
        (_ROUNDED, "registers * 32"): "register file",
        (_ROUNDED, "registers"): "register file",
        (", sm.max_blocks_per_sm)", ")"): "room for blocks",
    },
)
FUNCTIONS = {one.tag: one for one in (split_product, blocks_per_sm)}
