"""Launching a compiled kernel again without Triton's analysis of its arguments, where all that it looks at is the same.

Triton compiles a kernel for the dtype of each tensor and whether its address is a multiple of 16, for integers that
are 1 or multiples of 16 or need 64 bits, for the compile-time arguments, the compiler's options, the GPU and three
settings of its own. `_key` holds all of these, or something finer.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from breaknet.kernels._triton import HAVE_TRITON, INTERPRETED, triton

#: Sizes come in any number: beyond so many launches that differ, all are forgotten and found again.
MAX_KNOWN = 4096


class Build:
    """Compile-time arguments and compiler options of a kernel; known by identity, so each is made once and kept."""

    def __init__(self, constants: dict[str, Any], options: dict[str, Any]) -> None:
        self.constants, self.options = constants, options
        self.keywords, self.values = constants | options, tuple(constants.values())


class _Known(NamedTuple):
    """A compiled kernel with what must go on to exist, and to be Triton's, for its key to mean the same."""

    compiled: Any
    caches: Any
    kernel: Any
    build: Build


_known: dict[tuple[Any, ...], _Known] = {}


def launch(
    kernel: Any,
    grid: tuple[int, int, int],
    tensors: tuple[Tensor, ...],
    numbers: tuple[int, ...],
    build: Build,
) -> None:
    """Run a kernel whose arguments are tensors of one device, then integers, then those of `build`, in this order."""
    index = tensors[0].get_device()
    if INTERPRETED or not HAVE_TRITON:
        kernel[grid](*tensors, *numbers, **build.keywords)
        return
    key = _key(kernel, index, tensors, numbers, build)
    known = _known.get(key)
    with _current(index):
        # Triton's own caches are new where it was made to forget
        if known is not None and kernel.device_caches.get(index) is known.caches:
            known.compiled[grid](*tensors, *numbers, *build.values)
            return
        compiled = kernel[grid](*tensors, *numbers, **build.keywords)
    assert kernel.arg_names[-len(build.values) :] == list(build.constants), kernel.arg_names
    if _lasting(kernel) and compiled is not None:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[key] = _Known(compiled, kernel.device_caches.get(index), kernel, build)


def _key(
    kernel: Any, index: int, tensors: tuple[Tensor, ...], numbers: tuple[int, ...], build: Build
) -> tuple[Any, ...]:
    """All that the compiled kernel depends on: integers as they are, of an address whether it is a multiple of 16."""
    of_runtime, of_compiler = triton.knobs.runtime, triton.knobs.compilation
    settings = (
        of_runtime.debug,
        getattr(of_compiler, "instrumentation_mode", None),  # older Tritons lack these two
        getattr(of_runtime, "add_stages_inspection_hook", None),
    )
    # lists and tuples of one kind are the cheapest to make and to compare
    kinds = [(tensor.dtype, tensor.data_ptr() % 16 == 0) for tensor in tensors]
    return id(kernel), id(build), index, numbers, settings, tuple(kinds)


def _lasting(kernel: Any) -> bool:
    """Whether nothing but the key decides what runs: no hooks, no global values that Triton compares every time."""
    plain = isinstance(kernel, triton.runtime.JITFunction) and hasattr(kernel, "device_caches")
    return plain and not (kernel.pre_run_hooks or kernel.used_global_vals)


def _current(index: int) -> AbstractContextManager[Any]:
    """A block in which GPU `index` is the current one."""
    if index < 0 or index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(index)
