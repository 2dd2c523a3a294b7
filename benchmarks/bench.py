"""One run of the benchmarks under pytest: what was selected, measured and saved, and times read out once more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from benchmarks.lab import Lab
from benchmarks.machine import here
from benchmarks.measure import Missing, Session, Way, measure
from benchmarks.rows import RESULTS, Machine, Row, load, save
from benchmarks.sizes import size_of
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
    """The session's lab, its ways by suite, and what has been measured of them."""

    def __init__(self) -> None:
        self.lab = Lab(os.environ.get("BREAKNET_BENCH_DEVICE", "").strip() or "cpu", size_of())
        self.ways = {name: suite(self.lab) for name, suite in SUITES.items()}
        self.selected: dict[str, list[Way]] = {}
        self.session = Session()
        self.rows: dict[str, list[Row]] = {}

    def row(self, suite: str, way: Way) -> Row:
        """The way's row; measures all selected ways of its suite if that has not been done.

        Raises:
            Missing, RuntimeError: it cannot run here, or has failed.
        """
        if suite not in self.rows:
            chosen = self.selected[suite]
            self.rows[suite] = measure(chosen, self.lab, survive=True, session=self.session)
        for row in self.rows[suite]:
            if row.name == way.name:
                return row
        if way.name in self.session.missing:
            raise Missing(self.session.missing[way.name])
        raise RuntimeError(self.session.failures[way.name])

    def save(self) -> list[str]:
        """Save the groups that are whole; returns what was saved, or why not, in lines."""
        told: list[str] = []
        if self.lab.rehearsing:
            return told
        rows = [row for some in self.rows.values() for row in some]
        everything = [way for some in self.ways.values() for way in some]
        selected = {way.name for some in self.selected.values() for way in some}
        for group in dict.fromkeys(row.group for row in rows):
            wanted = {way.name for way in everything if way.group == group}
            if wanted - selected or wanted & set(self.session.failures):
                told.append(f"{group}: not saved, since not all of its ways were selected and right")
                continue
            machine = here(self.lab.device, self.lab.ceilings)
            if self.lab.size.name != "full" and is_full(machine, group, self.lab.device):
                told.append(f"{group}: not saved, since rows of full size are stored")
                continue
            for path in save(machine, [row for row in rows if row.group == group]):
                told.append(f"{group}: saved in {path}")
        return told


def is_full(machine: Machine, group: str, device: str) -> bool:
    """Whether this machine has stored rows of full size for the group."""
    path = RESULTS / machine.name / f"{group}-{device}.json"
    return path.exists() and load(path)[1][0].conditions.get("size") == "full"
