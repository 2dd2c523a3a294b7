"""GPUs that are not there, as in `gpu_host`, and that run what Triton compiles for them: see `ptx_machine`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import compile as compile_with_triton

from breaknet.kernels.host import trainers
from tools.ptx_machine.host import Gpus
from tools.ptx_machine.host_parts import Kernel
from tools.ptx_machine.machine import Machine
from tools.ptx_machine.traffic import Traffic

#: Multiprocessors of the largest GPU known of each generation.
PROCESSORS = {capability: max(sizes) for capability, sizes in trainers.PROCESSORS.items()}


class CompiledGpus(Gpus):
    """A launch runs the kernel's PTX, and fails where a GPU would have no defined result."""

    seed = 0  # of the order in which blocks take turns
    edit: Callable[[str], str] = staticmethod(lambda ptx: ptx)  # what becomes of the PTX before it is run
    traffic: Traffic | None = None  # where accesses of memory are counted, if they are

    def compile(self, source: Any, target: Any = None, options: Any = None, **others: Any) -> Kernel:
        kernel = super().compile(source, target, options)
        built: Any = compile_with_triton(
            source, target=GPUTarget("cuda", self.capability, 32), options=options
        )
        kernel.machine = Machine(self.edit(built.asm["ptx"]), built.metadata.shared)
        kernel.metadata.shared = built.metadata.shared
        return kernel

    def effect(self, kernel: Kernel, grid: tuple[int, int, int], arguments: dict[str, Any]) -> None:
        signature = kernel.src.signature
        given = [arguments[name] for name in kernel.src.fn.arg_names if signature[name] != "constexpr"]
        cooperative = bool(kernel.options["launch_cooperative_grid"])
        kernel.machine.traffic = self.traffic
        with torch._C.DisableTorchFunction(), torch.no_grad():
            kernel.machine.run(grid, given, cooperative=cooperative, seed=self.seed)
