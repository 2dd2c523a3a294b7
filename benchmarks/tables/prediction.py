"""The T4's table: predictions, with what the model said of measured GPUs above them."""

from __future__ import annotations

from benchmarks.rows import Machine, Row
from benchmarks.t4 import storage
from benchmarks.t4.gate import FIGURES, Check, Rows, checks, refusal
from benchmarks.t4.rates import ASSUMPTIONS, SOURCES
from benchmarks.tables.stored import SIZES
from benchmarks.tables.text import paragraphs, ratio, table, time

NOT_COMPUTED = (
    "not shown: the model has not been applied to these rows yet (`python -m benchmarks.t4 --save`)"
)


def t4(rows: Rows, stored: storage.Stored | None) -> str:
    """Figures that measured rows let through, and why the others are not shown."""
    useful = [(machine, [row for row in some if _counts(machine, row)]) for machine, some in rows]
    measured = any(some for _, some in useful)
    if stored is None and measured:
        return NOT_COMPUTED
    try:
        found = checks(useful, stored.predicted) if stored else []
    except KeyError:
        return NOT_COMPUTED
    if stored is None:
        lines = [[figure.title, str(refusal(figure, found)), "-"] for figure in FIGURES]
    else:
        lines = [
            _line(figure.title, refusal(figure, found), stored.figures[figure.name]) for figure in FIGURES
        ]
    header = ["on a T4", "predicted, not measured", "between"]
    made = f"Machine code by Triton {stored.triton}." if stored and found else ""
    return paragraphs(_checks(found), table(header, lines), made)


def _counts(machine: Machine, row: Row) -> bool:
    return machine.gpu is not None and row.conditions.get("size") in SIZES


def _line(title: str, reason: str | None, estimate: storage.Estimate) -> list[str]:
    if reason is not None:
        return [title, reason, "-"]
    return [title, time(estimate.figure, 2), f"{time(estimate.low, 2)} and {time(estimate.high, 2)}"]


def _checks(found: list[Check]) -> str:
    header = ["checked on", "kernel", "row", "predicted", "measured", "predicted / measured"]
    lines = [
        [
            check.gpu,
            check.kernel,
            f"`{check.row}`",
            time(check.predicted, 2),
            time(check.measured),
            ratio(check.ratio),
        ]
        for check in found
    ]
    return table(header, lines, words=3) if lines else ""


def assumptions() -> str:
    """All that the model assumes, and where its numbers come from, as lists."""
    return paragraphs(
        "\n".join(f"* {text}" for text in ASSUMPTIONS),
        "Sources:",
        "\n".join(f"* [{name}] {text}" for name, text in SOURCES.items()),
    )
