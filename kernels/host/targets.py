"""The limits of each GPU generation, and what describes one configuration of a kernel to the compiler.

Limits are those of NVIDIA's CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability".
Nothing here imports triton or asks for a device.
"""

from dataclasses import dataclass
from typing import Any

REGISTERS_PER_SM = 65_536
THREADS_PER_WARP = 32


@dataclass(frozen=True)
class Target:
    """One compute capability and what one of its streaming multiprocessors (SM) holds.

    Shared memory is in bytes. `shared_per_block` is the most that one block may ask for, `shared_per_sm` what
    all resident blocks share, of which each takes `shared_reserved` more than it asked for.
    """

    capability: int
    shared_per_block: int
    shared_per_sm: int
    shared_reserved: int
    max_warps_per_sm: int
    max_blocks_per_sm: int
    typical: str

    @property
    def name(self) -> str:
        """The compiler's name, such as "sm_75"."""
        return f"sm_{self.capability}"

    def blocks_per_sm(self, registers: int, warps: int, shared: int) -> int:
        """The number of blocks of `warps` warps, `registers` a thread and `shared` bytes fit one SM."""
        # registers are given out per warp in units of 256, and a block's warps are spread over four quarters
        per_warp = -(-max(registers, 1) * THREADS_PER_WARP // 256) * 256
        by_registers = REGISTERS_PER_SM // 4 // per_warp * 4 // warps
        by_shared = self.shared_per_sm // max(1, shared + self.shared_reserved)
        return min(self.max_warps_per_sm // warps, self.max_blocks_per_sm, by_registers, by_shared)


#: Every generation that the kernels are compiled and checked for, oldest first.
TARGETS: dict[int, Target] = {
    target.capability: target
    for target in (
        Target(75, 65_536, 65_536, 0, 32, 16, "T4, RTX 2080"),
        Target(80, 166_912, 167_936, 1_024, 64, 32, "A100, A30"),
        Target(86, 101_376, 102_400, 1_024, 48, 16, "A10, A40, RTX 3090"),
        Target(89, 101_376, 102_400, 1_024, 48, 24, "L4, L40S, RTX 4090"),
        Target(90, 232_448, 233_472, 1_024, 64, 32, "H100, H200"),
        Target(100, 232_448, 233_472, 1_024, 64, 32, "B200, GB200"),
        Target(120, 101_376, 102_400, 1_024, 48, 24, "RTX 5090, RTX PRO 6000"),
    )
}


def target_for(capability: int) -> Target:
    """The limits to plan by on a GPU of this capability (major * 10 + minor).

    A capability that the table lacks, such as 87 or 103, is planned by the nearest older one in the table.

    Raises:
        ValueError: below 75, where Triton compiles nothing.
    """
    older = [known for known in TARGETS if known <= capability]
    if not older:
        raise ValueError(f"capability: {min(TARGETS)} or newer, not {capability}")
    return TARGETS[max(older)]


def parse_target(name: str) -> Target:
    """The target named "sm_75"; ValueError naming the known ones otherwise."""
    for target in TARGETS.values():
        if target.name == name:
            return target
    raise ValueError(f"target: one of {', '.join(target.name for target in TARGETS.values())}, not {name!r}")


@dataclass(frozen=True)
class CompileCase:
    """One supported configuration of a kernel: all that the compiler needs to build it without a GPU.

    `kernel` is the jitted function, `name` its short name and `config` what sets this configuration apart from
    the kernel's others. `signature` names the type of every argument that is not a constexpr, as Triton writes
    them ("*fp32", "i32"); pointers are taken to be aligned to 16 bytes, as every tensor of torch's is.
    `divisible` names integer arguments that are always multiples of 16, `options` the compiler's options as both
    `triton.compile` and a launch take them.
    """

    kernel: Any
    name: str
    config: str
    signature: dict[str, str]
    constexprs: dict[str, object]
    options: dict[str, Any]
    divisible: tuple[str, ...] = ()
