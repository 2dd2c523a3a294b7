"""Implementations of a training step and of evaluation, timed on this machine, with stored rows of others beside them.

comparison("sliced", "fused", "cooperative")      a table of some implementations
all_implementations()                             the rows of all that this machine can run
"""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.contenders import IMPLEMENTATIONS, LADDER, compare
from benchmarks.rows import Machine, Row, stored
from benchmarks.tables import text
from breaknet.lesson.notebook_display import Markdown, table
from breaknet.quantities import time
from notebooks.course import busy
from notebooks.course.here import DEVICE, SIZE, digits

#: What a rehearsal runs; the others, made for a GPU, would be interpreted, which takes long.
REHEARSED = ("notebook", "sliced", "notebook-accuracy", "vectorised-accuracy")

_measured: dict[str, Row] = {}


def measured(names: Sequence[str]) -> dict[str, Row]:
    """Rows of the named implementations that run here, measured once; those of one call in turn, for fairness.

    One that fails is left out, with a warning that says why.
    """
    runnable = [name for name in names if DEVICE in IMPLEMENTATIONS[name].devices]
    if SIZE == "rehearse":
        runnable = [name for name in runnable if name in REHEARSED]
    if new := [name for name in runnable if name not in _measured]:
        _measured.update(by_name(compare(DEVICE, only=new, size=SIZE, data=digits(), survive=True)))
    return {name: _measured[name] for name in runnable if name in _measured}


def all_implementations() -> list[Row]:
    """The rows of the ladder on this machine, training first."""
    return sorted(measured(LADDER).values(), key=lambda row: row.name.startswith("accuracy/"))


def by_name(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by implementation; times of evaluations are those of 1,000 images."""
    found = {}
    for row in rows:
        kind, _, name = row.name.split("/")
        images = row.conditions.get("images")
        scale = 1000 / images if kind == "accuracy" and images else 1.0
        times = {key: scale * getattr(row, key) for key in ("median", "low", "high")}
        found[name] = replace(row, **times, floor={key: scale * value for key, value in row.floor.items()})
    return found


def stored_comparisons() -> list[tuple[Machine, str, dict[str, Row]]]:
    """(machine, device, rows by implementation) of every machine whose rows are stored, GPUs first."""
    found = []
    for machine, rows in stored():
        for device in ("cuda", "cpu"):
            some = by_name([row for row in rows if row.group == "ladder" and row.device == device])
            if some:
                found.append((machine, device, some))
    return sorted(found, key=lambda one: one[1] != "cuda")


def comparison(*names: str) -> Markdown:
    """The named implementations on this machine, and on those with stored rows."""
    others = stored_comparisons()
    here = measured(names)
    lines = []
    for name in names:
        line = [IMPLEMENTATIONS[name].title]
        if row := here.get(name):
            low, high = time(row.low), time(row.high)
            line += [f"{time(row.median)} ({low} – {high})", text.launches(row)]
        else:
            line += ["left out" if DEVICE in IMPLEMENTATIONS[name].devices else f"not on a {DEVICE}", "–"]
        line += [time(rows[name].median) if name in rows else "–" for *_, rows in others]
        lines.append(line)
    header = ["", f"here ({DEVICE})", "launches here"]
    header += [f"stored: {machine.gpu if device == 'cuda' else machine.cpu}" for machine, device, _ in others]
    evaluation, step = "evaluation of one network on 1,000 images", "one training step of 100 images"
    unit = evaluation if IMPLEMENTATIONS[names[0]].evaluates else step
    said = f" Here {busy.of_rows(list(here.values()))}." if here else ""
    return table(header, lines, f"Times of {unit}: medians, in brackets the quartiles.{said}")
