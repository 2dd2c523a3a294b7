"""The model's results as a file, so that documents can be written and checked without compiling anything.

`python -m benchmarks.t4 --save` writes it: the T4's figures, and what the model says of every stored row that it can
predict. Whether a figure is shown is decided when it is read, by the rows as they then are.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.rows import Row
from benchmarks.t4.gate import FIGURES, Rows, evidence, predicted
from benchmarks.t4.rates import T4, Gpu
from benchmarks.t4.workloads import Estimate
from breaknet.files import written_whole

PATH = Path(__file__).with_name("prediction.json")


@dataclass(frozen=True)
class Stored:
    """What was predicted, and with which Triton the machine code was made."""

    triton: str
    figures: dict[str, Estimate]  # of the T4, by the figures' names
    checked: dict[str, float]  # seconds, by `key`

    def predicted(self, row: Row, gpu: Gpu) -> float:
        """As `gate.predicted`. Raises KeyError for a row that was not there when the file was made."""
        return self.checked[key(row, gpu)]


def key(row: Row, gpu: Gpu) -> str:
    """A row's name, its GPU, and the sizes that a prediction depends on."""
    sizes = {
        name: row.conditions[name]
        for name in ("batch", "models", "images", "epochs")
        if name in row.conditions
    }
    return " ".join([gpu.name, row.name, *(f"{name}={value}" for name, value in sizes.items())])


def save(path: Path = PATH, rows: Rows | None = None) -> Stored | None:
    """Compute everything and write it; without a measured GPU to check it by, remove the file and return None.

    Raises as the model and `written_whole` do.
    """
    held = evidence(rows)
    if not held:
        path.unlink(missing_ok=True)
        return None
    import triton

    figures = {figure.name: figure.predict(T4) for figure in FIGURES}
    checked = {key(row, gpu): predicted(row, gpu) for gpu, row, _ in held}
    result = Stored(triton.__version__, figures, checked)
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return result


def load(path: Path = PATH) -> Stored | None:
    """What was saved; None where nothing was."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    figures = {name: Estimate(**estimate) for name, estimate in content["figures"].items()}
    return Stored(content["triton"], figures, content["checked"])
