"""The results of a GPU session: its parts and their ends, the rows as a file, and everything as plain text."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import rows as stored_rows
from benchmarks.rows import Machine, Row, load, save
from benchmarks.tables.text import launches, ratio, spread
from breaknet.quantities import time


@dataclass(frozen=True)
class Part:
    """A process and its limit; one that measures names its suites and contenders to leave out, and may start again."""

    name: str
    seconds: float
    command: tuple[str, ...]
    suites: str = ""
    tries: int = 1  # in all
    less: frozenset[str] = frozenset()


@dataclass(eq=False)
class Outcome:
    """The end of a part."""

    part: Part
    status: str  # "done", "failed (1)", "out of time after 60 s", "not started: no time left"
    seconds: float
    output: str = ""


@dataclass(eq=False)
class Gathered:
    """Everything that the report is made of."""

    machine: dict[str, Any] | None = None
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)


def write_rows(path: Path, gathered: Gathered, rehearse: bool) -> None:
    """All rows with the machine; of a rehearsal only names and launches, since its times mean nothing."""
    rows: list[Any] = [vars(row) for row in gathered.rows]
    if rehearse:
        rows = [{"name": row.name, "group": row.group, "launches": row.launches} for row in gathered.rows]
    content = {
        "rehearsal": rehearse, "machine": gathered.machine, "rows": rows, "failed": gathered.failed,
        "missing": gathered.missing,
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1) + "\n")


def store(path: Path) -> list[Path]:
    """Save the rows of a run under benchmarks/results/, but for groups that were cut off and are stored with more.

    Raises:
        ValueError: the rows of a rehearsal, or none, or no machine.
    """
    content = json.loads(path.read_text())
    if content["rehearsal"]:
        raise ValueError(f"{path}: the rows of a rehearsal are no measurements")
    if content["machine"] is None:
        raise ValueError(f"{path}: nothing on the machine, whose part failed")
    machine, rows = Machine(**content["machine"]), [Row(**row) for row in content["rows"]]
    kept = [
        row
        for row in rows
        if not _lacking(stored_rows.RESULTS / machine.name / f"{row.group}-{row.device}.json", rows)
    ]
    return save(machine, kept)


def _lacking(path: Path, rows: list[Row]) -> set[str]:
    """The rows of a stored file that are not among these."""
    return {row.name for row in load(path)[1]} - {row.name for row in rows} if path.exists() else set()


def report(gathered: Gathered, rehearse: bool, resources: str) -> str:
    """Everything gathered as plain text: parts, tests, checks, rows, failures, resources."""
    lines = ["A rehearsal on a CPU: no time in here means anything.", ""] if rehearse else []
    machine = gathered.machine or {"machine": "not found out"}
    lines += ["MACHINE", *(f"{name}: {value}" for name, value in machine.items()), "", "PARTS"]
    lines += [f"{one.part.name:<20} {one.seconds:6.1f} s  {one.status}" for one in gathered.outcomes]
    for name, summary in (
        ("checks", lambda output: output.splitlines()[-12:]),
        ("tests", pytest_summary), ("kernel tests", pytest_summary), ("sanitizer", pytest_summary),
    ):  # fmt: skip
        lines += ["", name.upper()]
        for outcome in gathered.outcomes:
            if outcome.part.name == name:
                lines += summary(outcome.output)
    for title, reasons in (("FAILED", gathered.failed), ("NOT TRIED", gathered.missing)):
        lines += ["", f"{title}: {len(reasons)}", *(f"{name}: {reason}" for name, reason in reasons.items())]
    lines += ["", f"ROWS: {len(gathered.rows)}"]
    lines += [row.name if rehearse else line_of(row) for row in gathered.rows]
    return "\n".join([*lines, "", "RESOURCES", resources]) + "\n"


def pytest_summary(output: str) -> list[str]:
    """The number of tests by result, even if pytest did not come to its end; and every test that failed."""
    lines = output.splitlines()
    words = [word for line in lines if "::" in line for word in line.split()[1:]]
    counts = [f"{words.count(word)} {word.lower()}" for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")]
    wrong = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return [", ".join(counts), *wrong[:40]]


def line_of(row: Row) -> str:
    """Name, median with quartiles, launches, distance from the floor."""
    distance = "" if row.distance is None else f"{ratio(row.distance)} x its floor"
    extrapolated = "extrapolated" if row.conditions.get("extrapolated") else ""
    parts = [
        f"{time(row.median)} ({spread(row)})",
        launches(row) if row.launches else "",
        distance,
        extrapolated,
    ]
    return f"{row.name:<44} {'; '.join(filter(None, parts))}   ({row.work})"
