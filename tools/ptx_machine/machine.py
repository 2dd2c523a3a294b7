"""A machine for PTX: runs what Triton compiled without a GPU, and finds faults that a GPU lets pass.

    machine = Machine(ptx, shared_bytes)
    machine.run((programs, 1, 1), [tensor, 7, 0.5, ...], cooperative=True)

Arguments are CPU tensors and numbers, in the order of the kernel's parameters; scratch that Triton adds is left out.
A launch fails with `Fault` for an address outside the tensors or misaligned, a race, a divergent branch, a deadlock.

All threads of a block take each instruction together, so a branch must be the same for all of them (Triton's are).
Blocks run one after another. Where one polls a counter again, others go on, in an order drawn from `seed`, and only in
a cooperative launch: in another nothing says that they run at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tools.ptx_machine.access import ACCESSES
from tools.ptx_machine.arithmetic import ARITHMETIC, Registers, Step
from tools.ptx_machine.memory import PLACE, Fault, GlobalMemory, SharedMemory
from tools.ptx_machine.parser import Instruction, Name, Program, Register, parse
from tools.ptx_machine.races import WARP, Clocks, GlobalRaces, SharedRaces
from tools.ptx_machine.traffic import Traffic

#: Ends a straight run of instructions: the number of the instruction to go on with, or None.
End = Callable[[], int | None]


class Machine:
    """One kernel, and of the block at work its registers, shared memory and clocks."""

    def __init__(self, ptx: str, shared_bytes: int) -> None:
        self.program: Program = parse(ptx)
        self.registers = Registers(self.program.registers, self.program.threads)
        self.shared_memory = SharedMemory(shared_bytes)
        self.shared_races = SharedRaces(
            self.shared_memory.bytes.size // PLACE, -(-self.program.threads // WARP)
        )
        self.parameters: dict[str, NDArray[np.uint64]] = {
            name: np.zeros(1, np.uint64) for name in self.program.parameters
        }
        self.copies: list[list[Step]] = [[]]  # groups of asynchronous ones, the last still open
        self.changes = 0  # additions to memory, by which a waiting block may go on
        self.traffic: Traffic | None = None  # where accesses are counted, if they are
        self.global_memory: GlobalMemory
        self.global_races: GlobalRaces
        self.clocks: Clocks
        self._runs = self._compile()

    # ---- launching -------------------------------------------------------------------------------------------------

    def run(
        self, grid: Sequence[int], arguments: Sequence[Any], *, cooperative: bool = False, seed: int = 0
    ) -> None:
        """Launch and wait. Raises Fault; ValueError for arguments of another number or kind."""
        self._set_parameters(arguments)
        x, y, z = (*grid, 1, 1)[:3]
        self.global_memory = GlobalMemory([one for one in arguments if isinstance(one, Tensor)])
        self.global_races = GlobalRaces(self.global_memory.place_count, x * y * z)
        order = np.random.default_rng(seed).permutation(x * y * z)
        waiting: deque[tuple[Iterator[None], Any]] = deque()
        with np.errstate(all="ignore"):
            for block in order.tolist():
                self._begin(block, x * y * z, (block % x, block // x % y, block // (x * y)))
                steps = self._steps()
                if not self._advance(steps):
                    if not cooperative:
                        raise Fault(
                            f"{self.program.name}: waits for other blocks, and is not launched with them"
                        )
                    waiting.append((steps, self._state()))
            self._take_turns(waiting)

    def _take_turns(self, waiting: deque[tuple[Iterator[None], Any]]) -> None:
        idle, changes = 0, self.changes
        while waiting:
            steps, state = waiting.popleft()
            self._restore(state)
            ended = self._advance(steps)
            idle = 0 if ended or self.changes != changes else idle + 1
            changes = self.changes
            if not ended:
                waiting.append((steps, self._state()))
            if idle > len(waiting):
                raise Fault(f"{self.program.name}: deadlock, {len(waiting)} blocks wait for each other")

    def _set_parameters(self, arguments: Sequence[Any]) -> None:
        values = [*arguments]
        scratch = len(self.program.parameters) - len(values)
        if scratch not in (0, 1, 2):
            raise ValueError(f"arguments: {len(self.program.parameters)} or up to 2 fewer, not {len(values)}")
        for (name, kind), value in zip(self.program.parameters.items(), values + [0] * scratch, strict=True):
            if isinstance(value, Tensor):
                self.parameters[name][0] = value.data_ptr()
            elif kind == "f32":
                self.parameters[name][:1] = np.array([value, 0], np.float32).view(np.uint64)
            else:
                self.parameters[name][0] = int(value) & (1 << 64) - 1

    # ---- one block -------------------------------------------------------------------------------------------------

    def _begin(self, block: int, blocks: int, place: tuple[int, int, int]) -> None:
        for file in self.registers.files.values():
            file.view(np.uint8).fill(0 if file.dtype == np.bool_ else 0xFF)
        for axis, number in zip("xyz", place, strict=True):
            self.registers.special[f"%ctaid.{axis}"][0] = number
        self.shared_memory.bytes.fill(0xFF)
        self.shared_races.barrier()
        self.copies[:] = [[]]
        self.clocks = Clocks(block, blocks)

    def _arrays(self) -> list[NDArray[Any]]:
        races = self.shared_races
        special = [self.registers.special[f"%ctaid.{axis}"] for axis in "xyz"]
        shared = [self.shared_memory.bytes, races.writer, races.ordered, races.readers]
        return [*self.registers.files.values(), *special, *shared]

    def _state(self) -> Any:
        return [one.copy() for one in self._arrays()], self.copies, self.clocks

    def _restore(self, state: Any) -> None:
        arrays, self.copies, self.clocks = state
        for one, content in zip(self._arrays(), arrays, strict=True):
            np.copyto(one, content)

    @staticmethod
    def _advance(steps: Iterator[None]) -> bool:
        """Whether the block ended; else it waits."""
        return next(steps, _ENDED) is _ENDED

    def _steps(self) -> Iterator[None]:
        at: int | None = 0
        polled = -1  # additions before the last poll
        while at is not None:
            run, end, polls, past = self._runs[at]
            if polls:
                if (
                    polled == self.changes
                ):  # the first poll is taken at once: a barrier that is open too early shows
                    yield
                polled = self.changes
            if self.traffic is not None:
                self.traffic.execute(self.program.code[at:past], -(-self.program.threads // WARP))
            try:
                for number, step in enumerate(run, at):  # noqa: B007
                    step()
            except Fault as fault:
                one = self.program.code[number]
                raise Fault(
                    f"{fault}; line {one.line}, {one.text!r}, of {one.source or 'no source'}"
                ) from fault
            at = end()

    # ---- from instructions to steps --------------------------------------------------------------------------------

    def _compile(self) -> dict[int, tuple[list[Step], End, bool, int]]:
        """The straight runs of instructions by the first's number: steps, what follows, whether it polls, the end."""
        code, labels = self.program.code, self.program.labels
        firsts = {0, *labels.values()}
        for number, one in enumerate(code):
            if one.parts[0] in ("bra", "ret"):
                firsts.add(number + 1)
            elif _polls(one):
                firsts.add(number)
        runs = {}
        starts = sorted(first for first in firsts if first < len(code))
        for first, past in zip(starts, [*starts[1:], len(code)], strict=True):
            last = code[past - 1]
            ends = last.parts[0] in ("bra", "ret")
            steps = [self._step(one) for one in code[first : past - ends]]
            end = self._end(last, past) if ends else lambda past=past: past
            runs[first] = (steps, end, _polls(code[first]), past)
        return runs

    def _step(self, instruction: Instruction) -> Step:
        head = instruction.parts[0]
        unknown = f"ptx, line {instruction.line}: {instruction.text!r} is not known"
        try:
            if head in ACCESSES:
                return ACCESSES[head](instruction, self)
            if head in ARITHMETIC and instruction.guard is None:
                return ARITHMETIC[head](instruction, self.registers)
        except (ValueError, KeyError, AssertionError) as error:
            raise ValueError(unknown) from error
        raise ValueError(unknown)

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


_ENDED: Any = object()
