"""A machine for PTX: runs what Triton compiled without a GPU, and finds faults that a GPU lets pass.

    machine = Machine(ptx, shared_bytes)
    machine.run((programs, 1, 1), [tensor, 7, 0.5, ...], cooperative=True)

Arguments are CPU tensors and numbers, in the order of the kernel's parameters; scratch that Triton adds is left out.
A launch fails with `Fault` for an address outside the tensors or misaligned, a race, a divergent branch, a deadlock.

All threads of a block take each instruction together, so a branch must be the same for all of them (Triton's are).
Blocks run one after another. Where one polls a counter again, others go on, in an order drawn from `seed`, and only in
a cooperative launch: in another nothing says that they run at the same time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tools.ptx_machine.access import ACCESSES
from tools.ptx_machine.arithmetic import Step, arithmetic
from tools.ptx_machine.memory import Fault, global_memory
from tools.ptx_machine.parser import Instruction, Name, Register
from tools.ptx_machine.races import WARP, Clocks, GlobalRaces
from tools.ptx_machine.state import State

#: Ends a straight run of instructions: the number of the instruction to go on with, or None.
End = Callable[[], int | None]


class Machine(State):
    """One kernel, compiled to steps, and the blocks of a launch, which take them in turn."""

    def __init__(self, ptx: str, shared_bytes: int) -> None:
        super().__init__(ptx, shared_bytes)
        self._runs = self._compile()

    # ---- launching -------------------------------------------------------------------------------------------------

    def run(
        self, grid: Sequence[int], arguments: Sequence[Any], *, cooperative: bool = False, seed: int = 0
    ) -> None:
        """Launch and wait. Raises Fault; ValueError for arguments of another number or kind."""
        self._set_parameters(arguments)
        grid = (*grid, 1, 1)[:3]
        count = math.prod(grid)
        self.global_memory = global_memory([one for one in arguments if isinstance(one, Tensor)])
        self.global_races = GlobalRaces(self.global_memory.place_count, count)
        order = np.random.default_rng(seed).permutation(count).tolist()
        blocks = deque(self._block(number, grid) for number in order)
        idle = 0  # turns since the last addition or end of a block
        with np.errstate(all="ignore"):
            while blocks:
                block, before = blocks.popleft(), self.changes
                waits = next(block, None) is not None
                idle = idle + 1 if waits and self.changes == before else 0
                if waits:
                    blocks.append(block)
                if waits and not cooperative:
                    raise Fault(f"{self.program.name}: waits for other blocks, and is not launched with them")
                if idle > len(blocks):
                    raise Fault(f"{self.program.name}: deadlock, {len(blocks)} blocks wait for each other")

    def _set_parameters(self, arguments: Sequence[Any]) -> None:
        expected = len(self.program.parameters)
        scratch = expected - len(arguments)
        if scratch not in (0, 1, 2):
            raise ValueError(f"arguments: {expected} or up to 2 fewer, not {len(arguments)}")
        values = [*arguments, 0, 0][:expected]
        for (name, kind), value in zip(self.program.parameters.items(), values, strict=True):
            number = value.data_ptr() if isinstance(value, Tensor) else value
            if kind == "f32":
                self.registers.special[name].view(np.float32)[0] = number
            else:
                self.registers.special[name][0] = int(number) & (1 << 64) - 1

    # ---- one block -------------------------------------------------------------------------------------------------

    def _block(self, number: int, grid: Sequence[int]) -> Iterator[bool]:
        """Runs a block; True where it waits for others."""
        for file in self.registers.files.values():
            file.view(np.uint8).fill(0 if file.dtype == np.bool_ else 0xFF)
        for axis, coordinate in zip("xyz", np.unravel_index(number, grid, order="F"), strict=True):
            self.registers.special[f"%ctaid.{axis}"][0] = coordinate
        self.shared_memory.regions[0][1].fill(0xFF)
        self.shared_races.barrier()
        self.copies = [[]]
        self.global_races.clocks = Clocks(number, math.prod(grid))
        at: int | None = 0
        polled = -1  # additions before the last poll
        while at is not None:
            run, end, polls, past = self._runs[at]
            if polls:
                # the first poll is taken at once: a barrier that is open too early shows
                if polled == self.changes:
                    arrays = self._arrays()
                    kept = [one.copy() for one in arrays]
                    copies, clocks = self.copies, self.global_races.clocks
                    yield True
                    self.copies, self.global_races.clocks = copies, clocks
                    for one, content in zip(arrays, kept, strict=True):
                        np.copyto(one, content)
                polled = self.changes
            if self.traffic is not None:
                self.traffic.execute(self.program.code[at:past], -(-self.program.threads // WARP))
            try:
                for index, step in enumerate(run, at):  # noqa: B007
                    step()
            except Fault as fault:
                found = self.program.code[index]
                where = f"line {found.line}, {found.text!r}, of {found.source or 'no source'}"
                raise Fault(f"{fault}; {where}") from fault
            at = end()

    def _arrays(self) -> list[NDArray[Any]]:
        """The arrays that the blocks use one after another."""
        races, registers = self.shared_races, self.registers
        shared: list[Any] = [self.shared_memory.regions[0][1], races.writer, races.ordered, races.readers]
        return [*registers.files.values(), *registers.special.values(), *shared]

    # ---- from instructions to steps --------------------------------------------------------------------------------

    def _compile(self) -> dict[int, tuple[list[Step], End, bool, int]]:
        """The straight runs of instructions by the first's number: steps, what follows, whether it polls, the end."""
        code = self.program.code
        ends = {number + 1 for number, one in enumerate(code) if one.parts[0] in ("bra", "ret")}
        polls = {number for number, one in enumerate(code) if _polls(one)}
        firsts = sorted({0, *self.program.labels.values(), *ends, *polls} - {len(code)})
        runs = {}
        for first, past in pairwise([*firsts, len(code)]):
            steps = [self._step(one) for one in code[first : past - (past in ends)]]
            end = self._end(code[past - 1], past) if past in ends else lambda past=past: past
            runs[first] = (steps, end, first in polls, past)
        return runs

    def _step(self, instruction: Instruction) -> Step:
        head = instruction.parts[0]
        try:
            if head in ACCESSES:
                return ACCESSES[head](instruction, self)
            assert instruction.guard is None
            return arithmetic(instruction, self.registers)
        except (ValueError, KeyError, AssertionError) as error:
            raise ValueError(f"ptx, line {instruction.line}: {instruction.text!r} is not known") from error

    def _end(self, instruction: Instruction, past: int) -> End:
        if instruction.parts[0] == "ret":
            return lambda: None
        (label,) = instruction.operands
        assert isinstance(label, Name)
        target = self.program.labels[label.text]
        if instruction.guard is None:
            return lambda: target
        number, truth = instruction.guard
        predicate = self.registers.register(Register("p", number))

        def end() -> int:
            first = predicate[0]
            if (predicate != first).any():
                raise Fault(f"ptx, line {instruction.line}: a divergent branch")
            return target if first == truth else past

        return end


def _polls(instruction: Instruction) -> bool:
    """Whether it reads what another block may be about to change, so that the others must go on."""
    return instruction.parts[0] == "ld" and instruction.parts[1] in ("acquire", "relaxed")
