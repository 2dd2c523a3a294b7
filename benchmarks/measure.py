"""From ways of doing one thing to rows: each is checked first, those that compete are timed in turn."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.floors import Work
from benchmarks.rows import Row
from benchmarks.timing import Times, interleaved

if TYPE_CHECKING:
    from benchmarks.lab import Lab

log = logging.getLogger("benchmarks")

#: A point of a series is not measured where, by the point before it, one call would take longer than this.
SERIES_SECONDS = 8.0


class WrongResult(AssertionError):
    """A way gave something else than float64 does: it gets no time."""


class Missing(RuntimeError):
    """A way cannot run here: a package or a device that it needs is not there."""


class TooLong(Missing):
    """A point of a series that would take too long, judging by the point before it."""


@dataclass(frozen=True)
class Ready:
    """A way that has been checked, compiled, given its data and called once."""

    run: Callable[[], object]  # one timed call: `units` units of work, the device waited for
    units: float
    launches: dict[str, float] = field(default_factory=dict)  # counted, for one unit
    work: Work | None = None  # of one unit, for its floor
    conditions: dict[str, Any] = field(default_factory=dict)  # may still change while it runs


@dataclass(frozen=True)
class Way:
    """One way of doing `work`. Ways of one `contest` are timed against each other, call by call."""

    name: str
    group: str
    title: str
    work: str
    device: str  # "cpu" or "cuda"
    contest: str
    prepare: Callable[[], Ready]  # raises AssertionError where its result is wrong
    needs: tuple[str, ...] = ()  # packages
    repeats: int | None = None  # calls, where they are fewer than the size's
    series: str = ""  # the curve that it is a point of, and how much work a call of it is
    scale: float = 1.0


@dataclass(eq=False)
class Session:
    """What is learnt on the way, for whoever wants more than the rows."""

    times: dict[str, Times] = field(default_factory=dict)  # of a unit, by the ways' names
    failures: dict[str, str] = field(default_factory=dict)  # one line for each way that failed
    missing: dict[str, str] = field(default_factory=dict)  # one line for each that cannot run here
    #: By series: the last point's scale, and the seconds of a call of it.
    pace: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: Called before a way is prepared, and after it, however that ended.
    started: Callable[[Way], object] = lambda way: None
    prepared: Callable[[Way], object] = lambda way: None


def measure(
    ways: Iterable[Way], lab: Lab, *, survive: bool = False, session: Session | None = None
) -> list[Row]:
    """A row for each way, in their order.

    Args:
        ways: those of one contest stand together.
        lab: the device, the size, the data.
        survive: leave out a way that fails or cannot run here, with a warning, instead of raising.
        session: where to keep the single times and what was left out.

    Raises:
        WrongResult: a way's result is not float64's.
        Missing: a package that a way needs is not installed.
        ValueError: there is no such device, or products are set to less than float32.
    """
    if lab.place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda needs a CUDA GPU, and torch finds none")
    if torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32:
        raise ValueError("float32 products: torch's own setting, the highest precision, for all ways alike")
    session = Session() if session is None else session
    rows = []
    for _, contest in groupby(ways, key=lambda way: way.contest):
        ready: dict[Way, Ready] = {}
        for way in contest:
            try:
                ready[way] = _prepared(way, session)
            except Exception as error:
                if not survive:
                    raise
                _left_out(way, error, session)
        rows += _timed(ready, lab, survive, session)
    return rows


def check(way: Way, session: Session | None = None) -> None:
    """Prepare a way, which compares it with float64, and give it no time. Raises what `measure` raises."""
    _prepared(way, Session() if session is None else session)


def _prepared(way: Way, session: Session) -> Ready:
    session.started(way)
    try:
        return _ready(way, session)
    finally:
        session.prepared(way)


def _ready(way: Way, session: Session) -> Ready:
    absent = [package for package in way.needs if find_spec(package) is None]
    if absent:
        raise Missing(f"{way.name} needs {', '.join(absent)}")
    if way.series in session.pace:
        scale, seconds = session.pace[way.series]
        expected = seconds * way.scale / scale
        if expected > SERIES_SECONDS:
            raise TooLong(f"{way.name}: one call would take about {expected:.0f} s")
    began = perf_counter()
    try:
        ready = way.prepare()
    except WrongResult:
        raise
    except AssertionError as error:
        raise WrongResult(f"{way.name} is wrong and gets no time: {error}") from error
    ready.conditions["prepare_seconds"] = round(perf_counter() - began, 3)
    return ready


def _timed(ready: dict[Way, Ready], lab: Lab, survive: bool, session: Session) -> list[Row]:
    calls = {way.name: one.run for way, one in ready.items()}
    repeats = {way.name: min(way.repeats or lab.size.repeats, lab.size.repeats) for way in ready}
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    broken: dict[str, Exception] = {}
    measured = interleaved(calls, repeats, broken=broken if survive else None)
    rows = []
    for way, one in ready.items():
        if way.name in broken:
            _left_out(way, broken[way.name], session)
            continue
        whole = measured[way.name]
        if way.series:
            session.pace[way.series] = way.scale, whole.quartiles()[1]
        each = Times(tuple(seconds / one.units for seconds in whole.seconds))
        session.times[way.name] = each
        low, median, high = each.quartiles()
        rows.append(
            Row(
                name=way.name, group=way.group, title=way.title, work=way.work, device=way.device,
                median=median, low=low, high=high, repeats=len(each.seconds), launches=one.launches,
                floor={} if one.work is None else one.work.floor(lab.ceilings),
                conditions=_conditions(way, one, lab, [name for name in calls if name != way.name], load),
            )
        )  # fmt: skip
    return rows


def _conditions(way: Way, ready: Ready, lab: Lab, beside: list[str], load: float | None) -> dict[str, Any]:
    usual = {
        "dtype": "float32",
        "cold": False,
        "extrapolated": False,
        "units_a_call": ready.units,
        "load": load,
        "interleaved_with": beside,
    }
    if way.device == "cpu":
        usual["threads"] = torch.get_num_threads()
    return {**lab.conditions, **usual, **ready.conditions}


def _left_out(way: Way, error: Exception, session: Session) -> None:
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else ""
    where = session.missing
    if not isinstance(error, Missing):
        where, reason = session.failures, f"{type(error).__name__}: {reason}"
    where[way.name] = reason
    log.warning("%s is left out: %s", way.name, reason)
