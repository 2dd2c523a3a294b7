"""Predicted times of a T4, checked by the rows of measured GPUs.

    python -m benchmarks.t4_gate       # write counts.json, from which docs/results.md is made

The model is applied to every stored row that it knows how to predict, for the GPU of that row. A figure is not shown
where a ratio of a kernel that it rests on is over a factor of `WITHIN`, and shown as unchecked where no row has timed
one of these kernels. A row counts only for the kernel it was measured with: the counts made when its row was new are
kept, and where those of the present kernel differ, the row says nothing about it. So save when rows are stored.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from benchmarks import t4_model
from benchmarks.rows import Machine, Row, stored
from benchmarks.t4_model import COOPERATIVE, EVALUATION, FLOAT16, GPUS, PACKED, Counts, Gpu
from breaknet.files import written_whole

PATH = Path(__file__).parent / "results" / "counts.json"
WITHIN = 2.0
#: The counts of one kernel differ by no more than this share, whatever compiled it.
SAME_KERNEL = 0.03
#: Timed calls shorter than this are mostly launches and waiting, which the model leaves out, and say nothing about it.
LEAST_CALL_SECONDS = 1e-3

#: The kernel that a row times, by the row's name.
KERNELS = {
    r"step/cuda/cooperative|comparison/cuda/one/breaknet|kernels/cuda/step/(one-epoch|whole-run)": COOPERATIVE,
    r"step/cuda/packed|comparison/cuda/two/breaknet(-packed)?|models/cuda/breaknet(-packed)?/\d+"
    r"|kernels/cuda/packed/(training|fma)": PACKED,
    r"accuracy/cuda/all-checkpoints|evaluation/cuda/(kernel|fma)/\d+x\d+": EVALUATION,
    r"evaluation/cuda/float16/\d+x\d+": FLOAT16,
}
#: The row that says most about each, in the words of its benchmark.
WANTED = {
    COOPERATIVE: "step/cuda/cooperative",
    PACKED: "kernels/cuda/packed/fma",
    EVALUATION: "evaluation/cuda/fma/100x60000",
    FLOAT16: "evaluation/cuda/float16/100x60000",
}
#: What a form is called in the conditions of rows, for kernels that have several.
FORMS = {"FMA": EVALUATION, "float16 tensor cores": FLOAT16}

#: Lines of the T4's table: title, prediction, and the kernels it rests on.
FIGURES: dict[str, tuple[str, Callable[[Gpu, Mapping[str, Counts]], float], tuple[str, ...]]] = {
    "step": (
        "one training step of one network (cooperative trainer)",
        lambda gpu, counts: t4_model.cooperative_step(gpu, counts[COOPERATIVE]),
        (COOPERATIVE,),
    ),
    "packed": (
        "one training step of each of 40 networks (one launch, one program each)",
        lambda gpu, counts: t4_model.packed_step(gpu, counts[PACKED], 40),
        (PACKED,),
    ),
    "evaluation": (
        "100 checkpoints on 60,000 images (one launch)",
        lambda gpu, counts: t4_model.evaluation(gpu, counts[FLOAT16], 100, 60_000),
        (FLOAT16,),
    ),
    "evaluation of floats": (
        "the same by FMAs, as for float32 images",
        lambda gpu, counts: t4_model.evaluation(gpu, counts[EVALUATION], 100, 60_000),
        (EVALUATION,),
    ),
    "lesson": (
        "all training and evaluation of the lesson",
        t4_model.lesson,
        (COOPERATIVE, FLOAT16),
    ),
}


def kernel_of(row: Row) -> str | None:
    """The kernel that a row times, if the model can predict it; None for others, rehearsals and calls too short.

    Others are what is on tensor cores that a T4 lacks, and networks trained cooperatively in turn.
    """
    conditions = row.conditions
    call = row.median * conditions.get("units_a_call", 1)
    if conditions.get("size") == "rehearse" or call < LEAST_CALL_SECONDS:
        return None
    kernel = next((kernel for name, kernel in KERNELS.items() if re.fullmatch(name, row.name)), None)
    form = conditions.get("form", "float16 tensor cores" if kernel == FLOAT16 else "FMA")
    if kernel in (EVALUATION, FLOAT16):
        return FORMS.get(form)
    if form != "FMA" or (kernel == PACKED and conditions.get("plan", PACKED) != PACKED):
        return None
    return kernel


def predicted(row: Row, gpu: Gpu, counts: Counts) -> float:
    """One unit of the work of a row that `kernel_of` knows, in seconds, by the counts of its kernel."""
    kernel, conditions = kernel_of(row), row.conditions
    if kernel == COOPERATIVE:
        return t4_model.cooperative_step(gpu, counts)
    models = conditions["models"]
    if kernel in (EVALUATION, FLOAT16):
        whole = t4_model.evaluation(gpu, counts, models, conditions["images"])
        return whole / models if row.name.startswith("accuracy/") else whole
    step = t4_model.packed_step(gpu, counts, models) / models
    if row.name != "kernels/cuda/packed/training":
        return step
    return step * conditions["epochs"] * -(-conditions["images"] // conditions["batch"])


@dataclass(frozen=True)
class Counted:
    """Stored counts and the Triton that compiled the kernels, so that nothing need be compiled to show predictions.

    `measured` holds, by `key`, the counts of a kernel when its rows were new; `present` those of now.
    """

    triton: str
    present: dict[str, dict[str, Counts]]  # by GPU and kernel
    measured: dict[str, Counts]


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
    def factor(self) -> float:
        """The larger of the two over the smaller: 1 or more."""
        return max(self.ratio, 1 / self.ratio)


Rows = Iterable[tuple[Machine, Sequence[Row]]]


def evidence(rows: Rows) -> list[tuple[str, Gpu, Row, str]]:
    """Each row that the model can predict, with the key of its counts, its GPU and the kernel it times."""
    return [
        (f"{gpu.name} {kernel} at {machine.commit}", gpu, row, kernel)
        for machine, some in rows
        for row in some
        if (gpu := t4_model.known(machine.gpu)) is not None and (kernel := kernel_of(row)) is not None
    ]


def same(then: Counts, now: Counts) -> bool:
    """Whether these are counts of one kernel."""
    pairs = zip(astuple(then), astuple(now), strict=True)
    return all(abs(new - old) <= SAME_KERNEL * old for old, new in pairs)


def checks(rows: Rows, counted: Counted) -> list[Check]:
    """The model against every row that it can predict. Raises KeyError for a row that is newer than the counts."""
    found = []
    for key, gpu, row, kernel in evidence(rows):
        then, now = counted.measured[key], counted.present[gpu.name][kernel]
        found.append(
            Check(kernel, row.name, gpu.name, predicted(row, gpu, then), row.median, same(then, now))
        )
    return found


@dataclass(frozen=True)
class Verdict:
    """Whether a figure may be shown, and how far rows have checked what it rests on, in one line."""

    shown: bool
    reason: str


def verdict(rests_on: Sequence[str], found: Sequence[Check]) -> Verdict:
    """The verdict of the present kernels' rows on a figure that rests on these kernels."""
    mine = [check for check in found if check.kernel in rests_on and check.counts]
    worst = max(mine, key=lambda check: check.factor, default=None)
    if worst is not None and worst.factor > WITHIN:
        apart = f"the model is off by a factor of {worst.factor:.1f} on the {worst.gpu} ({worst.row})"
        return Verdict(shown=False, reason=apart)
    absent = [WANTED[kernel] for kernel in rests_on if kernel not in {check.kernel for check in mine}]
    if worst is None or absent:
        missing = f"unchecked: no row of the present kernel on a measured GPU, such as {', '.join(absent)}"
        return Verdict(shown=True, reason=missing)
    return Verdict(shown=True, reason=f"yes, the worst ratio is {worst.ratio:.2f}")


def save(rows: Rows, path: Path = PATH) -> Counted | None:
    """Count everything and write it; without a measured GPU to check it by, remove the file and return None.

    Raises as `kernel_counts.counted` and `written_whole` do.
    """
    held = evidence(rows)
    if not held:
        path.unlink(missing_ok=True)
        return None
    import triton

    from benchmarks import kernel_counts

    before = load(path)
    present = {
        gpu.name: {kernel: kernel_counts.counted(kernel, gpu)[0] for kernel in KERNELS.values()}
        for gpu in GPUS
    }
    measured = {key: present[gpu.name][kernel] for key, gpu, _, kernel in held}
    if before is not None:
        measured |= {key: counts for key, counts in before.measured.items() if key in measured}
    result = Counted(triton.__version__, present, measured)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return result


def load(path: Path = PATH) -> Counted | None:
    """The saved counts; None where there are none."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())

    def counts(of: dict[str, dict[str, int]]) -> dict[str, Counts]:
        return {name: Counts(**one) for name, one in of.items()}

    present = {gpu: counts(kernels) for gpu, kernels in content["present"].items()}
    return Counted(content["triton"], present, counts(content["measured"]))


if __name__ == "__main__":
    save(stored())
