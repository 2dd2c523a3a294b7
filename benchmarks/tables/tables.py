"""Two shapes of table: contenders of one piece of work listed below each other, and points of a curve by contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.rows import Row
from benchmarks.tables import plots
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import (
    conditions,
    count,
    launches,
    mark,
    paragraphs,
    ratio,
    spread,
    table,
    time,
    timed,
)

HEADINGS = {"cpu": "### On a CPU", "cuda": "### On a GPU"}
#: The last parts of the names of breaknet's own rows, with which others are compared.
OURS = (
    "breaknet", "drop-in", "function", "compute", "numba", "numba-evaluation", "cooperative", "all-checkpoints",
)  # fmt: skip


def section(evidence: Evidence, group: str, write: Callable[[Sheet], str], heading: bool = True) -> str:
    """A group's plots and its tables on every machine, by device; nothing where there are no rows."""
    parts = []
    for device in HEADINGS:
        sheets = evidence.sheets(group, device)
        if sheets and heading:
            parts.append(HEADINGS[device])
        for name, plot in plots.PLOTS.items():
            if (plot.group, plot.device) == (group, device) and plot.sheet(evidence) is not None:
                parts.append(f"![{plot.alt}](images/{name}.svg)")
        for sheet in sheets:
            parts += [conditions(sheet), write(sheet), timed(sheet.rows)]
    return paragraphs(*parts)


def listings(sheet: Sheet, rows: Sequence[Row] | None = None) -> str:
    """A table for each piece of work among the rows: contenders down; all against ours, where ours is among them."""
    rows = sheet.rows if rows is None else rows
    by_work: dict[str, list[Row]] = {}
    for row in rows:
        by_work.setdefault(row.work, []).append(row)
    return paragraphs(*(_listing(work, some) for work, some in by_work.items()))


def _listing(work: str, rows: list[Row]) -> str:
    ours = next((row for row in rows if row.name.rpartition("/")[2] in OURS), None)
    columns: list[tuple[str, Callable[[Row], str], bool]] = [
        (work, lambda row: row.title + mark(row), True),
        ("launches", launches, any(row.launches for row in rows)),
        ("time", lambda row: time(row.median), True),
        ("quartiles", spread, True),
        ("floor", _floor, any(row.floor for row in rows)),
        ("times the floor", _distance, any(row.floor for row in rows)),
        ("times ours", lambda row: ratio(row.median / ours.median) if ours else "-", ours is not None),
    ]
    shown = [(heading, cell) for heading, cell, wanted in columns if wanted]
    lines = [[cell(row) for _, cell in shown] for row in rows]
    return table([heading for heading, _ in shown], lines, words=1 + columns[1][2])


def _floor(row: Row) -> str:
    return time(row.floor["seconds"]) if row.floor else "-"


def _distance(row: Row) -> str:
    return "-" if row.distance is None else ratio(row.distance)


def grid(sheet: Sheet, down: str) -> str:
    """Rows named group/device/CONTENDER/POINT: points down, contenders across, and the others' times against ours."""
    titles: dict[str, str] = {}
    points: dict[str, dict[str, Row]] = {}
    for row in sheet.rows:
        contender, point = row.name.split("/")[2:4]
        titles.setdefault(contender, row.title)
        points.setdefault(point, {})[contender] = row
    ours, *others = titles
    header = [down, *titles.values(), *(f"{titles[name]}, times ours" for name in others)]
    lines = []
    for point, found in sorted(points.items(), key=lambda pair: [int(part) for part in pair[0].split("x")]):
        times = [time(found[name].median) + mark(found[name]) if name in found else "-" for name in titles]
        factors = [
            ratio(found[name].median / found[ours].median) if name in found and ours in found else "-"
            for name in others
        ]
        lines.append([" x ".join(f"{int(part):,}" for part in point.split("x")), *times, *factors])
    return table(header, lines)


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
    said = ""
    if training is not None:
        facts = training.conditions
        said = f"Networks, {count(facts['epochs'], 'epoch')} of {facts['images']:,} images each: "
        said += f"{ratio(1 / training.median)} a second trained"
        if evaluation is not None:
            both = ratio(1 / (training.median + evaluation.median))
            said += f", {both} a second with all their checkpoints evaluated"
        said += "."
    return paragraphs(listings(sheet), said)
