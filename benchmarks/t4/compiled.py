"""One supported configuration of a kernel on one target: its loops, and how many of its blocks an SM holds.

No GPU is needed; Triton's cache makes a second time quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from benchmarks.t4.control_flow import Loop, read
from breaknet.kernels.host.machine_code import build, disassembly
from breaknet.kernels.host.resources import ResourceRow, in_compiling_processes
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.targets import parse_target


@dataclass(frozen=True)
class Compiled:
    """The loops of a configuration's machine code, and its blocks an SM."""

    loops: Loop
    blocks: int


@lru_cache
def compiled(kernel: str, config: str, target: str) -> Compiled:
    """Cross-compile the configuration `config` of `kernel` for `target`, such as "sm_75".

    Raises:
        ValueError: no such supported configuration.
        RuntimeError: without Triton, or where it does not compile.
    """
    ((sass, blocks),) = in_compiling_processes(_disassembled, [(kernel, config, target)])
    return Compiled(read(sass), blocks)


def _disassembled(kernel: str, config: str, target: str) -> tuple[str, int]:
    found = parse_target(target)
    for case in supported_configurations(found.capability):
        if (case.name, case.config) == (kernel, config):
            built = build(case, found.capability)
            return disassembly(built.cubin), ResourceRow.of(case, built, found).blocks_per_sm
    raise ValueError(f"config: a supported configuration of {kernel} on {target}, not {config!r}")
