"""The ladder, climbed on this machine once, with the stored rows of other machines beside it.

side_by_side("sliced", "fused", "persistent")      # a table of some rungs
ladder()                                           # the rows of all that this machine has
"""

from __future__ import annotations

from functools import cache
from typing import Any

from notebooks.course.here import DEVICE, SIZE, digits
from notebooks.course.show import Table

NOT_MEASURED = "not measured yet"


@cache
def climbed() -> dict[str, Any]:
    """By rung's name the row measured on this machine, all in one go, so that rungs are timed in turn.

    A rung that fails is left out, with a warning that says why.
    """
    from benchmarks.contenders import climb

    # without `only` a rehearsal would also interpret what is meant for a GPU, which takes long
    only = ("notebook", "sliced", "notebook-accuracy", "vectorised-accuracy") if SIZE == "rehearse" else None
    rows = climb(DEVICE, only=only, size=SIZE, data=digits(), survive=True)
    return {rung_of(row): row for row in rows}


def ladder() -> list[Any]:
    """The rows of all rungs on this machine, training first."""
    return list(climbed().values())


def rung_of(row: Any) -> str:
    """The name of a row's rung."""
    return row.name.rpartition("/")[2]


def stored_ladders() -> list[tuple[Any, str, dict[str, Any]]]:
    """(machine, device, rows by rung's name) of every ladder that is stored, GPUs first."""
    from benchmarks.rows import stored

    found = []
    for machine, rows in stored():
        for device in ("cuda", "cpu"):
            some = {rung_of(row): row for row in rows if row.group == "ladder" and row.device == device}
            if some:
                found.append((machine, device, some))
    return sorted(found, key=lambda one: one[1] != "cuda")


def side_by_side(*names: str) -> Table:
    """The named rungs: here, and on the machines with stored rows; without one of a GPU it says so."""
    from benchmarks.contenders import RUNGS

    others = stored_ladders()
    header = ["", f"here ({DEVICE})", "launches here"]
    header += [f"stored: {machine.gpu if device == 'cuda' else machine.cpu}" for machine, device, _ in others]
    lacking = not any(device == "cuda" for _, device, _ in others)
    if lacking:
        header.append("stored: a GPU")
    lines = []
    for name in names:
        devices = RUNGS[name].devices
        here = climbed().get(name)
        line = [
            RUNGS[name].title,
            _time(here) if here else _absent(devices),
            _launches(here) if here else "–",
        ]
        for _, device, rows in others:
            line.append(_median(rows[name]) if name in rows else NOT_MEASURED if device in devices else "–")
        if lacking:
            line.append(NOT_MEASURED if "cuda" in devices else "–")
        lines.append(line)
    unit = (
        "judging one network on 1,000 images" if RUNGS[names[0]].scores else "one training step of 100 images"
    )
    return Table(header, lines, [f"Times of {unit}: medians, in brackets the quartiles."])


def seconds_of(row: Any) -> float:
    """The row's median for one training step, or for one network on 1,000 images."""
    return row.median * _scale(row)


def _scale(row: Any) -> float:
    images = row.conditions.get("images")
    return 1000 / images if row.name.startswith("score/") and images else 1.0


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
    def number(count: float) -> str:
        return f"{count:,.0f}" if count >= 10 else f"{count:.3g}"

    return (
        ", ".join(f"{number(count)} {name.replace('_', ' ')}" for name, count in row.launches.items()) or "–"
    )
