"""Predictions for a T4, and the measured rows that they are checked with."""

from collections.abc import Sequence

from benchmarks.rows import Machine, Row
from benchmarks.t4_gate import FIGURES, Counted, checks, evidence, verdict
from benchmarks.t4_model import T4
from benchmarks.tables.text import paragraphs, table
from breaknet.quantities import digits, time

NOT_COUNTED = "The counts are older than the stored rows: `make tables` makes them again."


def table_of(rows: Sequence[tuple[Machine, Sequence[Row]]], counted: Counted | None) -> str:
    """The figures, how far the rows check them, and every ratio; nothing without rows."""
    if not evidence(rows):
        return ""
    if counted is None or not {key for key, *_ in evidence(rows)} <= set(counted.measured):
        return NOT_COUNTED
    found = checks(rows, counted)
    lines = []
    for title, predict, rests_on in FIGURES.values():
        checked = verdict(rests_on, found)
        figure = time(predict(T4, counted.present["T4"]), 2) if checked.shown else "not shown"
        lines.append([title, figure, checked.reason])
    ratios = [
        [
            f"{check.gpu}: {check.row}",
            check.kernel,
            time(check.predicted, 2),
            time(check.measured),
            digits(check.ratio, 2),
            "yes" if check.counts else "no, an earlier kernel",
        ]
        for check in found
    ]
    headings = ["checked with", "kernel", "predicted", "measured", "ratio", "present kernel"]
    return paragraphs(
        table(["on a T4, predicted, not measured", "prediction", "checked by rows"], lines),
        table(headings, ratios, words=2),
        f"Counted on what Triton {counted.triton} compiles.",
    )
