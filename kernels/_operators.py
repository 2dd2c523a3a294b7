"""How a kernel becomes a torch operator of the namespace `breaknet`.

An operator is opaque to `torch.compile`, which therefore always captures a full graph around it, and costs less per
call than `torch.library.custom_op`, whose checks for aliased results its functions do not need: no operator here
returns an input, writes into one or hands out a view of one.
"""

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("breaknet", "FRAGMENT")


def register(
    schema: str,
    *,
    anywhere: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> None:
    """Define `torch.ops.breaknet.<name>` for "name(arguments) -> results".

    Args:
        anywhere: in torch's own operations; runs on the CPU and on every device without a kernel.
        cuda: runs on CUDA tensors.
        fake: gives empty results of the right shapes; checks its arguments as the others do.
        backward, save: the derivative and what it keeps, as `torch.library.register_autograd` takes them; an
            operator that has one takes float32 under `torch.autocast`, whatever comes in.
    """
    name = schema.split("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, anywhere, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"breaknet::{name}", fake, lib=_LIBRARY)
    if backward is None:
        return
    torch.library.register_autograd(f"breaknet::{name}", backward, setup_context=save, lib=_LIBRARY)
    for device_type in ("cpu", "cuda"):
        torch.library.register_autocast(f"breaknet::{name}", device_type, torch.float32, lib=_LIBRARY)
