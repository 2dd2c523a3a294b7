"""Predictions held against what was measured, before any of them is shown.

The model is applied to every stored GPU row that it knows how to predict, for the GPU of that row. A T4 figure is
shown only if each kernel that it rests on was measured on some GPU, and no ratio at all is over a factor of `WITHIN`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.rows import Machine, Row, stored
from benchmarks.t4.rates import FIGURE, HIGH, LOW, Gpu, known
from benchmarks.t4.workloads import Estimate, cooperative_step, evaluation, lesson, packed_step

WITHIN = 2.0
#: Timed calls shorter than this are mostly launches and waiting, which the model leaves out, and say nothing about it.
LEAST_CALL_SECONDS = 1e-3
#: Why nothing is shown before there is a row to check the model with.
NO_ROWS = "not shown: no measured GPU to check the model against yet"


def _persistent(row: Row, gpu: Gpu) -> Estimate:
    return cooperative_step(gpu, row.conditions["batch"])


def _packed(row: Row, gpu: Gpu) -> Estimate:
    models = row.conditions["models"]
    every = packed_step(gpu, models, row.conditions["batch"], row.conditions["images"])
    return every.times(1 / models)


def _one_of_all_checkpoints(row: Row, gpu: Gpu) -> Estimate:
    return _all_checkpoints(row, gpu).times(1 / row.conditions["models"])


def _all_checkpoints(row: Row, gpu: Gpu) -> Estimate:
    return evaluation(gpu, row.conditions["models"], row.conditions["images"])


def _barrier(row: Row, gpu: Gpu) -> Estimate:
    low, figure, high = (
        gpu.seconds(assumed.barrier_round_trips * gpu.l2_latency) for assumed in (LOW, FIGURE, HIGH)
    )
    return Estimate(low, figure, high, {})


def _packed_run(row: Row, gpu: Gpu) -> Estimate:
    told = row.conditions
    return _packed(row, gpu).times(told["epochs"] * -(-told["images"] // told["batch"]))


BARRIER, PERSISTENT, PACKED, EVALUATION = "grid barrier", "persistent trainer", "packed trainer", "evaluation"
#: Rows that the model predicts, by their names: which kernel they time, and one unit of their work in seconds.
PREDICTABLE: tuple[tuple[str, str, Callable[[Row, Gpu], Estimate]], ...] = (
    (r"kernels/cuda/barrier", BARRIER, _barrier),
    (
        r"step/cuda/persistent|rivals/cuda/one/breaknet|kernels/cuda/step/(one-epoch|whole-run)",
        PERSISTENT,
        _persistent,
    ),
    (r"step/cuda/many-models|rivals/cuda/two/breaknet|models/cuda/breaknet/\d+", PACKED, _packed),
    (r"kernels/cuda/packed/training", PACKED, _packed_run),
    (r"score/cuda/all-checkpoints", EVALUATION, _one_of_all_checkpoints),
    (r"evaluation/cuda/kernel/\d+x\d+", EVALUATION, _all_checkpoints),
)


def kernel_of(row: Row) -> str | None:
    """Which kernel a row times that the model can predict; None for others, rehearsals and calls too short to tell."""
    call = row.median * row.conditions.get("units_a_call", 1)
    if row.conditions.get("size") == "rehearse" or call < LEAST_CALL_SECONDS:
        return None
    return next((kernel for name, kernel, _ in PREDICTABLE if re.fullmatch(name, row.name)), None)


def predicted(row: Row, gpu: Gpu) -> float:
    """One unit of the row's work on `gpu` by the model, in seconds.

    Raises:
        ValueError: a row that it cannot predict.
    """
    for name, _, predict in PREDICTABLE:
        if re.fullmatch(name, row.name):
            return predict(row, gpu).figure
    raise ValueError(f"row: one that the model predicts, not {row.name!r}")


@dataclass(frozen=True)
class Figure:
    """One line of the T4's table: what it is the time of, how it is predicted, and the kernels it rests on."""

    name: str
    title: str
    predict: Callable[[Gpu], Estimate]
    rests_on: tuple[str, ...]


FIGURES = (
    Figure(
        "step",
        "one training step of one network (persistent trainer)",
        cooperative_step,
        (PERSISTENT,),
    ),
    Figure(
        "packed",
        "one training step of each of 40 networks (one launch, one program each)",
        lambda gpu: packed_step(gpu, 40),
        (PACKED,),
    ),
    Figure(
        "evaluation",
        "100 checkpoints on 60,000 images (one launch)",
        lambda gpu: evaluation(gpu, 100, 60_000),
        (EVALUATION,),
    ),
    Figure(
        "lesson",
        "all training and judging of the lesson",
        lesson,
        (PERSISTENT, EVALUATION),
    ),
)


@dataclass(frozen=True)
class Check:
    """The model against one measured row, both in seconds."""

    kernel: str
    row: str  # its name
    gpu: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured

    @property
    def holds(self) -> bool:
        """Whether the two are within a factor of WITHIN of each other."""
        return 1 / WITHIN <= self.ratio <= WITHIN


Rows = Iterable[tuple[Machine, Sequence[Row]]]


def evidence(rows: Rows | None = None) -> list[tuple[Gpu, Row, str]]:
    """Each row that the model can predict, with its GPU and the kernel it times; of what is stored by default."""
    return [
        (gpu, row, kernel)
        for machine, some in (stored() if rows is None else rows)
        for row in some
        if (gpu := known(machine.gpu)) is not None and (kernel := kernel_of(row)) is not None
    ]


def checks(rows: Rows | None = None, predict: Callable[[Row, Gpu], float] = predicted) -> list[Check]:
    """The model against every row that it can predict; `predict` in place of the model where its results are kept."""
    return [
        Check(kernel, row.name, gpu.name, predict(row, gpu), row.median)
        for gpu, row, kernel in evidence(rows)
    ]


def refusal(figure: Figure, found: Sequence[Check]) -> str | None:
    """Why a figure is not shown, in one line; None if it may be."""
    off = [check for check in found if not check.holds]
    if off:
        worst = max(off, key=lambda check: max(check.ratio, 1 / check.ratio))
        factor = max(worst.ratio, 1 / worst.ratio)
        return f"not shown: the model is off by a factor of {factor:.1f} on the {worst.gpu} ({worst.row})"
    if not set(figure.rests_on) <= {check.kernel for check in found}:
        return NO_ROWS
    return None
