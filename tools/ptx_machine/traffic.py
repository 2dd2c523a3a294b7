"""Memory transactions of a launch's warps, bank conflicts among them, and the instructions that they execute.

    machine.traffic = traffic = Traffic()
    machine.run(...)
    traffic.total("shared").transactions, traffic.instructions, traffic.fmas, traffic.matrix_fmas

Shared memory has 32 banks of 4 bytes, word i in bank i % 32. An access of up to 4 bytes a thread takes as many
transactions as there are different words in the bank that is asked for most; one of 8 or 16 bytes a thread is served
by halves or quarters of a warp. (NVIDIA, CUDA C++ Programming Guide, "Shared Memory" of compute capability 5.x and
newer; Nsight Compute counts so, too.) Global memory comes in sectors of 32 bytes, four to a line, and a line is
looked up at a time: transactions are lines here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.parser import Instruction
from tools.ptx_machine.races import WARP

BANKS, BANK_BYTES, LINE = 32, 4, 128
#: More than there are words or lines.
MANY = 2**48


@dataclass
class Count:
    """Accesses by a warp, and the transactions that they took."""

    requests: int = 0
    transactions: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.requests + other.requests, self.transactions + other.transactions)


class Traffic:
    """Counts by space ("shared" or "global"), line of Python and instruction ("ld.shared.v4.b32").

    `instructions` are PTX's, once for each warp that executes one; `fmas` are those of them that are float32 FMAs, and
    `matrix_fmas` what their products of matrices do, number by number.
    """

    def __init__(self) -> None:
        self.instructions = self.fmas = self.matrix_fmas = 0
        self.counts: dict[tuple[str, str, str], Count] = defaultdict(Count)

    def add(
        self, space: str, source: str, opcode: str,
        threads: NDArray[np.int64], addresses: NDArray[np.int64], size: int,
    ) -> None:  # fmt: skip
        """One access of `size` bytes by each of the threads, all in one instruction."""
        transactions = bank_transactions if space == "shared" else lines
        warps = np.unique(threads // WARP).size
        self.counts[space, source, opcode] += Count(warps, transactions(threads, addresses, size))

    def execute(self, code: Sequence[Instruction], warps: int) -> None:
        """These instructions, each by all warps of a block."""
        self.instructions += warps * len(code)
        self.fmas += warps * sum(one.parts[0] == "fma" and one.parts[-1] == "f32" for one in code)
        shapes = (re.findall(r"\d+", one.parts[3]) for one in code if one.parts[0] == "mma")  # m16n8k8
        self.matrix_fmas += warps * sum(prod(map(int, shape)) for shape in shapes)

    def total(self, space: str) -> Count:
        return sum((count for (where, *_), count in self.counts.items() if where == space), Count())


def bank_transactions(threads: NDArray[np.int64], addresses: NDArray[np.int64], size: int) -> int:
    """Transactions of shared memory."""
    words = max(size // BANK_BYTES, 1)
    served = np.repeat(threads // (WARP // words), words)  # lanes that are served together
    word = (addresses[:, None] // BANK_BYTES + np.arange(words)).ravel()
    served, word = np.divmod(np.unique(served * MANY + word), MANY)
    asked = np.bincount(served * BANKS + word % BANKS, minlength=(served.max() + 1) * BANKS)
    return int(asked.reshape(-1, BANKS).max(1).sum())


def lines(threads: NDArray[np.int64], addresses: NDArray[np.int64], size: int) -> int:
    """Lines of global memory; an access is aligned and lies in one."""
    return np.unique(threads // WARP * MANY + addresses // LINE).size
