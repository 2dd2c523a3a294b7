"""PTX's instructions with memory: loads, stores, additions, asynchronous copies, matrices, barriers.

step = ACCESSES[instruction.parts[0]](instruction, machine)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.arithmetic import Step, dtype_of
from tools.ptx_machine.memory import PLACE, Fault
from tools.ptx_machine.parser import Address, Immediate, Instruction, Operand, Register, Vector
from tools.ptx_machine.races import WARP
from tools.ptx_machine.state import State

#: Rows of 16 bytes of a matrix for ldmatrix and stmatrix, of which four lanes hold one.
ROWS, ROW_BYTES, LANES_A_ROW = 8, 16, 4


class _Access:
    """The memory that an instruction accesses at an operand: `count` numbers of a type for each thread."""

    def __init__(
        self,
        instruction: Instruction,
        machine: State,
        address: Operand,
        kind: str,
        count: int = 1,
        space: str = "",
    ) -> None:
        assert isinstance(address, Address), instruction.text
        self.machine = machine
        (self.space,) = [space] if space else {"global", "shared"}.intersection(instruction.parts)
        self.source, self.opcode = instruction.source, ".".join(instruction.parts)
        self.dtype = dtype_of(kind)
        self.size = self.dtype.itemsize * count
        base, count = address.base, machine.program.threads
        is_long = isinstance(base, Register) and base.file == "rd"
        self.base = machine.registers.read(base, "u64" if is_long else "u32")
        self.offsets = np.full(count, address.offset)
        self.every = np.arange(count)
        number, self.truth = instruction.guard or (None, True)
        self.guard = None if number is None else machine.registers.register(Register("p", number))

    def threads(self) -> NDArray[Any]:
        """The numbers of those that take the instruction."""
        return self.every if self.guard is None else self.every[self.guard == self.truth]

    def addresses(self) -> NDArray[np.int64]:
        """Of all threads, int64 [threads]."""
        return np.add(self.base, self.offsets, dtype=np.int64, casting="unsafe")

    def find(
        self, threads: NDArray[Any], addresses: NDArray[Any], how: str, served: NDArray[Any] | None = None
    ) -> tuple[Any, Any]:
        """Memory and where in it, after a look for races; `how` is a method of `SharedRaces` or `GlobalRaces`.

        `served` numbers the threads for `Traffic`, if not as they are.
        """
        machine = self.machine
        if machine.traffic is not None:
            asking = threads if served is None else served
            machine.traffic.add(self.space, self.source, self.opcode, asking, addresses, self.size)
        shared = self.space == "shared"
        memory = machine.shared_memory if shared else machine.global_memory
        races = machine.shared_races if shared else machine.global_races
        words, at, places = memory.words(addresses, self.dtype, self.size)
        if self.size > PLACE:
            threads = threads.repeat(self.size // PLACE)
            places = (places[:, None] + np.arange(self.size // PLACE)).ravel()
        getattr(races, how)(threads, places)
        return words, at

    def step(self, how: str, move: Callable[[NDArray[Any], Any, Any], None]) -> Step:
        """move(threads, memory, where in it), unless no thread takes the instruction."""

        def step() -> None:
            active = self.threads()
            if active.size:
                move(active, *self.find(active, self.addresses()[active], how))

        return step


def _write(memory: Any, at: Any, content: NDArray[Any]) -> None:
    """Threads of one instruction may store to one place, as copies of one element do, but only the same."""
    memory[at] = content
    differ = memory[at] != content
    if differ.any():
        raise Fault(f"race: {int(differ.sum())} threads store to a place what another stores otherwise")


def _many(operand: Operand) -> tuple[Operand, ...]:
    return operand.parts if isinstance(operand, Vector) else (operand,)


def load(instruction: Instruction, machine: State) -> Step:
    target, address = instruction.operands
    kind = instruction.parts[-1].replace("f", "b")
    files = [machine.registers.register(one) for one in _many(target)]
    if "param" in instruction.parts:
        assert isinstance(address, Address), instruction.text
        return partial(np.copyto, files[0], machine.registers.read(address.base, kind), casting="unsafe")

    def move(active: NDArray[Any], memory: Any, at: Any) -> None:
        for i, file in enumerate(files):
            file[active] = memory[at + i]

    how = next((one for one in ("acquire", "relaxed") if one in instruction.parts), "read")
    return _Access(instruction, machine, address, kind, len(files)).step(how, move)


def store(instruction: Instruction, machine: State) -> Step:
    address, source = instruction.operands
    kind = instruction.parts[-1].replace("f", "b")
    shape = (machine.program.threads,)
    sources = [np.broadcast_to(machine.registers.read(one, kind), shape) for one in _many(source)]

    def move(active: NDArray[Any], memory: Any, at: Any) -> None:
        # a thread's numbers lie side by side, so that no two of one thread meet
        for i, value in enumerate(sources):
            _write(memory, at + i, value[active])

    return _Access(instruction, machine, address, kind, len(sources)).step("write", move)


def add(instruction: Instruction, machine: State) -> Step:
    """atom.global.add gives the number before, red.global.add nothing."""
    *target, address, value = instruction.operands
    access = _Access(instruction, machine, address, "u32")
    if instruction.parts[-2:] != ("add", "u32") or access.space != "global":
        raise ValueError(instruction.text)
    out = machine.registers.write(target[0], "u32") if target else np.zeros(access.every.size, np.uint32)
    values = np.broadcast_to(machine.registers.read(value, "u32"), out.shape)

    def move(active: NDArray[Any], memory: Any, at: Any) -> None:
        for thread, place in zip(active.tolist(), at.tolist(), strict=True):
            out[thread] = memory[place]
            memory[place] += values[thread]
        machine.changes += 1

    how = next((one for one in ("release", "acq_rel") if one in instruction.parts), "add")
    return access.step(how, move)


def copy(instruction: Instruction, machine: State) -> Step:
    """cp.async: done no sooner than it is waited for, so that whoever reads too early finds it missing."""
    what = instruction.parts[2]
    if what == "commit_group":
        return lambda: machine.copies.append([])
    if what == "wait_group":
        (pending,) = instruction.operands
        assert isinstance(pending, Immediate), instruction.text

        def wait() -> None:
            while len(machine.copies) - 1 > pending.value:
                for arrive in machine.copies.pop(0):
                    arrive()

        return wait
    target, source, size, *taken = instruction.operands
    assert isinstance(size, Immediate), instruction.text
    words = np.arange(size.value // 4)
    reads = _Access(instruction, machine, source, "b32", words.size, "global")
    writes = _Access(instruction, machine, target, "b32", words.size, "shared")
    sizes = np.broadcast_to(machine.registers.read((*taken, size)[0], "u32"), reads.offsets.shape)

    def step() -> None:
        active = reads.threads()
        if not np.isin(sizes[active], (0, size.value)).all():
            raise ValueError(f"{instruction.text}: part of a copy")
        content = np.zeros((active.size, words.size), np.uint32)
        full = sizes[active] > 0
        if full.any():
            memory, at = reads.find(active[full], reads.addresses()[active[full]], "read")
            content[full] = memory[at[:, None] + words]
        where = writes.addresses()[active]

        def arrive() -> None:
            memory, at = writes.find(active, where, "write")
            _write(memory, at[:, None] + words, content)

        if active.size:
            machine.copies[-1].append(arrive)

    return step


def matrix(instruction: Instruction, machine: State) -> Step:
    """Matrices of 8 rows of 16 bytes: the lanes' addresses are those of the rows, and lane i holds word i.

    Transposed it holds two halves of words: number i / 4 of row 2 (i % 4) and that of the next.
    """
    loads, transposed = instruction.parts[0] == "ldmatrix", "trans" in instruction.parts
    if transposed and not loads:
        raise ValueError(instruction.text)
    registers, address = instruction.operands if loads else instruction.operands[::-1]
    files = [machine.registers.register(one) for one in _many(registers)]
    access = _Access(instruction, machine, address, "b32", ROW_BYTES // 4)
    threads = access.every
    lane = threads % WARP
    served = threads - lane + lane // LANES_A_ROW  # the eight rows of a matrix together
    column = lane // LANES_A_ROW

    def half(memory: Any, at: Any, later: int) -> NDArray[Any]:
        """The lane's number of the first or second of its rows, of which `at` holds the beginnings by `served`."""
        row = at[threads - lane + LANES_A_ROW * (2 * (lane % LANES_A_ROW) + later)]
        return memory[row + column // 2] >> (16 * (column % 2)).astype(np.uint32) & 0xFFFF

    def step() -> None:
        found = access.addresses()
        for i, file in enumerate(files):
            memory, at = access.find(threads, found[served + ROWS * i], "read" if loads else "write", served)
            if transposed:
                file[:] = half(memory, at, 0) | half(memory, at, 1) << 16
                continue
            at = at + lane % LANES_A_ROW
            if loads:
                file[:] = memory[at]
            else:
                _write(memory, at, file)

    return step


def barrier(instruction: Instruction, machine: State) -> Step:
    if instruction.parts[:2] == ("bar", "warp"):
        return machine.shared_races.warp_barrier
    if instruction.operands != (Immediate(0),):
        raise ValueError(instruction.text)

    def step() -> None:
        machine.shared_races.barrier()
        machine.global_races.clocks.barrier()

    return step


ACCESSES: dict[str, Callable[[Instruction, State], Step]] = {
    "ld": load, "st": store, "atom": add, "red": add, "cp": copy, "bar": barrier,
    "ldmatrix": matrix, "stmatrix": matrix,
}  # fmt: skip
