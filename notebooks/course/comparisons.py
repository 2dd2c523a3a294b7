"""Implementations of a training step and of evaluation, timed on this machine, with stored rows of others beside them.

comparison("sliced", "fused", "cooperative")      a table of some contenders
all_contenders()                                 the rows of all that this machine can run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from breaknet.lesson.notebook_display import Markdown, table
from notebooks.course.here import DEVICE, SIZE, digits

NOT_MEASURED = "not measured yet"
#: What a rehearsal runs; the others, made for a GPU, would be interpreted, which takes long.
REHEARSED = ("notebook", "sliced", "notebook-accuracy", "vectorised-accuracy")

_measured: dict[str, Any] = {}


def measured(names: Sequence[str]) -> dict[str, Any]:
    """Rows of those of the named contenders that run here, measured once; those of one call in turn, for fairness.

    A contender that fails is left out, with a warning that says why.
    """
    from benchmarks.contenders import IMPLEMENTATIONS, compare

    runnable = [name for name in names if DEVICE in IMPLEMENTATIONS[name].devices]
    if SIZE == "rehearse":
        runnable = [name for name in runnable if name in REHEARSED]
    if new := [name for name in runnable if name not in _measured]:
        rows = compare(DEVICE, only=new, size=SIZE, data=digits(), survive=True)
        _measured.update({contender_of(row): row for row in rows})
    return {name: _measured[name] for name in runnable if name in _measured}


def all_contenders() -> list[Any]:
    """The rows of all contenders on this machine, training first."""
    from benchmarks.contenders import LADDER

    return sorted(measured(LADDER).values(), key=lambda row: not row.name.startswith("step/"))


def contender_of(row: Any) -> str:
    """The name of a row's contender."""
    return row.name.rpartition("/")[2]


def stored_comparisons() -> list[tuple[Any, str, dict[str, Any]]]:
    """(machine, device, rows by contender) of every machine whose rows are stored, GPUs first."""
    from benchmarks.rows import stored

    found = []
    for machine, rows in stored():
        for device in ("cuda", "cpu"):
            some = {contender_of(row): row for row in rows if row.group == "ladder" and row.device == device}
            if some:
                found.append((machine, device, some))
    return sorted(found, key=lambda one: one[1] != "cuda")


def comparison(*names: str) -> Markdown:
    """The named contenders on this machine, and on those with stored rows."""
    from benchmarks.contenders import IMPLEMENTATIONS

    others = stored_comparisons()
    rows = measured(names)
    lines = []
    for name in names:
        here, devices = rows.get(name), IMPLEMENTATIONS[name].devices
        line = [
            IMPLEMENTATIONS[name].title,
            _time(here) if here else _absent(devices),
            _launches(here) if here else "–",
        ]
        for _, device, stored in others:
            line.append(
                _median(stored[name]) if name in stored else NOT_MEASURED if device in devices else "–"
            )
        lines.append(line)
    header = ["", f"here ({DEVICE})", "launches here"]
    header += [f"stored: {machine.gpu if device == 'cuda' else machine.cpu}" for machine, device, _ in others]
    evaluation, step = "evaluation of one network on 1,000 images", "one training step of 100 images"
    unit = evaluation if IMPLEMENTATIONS[names[0]].evaluates else step
    return table(header, lines, f"Times of {unit}: medians, in brackets the quartiles.")


def seconds_of(row: Any) -> float:
    """The row's median for one training step, or for one network on 1,000 images."""
    return row.median * _scale(row)


def _scale(row: Any) -> float:
    images = row.conditions.get("images")
    return 1000 / images if row.name.startswith("accuracy/") and images else 1.0


def _absent(devices: tuple[str, ...]) -> str:
    return "left out" if DEVICE in devices else "needs a GPU" if DEVICE == "cpu" else "for CPUs"


def _median(row: Any) -> str:
    return _seconds(seconds_of(row))


def _time(row: Any) -> str:
    low, high = (_seconds(_scale(row) * value) for value in (row.low, row.high))
    return f"{_median(row)} ({low} – {high})"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def _launches(row: Any) -> str:
    counts = [f"{count:,.0f}" if count >= 10 else f"{count:.3g}" for count in row.launches.values()]
    names = [name.replace("_", " ") for name in row.launches]
    return ", ".join(map(" ".join, zip(counts, names, strict=True))) or "–"
