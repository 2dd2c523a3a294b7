"""What the whole lesson takes and where each second of it goes."""

from __future__ import annotations

from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.text import (
    MISSING,
    conditions,
    count,
    machine,
    mark,
    paragraphs,
    ratio,
    table,
    time,
    timed,
)

#: Phases in the order in which they come, as readers call them; others keep their names.
PHASES = {
    "torch": "import torch", "imports": "other imports", "data": "data", "compile": "compiling", "transfer": "transfer",
    "training": "training", "evaluation": "evaluation", "fits": "fits", "figures": "figures, as far as waited for",
    "report": "report",
}  # fmt: skip
WHOLE = ("process-warm", "process-cold", "bare-warm", "bare-cold")
WORDS = {"process": "lesson", "bare": "lesson without figures", "warm": "again", "cold": "the first time"}


def whole(sheet: Sheet, *names: str) -> Row | None:
    """The first of these rows of lesson/DEVICE/ that is there, if it is of all epochs and not of a part."""
    device = sheet.rows[0].device
    row = next((row for name in names if (row := sheet.row(f"lesson/{device}/{name}"))), None)
    return row if row is not None and row.conditions.get("scale", 1) == 1 else None


def phases(evidence: Evidence, device: str) -> str:
    """The lesson as a process, cold and warm, phase by phase, then its computing against the notebook's."""
    parts = []
    for sheet in evidence.sheets("lesson", device):
        parts += [
            conditions(sheet),
            _phase_table(sheet, device),
            _computing(sheet, device),
            timed(sheet.rows),
        ]
    return paragraphs(*parts) or MISSING


def _phase_table(sheet: Sheet, device: str) -> str:
    rows = [row for name in WHOLE if (row := sheet.row(f"lesson/{device}/{name}")) is not None]
    if not rows:
        return ""
    told = [row.conditions["phases"] for row in rows]
    names = [name for name in PHASES if any(name in one for one in told)]
    names += [
        name
        for name in dict.fromkeys(key for one in told for key in one)
        if name not in (*PHASES, "total", "last_figure")
    ]
    header = ["the lesson, from process start to end", *(_heading(row) for row in rows)]
    lines = [[PHASES.get(name, name), *(_seconds(one.get(name)) for one in told)] for name in names]
    lines.append(["**by the clock**", *(f"**{time(row.median)}**" for row in rows)])
    lines.append(["less training, evaluation, torch's import", *(_seconds(_rest(row)) for row in rows)])
    figures = [
        _rest(row, "last_figure") if "last_figure" in row.conditions["phases"] else None for row in rows
    ]
    lines.append(["the same from process start to the last figure", *map(_seconds, figures)])
    return table(header, lines)


def _heading(row: Row) -> str:
    kind, _, when = row.name.rpartition("/")[2].partition("-")
    return f"{WORDS[kind]}, {WORDS[when]}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _rest(row: Row, of: str | None = None) -> float:
    """Wall time, or that of a phase, which is neither training nor evaluation nor torch's own import."""
    told = row.conditions["phases"]
    seconds = row.median if of is None else told[of]
    return seconds - sum(told.get(name, 0.0) for name in ("torch", "training", "evaluation"))


def _computing(sheet: Sheet, device: str) -> str:
    rows = [
        row for name in ("compute", "notebook") if (row := sheet.row(f"lesson/{device}/{name}")) is not None
    ]
    ours = whole(sheet, "compute")
    lines = [
        [row.title + mark(row), row.work, time(row.median), ratio(row.median / ours.median) if ours else "-"]
        for row in rows
    ]
    return table(["computing", "work", "time", "times ours"], lines, words=2) if lines else ""


def summary(evidence: Evidence) -> str:
    """The README's table: the lesson on a CPU and on a GPU."""
    header = [
        "", "`breaknet lesson`", "of it training and judging", "the first time", "the notebook's code, extrapolated",
    ]  # fmt: skip
    lines = []
    for device, kind in (("cpu", "CPU"), ("cuda", "GPU")):
        sheets = evidence.sheets("lesson", device)
        lines += [_line(sheet, device, kind) for sheet in sheets] or [
            [kind, MISSING, MISSING, MISSING, MISSING]
        ]
    return table(header, lines)


def _line(sheet: Sheet, device: str, kind: str) -> list[str]:
    warm, cold = whole(sheet, "process-warm", "bare-warm"), whole(sheet, "process-cold", "bare-cold")
    computing, notebook = whole(sheet, "compute"), whole(sheet, "notebook")
    bare = " without figures" if warm is not None and "bare" in warm.name else ""
    cells = [f"{kind}: {machine(sheet.machine)}", time(warm.median, 2) + bare if warm else MISSING]
    judged = warm.conditions["phases"] if warm else {}
    working = [judged[name] for name in ("training", "evaluation") if name in judged]
    cells.append(time(sum(working), 2) if working else MISSING)
    cells.append(time(cold.median, 2) if cold else MISSING)
    if notebook is None:
        return [*cells, MISSING]
    factor = f", {ratio(notebook.median / computing.median)} times the computing" if computing else ""
    return [*cells, time(notebook.median) + factor]


def sentence(evidence: Evidence) -> str:
    """The README's first words about time."""
    sheet = evidence.sheet("lesson", "cpu")
    warm = whole(sheet, "process-warm") if sheet else None
    if sheet is None or warm is None:
        return "How long the whole lesson takes has not been measured yet."
    said = f"The whole lesson takes {time(warm.median, 2)} on {count(sheet.machine.cores, 'CPU core')}"
    ours, notebook = whole(sheet, "compute"), whole(sheet, "notebook")
    if ours is not None and notebook is not None:
        said += (
            f"; its computing takes {time(ours.median, 2)}, {ratio(notebook.median / ours.median)} times less than "
            "with the usual code of a notebook"
        )
    return f"{said}."
