"""Two shapes of table: contenders of one piece of work listed below each other, and points of a curve by contender."""

from collections.abc import Callable
from typing import Any

from benchmarks.rows import Row
from benchmarks.tables import plots
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import (
    conditions,
    launches,
    mark,
    paragraphs,
    ratio,
    spread,
    table,
    timed,
)
from breaknet.quantities import number_of, time

HEADINGS = {"cpu": "### On a CPU", "cuda": "### On a GPU"}
#: The last parts of the names of breaknet's own rows, with which others are compared.
OURS = (
    "breaknet", "drop-in", "function", "compute", "numba", "numba-evaluation", "cooperative", "all-checkpoints",
)  # fmt: skip


def section(evidence: Evidence, group: str, write: Callable[[Sheet], str], heading: bool = True) -> str:
    """A group's plots and its tables on every machine, by device; nothing where there are no rows."""
    parts = []
    for device, on_device in HEADINGS.items():
        sheets = evidence.sheets(group, device)
        if sheets and heading:
            parts.append(on_device)
        for name, plot in plots.PLOTS.items():
            if (plot.group, plot.device) == (group, device) and plot.sheet(evidence) is not None:
                parts.append(f"![{plot.alt}](images/{name}.svg)")
        for sheet in sheets:
            parts += [conditions(sheet), write(sheet), timed(sheet.rows)]
    return paragraphs(*parts)


def listings(sheet: Sheet) -> str:
    """A table for each piece of work among the rows: contenders down; all against ours, where ours is among them."""
    works = dict.fromkeys(row.work for row in sheet.rows)
    return paragraphs(*(_listing(work, [row for row in sheet.rows if row.work == work]) for work in works))


def _listing(work: str, rows: list[Row]) -> str:
    ours = next((row.median for row in rows if row.name.rpartition("/")[2] in OURS), None)
    launched, floored = any(row.launches for row in rows), any(row.floor for row in rows)
    columns: list[tuple[str, Callable[[Row], str], Any]] = [
        (work, lambda row: row.title + mark(row), True),
        ("launches", launches, launched),
        ("time", lambda row: time(row.median), True),
        ("quartiles", spread, True),
        ("floor", lambda row: time(row.floor["seconds"]) if row.floor else "-", floored),
        ("times the floor", lambda row: ratio(row.distance) if row.distance else "-", floored),
        ("times ours", lambda row: ratio(row.median / ours) if ours else "-", ours),
    ]
    shown = [(heading, cell) for heading, cell, wanted in columns if wanted]
    lines = [[cell(row) for _, cell in shown] for row in rows]
    return table([heading for heading, _ in shown], lines, words=1 + launched)


def grid(sheet: Sheet, down: str) -> str:
    """Rows named group/device/CONTENDER/POINT: points down, contenders across, and the others' times against ours."""
    titles: dict[str, str] = {}
    points: dict[str, dict[str, Row]] = {}
    for row in sheet.rows:
        contender, point = row.name.split("/")[2:4]
        titles.setdefault(contender, row.title)
        points.setdefault(point, {})[contender] = row
    ours, *others = titles

    def factor(found: dict[str, Row], name: str) -> str:
        return ratio(found[name].median / found[ours].median) if {name, ours} <= found.keys() else "-"

    lines = []
    for point, found in sorted(points.items(), key=lambda pair: [int(part) for part in pair[0].split("x")]):
        times = [time(found[name].median) + mark(found[name]) if name in found else "-" for name in titles]
        shown = " x ".join(f"{int(part):,}" for part in point.split("x"))
        lines.append([shown, *times, *(factor(found, name) for name in others)])
    return table([down, *titles.values(), *(f"{titles[name]}, times ours" for name in others)], lines)


def compiling(sheet: Sheet) -> str:
    """Targets down; the process that compiles the lesson's kernels for them, the first time and again."""
    lines = []
    for target in dict.fromkeys(row.name.split("/")[2] for row in sheet.rows):
        cold, warm = (sheet.row(f"compiling/cpu/{target}/{cache}") for cache in ("cold", "warm"))
        first, again = (time(row.median) if row else "-" for row in (cold, warm))
        part = time(cold.conditions["phases"]["compiling"]) if cold else "-"
        lines.append([target, first, part, again])
    return table(["compiled for", "the first time", "of which compiling", "again"], lines)


def kernels(sheet: Sheet) -> str:
    """The GPU kernels' design, and networks a second, without and with evaluation of their checkpoints."""
    training, evaluation = (sheet.row(f"kernels/cuda/packed/{part}") for part in ("training", "evaluation"))
    if training is None:
        return listings(sheet)
    facts = training.conditions
    said = f"Networks, {number_of(facts['epochs'], 'epoch')} of {facts['images']:,} images each: "
    said += f"{ratio(1 / training.median)} a second trained"
    if evaluation is not None:
        both = ratio(1 / (training.median + evaluation.median))
        said += f", {both} a second with all their checkpoints evaluated"
    return paragraphs(listings(sheet), f"{said}.")
