"""From contenders to rows: each is checked against float64 first, then those of one comparison are timed in turn.

    context = Context("cpu", size_of("quick"))
    rows = measure(SUITES["models"](context), context)

Interleaved (A B A B), a machine that drifts drifts for all contenders alike.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import groupby
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.floors import Work
from benchmarks.microbenchmarks import ceilings
from benchmarks.problem import Parameters, Problem, Size, digits, refuse_blank
from benchmarks.rows import DEVICES, Row
from breaknet import Digits, Split

log = logging.getLogger("benchmarks")

#: A contender one of whose calls takes longer than so many seconds gets no more than so many calls.
LONG = ((1.0, 5), (3.0, 3), (10.0, 2), (30.0, 1))
#: A point of a series is not measured where, by the point before it, one call would take longer than this.
SERIES_SECONDS = 8.0


class WrongResult(AssertionError):
    """A result that differs from float64's: the contender gets no time."""


class Missing(RuntimeError):
    """A package or a device that a contender needs is not there, or it would take too long."""


@dataclass(frozen=True)
class Ready:
    """A contender that has been checked, compiled, given its data and called once."""

    run: Callable[[], object]  # one timed call: `units` units of work, the device waited for
    units: float = 1.0
    launches: dict[str, float] = field(default_factory=dict)  # counted, for one unit
    work: Work | None = None  # of one unit, for its floor
    conditions: dict[str, Any] = field(default_factory=dict)  # may still change while it runs
    timed: tuple[str, str] | None = None  # what is in the time, and what is out

    def grouped(self, size: float) -> Ready:
        """The same with `size` units as one."""
        launches = {name: size * count for name, count in self.launches.items()}
        work = None if self.work is None else self.work.times(size)
        return replace(self, units=self.units / size, launches=launches, work=work)


@dataclass(frozen=True)
class Contender:
    """One implementation of `work`. Those of one `comparison` are timed against each other, call by call."""

    name: str  # kind/device/..., as `Row.name`
    group: str
    title: str
    work: str
    comparison: str
    prepare: Callable[[], Ready]  # raises AssertionError where its result is wrong
    needs: tuple[str, ...] = ()  # packages
    repeats: int | None = None  # calls, where they are fewer than the size's
    series: str = ""  # the curve that it is a point of, and how much work a call of it is
    scale: float = 1.0

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return self.name.split("/")[1]


@dataclass(eq=False)
class Context:
    """The parts that contenders share on a device, at a size, made when first needed: data, problems, ceilings.

    Args:
        device: "cpu" or "cuda"; at the size "rehearse" the contenders of either run on the CPU.
        size: how much is done.
        given: the data; without it what BREAKNET_DATA names, else synthetic digits; noisy prototypes to rehearse.
        given_ceilings: as measured before; without them they are measured when a floor needs them.

    Raises:
        ValueError: a device that is neither.
    """

    device: str
    size: Size
    given: Digits | None = None
    given_ceilings: dict[str, float] | None = None
    _problems: dict[tuple[str, int], Problem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ValueError(f'device: "cpu" or "cuda", not {self.device!r}')
        #: Whether every path is run and no time means anything.
        self.rehearsing = self.size.name == "rehearse"
        #: Whether a GPU's contenders are wanted.
        self.gpu = self.device == "cuda"
        #: Where it all runs: the device, but for a GPU's rehearsal, which is Triton's interpreter's on the CPU.
        self.place = torch.device("cpu" if self.rehearsing else self.device)
        #: Breaknet's own backend for the device.
        self.backend = "triton" if self.gpu else "numba"

    def warm_up(self, call: Callable[[], object]) -> None:
        """Call it once before it is timed; not in a rehearsal."""
        if not self.rehearsing:
            call()

    @cached_property
    def data(self) -> Digits:
        """The digits, which are not blank."""
        if self.given is None:
            self.given = digits("prototypes" if self.rehearsing else None)
        refuse_blank(self.given)
        return self.given

    def training(self, images: int) -> Problem:
        """The lesson's clean run on the first `images` training images, or what whole batches of them there are."""
        count = min(images, len(self.data.train)) // self.size.batch_size * self.size.batch_size
        return self._problem("training", self.data.train[:count])

    def evaluation(self, images: int) -> Problem:
        """The last `images` of the training and the validation images, to evaluate networks on."""
        return self._problem("evaluation", self._both[max(0, len(self._both) - images) :])

    @cached_property
    def _both(self) -> Split:
        train, valid = self.data.train, self.data.valid
        images, labels = (train.images, valid.images), (train.labels, valid.labels)
        return Split(np.concatenate(images), np.concatenate(labels))

    def _problem(self, kind: str, split: Split) -> Problem:
        key = kind, len(split)
        if key not in self._problems:
            images, labels = np.ascontiguousarray(split.images), split.labels.astype(np.int64)
            self._problems[key] = Problem(images, labels, self.place, batch_size=self.size.batch_size)
        return self._problems[key]

    def networks(self, count: int) -> Parameters:
        """Networks [count, ...] to evaluate: a start and small steps away from it, as the checkpoints of a run are."""
        random = torch.Generator().manual_seed(0)
        start = self.training(self.size.batch_size).start
        return {
            name: value[None] + 0.1 * torch.randn(count, *value.shape, generator=random)
            for name, value in start.items()
        }

    @cached_property
    def ceilings(self) -> dict[str, float]:
        """The ceilings of the device, by name."""
        if self.given_ceilings is not None:
            return self.given_ceilings
        return ceilings.measured(self.place.type, self.rehearsing)


@dataclass(eq=False)
class Session:
    """Facts learnt while measuring, beside the rows."""

    times: dict[str, list[float]] = field(
        default_factory=dict
    )  # seconds of a unit, call by call, by contender
    failures: dict[str, str] = field(default_factory=dict)  # one line for each contender that failed
    missing: dict[str, str] = field(default_factory=dict)  # one line for each that cannot run here
    #: By series: the last point's scale, and the seconds of a call of it.
    pace: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Called before a contender is prepared, and after it, however that ended.
    started: Callable[[Contender], object] = lambda contender: None
    prepared: Callable[[Contender], object] = lambda contender: None

    def left_out(self, contender: Contender, error: Exception) -> None:
        """Keep why a contender has no row, and warn."""
        reason = str(error).strip().partition("\n")[0]
        where = self.missing
        if not isinstance(error, Missing):
            where, reason = self.failures, f"{type(error).__name__}: {reason}"
        where[contender.name] = reason
        log.warning("%s is left out: %s", contender.name, reason)


def measure(
    contenders: Iterable[Contender],
    context: Context,
    *,
    survive: bool = False,
    session: Session | None = None,
) -> list[Row]:
    """A row for each contender, in their order.

    Args:
        contenders: those of one comparison stand together.
        context: the device, the size, the data.
        survive: leave out a contender that fails or cannot run here, with a warning, instead of raising.
        session: where to keep the single times and what was left out.

    Raises:
        WrongResult: a contender's result is not float64's.
        Missing: a package that a contender needs is not installed.
        ValueError: there is no such device, or products are set to less than float32.
    """
    if context.place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda needs a CUDA GPU, and torch finds none")
    if torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32:
        raise ValueError(
            "float32 products: torch's own setting, the highest precision, for all contenders alike"
        )
    session = Session() if session is None else session

    def failed(contender: Contender, error: Exception) -> None:
        if not survive:
            raise error
        session.left_out(contender, error)

    rows = []
    for _, some in groupby(contenders, key=lambda one: one.comparison):
        ready: dict[Contender, Ready] = {}
        for one in some:
            try:
                ready[one] = check(one, session)
            except Exception as error:
                failed(one, error)
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        repeats = context.size.repeats
        calls = {one: (each.run, min(one.repeats or repeats, repeats)) for one, each in ready.items()}
        for one, seconds in interleaved(calls, failed).items():
            if one.series:
                session.pace[one.series] = one.scale, float(np.median(seconds))
            session.times[one.name] = [each / ready[one].units for each in seconds]
            others = [other.name for other in ready if other is not one]
            beside = {"load": load, "interleaved_with": others}
            rows.append(_row(one, ready[one], session.times[one.name], context, beside))
    return rows


def check(contender: Contender, session: Session | None = None) -> Ready:
    """Prepare a contender, which compares it with float64. Raises what `measure` raises."""
    session = Session() if session is None else session
    session.started(contender)
    try:
        absent = [package for package in contender.needs if find_spec(package) is None]
        if absent:
            raise Missing(f"{contender.name} needs {', '.join(absent)}")
        scale, seconds = session.pace.get(contender.series, (1.0, 0.0))
        expected = seconds * contender.scale / scale
        if expected > SERIES_SECONDS:
            raise Missing(f"{contender.name}: one call would take about {expected:.0f} s")
        began = perf_counter()
        try:
            ready = contender.prepare()
        except AssertionError as error:
            raise WrongResult(f"{contender.name} is wrong and gets no time: {error}") from error
        ready.conditions["prepare_seconds"] = round(perf_counter() - began, 3)
        return ready
    finally:
        session.prepared(contender)


def _row(one: Contender, ready: Ready, times: list[float], context: Context, beside: dict[str, Any]) -> Row:
    """The row of a contender whose calls took `times` for a unit of work, with the conditions `beside`."""
    low, median, high = map(float, np.percentile(times, (25, 50, 75)))
    conditions = beside | {
        "size": context.size.name, "data": context.data.source, "dtype": "float32", "cold": False,
        "extrapolated": False, "units_a_call": ready.units,
    }  # fmt: skip
    if one.device == "cpu":
        conditions["threads"] = torch.get_num_threads()
    if ready.timed:
        conditions["timed"] = dict(zip(("in", "out"), ready.timed, strict=True))
    return Row(
        name=one.name, group=one.group, title=one.title, work=one.work, device=one.device,
        median=median, low=low, high=high, repeats=len(times), launches=ready.launches,
        floor=ready.work.floor(context.ceilings) if ready.work else {}, conditions=conditions | ready.conditions,
    )  # fmt: skip


def interleaved(
    calls: Mapping[Any, tuple[Callable[[], object], int]], failed: Callable[[Any, Exception], object]
) -> dict[Any, list[float]]:
    """Seconds of calls, each made once after another, round by round; the garbage collector rests meanwhile.

    Args:
        calls: each with its repeats; called before (nothing is compiled or loaded here), and waiting for their device
            at the end. Long ones get fewer repeats, see LONG.
        failed: told of a call that raises, which is then not made again and has no times.
    """
    found: dict[Any, list[float]] = {key: [] for key in calls}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while due := [key for key, times in found.items() if len(times) < enough(calls[key][1], times)]:
            for key in due:
                began = perf_counter()
                try:
                    calls[key][0]()
                    found[key].append(perf_counter() - began)
                except Exception as error:
                    del found[key]
                    failed(key, error)
    finally:
        if collecting:
            gc.enable()
    return found


def enough(repeats: int, seconds: Sequence[float]) -> int:
    """The number of calls for a contender whose calls so far took `seconds`."""
    longest = max(seconds, default=0.0)
    return min([repeats, *(calls for over, calls in LONG if longest > over)])
