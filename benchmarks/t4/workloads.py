"""The kernels as the model sees them: which shipped form a GPU gets, and how often each of its loops turns.

Trips come from the launch configuration (`training_plan`, `packed_plan`, the evaluation's tiles) and are laid on the
loops that the listing has, by their nesting. A listing whose loops are nested otherwise, or whose loops hold fewer
multiply-adds than the work needs, is refused. The fused operators are not here: their time is that of their launches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from benchmarks.t4.compiled import compiled
from benchmarks.t4.control_flow import Loop
from benchmarks.t4.model import POLL, Simulation, Trips, multiply_adds, work
from benchmarks.t4.rates import FIGURE, HIGH, LOW, Assumed, Gpu
from breaknet.kernels.evaluation import BLOCK_K, TILES
from breaknet.kernels.host.packed_tiles import PackedPlan, parameter_count, plan
from breaknet.kernels.host.tiles import WARPS, TrainerConfig, cooperative_plan
from breaknet.kernels.jobs import Shape

SHAPE = Shape(784, 16, 16, 10)
THREADS = 32
#: A nest of trips: (how often, the loops inside) for each loop of a level, in order.
Nest = Sequence[tuple[float, "Nest"]]


@dataclass(frozen=True)
class Estimate:
    """A prediction in seconds; `low` and `high` are the ends of what is assumed.

    `parts` says by name what the figure is made of: clk, or counts.
    """

    low: float
    figure: float
    high: float
    parts: dict[str, float]

    def times(self, factor: float) -> Estimate:
        """So many of the same, one after another."""
        return Estimate(self.low * factor, self.figure * factor, self.high * factor, self.parts)

    def plus(self, other: Estimate) -> Estimate:
        """One after the other."""
        return Estimate(
            self.low + other.low, self.figure + other.figure, self.high + other.high, self.parts | other.parts
        )


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


def enough(found: float, needed: float, what: str) -> None:
    """Raises ValueError where loops hold much less or more than the work's multiply-adds: they were misread."""
    if not 0.95 * needed <= found <= 2.0 * needed:
        raise ValueError(f"{what}: {found:.0f} multiply-adds a thread where the work needs {needed:.0f}")


def _ends(clk: Callable[[Assumed], float], gpu: Gpu, parts: dict[str, float]) -> Estimate:
    low, figure, high = (gpu.seconds(clk(assumed)) for assumed in (LOW, FIGURE, HIGH))
    return Estimate(low, figure, high, parts)


def cooperative_step(gpu: Gpu, batch: int = 100) -> Estimate:
    """One step of one network of the lesson in the cooperative trainer; its jobs do not slow each other.

    The slices' programs set the pace: phase 1, barrier, phase 2, barrier, phase 3. The owners update between two
    barriers, while the slices are at phases 3 and 1.
    """
    config = cooperative_config(gpu, batch)
    name = f"{SHAPE} batch {batch} u8, {config.input_block} inputs a slice"
    slices, *owners = compiled("cooperative_training", name, gpu.target).loops.inner
    poll: Nest = [(POLL, [])]
    blocks: Nest = [] if config.rows == config.row_block else [(ceil(batch / config.row_block), [])]
    deltas: Nest = [(ceil(batch / (config.delta_rows * config.slices(SHAPE))), [])]
    trips = lay([*blocks, *poll, *deltas, *poll, *blocks], slices.inner[0])
    rows: Nest = [(ceil(batch / config.row_block), [])]
    owner_trips = [lay([*poll, *poll, *rows], owner.inner[0]) for owner in owners]
    held = ceil(batch / config.row_block) * config.row_block
    needed = 2 * held * 16 * config.input_block / (WARPS * THREADS)
    enough(multiply_adds(slices.inner[0], trips), needed, f"cooperative trainer on {gpu.name}")
    phase2 = slices.inner[0].inner[len(blocks) + 1]

    def clk(assumed: Assumed) -> dict[str, float]:
        def steady(loop: Loop, some: Trips) -> float:
            return Simulation(gpu, assumed, WARPS).steady(loop, some)

        slice_clk = steady(slices.inner[0], trips)
        phase2_clk = trips[phase2.head] * steady(phase2, trips)
        owner_clk = max(steady(one.inner[0], some) for one, some in zip(owners, owner_trips, strict=True))
        barriers = 2 * assumed.barrier_round_trips * gpu.l2_latency
        return {
            "a step": max(slice_clk, owner_clk + phase2_clk),
            "two grid barriers": barriers,
            "phase 2 (deltas)": phase2_clk,
            "phases 1 and 3 (a slice)": slice_clk - phase2_clk - barriers,
            "an owner's update": owner_clk - barriers,
        }

    return _ends(lambda assumed: clk(assumed)["a step"], gpu, clk(FIGURE))


def cooperative_config(gpu: Gpu, batch: int = 100) -> TrainerConfig:
    """The tiles that this GPU trains the lesson's network with.

    Raises:
        ValueError: none, with the reason.
    """
    config = cooperative_plan(SHAPE, batch, gpu.capability, gpu.processors)
    if isinstance(config, str):
        raise ValueError(config)
    return config


def packed_step(gpu: Gpu, models: int, batch: int = 100, examples: int = 50_000) -> Estimate:
    """One step of each of `models` networks, each trained by one program."""
    hidden = (SHAPE.hidden1, SHAPE.hidden2)
    form = plan(SHAPE.inputs, hidden, SHAPE.outputs, batch, gpu.capability)
    if not isinstance(form, PackedPlan):
        raise ValueError(form)
    kernel = compiled(f"packed_{form.form}", str(form).split(" ", 1)[1], gpu.target)
    steps = kernel.loops.inner[0]
    chunks = ceil(SHAPE.inputs / form.chunk)
    an_epoch = ceil(examples / batch)
    copies = ceil(parameter_count(SHAPE.inputs, hidden, SHAPE.outputs) / 1_024) / an_epoch
    turned = [(chunks / an_epoch, [])] if form.form == "fused" else []
    trips = lay([(chunks, []), *turned, (copies, [])], steps)
    needed = 2 * form.rows * SHAPE.inputs * form.width / (form.num_warps * THREADS)
    enough(multiply_adds(steps, trips), needed, f"packed trainer on {gpu.name}")

    def clk(assumed: Assumed) -> float:
        alone = Simulation(gpu, assumed, form.num_warps).steady(steps, trips)
        busiest = max(work(steps, trips, gpu, assumed, form.num_warps).values())
        return _shared(models, gpu, kernel.blocks, alone, busiest)

    inside = {"chunks of inputs a step": float(chunks), "programs an SM": float(kernel.blocks)}
    return _ends(clk, gpu, {"a step of every network": clk(FIGURE)} | inside)


def evaluation(gpu: Gpu, checkpoints: int, images: int) -> Estimate:
    """Cost and accuracy of so many checkpoints on so many images, in one launch; the final sums are not in it."""
    block_c, block_m, warps, _ = TILES[16]
    kernel = compiled("evaluation_forward", "16-16 u8", gpu.target)
    turns = ceil(SHAPE.inputs / BLOCK_K)
    trips = lay([(turns, [])], kernel.loops)
    needed = block_m * block_c * 16 * SHAPE.inputs / (warps * THREADS)
    enough(multiply_adds(kernel.loops, trips), needed, f"evaluation on {gpu.name}")
    tiles = ceil(images / block_m) * ceil(checkpoints / block_c)

    def clk(assumed: Assumed) -> float:
        alone = Simulation(gpu, assumed, warps).run(kernel.loops, trips)
        busiest = max(work(kernel.loops, trips, gpu, assumed, warps).values())
        streamed = images * SHAPE.inputs / gpu.memory_bytes_per_s * gpu.clock_hz
        return max(streamed, _shared(tiles, gpu, kernel.blocks, alone, busiest))

    inside = {
        "programs": float(tiles),
        "programs an SM": float(kernel.blocks),
        "turns of the loop": float(turns),
    }
    return _ends(clk, gpu, {"the launch": clk(FIGURE)} | inside)


def _shared(programs: int, gpu: Gpu, blocks: int, alone: float, busiest: float) -> float:
    """clk of `programs` equal programs, `blocks` at once on an SM, that take `alone` clk or `busiest` of one pipe."""
    on_one = ceil(programs / gpu.processors)
    return max(ceil(on_one / blocks) * alone, on_one * busiest)


def lesson(gpu: Gpu) -> Estimate:
    """All training and judging of the lesson on the GPU; nothing of the host."""
    steps = sorted((50_000, 50_000, 1_000), reverse=True)
    at_once = gpu.processors // cooperative_config(gpu).programs(SHAPE)
    rounds = sum(steps[first] for first in range(0, len(steps), at_once))
    training = cooperative_step(gpu).times(rounds)
    judging = evaluation(gpu, 200, 60_000).plus(evaluation(gpu, 1_000, 10_100))
    total = training.plus(judging)
    parts = {"seconds of training": training.figure, "seconds of evaluation": judging.figure}
    return Estimate(total.low, total.figure, total.high, parts)
