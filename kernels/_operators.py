"""How a kernel becomes a torch operator of the namespace `breaknet`.

An operator is opaque to `torch.compile`, which therefore always captures a full graph around it, and costs less per
call than `torch.library.custom_op`, whose checks for aliased results its functions do not need: no operator here
returns an input, writes into one or hands out a view of one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from breaknet.kernels._triton import HAVE_TRITON

#: The library of each operator, kept at torch's own namespace: a module that is imported again or reloaded
#: finds there what it has registered before, and takes it back.
_LIBRARIES: dict[str, Any] = vars(torch.ops.breaknet).setdefault("_libraries", {})


def forward_mode() -> bool:
    """Whether forward-mode differentiation is going on, which no kernel and no registered derivative takes part in."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def check_plain(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError for an argument whose values do not stand in memory one by one, naming it."""
    for name, tensor in tensors.items():
        if tensor is not None and (tensor.layout != torch.strided or tensor.is_nested):
            kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
            raise ValueError(f"{name}: a dense tensor, not a {kind} one")


class _Registering:
    """A library to register a derivative with: in forward mode torch's own operations are taken instead."""

    def __init__(self, library: torch.library.Library, by_torch: Callable[..., Any]) -> None:
        self._library, self._by_torch = library, by_torch

    def impl(self, name: str, kernel: Callable[..., Any], key: str, *, with_keyset: bool = False) -> None:
        def dispatch(keyset: Any, *arguments: Any, **more: Any) -> Any:
            if forward_mode():
                return self._by_torch(*arguments, **more)
            return kernel(keyset, *arguments, **more) if with_keyset else kernel(*arguments, **more)

        self._library.impl(name, dispatch, key, with_keyset=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


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
    if name in _LIBRARIES:
        _LIBRARIES.pop(name)._destroy()
        vars(torch.ops.breaknet).pop(name, None)  # the operator that is gone, which torch keeps for speed
    library = _LIBRARIES[name] = torch.library.Library("breaknet", "FRAGMENT")
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(name, by_torch, "CompositeExplicitAutograd")
    library.impl(name, on_cuda, "CUDA")
    torch.library.register_fake(f"breaknet::{name}", fake, lib=library)
    if backward is None:
        return
    torch.library.register_autograd(
        f"breaknet::{name}", backward, setup_context=save, lib=_Registering(library, by_torch)
    )
    for device_type in ("cpu", "cuda"):
        torch.library.register_autocast(f"breaknet::{name}", device_type, torch.float32, lib=library)
