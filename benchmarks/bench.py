"""One run of the benchmarks under pytest: the contenders selected, measured and saved, and their times replayed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from benchmarks.machine import here
from benchmarks.measure import Contender, Context, Missing, Session, measure
from benchmarks.problem import size_of
from benchmarks.rows import RESULTS, Machine, Row, save, stored
from benchmarks.suites import SUITES


class Replay:
    """A timer that makes the times it is given pass, one after another."""

    def __init__(self) -> None:
        self._now = 0.0
        self._seconds: Iterator[float] = iter(())
        self._running = False

    def load(self, seconds: Sequence[float]) -> None:
        self._seconds, self._running = iter(seconds), False

    def __call__(self) -> float:
        """Asked at the start and at the end of every round."""
        if self._running:
            self._now += next(self._seconds)
        self._running = not self._running
        return self._now


REPLAY = Replay()


class Bench:
    """The session's context, its contenders by suite, and the rows measured so far."""

    def __init__(self) -> None:
        self.context = Context(os.environ.get("BREAKNET_BENCH_DEVICE", "").strip() or "cpu", size_of())
        self.contenders = {name: suite(self.context) for name, suite in SUITES.items()}
        self.selected: dict[str, list[Contender]] = {}
        self.session = Session()
        self.rows: dict[str, list[Row]] = {}

    def row(self, suite: str, one: Contender) -> Row:
        """The contender's row; measures all selected ones of its suite if that has not been done.

        Raises:
            Missing, RuntimeError: it cannot run here, or has failed.
        """
        if suite not in self.rows:
            chosen = self.selected[suite]
            self.rows[suite] = measure(chosen, self.context, survive=True, session=self.session)
        for row in self.rows[suite]:
            if row.name == one.name:
                return row
        if one.name in self.session.missing:
            raise Missing(self.session.missing[one.name])
        raise RuntimeError(self.session.failures[one.name])

    def save(self) -> list[str]:
        """Save the groups that are whole; returns what was saved, or why not, in lines."""
        lines: list[str] = []
        if self.context.rehearsing:
            return lines
        rows = [row for some in self.rows.values() for row in some]
        everything = [one for some in self.contenders.values() for one in some]
        selected = {one.name for some in self.selected.values() for one in some}
        for group in dict.fromkeys(row.group for row in rows):
            wanted = {one.name for one in everything if one.group == group}
            if wanted - selected or wanted & set(self.session.failures):
                lines.append(f"{group}: not saved, since not all of its contenders were selected and right")
                continue
            machine = here(self.context.device, self.context.ceilings)
            if self.context.size.name != "full" and is_full(machine, group, self.context.device):
                lines.append(f"{group}: not saved, since rows of full size are stored")
                continue
            for path in save(machine, [row for row in rows if row.group == group]):
                lines.append(f"{group}: saved in {path}")
        return lines


def is_full(machine: Machine, group: str, device: str) -> bool:
    """Whether this machine has stored rows of full size for the group."""
    return any(
        where.name == machine.name
        and (row.group, row.device, row.conditions.get("size")) == (group, device, "full")
        for where, (row, *_) in stored(RESULTS)
    )
