"""Hazards that compute-sanitizer's racecheck reports, and those that a kernel may have.

Threads that hold copies of one element store them to one place of shared memory in one instruction: a hazard of the
instruction with itself, and harmless because the copies are equal, which the machine for PTX makes sure of. Racecheck
says so in a warning or a note; where values differ it is an error.
"""

import re

_FIRST = re.compile(r"^=+ (\w+): Race reported between (\w+) access at (\S.*) in (\S+)\s*$")
_OTHER = re.compile(r"^=+ +and (\w+) access at (\S.*) in (\S+) \[(\d+) hazards?\]\s*$")
_SUMMARY = re.compile(r"^=+ RACECHECK SUMMARY: (\d+) hazards? displayed")


def refused_hazards(report: str) -> list[str]:
    """The hazards that are not accepted, a line each, of a report in the tool's default form ("analysis").

    Raises:
        ValueError: for what is no whole report.
    """
    refused, found = [], 0
    severity, first = "", ("", "", "")
    summary = None
    for line in report.splitlines():
        if begin := _FIRST.match(line):
            severity, *access = begin.groups()
            kind, instruction, source = access
            first, found = (kind, instruction, source), found + 1
        elif other := _OTHER.match(line):
            if not first[0]:
                raise ValueError(f"report: a hazard with nothing before it, {line!r}")
            itself = other.groups()[:3] == first and first[0] == "Write"
            if not itself or severity not in ("Info", "Warning"):
                refused.append(f"{severity}: {' '.join(first)} and {' '.join(other.groups()[:3])}")
        elif end := _SUMMARY.match(line):
            summary = int(end[1])
        elif "hazard" in line.lower() or "Race reported" in line:
            raise ValueError(f"report: a line that is not understood, {line!r}")
    if summary != found:
        raise ValueError(f"report: {found} hazards, and {summary} by its summary")
    return refused
