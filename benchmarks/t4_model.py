"""Predicted times of the kernels on a GPU, from machine code that was cross-compiled for it: no GPU is needed.

Each kernel's loops are found in its SASS; how often they turn follows from the launch configuration; one warp in
order, against the pipes that all warps of a block share, gives the cycles of a turn. A listing whose loops are nested
otherwise, or hold fewer FMAs than the work needs, is refused. Rates are published ones; docs/results.md lists their
sources and every assumption. What this module gives is a prediction and is called so wherever it stands.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil

from benchmarks.sass import Instruction, Loop, read
from breaknet.kernels.evaluation import BLOCK_K, TILES
from breaknet.kernels.host.machine_code import build, disassembly
from breaknet.kernels.host.resources import ResourceRow, in_compiling_processes
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.targets import TARGETS
from breaknet.kernels.host.tiles import WARPS, PackedConfig, TileConfig, cooperative_tiles, packed_tiles
from breaknet.kernels.jobs import Shape

SHAPE = Shape(784, 16, 16, 10)
SCHEDULERS, WARP = 4, 32
#: Cycles from the last warp's arrival at a block's barrier until all go on; an estimate.
BLOCK_BARRIER = 30.0
#: Instead of a number of turns: a loop that polls, and costs a grid barrier.
POLL = -1.0
#: Turns by the head of a loop, and of the loops of a level in order, with those inside.
Trips = Mapping[int, float]
Nest = Sequence[tuple[float, "Nest"]]


@dataclass(frozen=True)
class Gpu:
    """Published rates of one GPU: lanes and bytes are those of one SM in one cycle, latencies are cycles."""

    name: str
    pattern: str  # of the names that drivers report
    capability: int
    sms: int
    clock_hz: float
    fp32_lanes: int
    shared_bytes: float
    shared_latency: float
    l2_latency: float
    l2_bytes: float
    memory_bytes_per_s: float
    int_lanes: int = 64
    special_lanes: int = 16
    alu_latency: float = 4
    special_latency: float = 23

    def seconds(self, cycles: float) -> float:
        """Time of so many cycles."""
        return cycles / self.clock_hz


@dataclass(frozen=True)
class Assumed:
    """Values that no source settles; `LOW` and `HIGH` are their ends, `FIGURE` the geometric middle.

    `wavefronts_64`, `wavefronts_128`: memory transactions of 128 bytes that a warp's 64- and 128-bit loads from shared
    memory take, where threads share operands. `barrier_round_trips`: crossings of a grid barrier to the L2 and back.
    """

    wavefronts_64: float
    wavefronts_128: float
    barrier_round_trips: float


LOW, HIGH = Assumed(1.0, 1.0, 4.5), Assumed(2.0, 4.0, 9.0)
FIGURE = Assumed(2.0**0.5, 4.0**0.5, (4.5 * 9.0) ** 0.5)


@dataclass(frozen=True)
class Estimate:
    """A prediction in seconds; `low` and `high` are the ends of what is assumed."""

    low: float
    figure: float
    high: float

    @classmethod
    def of(cls, cycles: Callable[[Assumed], float], gpu: Gpu) -> Estimate:
        """From cycles by what is assumed."""
        return cls(*(gpu.seconds(cycles(assumed)) for assumed in (LOW, FIGURE, HIGH)))

    def times(self, factor: float) -> Estimate:
        """So many of the same, one after another."""
        return Estimate(self.low * factor, self.figure * factor, self.high * factor)

    def plus(self, other: Estimate) -> Estimate:
        """One after the other."""
        return Estimate(self.low + other.low, self.figure + other.figure, self.high + other.high)


def occupies(one: Instruction, gpu: Gpu, assumed: Assumed) -> dict[str, float]:
    """Cycles of each pipe of an SM that one warp's instruction occupies; "issue" always."""
    busy = {"issue": 1 / SCHEDULERS}
    lanes = {"fp32": gpu.fp32_lanes, "int": gpu.int_lanes, "special": gpu.special_lanes}
    if one.pipe in lanes:
        busy[one.pipe] = WARP / lanes[one.pipe]
    elif one.pipe in ("shared", "global"):
        moved = WARP * one.bytes_a_thread
        transactions = max(1.0, moved / 128)
        if one.mnemonic.startswith("LDS") and not one.mnemonic.startswith("LDSM"):
            transactions = {1: 1.0, 2: assumed.wavefronts_64, 4: assumed.wavefronts_128}[one.words]
        busy["shared"] = transactions * 128 / gpu.shared_bytes  # loads from the L1 take the same path
        if one.pipe == "global":
            busy["l2"] = moved / gpu.l2_bytes
    return busy


def latency(one: Instruction, gpu: Gpu) -> float:
    """Cycles from issue until the result can be used."""
    by_pipe = {"shared": gpu.shared_latency, "global": gpu.l2_latency, "special": gpu.special_latency}
    return by_pipe.get(one.pipe, gpu.alu_latency)


def work(loop: Loop, trips: Trips, gpu: Gpu, assumed: Assumed, warps: int) -> dict[str, float]:
    """Cycles of each pipe that all warps of a block occupy in all turns of a loop."""
    total: dict[str, float] = defaultdict(float)
    for item in loop.body:
        if isinstance(item, Instruction):
            for pipe, cycles in occupies(item, gpu, assumed).items():
                total[pipe] += warps * cycles
        elif trips[item.head] != POLL:
            for pipe, cycles in work(item, trips, gpu, assumed, warps).items():
                total[pipe] += trips[item.head] * cycles
    return total


def fmas(loop: Loop, trips: Trips) -> float:
    """FMAs of one thread in all turns."""
    inner = sum(trips[one.head] * fmas(one, trips) for one in loop.inner if trips[one.head] != POLL)
    return inner + sum(one.fmas for one in loop.own)


@dataclass
class Simulation:
    """The clock of one block of `warps` warps that has an SM to itself.

    The body of a loop is gone through twice, once cold and once as all further turns are; nothing grows with the trips.
    """

    gpu: Gpu
    assumed: Assumed
    warps: int
    now: float = 0.0  # when the watched warp issues next
    met: float = 0.0  # when the block's warps last were together
    ready: dict[str, float] = field(default_factory=dict)  # register -> when it can be read
    busy: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # pipe -> cycles since they met

    def run(self, loop: Loop, trips: Trips) -> float:
        """Cycles of one turn of `loop` with everything inside, all warps together at both ends."""
        start = self.now
        self._turn(loop, trips)
        self._meet(0.0)
        return self.now - start

    def steady(self, loop: Loop, trips: Trips) -> float:
        """Cycles of one turn of `loop` among many."""
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
            skipped = (turns - 1) * (self._settled() - before)
            self.now += skipped
            self.met += skipped
            for register in self.ready:
                self.ready[register] += skipped

    def _issue(self, one: Instruction) -> None:
        self.now = max([self.now + 1, *(self.ready.get(register, 0.0) for register in one.reads)])
        done = self.now + latency(one, self.gpu)
        for register in one.writes:
            self.ready[register] = done
        for pipe, cycles in occupies(one, self.gpu, self.assumed).items():
            self.busy[pipe] += self.warps * cycles
        if one.meets:
            self._meet(BLOCK_BARRIER)

    def _settled(self) -> float:
        """When all warps are through what was issued."""
        return max(self.now, self.met + max(self.busy.values(), default=0.0))

    def _meet(self, cost: float) -> None:
        self.now = self.met = self._settled() + cost
        self.busy.clear()


@lru_cache
def compiled(kernel: str, config: str, capability: int) -> tuple[Loop, int]:
    """The loops of a supported configuration's machine code, and the blocks of it that an SM holds.

    Raises:
        ValueError: no such configuration.
        RuntimeError: without Triton, or where it does not compile.
    """
    ((sass, blocks),) = in_compiling_processes(_compile, [(kernel, config, capability)], 1)
    return read(sass), blocks


def _compile(kernel: str, config: str, capability: int) -> tuple[str, int]:
    for case in supported_configurations(capability):
        if (case.name, case.config) == (kernel, config):
            built = build(case, capability)
            return disassembly(built.cubin), ResourceRow.of(case, built, TARGETS[capability]).blocks_per_sm
    raise ValueError(f"config: a supported one of {kernel} on sm_{capability}, not {config!r}")


def lay(nest: Nest, loop: Loop) -> dict[int, float]:
    """Trips by the heads of the loops in `loop`.

    Raises:
        ValueError: the loops are nested otherwise.
    """

    def shape(some: Nest) -> str:
        return "".join(f"({shape(inside)})" for _, inside in some)

    if shape(nest) != loop.shape():
        raise ValueError(f"loops: nested as {shape(nest)}, not as {loop.shape()}")
    trips: dict[int, float] = {}
    for (turns, inside), inner in zip(nest, loop.inner, strict=True):
        trips |= {inner.head: turns} | lay(inside, inner)
    return trips


def enough(found: float, needed: float, name: str) -> None:
    """Raises ValueError where loops hold much less or more than the work's FMAs: they were misread."""
    if not 0.95 * needed <= found <= 2.0 * needed:
        raise ValueError(f"{name}: {found:.0f} FMAs a thread where the work needs {needed:.0f}")


def cooperative_config(gpu: Gpu, batch: int = 100) -> TileConfig:
    """The tiles that this GPU trains the lesson's network with. Raises ValueError where there are none."""
    config = cooperative_tiles(SHAPE, batch, gpu.capability, gpu.sms)
    if isinstance(config, str):
        raise ValueError(config)
    return config


def cooperative_step(gpu: Gpu, batch: int = 100) -> Estimate:
    """One step of one network of the lesson in the cooperative trainer; its jobs do not slow each other.

    The slices' programs set the pace: phase 1, barrier, phase 2, barrier, phase 3. The owners update between two
    barriers, while the slices are at phases 3 and 1.
    """
    config = cooperative_config(gpu, batch)
    name = f"{SHAPE} batch {batch} u8, {config.input_block} inputs a slice"
    slices, *owners = compiled("cooperative_training", name, gpu.capability)[0].inner
    poll: Nest = [(POLL, [])]
    rows: Nest = [(ceil(batch / config.row_block), [])]
    blocks: Nest = [] if config.rows == config.row_block else rows
    deltas: Nest = [(ceil(batch / (config.delta_rows * config.slices)), [])]
    trips = lay([*blocks, *poll, *deltas, *poll, *blocks], slices.inner[0])
    owner_trips = [lay([*poll, *poll, *rows], owner.inner[0]) for owner in owners]
    held = ceil(batch / config.row_block) * config.row_block
    needed = 2 * held * 16 * config.input_block / (WARPS * WARP)
    enough(fmas(slices.inner[0], trips), needed, f"cooperative trainer on {gpu.name}")
    phase2 = slices.inner[0].inner[len(blocks) + 1]

    def cycles(assumed: Assumed) -> float:
        def steady(loop: Loop, some: Trips) -> float:
            return Simulation(gpu, assumed, WARPS).steady(loop, some)

        owner = max(steady(one.inner[0], some) for one, some in zip(owners, owner_trips, strict=True))
        return max(steady(slices.inner[0], trips), owner + trips[phase2.head] * steady(phase2, trips))

    return Estimate.of(cycles, gpu)


def packed_step(gpu: Gpu, models: int, batch: int = 100, examples: int = 50_000) -> Estimate:
    """One step of each of `models` networks, each trained by one program."""
    form = packed_tiles(SHAPE, batch, byte_images=True)
    if not isinstance(form, PackedConfig):
        raise ValueError(form)
    kernel, blocks = compiled(f"packed_{form.form}", form.name, gpu.capability)
    steps = kernel.inner[0]
    chunks = ceil(SHAPE.inputs / form.chunk)
    an_epoch = ceil(examples / batch)
    copies = ceil(SHAPE.parameters / 1_024) / an_epoch
    transposed = [(chunks / an_epoch, [])] if form.form == "fused" else []
    trips = lay([(chunks, []), *transposed, (copies, [])], steps)
    needed = 2 * form.rows * SHAPE.inputs * form.width / (form.num_warps * WARP)
    enough(fmas(steps, trips), needed, f"packed trainer on {gpu.name}")

    def cycles(assumed: Assumed) -> float:
        alone = Simulation(gpu, assumed, form.num_warps).steady(steps, trips)
        busiest = max(work(steps, trips, gpu, assumed, form.num_warps).values())
        return _shared(models, gpu, blocks, alone, busiest)

    return Estimate.of(cycles, gpu)


def evaluation(gpu: Gpu, checkpoints: int, images: int) -> Estimate:
    """Cost and accuracy of so many checkpoints on so many images, in one launch; the final sums are not in it."""
    block_c, block_m, warps, _ = TILES[16]
    kernel, blocks = compiled("evaluation_forward", "16-16 u8", gpu.capability)
    trips = lay([(ceil(SHAPE.inputs / BLOCK_K), [])], kernel)
    needed = block_m * block_c * 16 * SHAPE.inputs / (warps * WARP)
    enough(fmas(kernel, trips), needed, f"evaluation on {gpu.name}")
    tiles = ceil(images / block_m) * ceil(checkpoints / block_c)

    def cycles(assumed: Assumed) -> float:
        alone = Simulation(gpu, assumed, warps).run(kernel, trips)
        busiest = max(work(kernel, trips, gpu, assumed, warps).values())
        streamed = images * SHAPE.inputs / gpu.memory_bytes_per_s * gpu.clock_hz
        return max(streamed, _shared(tiles, gpu, blocks, alone, busiest))

    return Estimate.of(cycles, gpu)


def _shared(programs: int, gpu: Gpu, blocks: int, alone: float, busiest: float) -> float:
    """Cycles of `programs` equal programs, `blocks` at once on an SM; each takes `alone`, or `busiest` of one pipe."""
    on_one = ceil(programs / gpu.sms)
    return max(ceil(on_one / blocks) * alone, on_one * busiest)


def grid_barrier(gpu: Gpu) -> Estimate:
    """One meeting of a grid's programs."""
    return Estimate.of(lambda assumed: assumed.barrier_round_trips * gpu.l2_latency, gpu)


def lesson(gpu: Gpu) -> Estimate:
    """All training and evaluation of the lesson on the GPU; nothing of the host."""
    steps = sorted((50_000, 50_000, 1_000), reverse=True)
    at_once = gpu.sms // cooperative_config(gpu).programs
    rounds = sum(steps[first] for first in range(0, len(steps), at_once))
    evaluations = evaluation(gpu, 200, 60_000).plus(evaluation(gpu, 1_000, 10_100))
    return cooperative_step(gpu).times(rounds).plus(evaluations)


T4 = Gpu("T4", r"\bT4\b", 75, 40, 1.59e9, 64, 64, 30, 194, 25.6, 320e9, special_latency=21)
H200 = Gpu("H200", r"\bH200\b", 90, 132, 1.98e9, 128, 128, 29, 281, 27, 4.8e12)
GPUS = (T4, H200)


def known(name: str | None) -> Gpu | None:
    """The GPU that a driver calls `name`, or None where the model knows none of that name."""
    return next((gpu for gpu in GPUS if name and re.search(gpu.pattern, name)), None)
