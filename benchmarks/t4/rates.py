"""What the model knows of each GPU, with the source of every number, and what it assumes of all.

Rates are for one multiprocessor (SM) and one clock cycle (clk). No number here was measured by this project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Where the numbers come from, by the short names used below.
SOURCES = {
    "guide": "CUDA C++ Programming Guide / Best Practices Guide, table Throughput of Native Arithmetic Instructions",
    "turing": "NVIDIA Turing GPU Architecture whitepaper, and Turing Tuning Guide: 4 schedulers, 64 FP32 and 64 INT32 "
    "lanes, 16 load/store units an SM",
    "t4": "NVIDIA T4 data sheet: 40 SMs, 8.1 TFLOP/s FP32 (2 x 64 x 40 x 1.59 GHz), 320 GB/s, 70 W",
    "jia": "Jia et al. 2019, Dissecting the NVidia Turing T4 GPU via Microbenchmarking (arXiv:1903.07486): a bank of "
    "shared memory needs two clk for 4 bytes, hence 64 B/clk",
    "accel-sim": "Accel-Sim's tested configurations (accel-sim-framework SM75_RTX2060, gpgpu-sim SM90_H100): latencies "
    "of ALU, special functions and shared memory; L2 of sm_75: 194 clk, 768 B/clk at a bus of 192 bits (a T4 has 256)",
    "ampere": "A100 whitepaper (108 SMs, 1.41 GHz, 1,555 GB/s); Abdelkhalik et al. 2022 (arXiv:2208.11174): shared 23, "
    "L2 200 clk; L2 2,560 B/clk (github.com/smallscientist1/cuda_microbenchmark)",
    "ada": "L4 data sheet (58 SMs, 2.04 GHz, 300 GB/s); L2 of an RTX 4090, same generation, measured at 296 clk "
    "(github.com/markdewing/AI_kernels, latency/README.md), 1,536 B/clk for its 128 SMs "
    "(github.com/smallscientist1/cuda_microbenchmark)",
    "hopper": "H100 whitepaper (SXM: 132 SMs, 1.98 GHz at most, 3.35 TB/s), H200 data sheet (the same chip, 4.8 TB/s); "
    "L2 of a GH200 measured at 281 clk (github.com/markdewing/AI_kernels); L2 about 5.5 TB/s on 114 SMs at 1.755 GHz "
    "(Chips and Cheese, 2023-07-02)",
}


@dataclass(frozen=True)
class Gpu:
    """One GPU. Lanes and bytes are those of one SM in one clk, latencies are clk."""

    name: str
    pattern: str  # of the names that drivers report
    capability: int
    processors: int  # SMs
    clock_hz: float
    fp32_lanes: int
    shared_bytes: float
    shared_latency: float
    l2_latency: float
    l2_bytes: float
    memory_bytes_per_s: float
    sources: tuple[str, ...]
    int_lanes: int = 64
    special_lanes: int = 16
    alu_latency: float = 4
    special_latency: float = 23

    @property
    def target(self) -> str:
        """The compiler's name."""
        return f"sm_{self.capability}"

    def seconds(self, clk: float) -> float:
        """Time of so many clk."""
        return clk / self.clock_hz


T4 = Gpu(
    "T4", r"\bT4\b", 75, 40, 1.59e9, 64, 64, 30, 194, 25.6, 320e9, ("guide", "turing", "t4", "jia", "accel-sim"),
    special_latency=21,
)  # fmt: skip
A100 = Gpu("A100", r"\bA100\b", 80, 108, 1.41e9, 64, 128, 23, 200, 23.7, 1.555e12, ("guide", "ampere"))
L4 = Gpu("L4", r"\bL4\b", 89, 58, 2.04e9, 128, 128, 29, 296, 12, 300e9, ("guide", "ada"))
H100 = Gpu(
    "H100 SXM", r"\bH100\b(?!.*PCIe)", 90, 132, 1.98e9, 128, 128, 29, 281, 27, 3.35e12,
    ("guide", "accel-sim", "hopper"),
)  # fmt: skip
H200 = Gpu(
    "H200", r"\bH200\b", 90, 132, 1.98e9, 128, 128, 29, 281, 27, 4.8e12, ("guide", "accel-sim", "hopper")
)
GPUS = (T4, A100, L4, H100, H200)


def known(name: str | None) -> Gpu | None:
    """The GPU that a driver calls `name`, or None where the model knows none of that name."""
    return next((gpu for gpu in GPUS if name and re.search(gpu.pattern, name)), None)


@dataclass(frozen=True)
class Assumed:
    """What no source settles; `LOW` and `HIGH` are its ends, `FIGURE` what figures are made with.

    `wavefronts_64` and `wavefronts_128`: passes of 128 bytes that a warp's 64- and 128-bit loads from shared memory
    take, where threads share operands. `barrier_round_trips`: times that a grid barrier crosses to the L2 and back.
    """

    wavefronts_64: float
    wavefronts_128: float
    barrier_round_trips: float


LOW = Assumed(1.0, 1.0, 4.5)
HIGH = Assumed(2.0, 4.0, 9.0)
FIGURE = Assumed(*((low * high) ** 0.5 for low, high in ((1.0, 2.0), (1.0, 4.0), (4.5, 9.0))))

#: clk from the last warp's arrival at a block's barrier until all go on; an estimate.
BLOCK_BARRIER = 30.0

ASSUMPTIONS = (
    "A kernel runs at the highest clock of the data sheet; a T4 at its 70 W may run slower.",
    "A scheduler issues one warp instruction a clk, four schedulers an SM [turing].",
    "FP32 and IMAD take 32 / fp32 lanes clk of an SM, other integer and logic instructions 32 / 64, special functions "
    "and conversions 32 / 16 [guide].",
    "Shared memory moves 64 B/clk on a T4 [jia], 128 elsewhere [guide]; a shuffle moves 128 B.",
    "A 64-bit shared load of a warp takes 1 to 2 passes of 128 B, a 128-bit one 1 to 4, because threads of a warp read "
    "the same operands; a store takes what it writes, without bank conflicts. Figures use the geometric middle.",
    "In the code between two barriers of a block the time is that of the busiest pipe for all warps, or of one warp "
    "alone that waits for its operands, whichever is longer. Meeting at a block's barrier takes "
    f"{BLOCK_BARRIER:.0f} clk more (an estimate).",
    "Global loads come from the L2, at its latency: batches, weights and exchanged values are far smaller than it, and "
    "pixels are asked for ahead of time. Traffic is bounded by the L2's bandwidth, and by the memory's where stated.",
    "A grid barrier takes 4.5 to 9 round trips to the L2: fence, arrival, a poll under way and the poll that sees it "
    "make 4.5; software grid barriers of 1.0 to 1.4 us that others measured on larger GPUs are 6 to 9. Programs that "
    "arrive late for other reasons are not modelled.",
    "Predicated and skipped code counts as executed. The instruction cache never misses.",
    "Launches, compiling, transfers and the host are not in it; so it is not held against calls of less than 1 ms.",
)
