"""How a kernel becomes a torch operator of the namespace `breaknet`.

An operator is opaque to `torch.compile`, which therefore always captures a full graph around it, and costs less per
call than `torch.library.custom_op`, whose checks for aliased results its functions do not need: no operator here
returns an input, writes into one or hands out a view of one.
"""

from collections.abc import Callable
from typing import Any

import torch

from breaknet.kernels._triton import HAVE_TRITON

_LIBRARY = torch.library.Library("breaknet", "FRAGMENT")


def register(
    schema: str,
    *,
    by_torch: Callable[..., Any],
    by_kernel: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> None:
    """Define `torch.ops.breaknet.<name>` for "name(arguments) -> results", whose first argument is a tensor.

    Args:
        by_kernel: runs where there is Triton and the first argument is float32 on a CUDA device.
        by_torch: in torch's own operations; runs on every other device and dtype.
        fake: gives empty results of the right shapes; checks its arguments as the others do.
        backward, save: the derivative and what it keeps, as `torch.library.register_autograd` takes them; an
            operator that has one takes float32 under `torch.autocast`, whatever comes in.
    """

    def on_cuda(first: torch.Tensor, *rest: Any) -> Any:
        chosen = by_kernel if HAVE_TRITON and first.dtype == torch.float32 else by_torch
        return chosen(first, *rest)

    name = schema.split("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, by_torch, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, on_cuda, "CUDA")
    torch.library.register_fake(f"breaknet::{name}", fake, lib=_LIBRARY)
    if backward is None:
        return
    torch.library.register_autograd(f"breaknet::{name}", backward, setup_context=save, lib=_LIBRARY)
    for device_type in ("cpu", "cuda"):
        torch.library.register_autocast(f"breaknet::{name}", device_type, torch.float32, lib=_LIBRARY)
