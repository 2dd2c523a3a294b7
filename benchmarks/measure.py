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
    """A package or a device that a contender needs is not there."""


class TooLong(Missing):
    """A point of a series that would take too long, by the point before it."""


@dataclass(frozen=True)
class Ready:
    """A contender that has been checked, compiled, given its data and called once."""

    run: Callable[[], object]  # one timed call: `units` units of work, the device waited for
    units: float = 1.0
    launches: dict[str, float] = field(default_factory=dict)  # counted, for one unit
    work: Work | None = None  # of one unit, for its floor
    conditions: dict[str, Any] = field(default_factory=dict)  # may still change while it runs

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


@dataclass(frozen=True)
class Times:
    """Seconds of single calls, in the order in which they were made."""

    seconds: tuple[float, ...]

    def quartiles(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        low, median, high = np.percentile(self.seconds, (25, 50, 75))
        return float(low), float(median), float(high)


@dataclass(eq=False)
class Context:
    """What contenders share on a device, at a size, made when it is first asked for: data, problems, ceilings.

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

    @property
    def rehearsing(self) -> bool:
        """Whether every path is run and no time means anything."""
        return self.size.name == "rehearse"

    @property
    def gpu(self) -> bool:
        """Whether a GPU's contenders are wanted."""
        return self.device == "cuda"

    @property
    def place(self) -> torch.device:
        """Where it all runs: the device, but for a GPU's rehearsal, which is Triton's interpreter's on the CPU."""
        return torch.device("cpu" if self.rehearsing else self.device)

    @property
    def backend(self) -> str:
        """Breaknet's own backend for the device."""
        return "triton" if self.gpu else "numba"

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
        return self._problem("training", count, lambda: self.data.train[:count])

    def evaluation(self, images: int) -> Problem:
        """The last `images` of the training and the validation images, to evaluate networks on."""

        def split() -> Split:
            train, valid = self.data.train, self.data.valid
            both = Split(
                np.concatenate([train.images, valid.images]), np.concatenate([train.labels, valid.labels])
            )
            return both[max(0, len(both) - images) :]

        return self._problem("evaluation", images, split)

    def _problem(self, kind: str, images: int, split: Callable[[], Split]) -> Problem:
        if (kind, images) not in self._problems:
            self._problems[kind, images] = Problem.of(split(), self.place, self.size.batch_size)
        return self._problems[kind, images]

    def networks(self, count: int) -> Parameters:
        """Networks [count, ...] to evaluate: a start and small steps away from it, as the checkpoints of a run are."""
        random = torch.Generator().manual_seed(0)
        start = Problem.of(self.data.train[:1], self.place).start
        return {
            name: value[None] + 0.1 * torch.randn(count, *value.shape, generator=random)
            for name, value in start.items()
        }

    @cached_property
    def ceilings(self) -> dict[str, float]:
        """What the device can reach."""
        if self.given_ceilings is not None:
            return self.given_ceilings
        return ceilings.measured(self.place.type, self.rehearsing)


@dataclass(eq=False)
class Session:
    """What is learnt while measuring, beside the rows."""

    times: dict[str, Times] = field(default_factory=dict)  # of a unit, by contender
    failures: dict[str, str] = field(default_factory=dict)  # one line for each contender that failed
    missing: dict[str, str] = field(default_factory=dict)  # one line for each that cannot run here
    #: By series: the last point's scale, and the seconds of a call of it.
    pace: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Called before a contender is prepared, and after it, however that ended.
    started: Callable[[Contender], object] = lambda contender: None
    prepared: Callable[[Contender], object] = lambda contender: None

    def left_out(self, contender: Contender, error: Exception) -> None:
        """Keep why a contender has no row, and warn."""
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else ""
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
    rows = []
    for _, some in groupby(contenders, key=lambda one: one.comparison):
        ready: dict[Contender, Ready] = {}
        for one in some:
            try:
                ready[one] = check(one, session)
            except Exception as error:
                if not survive:
                    raise
                session.left_out(one, error)
        rows += _timed(ready, context, survive, session)
    return rows


def check(contender: Contender, session: Session | None = None) -> Ready:
    """Prepare a contender, which compares it with float64. Raises what `measure` raises."""
    session = Session() if session is None else session
    session.started(contender)
    try:
        return _ready(contender, session)
    finally:
        session.prepared(contender)


def _ready(contender: Contender, session: Session) -> Ready:
    absent = [package for package in contender.needs if find_spec(package) is None]
    if absent:
        raise Missing(f"{contender.name} needs {', '.join(absent)}")
    if contender.series in session.pace:
        scale, seconds = session.pace[contender.series]
        expected = seconds * contender.scale / scale
        if expected > SERIES_SECONDS:
            raise TooLong(f"{contender.name}: one call would take about {expected:.0f} s")
    began = perf_counter()
    try:
        ready = contender.prepare()
    except WrongResult:
        raise
    except AssertionError as error:
        raise WrongResult(f"{contender.name} is wrong and gets no time: {error}") from error
    ready.conditions["prepare_seconds"] = round(perf_counter() - began, 3)
    return ready


def _timed(ready: dict[Contender, Ready], context: Context, survive: bool, session: Session) -> list[Row]:
    calls = {one.name: prepared.run for one, prepared in ready.items()}
    repeats = {one.name: min(one.repeats or context.size.repeats, context.size.repeats) for one in ready}
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    broken: dict[str, Exception] = {}
    measured = interleaved(calls, repeats, broken=broken if survive else None)
    rows = []
    for one, prepared in ready.items():
        if one.name in broken:
            session.left_out(one, broken[one.name])
            continue
        whole = measured[one.name]
        if one.series:
            session.pace[one.series] = one.scale, whole.quartiles()[1]
        each = Times(tuple(seconds / prepared.units for seconds in whole.seconds))
        session.times[one.name] = each
        low, median, high = each.quartiles()
        conditions = {
            "size": context.size.name, "data": context.data.source, "dtype": "float32", "cold": False,
            "extrapolated": False, "units_a_call": prepared.units, "load": load,
            "interleaved_with": [name for name in calls if name != one.name],
        }  # fmt: skip
        if one.device == "cpu":
            conditions["threads"] = torch.get_num_threads()
        rows.append(
            Row(
                name=one.name, group=one.group, title=one.title, work=one.work, device=one.device,
                median=median, low=low, high=high, repeats=len(each.seconds), launches=prepared.launches,
                floor={} if prepared.work is None else prepared.work.floor(context.ceilings),
                conditions=conditions | prepared.conditions,
            )
        )  # fmt: skip
    return rows


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    repeats: int | Mapping[str, int],
    *,
    broken: dict[str, Exception] | None = None,
) -> dict[str, Times]:
    """Time every call, each once after another, round by round; the garbage collector rests meanwhile.

    Args:
        calls: by name; called before (nothing is compiled or loaded here), and waiting for their device at the end.
        repeats: timed calls, of all or by name; long ones get fewer, see LONG.
        broken: where to put the exception of a call that raises, which is then not made again and has no times;
            without it the exception is raised.

    Raises:
        ValueError: for fewer than one repeat.
    """
    wanted = dict.fromkeys(calls, repeats) if isinstance(repeats, int) else dict(repeats)
    if any(count < 1 for count in wanted.values()):
        raise ValueError(f"repeats: 1 or more, not {min(wanted.values())}")
    found: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(max(wanted.values(), default=0)):
            for name, call in calls.items():
                if name not in found or len(found[name]) >= enough(wanted[name], found[name]):
                    continue
                began = perf_counter()
                try:
                    call()
                except Exception as error:
                    if broken is None:
                        raise
                    broken[name] = error
                    del found[name]
                    continue
                found[name].append(perf_counter() - began)
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def enough(repeats: int, seconds: Sequence[float]) -> int:
    """The number of calls for a contender whose calls so far took `seconds`."""
    longest = max(seconds, default=0.0)
    return min([repeats, *(calls for over, calls in LONG if longest > over)])
