"""Predictions for a T4, and the measured rows that they are checked with."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.rows import Machine, Row
from benchmarks.t4_gate import FIGURES, Prediction, checks, evidence, refusal
from benchmarks.tables.text import digits, paragraphs, table, time

NOT_COMPUTED = "The predictions are older than the stored rows: `make tables` computes them again."


def table_of(rows: Sequence[tuple[Machine, Sequence[Row]]], prediction: Prediction | None) -> str:
    """The figures that the rows confirm, why the others are not shown, and every ratio; nothing without rows."""
    if not evidence(rows):
        return ""
    if prediction is None or not {name for name, *_ in evidence(rows)} <= set(prediction.checked):
        return NOT_COMPUTED
    found = checks(rows, prediction)
    lines = []
    for name, (title, _, rests_on) in FIGURES.items():
        reason = refusal(rests_on, found)
        estimate = prediction.figures[name]
        shown = time(estimate.figure, 2) if reason is None else reason
        ends = f"{time(estimate.low, 2)} and {time(estimate.high, 2)}" if reason is None else "-"
        lines.append([title, shown, ends])
    ratios = [
        [
            f"{check.gpu}: {check.row}", check.kernel, time(check.predicted, 2), time(check.measured),
            digits(check.ratio, 2), "yes" if check.counts else "no, an earlier kernel",
        ]
        for check in found
    ]  # fmt: skip
    return paragraphs(
        table(["on a T4, predicted, not measured", "prediction", "ends"], lines),
        table(
            ["checked with", "kernel", "predicted", "measured", "ratio", "present kernel"], ratios, words=2
        ),
        f"Machine code by Triton {prediction.triton}.",
    )
