"""Kernels as torch operators of the namespace `breaknet`, and calls that may do without the operator.

An operator is opaque to `torch.compile`, which therefore always captures a full graph around it, and costs less per
call than `torch.library.custom_op`, whose checks for aliased results its functions do not need: no operator here
returns an input, writes into one or hands out a view of one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from breaknet.kernels._triton import HAVE_TRITON

FLOATS = (torch.float32, torch.float64)  # what operators take
_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)
_STRIDED = torch.strided
# looked up once: `eager` is a large part of the time that an operator of few numbers takes
_compiling = torch.compiler.is_compiling
_function_modes, _dispatch_modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_transforms, _is_wrapped = (
    torch._C._are_functorch_transforms_active,
    torch._C._functorch.is_functorch_wrapped_tensor,
)
_autocast, _tracing = torch._C._is_any_autocast_enabled, torch._C._get_tracing_state

#: The library of each operator, kept at torch's own namespace: a module that is imported again or reloaded
#: finds there what it has registered before, and takes it back.
_LIBRARIES: dict[str, Any] = vars(torch.ops.breaknet).setdefault("_libraries", {})


def forward_mode() -> bool:
    """Whether forward-mode differentiation is going on, which no kernel and no registered derivative takes part in."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def transformed() -> bool:
    """Whether only torch's own operations will do: under `torch.func`'s transforms and in forward mode."""
    return not _compiling() and (_transforms() or forward_mode())


def eager(*tensors: torch.Tensor) -> bool:
    """Whether a call is an ordinary one of ordinary tensors, which no operator is needed for.

    Compiling, tracing, functorch's transforms, modes, autocast, forward mode, subclasses and tensors that are not plain
    memory of numbers all need the operator, and torch's dispatcher in front of it.
    """
    if (
        _compiling()
        or _function_modes()
        or _dispatch_modes()
        or _transforms()
        or _autocast()
        or _tracing() is not None
        or forward_mode()
    ):
        return False
    for tensor in tensors:
        if (
            type(tensor) not in _PLAIN_TYPES
            or tensor.layout is not _STRIDED
            or tensor.is_nested
            or tensor.is_neg()
            or tensor._is_zerotensor()
            or _is_wrapped(tensor)
        ):
            return False
    return True


def on_kernel(tensor: torch.Tensor) -> bool:
    """Whether an operator whose first argument this is runs a kernel."""
    return tensor.is_cuda and HAVE_TRITON and tensor.dtype == torch.float32


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
) -> Callable[..., Any]:
    """Define `torch.ops.breaknet.<name>` for "name(arguments) -> results", whose first argument is a tensor.

    Returns the same function for calls that are `eager`: it goes around torch's dispatcher, whose layers written in
    Python take most of an operator's time, straight to the kernel (or `by_torch`) and to `backward`.

    Args:
        by_kernel: runs where `on_kernel` says so of the first argument.
        by_torch: in torch's own operations; runs on every other device and dtype.
        fake: gives empty results of the right shapes; checks its arguments as the others do.
        backward, save: the derivative and what it keeps, as `torch.library.register_autograd` takes them; an
            operator that has one takes float32 under `torch.autocast`, whatever comes in.
    """

    def chosen(first: torch.Tensor, *rest: Any) -> Any:
        return (by_kernel if on_kernel(first) else by_torch)(first, *rest)

    name = schema.split("(")[0]
    if name in _LIBRARIES:
        _LIBRARIES.pop(name)._destroy()
        vars(torch.ops.breaknet).pop(name, None)  # the operator that is gone, which torch keeps for speed
    library = _LIBRARIES[name] = torch.library.Library("breaknet", "FRAGMENT")
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(name, by_torch, "CompositeExplicitAutograd")
    library.impl(name, chosen, "CUDA")
    torch.library.register_fake(f"breaknet::{name}", fake, lib=library)
    if backward is None:
        return chosen
    torch.library.register_autograd(
        f"breaknet::{name}", backward, setup_context=save, lib=_Registering(library, by_torch)
    )
    for device_type in ("cpu", "cuda"):
        torch.library.register_autocast(f"breaknet::{name}", device_type, torch.float32, lib=library)
    return _around_dispatcher(chosen, backward, save)


def _around_dispatcher(
    function: Callable[..., Any], backward: Callable[..., Any], save: Callable[..., Any] | None
) -> Callable[..., Any]:
    def forward(ctx: Any, *arguments: Any) -> Any:
        output = function(*arguments)
        if save is not None:
            save(ctx, arguments, output)
        return output

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    with_graph: Any = type("Eager", (torch.autograd.Function,), methods)

    def call(*arguments: Any) -> Any:
        if torch.is_grad_enabled():
            for one in arguments:
                if isinstance(one, torch.Tensor) and one.requires_grad:
                    return with_graph.apply(*arguments)
        return function(*arguments)

    return call
