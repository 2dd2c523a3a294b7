"""The whole lesson's time, phase by phase, and the README's figures."""

from dataclasses import replace

from benchmarks.rows import Row
from benchmarks.tables.stored import Evidence, Sheet
from benchmarks.tables.tables import listings
from benchmarks.tables.text import machine, paragraphs, ratio, table
from breaknet.quantities import number_of, time

#: Phases in their order, for readers; others keep their names.
PHASES = {
    "torch": "import torch", "imports": "other imports", "data": "data", "compile": "compiling", "transfer": "transfer",
    "training": "training", "evaluation": "evaluation", "fits": "fits", "figures": "figures, as far as waited for",
    "report": "report",
}  # fmt: skip
PROCESSES = {
    "process-warm": "lesson, again",
    "process-cold": "lesson, the first time",
    "bare-warm": "lesson without figures, again",
    "bare-cold": "lesson without figures, the first time",
}


def whole(sheet: Sheet, *names: str) -> Row | None:
    """The first of these rows of lesson/DEVICE/ that is there, if it is of all epochs and not of a part."""
    device = sheet.rows[0].device
    row = next((row for name in names if (row := sheet.row(f"lesson/{device}/{name}"))), None)
    return row if row is not None and row.conditions.get("scale", 1) == 1 else None


def phases(sheet: Sheet) -> str:
    """The lesson as a process, cold and warm, phase by phase, then its computing against the notebook's."""
    named = {row.name.rpartition("/")[2]: row for row in sheet.rows}
    rows = {heading: named.pop(name) for name, heading in PROCESSES.items() if name in named}
    return paragraphs(_phase_table(rows), listings(replace(sheet, rows=tuple(named.values()))))


def _phase_table(rows: dict[str, Row]) -> str:
    if not rows:
        return ""
    seconds = [row.conditions["phases"] for row in rows.values()]
    names = [name for name in PHASES if any(name in one for one in seconds)]
    rest = dict.fromkeys(key for one in seconds for key in one)
    names += [name for name in rest if name not in (*PHASES, "total", "last_figure")]
    lines = [[PHASES.get(name, name), *(_seconds(one.get(name)) for one in seconds)] for name in names]
    lines.append(["**by the clock**", *(f"**{time(row.median)}**" for row in rows.values())])
    # less what is training, evaluation or torch's own import
    others = [sum(one.get(name, 0.0) for name in ("torch", "training", "evaluation")) for one in seconds]
    ends = {
        "less training, evaluation, torch's import": [row.median for row in rows.values()],
        "the same from process start to the last figure": [one.get("last_figure") for one in seconds],
    }
    for words, till in ends.items():
        left = [None if end is None else end - other for end, other in zip(till, others, strict=True)]
        lines.append([words, *map(_seconds, left)])
    return table(["the lesson, from process start to end", *rows], lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def summary(evidence: Evidence) -> str:
    """The README's table: the lesson on every machine that it was measured on, CPUs first."""
    header = [
        "", "`breaknet lesson`", "its training and evaluation alone", "the first time",
        "the notebook's code, extrapolated",
    ]  # fmt: skip
    lines = []
    for sheet in evidence.sheets("lesson", "cpu") + evidence.sheets("lesson", "cuda"):
        warm, cold = whole(sheet, "process-warm", "bare-warm"), whole(sheet, "process-cold", "bare-cold")
        computing, notebook = whole(sheet, "compute"), whole(sheet, "notebook")
        factor = f", {_factor(notebook, computing)} times the computing" if notebook and computing else ""
        lines.append(
            [
                f"{'GPU' if sheet.machine.gpu else 'CPU'}: {machine(sheet.machine)}",
                time(warm.median, 2) + (" without figures" if "bare" in warm.name else "") if warm else "-",
                time(computing.median, 2) if computing else "-",
                time(cold.median, 2) if cold else "-",
                time(notebook.median) + factor if notebook else "-",
            ]
        )
    return table(header, lines) if lines else ""


def _factor(notebook: Row, computing: Row) -> str:
    return ratio(notebook.median / computing.median)


def sentence(evidence: Evidence) -> str:
    """The README's first words about time."""
    sheet = evidence.sheet("lesson", "cpu")
    warm = whole(sheet, "process-warm") if sheet else None
    if sheet is None or warm is None:
        return ""
    said = f"The whole lesson takes {time(warm.median, 2)} on {number_of(sheet.machine.cores, 'CPU core')}"
    ours, notebook = whole(sheet, "compute"), whole(sheet, "notebook")
    if ours and notebook:
        said += f"; its computing takes {time(ours.median, 2)}, {_factor(notebook, ours)} times less than "
        said += "with the usual code of a notebook"
    return f"{said}."
