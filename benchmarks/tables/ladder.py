"""The ladder's tables: training steps and accuracies, rung by rung."""

from __future__ import annotations

from benchmarks.contenders import RUNGS
from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import (
    MISSING,
    conditions,
    launches,
    mark,
    paragraphs,
    ratio,
    spread,
    table,
    time,
    timed,
)

#: The flights of the ladder: the rows' prefix, what a unit is called, and the rungs that others are compared with.
FLIGHTS = {
    "step": ("a step", ("notebook", "sliced")),
    "score": ("an accuracy", ("notebook-accuracy", "vectorised-accuracy")),
}


def ladder(evidence: Evidence, device: str) -> str:
    """Both flights on every machine with such rows."""
    sheets = evidence.sheets("ladder", device)
    return paragraphs(*(part for sheet in sheets for part in _of_machine(sheet, device))) or MISSING


def _of_machine(sheet: Sheet, device: str) -> list[str]:
    parts = [conditions(sheet)]
    for kind, (unit, compared) in FLIGHTS.items():
        rows = sheet.starting(f"{kind}/{device}/")
        if rows:
            parts += [
                f"{rows[0].work[0].upper()}{rows[0].work[1:]}:",
                _flight(rows, unit, compared),
                timed(rows),
            ]
    return parts


def _flight(rows: list[Row], unit: str, compared: tuple[str, str]) -> str:
    by_rung = {row.name.rpartition("/")[2]: row for row in rows}
    bases = [by_rung[name] for name in compared if name in by_rung]
    header = ["rung", "way", f"launches {unit}", f"time {unit}", "quartiles", "floor", "times the floor"]
    header += [f"times as fast as rung {number(base)}" for base in bases]
    lines = []
    for row in rows:
        floor = [time(row.floor["seconds"]), ratio(row.distance)] if row.distance is not None else ["-", "-"]
        faster = [ratio(base.median / row.median) for base in bases]
        cells = [
            number(row),
            row.title + mark(row),
            launches(row),
            time(row.median),
            spread(row),
            *floor,
            *faster,
        ]
        lines.append(cells)
    return table(header, lines, words=3)


def number(row: Row) -> str:
    """The rung's number; "-" for one that the ladder no longer has."""
    rung = RUNGS.get(row.name.rpartition("/")[2])
    return str(rung.number) if rung is not None else "-"
