"""What `gpu.py` found, as plain text: tests, checks, rows, what failed, resources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks.rows import Row

if TYPE_CHECKING:
    from benchmarks.gpu import Gathered

_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def report(gathered: Gathered, rehearse: bool, resources: str) -> str:
    """The whole report."""
    lines = ["A rehearsal on a CPU: no time in here means anything.", ""] if rehearse else []
    lines += ["MACHINE", *_machine(gathered.machine), "", "PARTS"]
    lines += [f"{one.part.name:<20} {one.seconds:6.1f} s  {one.status}" for one in gathered.outcomes]
    for name in ("checks", "tests", "kernel tests", "sanitizer"):
        lines += ["", name.upper()]
        for outcome in gathered.outcomes:
            if outcome.part.name == name:
                lines += (
                    outcome.output.splitlines()[-12:] if name == "checks" else told_by_pytest(outcome.output)
                )
    for title, told in (("FAILED", gathered.failed), ("NOT TRIED", gathered.missing)):
        lines += ["", f"{title}: {len(told)}", *(f"{name}: {reason}" for name, reason in told.items())]
    lines += ["", f"ROWS: {len(gathered.rows)}"]
    lines += [row.name if rehearse else line_of(row) for row in gathered.rows]
    return "\n".join([*lines, "", "RESOURCES", resources]) + "\n"


def told_by_pytest(output: str) -> list[str]:
    """Its last line, or, if it did not come to it, how many tests it had done; and every test that failed."""
    lines = output.splitlines()
    counts = {
        word: sum(f" {word}" in line for line in lines if "::" in line)
        for word in ("PASSED", "FAILED", "ERROR")
    }
    summary = [
        line.strip("= ")
        for line in lines
        if re.search(r"\d+ (passed|failed|error|skipped).* in [\d.]+s", line)
    ]
    told = summary[-1:] or [
        ", ".join(f"{count} {word.lower()}" for word, count in counts.items()) + " when it ended"
    ]
    return told + [line for line in lines if line.startswith(("FAILED ", "ERROR "))][:40]


def line_of(row: Row) -> str:
    """Name, median with quartiles, launches, distance from the floor."""
    scale, unit = next((one for one in _SCALES if row.median >= one[0]), _SCALES[-1])
    times = " ".join(f"{value / scale:.3g}" for value in (row.median, row.low, row.high))
    launched = ", ".join(f"{value:.3g} {name.replace('_', ' ')}" for name, value in row.launches.items())
    distance = "" if row.distance is None else f"{row.distance:.3g} x its floor"
    extrapolated = "extrapolated" if row.conditions.get("extrapolated") else ""
    told = "; ".join(filter(None, [f"{times} {unit}", launched, distance, extrapolated]))
    return f"{row.name:<44} {told}   ({row.work})"


def _machine(machine: dict[str, Any] | None) -> list[str]:
    if machine is None:
        return ["not found out"]
    return [f"{key}: {value}" for key, value in machine.items()]
