"""Stored measurements: one (`Row`), the machine it was made on (`Machine`), and the files that keep them.

    save(machine, rows)          # benchmarks/results/<machine>/<group>-<device>.json, one file a group and device
    for machine, rows in stored(): ...

A file holds one group of rows on one device, measured in one go: the machine beside them says with which versions, at
which commit and on which day. A file is written whole or not at all, and a measurement that was made again replaces it
whole. Every figure of the README and the docs comes from here and from nowhere else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from breaknet.errors import DataError
from breaknet.files import written_whole

SCHEMA = 1
RESULTS = Path(__file__).parent / "results"
GROUPS = (
    "ladder", "comparison", "models", "epochs", "evaluation", "dispatch", "kernels", "lesson", "compiling",
    "classroom",
)  # fmt: skip
DEVICES = ("cpu", "cuda")
#: Parts of names in rows that were stored earlier, and their present forms; the files stay as they are.
PRESENT_NAMES = {
    "score": "accuracy",
    "rivals": "comparison",
    "persistent": "cooperative",
    "many-models": "packed",
}


@dataclass(frozen=True)
class Row:
    """One measurement: the time of one unit of `work`, with all its conditions.

    Raises:
        ValueError: for a value of another kind or out of range, naming the row and the field.
    """

    name: str  # a stable id, such as "step/cuda/cooperative"; once in a file
    group: str  # one of GROUPS
    title: str  # for readers
    work: str  # one unit, such as "one training step of 100 images"
    device: str  # "cpu" or "cuda"
    median: float  # seconds for one unit of work
    low: float  # the quartiles of the repeats
    high: float
    repeats: int
    launches: dict[str, float] = field(default_factory=dict)  # counted, for one unit of work
    floor: dict[str, float] = field(default_factory=dict)  # bytes, operations, seconds of one unit of work
    conditions: dict[str, Any] = field(default_factory=dict)  # size, data, dtype, batch, threads, ...

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(f"row {self.name!r}: {problem}")

    def _problem(self) -> str | None:
        if problem := _text_problem(self, "name", "group", "title", "work", "device"):
            return problem
        if self.group not in GROUPS:
            return f"group: one of {', '.join(GROUPS)}, not {self.group!r}"
        if self.device not in DEVICES:
            return f"device: one of {', '.join(DEVICES)}, not {self.device!r}"
        for name in ("low", "median", "high"):
            if not _is_number(getattr(self, name), above=0):
                return f"{name}: seconds, finite and over 0, not {getattr(self, name)!r}"
        if not self.low <= self.median <= self.high:
            return f"low <= median <= high, not {self.low}, {self.median}, {self.high}"
        if not _is_count(self.repeats):
            return f"repeats: 1 or more, not {self.repeats!r}"
        for name in ("launches", "floor"):
            for key, value in getattr(self, name).items():
                if not _is_number(value) or value < 0:
                    return f"{name}[{key!r}]: a number of 0 or more, not {value!r}"
        if self.floor and not {"bytes", "operations", "seconds"} <= set(self.floor):
            return f"floor: bytes, operations and seconds, not {', '.join(self.floor)}"
        return _json_problem("conditions", self.conditions)

    @property
    def distance(self) -> float | None:
        """How many times its floor the work takes; None where there is no floor."""
        return self.median / self.floor["seconds"] if self.floor else None


@dataclass(frozen=True)
class Machine:
    """Where, when and with which versions rows were measured, as `benchmarks.machine.here` finds it.

    Raises:
        ValueError: for a value of another kind, naming the field.
    """

    name: str  # the folder's name: the GPU's, or the CPU's and how many cores
    cpu: str
    cores: int  # that this process may use
    gpu: str | None
    power_limit_w: float | None  # the GPU's
    driver: str | None
    versions: dict[str, str]
    commit: str  # "1a2b3c4", "1a2b3c4+changes", or "sources-..." where there is no git
    date: str  # YYYY-MM-DD
    ceilings: dict[str, float] = field(default_factory=dict)  # measured: flop_per_s, bytes_per_s, ...

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(f"machine: {problem}")

    def _problem(self) -> str | None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            return f"name: small letters, digits and single hyphens, not {self.name!r}"
        if problem := _text_problem(self, "cpu", "commit"):
            return problem
        if not isinstance(self.date, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", self.date):
            return f"date: YYYY-MM-DD, not {self.date!r}"
        if not _is_count(self.cores):
            return f"cores: 1 or more, not {self.cores!r}"
        for name in ("gpu", "driver"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                return f"{name}: some text or None, not {getattr(self, name)!r}"
        if self.power_limit_w is not None and not _is_number(self.power_limit_w, above=0):
            return f"power_limit_w: watts or None, not {self.power_limit_w!r}"
        if not isinstance(self.versions, dict) or not all(isinstance(v, str) for v in self.versions.values()):
            return f"versions: text by package, not {self.versions!r}"
        for key, value in self.ceilings.items():
            if not _is_number(value, above=0):
                return f"ceilings[{key!r}]: a number over 0, not {value!r}"
        return None


def save(machine: Machine, rows: Sequence[Row], folder: Path = RESULTS) -> list[Path]:
    """Write the rows to `folder/<machine>/<group>-<device>.json`, one file for each group and device among them.

    Each file is replaced whole, so `rows` must hold all of a group's rows.

    Raises:
        ValueError: no rows, two of one name, or those of a rehearsal, whose times mean nothing.
        DataError: where a file cannot be written; it then stays as it was.
    """
    if not rows:
        raise ValueError("rows: at least one, not none")
    if any(row.conditions.get("size") == "rehearse" for row in rows):
        raise ValueError("rows: measurements, not those of a rehearsal")
    files: dict[str, list[Row]] = {}
    for row in rows:
        files.setdefault(f"{row.group}-{row.device}", []).append(row)
    for some in files.values():
        _refuse_twins(some)
    written = []
    for name, some in files.items():
        content = {"schema": SCHEMA, "machine": asdict(machine), "rows": [asdict(row) for row in some]}
        text = json.dumps(content, indent=1, allow_nan=False)
        path = Path(folder) / machine.name / f"{name}.json"
        with written_whole(path) as unfinished:
            unfinished.write_text(text + "\n")
        for former, present in PRESENT_NAMES.items():
            if present == some[0].group:
                path.with_name(f"{former}-{some[0].device}.json").unlink(missing_ok=True)
        written.append(path)
    return written


def stored(folder: Path = RESULTS) -> list[tuple[Machine, list[Row]]]:
    """Every file of every machine in `folder`, by path: the machine as it was then, and the rows.

    A machine with several files comes several times, since each file has its own date, commit and versions.

    Raises:
        DataError: for a file that is not whole, naming it and what is wrong in one line.
    """
    return [load(path) for path in sorted(Path(folder).glob("*/*.json"))]


def load(path: Path) -> tuple[Machine, list[Row]]:
    """One file. Raises DataError as `stored` does."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"schema {SCHEMA} is wanted, not {found!r}")
        machine = _from_json(Machine, content.get("machine"), "machine")
        if not isinstance(content.get("rows"), list) or not content["rows"]:
            raise ValueError("rows: a list of at least one")
        rows = [
            _from_json(Row, _renamed(row), f"rows[{number}]") for number, row in enumerate(content["rows"])
        ]
        _refuse_twins(rows)
        if machine.name != path.parent.name:
            raise ValueError(f"machine {machine.name!r} in the folder of {path.parent.name!r}")
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not stored rows ({error})") from error
    return machine, rows


def _renamed(row: Any) -> Any:
    """The row with its present names, where it has names."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("name", "group")):
        return row
    parts = [PRESENT_NAMES.get(part, part) for part in row["name"].split("/")]
    return row | {"name": "/".join(parts), "group": PRESENT_NAMES.get(row["group"], row["group"])}


def _from_json(kind: Any, values: Any, where: str) -> Any:
    names = {one.name for one in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        found = sorted(set(values) ^ names) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{where}: exactly the fields of a {kind.__name__}, but for {found}")
    for one in fields(kind):
        if str(one.type).startswith("dict") and not isinstance(values[one.name], dict):
            raise ValueError(f"{where}: {one.name}: an object, not {values[one.name]!r}")
    return kind(**values)


def _refuse_twins(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"rows: each name once, but {', '.join(twins)} more often")


def _text_problem(owner: Any, *names: str) -> str | None:
    for name in names:
        if not isinstance(getattr(owner, name), str) or not getattr(owner, name):
            return f"{name}: some text, not {getattr(owner, name)!r}"
    return None


def _is_number(value: Any, above: float = -math.inf) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > above


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _json_problem(name: str, value: Any) -> str | None:
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError) as error:
        return f"{name}: what JSON can hold ({error})"
    return None if same else f"{name}: what JSON gives back unchanged, not {value!r}"
