"""One run of the benchmarks under pytest: the contenders selected, measured and saved."""

import os

from benchmarks.machine import here
from benchmarks.measure import Contender, Context, Missing, Session, measure
from benchmarks.problem import size_of
from benchmarks.rows import RESULTS, Row, save, stored
from benchmarks.suites import SUITES


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
        if one.name in self.session.missing:
            raise Missing(self.session.missing[one.name])
        if one.name in self.session.failures:
            raise RuntimeError(self.session.failures[one.name])
        return next(row for row in self.rows[suite] if row.name == one.name)

    def save(self) -> list[str]:
        """Save the groups that are whole, each a suite's; returns what was saved, or why not, in lines."""
        groups = [] if self.context.rehearsing else [group for group, rows in self.rows.items() if rows]
        return [f"{group}: {self._save(group)}" for group in groups]

    def _save(self, group: str) -> str:
        wanted, selected = ({one.name for one in of[group]} for of in (self.contenders, self.selected))
        if wanted != selected or wanted & set(self.session.failures):
            return "not saved, since not all of its contenders were selected and right"
        machine, kind = here(self.context.device, self.context.ceilings), (group, self.context.device)
        before = [
            row
            for where, rows in stored(RESULTS)
            if where.name == machine.name
            for row in rows
            if (row.group, row.device) == kind
        ]
        if self.context.size.name != "full" and any(row.conditions.get("size") == "full" for row in before):
            return "not saved, since rows of full size are stored"
        if lost := sorted({row.name for row in before} & set(self.session.missing)):
            return f"not saved, since this would drop what is stored of {', '.join(lost)}, which did not run here"
        (path,) = save(machine, self.rows[group])
        return f"saved in {path}"
