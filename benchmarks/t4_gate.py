"""Predicted times of a T4, shown as far as the rows of measured GPUs confirm the model.

    python -m benchmarks.t4_gate       # write prediction.json, from which docs/results.md is made

The model is applied to every stored row that it knows how to predict, for the GPU of that row. A figure is shown only
if each kernel that it rests on was measured on some GPU, and no ratio of these kernels is over a factor of `WITHIN`.
A row counts only for the kernel it was measured with: the prediction made when its row was new is kept, and where the
model says something else of the present kernel, the row says nothing about it. So save when rows are stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import t4_model
from benchmarks.rows import Machine, Row, stored
from benchmarks.t4_model import T4, Estimate, Gpu
from breaknet.files import written_whole

PATH = Path(__file__).parent / "results" / "prediction.json"
WITHIN = 2.0
#: The model's predictions for one kernel differ by no more than this share, whatever compiled it.
SAME_KERNEL = 0.05
#: Timed calls shorter than this are mostly launches and waiting, which the model leaves out, and say nothing about it.
LEAST_CALL_SECONDS = 1e-3

BARRIER, COOPERATIVE, PACKED, EVALUATION = (
    "grid barrier",
    "cooperative trainer",
    "packed trainer",
    "evaluation",
)


def _packed(row: Row, gpu: Gpu) -> Estimate:
    models = row.conditions["models"]
    every = t4_model.packed_step(gpu, models, row.conditions["batch"], row.conditions["images"])
    return every.times(1 / models)


def _packed_run(row: Row, gpu: Gpu) -> Estimate:
    epochs, images, batch = (row.conditions[name] for name in ("epochs", "images", "batch"))
    return _packed(row, gpu).times(epochs * -(-images // batch))


def _evaluation(row: Row, gpu: Gpu) -> Estimate:
    return t4_model.evaluation(gpu, row.conditions["models"], row.conditions["images"])


#: Rows that the model predicts, by their names: the kernel they time, and one unit of their work.
PREDICTABLE: tuple[tuple[str, str, Callable[[Row, Gpu], Estimate]], ...] = (
    (r"kernels/cuda/barrier", BARRIER, lambda row, gpu: t4_model.grid_barrier(gpu)),
    (
        r"step/cuda/cooperative|comparison/cuda/one/breaknet|kernels/cuda/step/(one-epoch|whole-run)",
        COOPERATIVE, lambda row, gpu: t4_model.cooperative_step(gpu, row.conditions["batch"]),
    ),
    (r"step/cuda/packed|comparison/cuda/two/breaknet|models/cuda/breaknet/\d+", PACKED, _packed),
    (r"kernels/cuda/packed/training", PACKED, _packed_run),
    (
        r"accuracy/cuda/all-checkpoints", EVALUATION,
        lambda row, gpu: _evaluation(row, gpu).times(1 / row.conditions["models"]),
    ),
    (r"evaluation/cuda/kernel/\d+x\d+", EVALUATION, _evaluation),
)  # fmt: skip


def kernel_of(row: Row) -> str | None:
    """The kernel that a row times, if the model can predict it; None for others, rehearsals and calls too short."""
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


#: Lines of the T4's table: title, prediction, and the kernels it rests on.
FIGURES: dict[str, tuple[str, Callable[[Gpu], Estimate], tuple[str, ...]]] = {
    "step": (
        "one training step of one network (cooperative trainer)", t4_model.cooperative_step, (COOPERATIVE,)
    ),
    "packed": (
        "one training step of each of 40 networks (one launch, one program each)",
        lambda gpu: t4_model.packed_step(gpu, 40), (PACKED,),
    ),
    "evaluation": (
        "100 checkpoints on 60,000 images (one launch)", lambda gpu: t4_model.evaluation(gpu, 100, 60_000),
        (EVALUATION,),
    ),
    "lesson": ("all training and evaluation of the lesson", t4_model.lesson, (COOPERATIVE, EVALUATION)),
}  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """The model's results, with the Triton that made the machine code, so that nothing need be compiled to show them.

    `checked` holds, by `key`, the seconds predicted of a row when it was new, and those of the present kernel.
    """

    triton: str
    figures: dict[str, Estimate]  # of the T4
    checked: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Check:
    """The model against one measured row, both in seconds."""

    kernel: str
    row: str  # its name
    gpu: str
    predicted: float
    measured: float
    counts: bool = True  # whether the row was measured with the present kernel

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured

    @property
    def holds(self) -> bool:
        """Whether the two are within a factor of WITHIN of each other."""
        return 1 / WITHIN <= self.ratio <= WITHIN


Rows = Iterable[tuple[Machine, Sequence[Row]]]


def key(machine: Machine, row: Row, gpu: Gpu) -> str:
    """A measurement: the GPU, the row's name, and the commit it was measured at."""
    return f"{gpu.name} {row.name} at {machine.commit}"


def evidence(rows: Rows) -> list[tuple[str, Gpu, Row, str]]:
    """Each row that the model can predict, with its key, its GPU and the kernel it times."""
    return [
        (key(machine, row, gpu), gpu, row, kernel)
        for machine, some in rows
        for row in some
        if (gpu := t4_model.known(machine.gpu)) is not None and (kernel := kernel_of(row)) is not None
    ]


def checks(rows: Rows, prediction: Prediction) -> list[Check]:
    """The prediction against every row that the model can predict.

    Raises:
        KeyError: a row that was not there when the prediction was made.
    """
    found = []
    for name, gpu, row, kernel in evidence(rows):
        then, now = prediction.checked[name]
        same = abs(now / then - 1) <= SAME_KERNEL
        found.append(Check(kernel, row.name, gpu.name, then, row.median, same))
    return found


def refusal(rests_on: Sequence[str], found: Sequence[Check]) -> str | None:
    """Why a figure that rests on these kernels is not shown, in one line; None if it may be."""
    mine = [check for check in found if check.kernel in rests_on and check.counts]
    off = [check for check in mine if not check.holds]
    if off:
        worst = max(off, key=lambda check: max(check.ratio, 1 / check.ratio))
        factor = max(worst.ratio, 1 / worst.ratio)
        return f"not shown: the model is off by a factor of {factor:.1f} on the {worst.gpu} ({worst.row})"
    absent = [kernel for kernel in rests_on if kernel not in {check.kernel for check in mine}]
    return (
        f"not shown: no measured GPU to check the present {' and '.join(absent)} against" if absent else None
    )


def save(rows: Rows, path: Path = PATH) -> Prediction | None:
    """Compute everything and write it; without a measured GPU to check it by, remove the file and return None.

    Raises as the model and `written_whole` do.
    """
    held = evidence(rows)
    if not held:
        path.unlink(missing_ok=True)
        return None
    import triton

    before = load(path)
    checked = {}
    for name, gpu, row, _ in held:
        now = predicted(row, gpu)
        checked[name] = (before.checked[name][0] if before and name in before.checked else now, now)
    result = Prediction(
        triton.__version__, {name: predict(T4) for name, (_, predict, _) in FIGURES.items()}, checked
    )
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return result


def load(path: Path = PATH) -> Prediction | None:
    """The saved prediction; None where there is none."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    figures = {name: Estimate(**estimate) for name, estimate in content["figures"].items()}
    checked = {name: (then, now) for name, (then, now) in content["checked"].items()}
    return Prediction(content["triton"], figures, checked)


if __name__ == "__main__":
    save(stored())
