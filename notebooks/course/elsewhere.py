"""Measurements from other machines: stored rows, prototypes of kernels beside them, and the model against the rows.

Prototypes are no rows: they were timed once, while a kernel was being designed. They stand in `prototypes.json` alone,
and every figure from there is labelled.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks import t4_gate, t4_model
from benchmarks.rows import Machine, Row, stored
from breaknet.lesson.notebook_display import Markdown, table
from breaknet.quantities import digits, time

PROTOTYPES = json.loads(Path(__file__).with_name("prototypes.json").read_text(encoding="utf-8"))
GPU = "H200"


def beside_prototypes(topic: str) -> Markdown:
    """The stored rows of a topic of `prototypes.json` ("fusing", "evaluation"), and the prototypes below them."""
    found = {row.name: (machine, row) for machine, row in _rows() if machine.gpu and GPU in machine.gpu}
    about, lines = PROTOTYPES[topic], []
    for name in about["rows"]:
        if name in found:
            machine, row = found[name]
            lines.append(
                [row.title, time(row.median), f"row, {GPU}, {machine.date}, commit {machine.commit}"]
            )
    lines += [[one["title"], time(one["seconds"]), PROTOTYPES["label"]] for one in about["prototypes"]]
    return table((about["work"], "time", "measured as"), lines)


def model_against_rows() -> Markdown:
    """The model's time for every stored row of a GPU that it knows, beside the measured one."""
    counted = t4_gate.load()
    rows = stored()
    held = {key for key, *_ in t4_gate.evidence(rows)}
    if counted is None or not held <= set(counted.measured):
        return Markdown("The model's counts are older than the stored rows: `make tables` makes them again.")
    lines = [
        [
            check.row,
            check.gpu,
            time(check.predicted, 2),
            time(check.measured),
            digits(check.ratio, 2),
        ]
        for check in t4_gate.checks(rows, counted)
    ]
    known = " and ".join(gpu.name for gpu in t4_model.GPUS)
    note = f"Predicted from counts of instructions, then measured; the model knows {known}."
    return table(("row", "GPU", "predicted", "measured", "ratio"), lines, note)


def _rows() -> Iterator[tuple[Machine, Row]]:
    return ((machine, row) for machine, rows in stored() for row in rows)
