"""The state of a launch: its program, and of the block at work registers, shared memory and clocks."""

from tools.ptx_machine.arithmetic import Registers, Step
from tools.ptx_machine.memory import Memory, shared_memory
from tools.ptx_machine.parser import Program, parse
from tools.ptx_machine.races import WARP, GlobalRaces, SharedRaces
from tools.ptx_machine.traffic import Traffic


class State:
    """Everything that instructions read and change."""

    def __init__(self, ptx: str, shared_bytes: int) -> None:
        self.program: Program = parse(ptx)
        self.registers = Registers(self.program.registers, self.program.parameters, self.program.threads)
        self.shared_memory = shared_memory(shared_bytes)
        self.shared_races = SharedRaces(self.shared_memory.place_count, -(-self.program.threads // WARP))
        self.copies: list[list[Step]] = [[]]  # groups of asynchronous ones, the last still open
        self.changes = 0  # additions to memory, by which a waiting block may go on
        self.traffic: Traffic | None = None  # where accesses are counted, if they are
        self.global_memory: Memory
        self.global_races: GlobalRaces
