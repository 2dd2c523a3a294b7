"""PTX's instructions with memory: loads, stores, additions, asynchronous copies, matrices, barriers.

step = ACCESSES[instruction.parts[0]](instruction, machine)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tools.ptx_machine.arithmetic import Step, dtype_of
from tools.ptx_machine.memory import PLACE
from tools.ptx_machine.parser import Address, Immediate, Instruction, Operand, Register, Vector
from tools.ptx_machine.races import WARP

if TYPE_CHECKING:
    from tools.ptx_machine.machine import Machine

#: Rows of 16 bytes of a matrix for ldmatrix and stmatrix, of which four lanes hold one.
ROWS, ROW_BYTES, LANES_A_ROW = 8, 16, 4


class _Threads:
    """The numbers of the threads that take an instruction."""

    def __init__(self, instruction: Instruction, machine: Machine) -> None:
        self.all = np.arange(machine.program.threads)
        self.guard = None
        if instruction.guard is not None:
            number, self.truth = instruction.guard
            self.guard = machine.registers.register(Register("p", number))

    def __call__(self) -> NDArray[Any]:
        return self.all if self.guard is None else self.all[self.guard == self.truth]


def _addresses(operand: Operand, machine: Machine) -> Callable[[], NDArray[np.int64]]:
    assert isinstance(operand, Address), operand
    if not isinstance(operand.base, Register):  # shared memory begins at 0
        fixed = np.full(machine.program.threads, operand.offset)
        return lambda: fixed
    base = machine.registers.register(operand.base)
    return lambda: base.astype(np.int64) + operand.offset


def _space(instruction: Instruction) -> str:
    return next(one for one in instruction.parts if one in ("global", "shared", "param"))


def _many(operand: Operand) -> tuple[Operand, ...]:
    return operand.parts if isinstance(operand, Vector) else (operand,)


class _Access:
    """`count` numbers of a type at an address for each thread that takes part."""

    def __init__(self, instruction: Instruction, space: str, kind: str, count: int, machine: Machine) -> None:
        self.space, self.machine, self.count = space, machine, count
        self.source, self.opcode = instruction.source, ".".join(instruction.parts)
        self.dtype = dtype_of(kind)
        self.size = self.dtype.itemsize * count

    def memory(
        self,
        threads: NDArray[Any],
        addresses: NDArray[np.int64],
        how: str,
        served: NDArray[Any] | None = None,
    ) -> tuple[Any, Any]:
        """Memory and where in it, after a look for races; `how` is a method of `GlobalRaces`, or "poll" for none.

        `served` numbers the threads for `Traffic`, if not as they are.
        """
        machine = self.machine
        if machine.traffic is not None:
            asking = threads if served is None else served
            machine.traffic.add(self.space, self.source, self.opcode, asking, addresses, self.size)
        memory, at, places = getattr(machine, self.space + "_memory").words(addresses, self.dtype, self.size)
        if self.size > PLACE:
            threads = threads.repeat(self.size // PLACE)
            places = (places[:, None] + np.arange(self.size // PLACE)).ravel()
        if self.space == "shared":
            getattr(machine.shared_races, how)(threads, places)
        elif how != "poll":
            getattr(machine.global_races, how)(machine.clocks, threads // WARP, places)
        return memory, at


def load(instruction: Instruction, machine: Machine) -> Step:
    target, source = instruction.operands
    space, kind = _space(instruction), instruction.parts[-1]
    if space == "param":
        return _parameter(target, source, kind, machine)
    targets = _many(target)
    access = _Access(instruction, space, kind, len(targets), machine)
    files = [machine.registers.register(one) for one in targets]  # type: ignore[arg-type]
    if kind[0] == "s" and files[0].itemsize > access.dtype.itemsize:
        raise ValueError(instruction.text)
    threads, addresses = _Threads(instruction, machine), _addresses(source, machine)
    acquires, polls = "acquire" in instruction.parts, "relaxed" in instruction.parts

    def step() -> None:
        active = threads()
        if not active.size:
            return
        where = addresses()[active]
        memory, at = access.memory(active, where, "poll" if acquires or polls else "read")
        if acquires:
            machine.global_races.acquire(machine.clocks, int(where[0]))
        for i, file in enumerate(files):
            file[active] = memory[at + i].view(dtype_of(f"u{8 * access.dtype.itemsize}"))

    return step


def _parameter(target: Operand, source: Operand, kind: str, machine: Machine) -> Step:
    assert isinstance(source, Address)
    value = machine.parameters[str(source.base)]
    assert isinstance(target, Register)
    file = machine.registers.register(target)
    dtype = dtype_of(kind)
    through = np.int64 if kind[0] == "s" else np.uint64
    return lambda: np.copyto(file, value.view(dtype)[:1].astype(through), casting="unsafe")


def store(instruction: Instruction, machine: Machine) -> Step:
    target, source = instruction.operands
    space, kind = _space(instruction), instruction.parts[-1]
    sources = [machine.registers.read(one, kind) for one in _many(source)]
    access = _Access(instruction, space, kind, len(sources), machine)
    threads, addresses = _Threads(instruction, machine), _addresses(target, machine)

    def step() -> None:
        active = threads()
        if not active.size:
            return
        memory, at = access.memory(active, addresses()[active], "write")
        for i, value in enumerate(sources):
            memory[at + i] = np.broadcast_to(value, threads.all.shape)[active]

    return step


def add(instruction: Instruction, machine: Machine) -> Step:
    """atom.global.add gives the number before, red.global.add nothing."""
    if instruction.parts[-2:] != ("add", "u32") or _space(instruction) != "global":
        raise ValueError(instruction.text)
    *target, where, value = instruction.operands
    access = _Access(instruction, "global", "u32", 1, machine)
    out = (
        machine.registers.write(target[0], "u32") if target else np.zeros(machine.program.threads, np.uint32)
    )
    values = machine.registers.read(value, "u32")
    threads, addresses = _Threads(instruction, machine), _addresses(where, machine)
    releases = "release" in instruction.parts

    def step() -> None:
        active = threads()
        if not active.size:
            return
        found = addresses()[active]
        memory, at = access.memory(active, found, "add")
        many = np.broadcast_to(values, out.shape)
        for thread, place in zip(active.tolist(), at.tolist(), strict=True):
            out[thread] = memory[place]
            memory[place] += many[thread]
        machine.changes += 1
        if releases:
            for address in found.tolist():
                machine.global_races.release(machine.clocks, address)

    return step


def copy(instruction: Instruction, machine: Machine) -> Step:
    """cp.async: done no sooner than it is waited for, so that whoever reads too early finds it missing."""
    what = instruction.parts[2]
    if what == "commit_group":
        return lambda: machine.copies.append([])
    if what == "wait_group":
        (most,) = instruction.operands
        assert isinstance(most, Immediate)
        return partial(_finish_copies, machine, int(most.value))
    target, source, size, *real = instruction.operands
    assert isinstance(size, Immediate), instruction.text
    kind, count = ("b32", int(size.value) // 4)
    reads, writes = (_Access(instruction, space, kind, count, machine) for space in ("global", "shared"))
    threads = _Threads(instruction, machine)
    sources, targets = _addresses(source, machine), _addresses(target, machine)
    sizes = machine.registers.read(real[0], "u32") if real else np.full(threads.all.shape, 4 * count)

    def step() -> None:
        active = threads()
        full = np.broadcast_to(sizes, threads.all.shape)[active]
        if not np.isin(full, (0, 4 * count)).all():
            raise ValueError(f"{instruction.text}: part of a copy")
        content = np.zeros((active.size, count), np.uint32)
        taken = active[full > 0]
        if taken.size:
            memory, at = reads.memory(taken, sources()[taken], "read")
            content[full > 0] = memory[at[:, None] + np.arange(count)]
        where = targets()[active]

        def arrive() -> None:
            memory, at = writes.memory(active, where, "write")
            memory[at[:, None] + np.arange(count)] = content

        if active.size:
            machine.copies[-1].append(arrive)

    return step


def _finish_copies(machine: Machine, most: int) -> None:
    while len(machine.copies) - 1 > most:
        for arrive in machine.copies.pop(0):
            arrive()


def matrix(instruction: Instruction, machine: Machine) -> Step:
    """Matrices of 8 rows of 16 bytes: the lanes' addresses are those of the rows, and lane i holds word i."""
    if "trans" in instruction.parts:
        raise ValueError(instruction.text)
    loads = instruction.parts[0] == "ldmatrix"
    registers, address = instruction.operands if loads else instruction.operands[::-1]
    files = [machine.registers.register(one) for one in _many(registers)]  # type: ignore[arg-type]
    access = _Access(instruction, "shared", "b32", ROW_BYTES // 4, machine)
    addresses = _addresses(address, machine)
    threads = np.arange(machine.program.threads)
    lane = threads % WARP
    served = threads - lane + lane // LANES_A_ROW  # the eight rows of a matrix together

    def step() -> None:
        found = addresses()
        for i, file in enumerate(files):
            givers = served + ROWS * i
            memory, at = access.memory(threads, found[givers], "read" if loads else "write", served)
            at = at + lane % LANES_A_ROW
            if loads:
                file[:] = memory[at]
            else:
                memory[at] = file

    return step


def barrier(instruction: Instruction, machine: Machine) -> Step:
    if instruction.parts[:2] == ("bar", "warp"):
        return machine.shared_races.warp_barrier
    if instruction.operands != (Immediate(0),):
        raise ValueError(instruction.text)

    def step() -> None:
        machine.shared_races.barrier()
        machine.clocks.barrier()

    return step


ACCESSES: dict[str, Callable[[Instruction, Machine], Step]] = {
    "ld": load, "st": store, "atom": add, "red": add, "cp": copy, "bar": barrier,
    "ldmatrix": matrix, "stmatrix": matrix,
}  # fmt: skip
