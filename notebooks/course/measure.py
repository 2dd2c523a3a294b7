"""A training step on this machine: profiled, counted and timed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from benchmarks.launches import gpu_launches, of_torch, operators
from benchmarks.microbenchmarks.ceilings import measured
from breaknet.data.splits import Split
from breaknet.kernels import summed_mse  # noqa: F401 - the operator
from breaknet.kernels.linear_sigmoid import LinearSigmoid
from breaknet.model import MLP
from notebooks.course import busy
from notebooks.course.here import DEVICE, SIZE

BATCH = 100
#: What a torch operator is there for, by a part of its name; the first that fits counts, the rest is bookkeeping.
PURPOSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("matrix products", ("addmm", "::mm", "linear")),
    ("sigmoids", ("sigmoid",)),
    ("cost", ("mse_loss",)),
    ("sums and updates", ("::sum", "_foreach", "::add", "::sub", "::mul")),
)
BOOKKEEPING = "bookkeeping"

_spreads: list[float] = []  # of what was timed since somebody asked for the conditions


def least_seconds(statement: str, calls: int = 1, repeats: int = 7, **names: object) -> float:
    """Seconds of one call of `statement`, which uses `names`: the least of several means, after a warm-up.

    Other load only adds time. The device's work is waited for.
    """
    timer = Timer(statement, globals={"torch": torch, **names}, num_threads=torch.get_num_threads())
    means = [timer.timeit(calls).mean for _ in range(repeats)]
    _spreads.append(busy.spread(means))
    return min(means)


def _conditions() -> busy.Conditions:
    """Those of everything that was timed since the last call."""
    found = busy.here(_spreads)
    _spreads.clear()
    return found


def module_step(images: Split) -> Callable[[], None]:
    """A function that does one step of the tidy nn.Module loop on the first batch of `images`, and can be repeated."""
    x, labels = _batch(images)
    target = nn.functional.one_hot(labels, 10).float()
    model = MLP.seeded(0).to(DEVICE)
    mse_loss = nn.functional.mse_loss
    return _step(model, lambda: mse_loss(model(x[:BATCH]), target[:BATCH], reduction="sum"))


def fused_step(images: Split) -> Callable[[], None]:
    """The same step with the project's operators: three fused layers and the summed cost, under autograd.

    On a CPU the functions `linear_sigmoid` and `summed_mse` are torch's own operations; the operators stay three.
    """
    x, labels = _batch(images)
    model = nn.Sequential(LinearSigmoid(784, 16), LinearSigmoid(16, 16), LinearSigmoid(16, 10)).to(DEVICE)

    def cost() -> Tensor:
        y = x[:BATCH]
        for layer in model:
            y = torch.ops.breaknet.linear_sigmoid(y, layer.weight, layer.bias)
        result: Tensor = torch.ops.breaknet.summed_mse(y, labels[:BATCH], True)[0]
        return result

    step = _step(model, cost)
    step()  # what is set up once is not counted
    return step


def _step(model: nn.Module, cost: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step() -> None:
        optimizer.zero_grad()
        cost().backward()
        optimizer.step()

    return step


def _batch(images: Split) -> tuple[Tensor, Tensor]:
    """The first batch on the device: x [B, 784] in 0..1, labels int64 [B]."""
    x = torch.from_numpy(images.images[:BATCH].copy()).to(DEVICE).float() / 256
    return x, torch.from_numpy(images.labels[:BATCH].copy()).long().to(DEVICE)


def counted(call: Callable[[], object]) -> str:
    """The launches of one call, in words: torch operators on a CPU, kernels and launches on a GPU."""
    found = of_torch(call, 1, torch.device(DEVICE))
    return ", ".join(f"{count:.0f} {name.replace('_', ' ')}" for name, count in found.items())


def ceilings() -> dict[str, float]:
    """The highest rates of this device, bytes and operations a second, measured once."""
    return measured(DEVICE, SIZE == "rehearse")


@dataclass(frozen=True)
class StepProfile:
    """One step of the nn.Module loop."""

    seconds: float  # without the profiler
    calls: float  # of torch operators that are not called by another operator
    kernels: float  # launched on a GPU; 0 on a CPU
    busy: float  # seconds in which the GPU works; 0 on a CPU
    shares: dict[str, float]  # of the profiler's time within operators, by purpose
    operators: list[tuple[str, float, float]]  # name, calls, share of that time; the largest share first
    conditions: busy.Conditions

    def __str__(self) -> str:
        lines = [
            f"{1e6 * self.seconds:.0f} µs per step, in which torch is called for {self.calls:.0f} operations"
        ]
        if self.kernels:
            lines.append(
                f"it launches {self.kernels:.0f} kernels; the GPU works {1e6 * self.busy:.0f} µs of the "
                f"{1e6 * self.seconds:.0f}, that is {self.busy / self.seconds:.0%}"
            )
        named = ", ".join(f"{purpose} {share:.0%}" for purpose, share in self.shares.items())
        lines.append(f"of the time within operators: {named}")
        return "\n".join(lines)


def profile_step(images: Split, steps: int = 5 if SIZE == "rehearse" else 50) -> StepProfile:
    """Run the nn.Module loop's step under torch's profiler."""
    step = module_step(images)
    seconds = least_seconds("step()", steps, 3, step=step)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (DEVICE == "cuda")
    with profile(activities=activities, acc_events=True) as profiler:
        for _ in range(steps):
            step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
    events = list(profiler.events() or ())
    averages = [one for one in profiler.key_averages() if one.key.startswith("aten::")]
    averages.sort(key=lambda one: -one.self_cpu_time_total)
    whole = sum(one.self_cpu_time_total for one in averages)
    shares: Counter[str] = Counter()
    for one in averages:
        fitting = (purpose for purpose, parts in PURPOSES if any(part in one.key for part in parts))
        shares[next(fitting, BOOKKEEPING)] += one.self_cpu_time_total / whole
    on_gpu = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    return StepProfile(
        seconds=seconds,
        calls=operators(events) / steps,
        kernels=gpu_launches(events)["kernels"] / steps,
        busy=sum(event.time_range.elapsed_us() for event in on_gpu) / 1e6 / steps,
        shares=dict(shares.most_common()),
        operators=[(one.key, one.count / steps, one.self_cpu_time_total / whole) for one in averages],
        conditions=_conditions(),
    )


@dataclass(frozen=True)
class Overhead:
    """Seconds of one call of `torch.add` by the number of values added."""

    sizes: list[int]
    seconds: list[float]
    conditions: busy.Conditions

    @property
    def call(self) -> float:
        """Seconds of a call that has next to nothing to do."""
        return min(self.seconds)

    @property
    def worth_it(self) -> str:
        """In words, the number of values from which the work takes longer than the call."""
        last = max(place for place, each in enumerate(self.seconds) if each <= 2 * self.call)
        if last + 1 == len(self.sizes):
            return f"beyond {self.sizes[-1]:,} values only"
        return f"from about {self.sizes[last + 1]:,} values on"


def overhead() -> Overhead:
    """Time the addition of 1 to ever more values: first the call dominates, then the work."""
    sizes = [4**power for power in range({"rehearse": 5, "quick": 11, "full": 12}[SIZE])]
    seconds = []
    for size in sizes:
        values = torch.rand(size, device=DEVICE)
        calls = 100 if size <= 2**16 else 10
        add = "torch.add(values, 1, out=result)"
        seconds.append(least_seconds(add, calls, values=values, result=torch.empty_like(values)))
    return Overhead(sizes, seconds, _conditions())


@dataclass(frozen=True)
class Batched:
    """Seconds for one network's second layer, by the number of networks: one call each, or one call for all."""

    networks: list[int]
    alone: list[float]
    together: list[float]
    conditions: busy.Conditions


def many_small_layers() -> Batched:
    """The second layer, 16 to 16 on a batch, of ever more networks."""
    counts = [4**power for power in range({"rehearse": 2, "quick": 5, "full": 6}[SIZE])]
    alone, together = [], []
    for count in counts:
        a = torch.rand(count, BATCH, 16, device=DEVICE)
        w = torch.randn(count, 16, 16, device=DEVICE)
        one_by_one = "for each, weight in zip(a, w): torch.sigmoid(each @ weight)"
        alone.append(least_seconds(one_by_one, a=a, w=w) / count)
        together.append(least_seconds("torch.sigmoid(torch.bmm(a, w))", a=a, w=w) / count)
    return Batched(counts, alone, together, _conditions())


def order_matters(parts: int = 1000, orders: int = 200) -> tuple[int, float]:
    """The same float32 numbers summed in random orders: the number of different sums, and their relative spread."""
    random = np.random.default_rng(0)
    values = random.standard_normal(parts, dtype=np.float32)
    # one after the other, as atomics add them in the order in which programs happen to arrive
    sums = [float(np.cumsum(random.permutation(values))[-1]) for _ in range(orders)]
    return len(set(sums)), (max(sums) - min(sums)) / abs(float(values.astype(np.float64).sum()))
