"""Clock cycles of nested loops: one warp in order against the pipes that all warps share.

    clk = Simulation(gpu, assumed, warps).run(loop, trips)

`trips` says how often each loop turns, by the loop's head, or that it polls (`POLL`) and is worth a grid barrier. The
body of a loop is gone through twice, once cold and once as all further turns are; nothing grows with the trips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.t4.control_flow import Loop
from benchmarks.t4.instruction_mix import Instruction
from benchmarks.t4.rates import BLOCK_BARRIER, Assumed, Gpu

SCHEDULERS = 4
WARP = 32
POLL = -1.0
Trips = Mapping[int, float]


def occupies(one: Instruction, gpu: Gpu, assumed: Assumed) -> dict[str, float]:
    """clk of each pipe of an SM that one warp's instruction occupies; "issue" always."""
    busy = {"issue": 1 / SCHEDULERS}
    lanes = {"fp32": gpu.fp32_lanes, "int": gpu.int_lanes, "special": gpu.special_lanes}
    if one.pipe in lanes:
        busy[one.pipe] = WARP / lanes[one.pipe]
    elif one.pipe in ("shared", "global"):
        moved = WARP * one.bytes_a_thread
        passes = max(1.0, moved / 128)
        if one.mnemonic.startswith("LDS") and not one.mnemonic.startswith("LDSM"):
            passes = {1: 1.0, 2: assumed.wavefronts_64, 4: assumed.wavefronts_128}[one.words]
        busy["shared"] = passes * 128 / gpu.shared_bytes  # loads from the L1 go the same way
        if one.pipe == "global":
            busy["l2"] = moved / gpu.l2_bytes
    return busy


def latency(one: Instruction, gpu: Gpu) -> float:
    """clk from issue until the result can be used."""
    if one.pipe == "shared":
        return gpu.shared_latency
    if one.pipe == "global":
        return gpu.l2_latency
    return gpu.special_latency if one.pipe == "special" else gpu.alu_latency


def work(loop: Loop, trips: Trips, gpu: Gpu, assumed: Assumed, warps: int) -> dict[str, float]:
    """clk of each pipe that all warps of a block occupy in all turns of a loop."""
    total: dict[str, float] = defaultdict(float)
    for item in loop.body:
        if isinstance(item, Loop):
            turns = trips[item.head]
            if turns != POLL:
                for pipe, clk in work(item, trips, gpu, assumed, warps).items():
                    total[pipe] += turns * clk
        else:
            for pipe, clk in occupies(item, gpu, assumed).items():
                total[pipe] += warps * clk
    return total


def multiply_adds(loop: Loop, trips: Trips) -> float:
    """Fused multiply-adds of one thread in all turns."""
    own = sum(2 if one.category == "fma2" else 1 for one in loop.own if one.category in ("fma", "fma2"))
    inner = sum(trips[one.head] * multiply_adds(one, trips) for one in loop.inner if trips[one.head] != POLL)
    return own + inner


@dataclass
class Simulation:
    """The clock of one block of `warps` warps that has an SM to itself."""

    gpu: Gpu
    assumed: Assumed
    warps: int
    now: float = 0.0  # when the watched warp issues next
    met: float = 0.0  # when the block's warps last were together
    ready: dict[str, float] = field(default_factory=dict)  # register -> when it can be read
    busy: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # pipe -> clk of all warps since they met

    def run(self, loop: Loop, trips: Trips) -> float:
        """clk of one turn of `loop` with everything inside, all warps together at both ends."""
        start = self.now
        self._turn(loop, trips)
        self._meet(0.0)
        return self.now - start

    def steady(self, loop: Loop, trips: Trips) -> float:
        """clk of one turn of `loop` among many."""
        self._turn(loop, trips)
        first = self._settled()
        self._turn(loop, trips)
        return self._settled() - first

    def _turn(self, loop: Loop, trips: Trips) -> None:
        for item in loop.body:
            if isinstance(item, Instruction):
                self._issue(item)
            elif trips[item.head] == POLL:
                self._meet(self.assumed.barrier_round_trips * self.gpu.l2_latency)
            else:
                self._repeat(item, trips, trips[item.head])

    def _repeat(self, loop: Loop, trips: Trips, turns: float) -> None:
        if turns >= 1:
            self._turn(loop, trips)
            turns -= 1
        if turns > 0:
            before = self._settled()
            self._turn(loop, trips)
            self._skip((turns - 1) * (self._settled() - before))

    def _issue(self, one: Instruction) -> None:
        self.now = max([self.now + 1, *(self.ready.get(register, 0.0) for register in one.reads)])
        done = self.now + latency(one, self.gpu)
        for register in one.writes:
            self.ready[register] = done
        for pipe, clk in occupies(one, self.gpu, self.assumed).items():
            self.busy[pipe] += self.warps * clk
        if one.meets:
            self._meet(BLOCK_BARRIER)

    def _settled(self) -> float:
        """When all warps are through what was issued."""
        return max(self.now, self.met + max(self.busy.values(), default=0.0))

    def _meet(self, cost: float) -> None:
        self.now = self.met = self._settled() + cost
        self.busy.clear()

    def _skip(self, clk: float) -> None:
        """Let `clk` pass in which everything stays as it is, seen from the new time."""
        self.now += clk
        self.met += clk
        for register in self.ready:
            self.ready[register] += clk
