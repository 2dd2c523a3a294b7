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
from collections.abc import Callable, Sequence
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


def _text(value: Any, pattern: str = r"(?s).+") -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _all(value: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(test, value.values()))


def _numbers(value: Any) -> bool:
    return _all(value, lambda one: _number(one) and one >= 0)


def _kept_by_json(value: Any) -> bool:
    try:
        return isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False


#: By field a test of its value, and in words what it takes.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "title", "work", "cpu", "commit"), (_text, "some text")),
    **dict.fromkeys(("gpu", "driver"), (lambda value: value is None or _text(value), "some text or None")),
    **dict.fromkeys(("median", "low", "high"), (_positive, "seconds, finite and over 0")),
    **dict.fromkeys(
        ("repeats", "cores"), (lambda value: isinstance(value, int) and _positive(value), "1 or more")
    ),
    **dict.fromkeys(("launches", "floor"), (_numbers, "numbers of 0 or more by name")),
    "group": (lambda value: value in GROUPS, f"one of {', '.join(GROUPS)}"),
    "device": (lambda value: value in DEVICES, f"one of {', '.join(DEVICES)}"),
    "conditions": (_kept_by_json, "what JSON gives back unchanged"),
    "power_limit_w": (lambda value: value is None or _positive(value), "watts or None"),
    "versions": (lambda value: _all(value, _text), "text by package"),
    "date": (lambda value: _text(value, r"\d{4}-\d\d-\d\d"), "YYYY-MM-DD"),
    "ceilings": (lambda value: _all(value, _positive), "numbers over 0 by name"),
}


def _check(owner: Row | Machine, called: str) -> None:
    for name, value in vars(owner).items():
        test, wanted = _FIELDS[name]
        if not test(value):
            raise ValueError(f"{called}: {name}: {wanted}, not {value!r}")


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
        called = f"row {self.name!r}"
        _check(self, called)
        if not self.low <= self.median <= self.high:
            raise ValueError(f"{called}: low <= median <= high, not {self.low}, {self.median}, {self.high}")
        if self.floor and not {"bytes", "operations", "seconds"} <= set(self.floor):
            raise ValueError(f"{called}: floor: bytes, operations and seconds, not {', '.join(self.floor)}")

    @property
    def distance(self) -> float | None:
        """The time as a multiple of the work's floor; None where there is no floor."""
        return self.median / self.floor["seconds"] if self.floor else None


@dataclass(frozen=True)
class Machine:
    """The machine, the date and the versions that rows were measured with, as `benchmarks.machine.here` finds it.

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
        _check(self, "machine")
        if not _text(self.name, r"[a-z0-9]+(-[a-z0-9]+)*"):
            raise ValueError(f"machine: name: small letters, digits and single hyphens, not {self.name!r}")


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
    _refuse_twins(rows)
    files: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        files.setdefault((row.group, row.device), []).append(row)
    written = []
    for (group, device), some in files.items():
        content = {"schema": SCHEMA, "machine": asdict(machine), "rows": [asdict(row) for row in some]}
        text = json.dumps(content, indent=1, allow_nan=False)
        path = Path(folder) / machine.name / f"{group}-{device}.json"
        with written_whole(path) as unfinished:
            unfinished.write_text(text + "\n")
        for former, present in PRESENT_NAMES.items():
            if present == group:
                path.with_name(f"{former}-{device}.json").unlink(missing_ok=True)
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
        schema = content.get("schema") if isinstance(content, dict) else type(content).__name__
        if schema != SCHEMA:
            raise ValueError(f"schema {SCHEMA} is wanted, not {schema!r}")
        machine = Machine(**_fields(Machine, content.get("machine"), "machine"))
        if not isinstance(content.get("rows"), list) or not content["rows"]:
            raise ValueError("rows: a list of at least one")
        named = enumerate(content["rows"])
        rows = [Row(**_renamed(_fields(Row, row, f"rows[{number}]"))) for number, row in named]
        _refuse_twins(rows)
        if machine.name != path.parent.name:
            raise ValueError(f"machine {machine.name!r} in the folder of {path.parent.name!r}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not stored rows ({error})") from error
    return machine, rows


def _fields(kind: type[Row | Machine], values: Any, where: str) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    if not isinstance(values, dict) or values.keys() != names:
        found = sorted(values.keys() ^ names) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{where}: exactly the fields of a {kind.__name__}, but for {found}")
    return values


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    texts = {key: row[key].split("/") for key in ("name", "group") if isinstance(row[key], str)}
    return row | {
        key: "/".join(PRESENT_NAMES.get(part, part) for part in parts) for key, parts in texts.items()
    }


def _refuse_twins(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"rows: each name once, but {', '.join(twins)} more often")
