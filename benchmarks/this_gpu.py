"""The GPU at hand measured in a fixed time, for the notebook `measure_this_gpu`; what is measured when time ends stays.

    python -m benchmarks.this_gpu --out FOLDER [--data FILE] [--seconds 480] [--rehearse]

Parts of `gpu.py`, those of most worth first. Rows, report and log are files in FOLDER; `ladder` shows the rows beside
stored ones and beside the model's prediction.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import gpu, t4_gate, t4_model
from benchmarks.gpu_report import Part
from benchmarks.processes import ROOT
from benchmarks.rows import Machine, Row, stored
from benchmarks.tables import text
from breaknet.data.splits import Digits
from breaknet.errors import DataError
from breaknet.lesson.notebook_display import Markdown, table
from breaknet.quantities import time

#: Seconds for everything: Colab lends a GPU for longer, but nobody watches for longer.
SECONDS = 480.0
#: The parts by worth, and their seconds where compiling has two cores. What one leaves, the next may take.
WORTH = {
    "machine": 40.0, "checks": 80.0, "ladder": 120.0, "evaluation": 60.0, "lesson": 60.0, "classroom": 40.0,
    "kernels": 40.0, "comparison": 30.0,
}  # fmt: skip
#: Seconds that one contender may take to be prepared: two cores compile slowly.
PATIENCE = 80
NO_GPU = "no CUDA GPU here: on Colab choose Runtime > Change runtime type > T4 GPU, then run all cells again"


def parts(rehearse: bool = False) -> list[Part]:
    """Those of `gpu.parts`, by worth. A rehearsal has its own limits, and all suites but one in one process."""
    known = {part.name: part for part in gpu.parts(rehearse)}
    return [
        known[name] if rehearse else replace(known[name], seconds=seconds)
        for name, seconds in WORTH.items()
        if name in known
    ]


def measure(out: Path | str, *, seconds: float = SECONDS, rehearse: bool = False) -> None:
    """Fetch MNIST, then measure in processes of their own, with a line for each part as it ends.

    Raises:
        RuntimeError: no CUDA GPU, and no rehearsal.
    """
    import torch

    if not rehearse and not torch.cuda.is_available():
        raise RuntimeError(NO_GPU)
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-u",
        "-m",
        "benchmarks.this_gpu",
        "--out",
        str(folder),
        "--seconds",
        str(seconds),
    ]
    if rehearse:
        command.append("--rehearse")
    else:
        command += ["--data", str(digits_file(folder))]
    environment = os.environ | {
        "BREAKNET_BENCH_PATIENCE": str(PATIENCE),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
    print(checks(folder / "report.txt"))


def checks(report: Path) -> str:
    """The report's lines on the checks against float64: one for each plan of the backend, and for evaluation."""
    found = report.read_text().partition("\nCHECKS\n")[2].partition("\n\n")[0] if report.exists() else ""
    return f"Checks against float64:\n{found or 'none were made'}"


def digits_of() -> Digits:
    """MNIST, from BREAKNET_DATA, the cache or the network."""
    import breaknet

    return breaknet.load_mnist()


def digits_file(folder: Path) -> Path:
    """MNIST, or what takes its place where there is no network, as one file for all parts."""
    import numpy as np

    path = folder / "digits.npz"
    try:
        found = digits_of()
    except DataError as reason:
        print(f"no MNIST ({reason}): synthetic digits take its place, and every row says so")
        return Path("synthetic")
    pair = found.train, found.valid  # the first 50,000 and the last 10,000 of MNIST's training images
    np.savez(
        path,
        x_train=np.concatenate([one.images for one in pair]).reshape(-1, 28, 28),
        y_train=np.concatenate([one.labels for one in pair]),
        x_test=found.test.images.reshape(-1, 28, 28),
        y_test=found.test.labels,
    )
    return path


def read(path: Path | str) -> tuple[Machine | None, list[Row], dict[str, str]]:
    """The machine, the rows and what failed, of a `rows.json`; no rows of a rehearsal, which hold no times."""
    content = json.loads(Path(path).read_text())
    machine = Machine(**content["machine"]) if content["machine"] else None
    rows = [] if content["rehearsal"] else [Row(**row) for row in content["rows"]]
    return machine, rows, content["failed"]


def ladder(path: Path | str) -> Markdown:
    """The ladder's rows of `rows.json` beside those stored of other GPUs, and beside the model's prediction."""
    machine, rows, failed = read(path)
    here = {row.name: row for row in rows if row.group == "ladder"}
    if machine is None or not here:
        what = (
            "a rehearsal, whose times mean nothing"
            if json.loads(Path(path).read_text())["rehearsal"]
            else "no rows"
        )
        return Markdown(f"No ladder to show: {what}.{_failed(failed)}")
    others = [(one.gpu, {row.name: row for row in some}) for one, some in _stored_ladders()]
    gpu_here = t4_model.known(machine.gpu)
    names = dict.fromkeys([*here, *(name for _, some in others for name in some)])
    lines = []
    for name in sorted(names, key=lambda name: name.startswith("accuracy/")):
        known = here.get(name) or next(some[name] for _, some in others if name in some)
        cells = [f"{known.title}: {known.work}", _time(here.get(name)), _prediction(here.get(name), gpu_here)]
        lines.append([*cells, *(_time(some.get(name)) for _, some in others)])
    header = ["", f"here: {machine.gpu}", "by the model", *(f"stored: {name}" for name, _ in others)]
    note = "Medians, in brackets the quartiles. The model's times are predictions, not measurements"
    note += "." if gpu_here else f"; it knows {' and '.join(one.name for one in t4_model.GPUS)} only."
    return table(header, lines, note + _failed(failed))


def _stored_ladders() -> list[tuple[Machine, list[Row]]]:
    """Machine and rows of every GPU whose ladder is stored."""
    kept = [
        (machine, [row for row in rows if row.group == "ladder" and row.device == "cuda"])
        for machine, rows in stored()
    ]
    return [(machine, rows) for machine, rows in kept if rows]


def _time(row: Row | None) -> str:
    return "–" if row is None else f"{time(row.median)} ({text.spread(row)}){text.mark(row)}"


def _prediction(row: Row | None, gpu_here: t4_model.Gpu | None) -> str:
    """The model's prediction for this GPU of a row's time, as text."""
    counted = t4_gate.load()
    if row is None or gpu_here is None or counted is None or (kernel := t4_gate.kernel_of(row)) is None:
        return "–"
    return time(t4_gate.predicted(row, gpu_here, counted.present[gpu_here.name][kernel]), 2)


def _failed(failed: dict[str, Any]) -> str:
    return (
        ""
        if not failed
        else "\n\nNot measured: " + "; ".join(f"{name} ({why})" for name, why in failed.items())
    )


def offer(path: Path | str) -> object:
    """Download `rows.json` on Colab; a link to it elsewhere."""
    try:
        files: Any = importlib.import_module("google.colab.files")
    except ImportError:
        from IPython.display import FileLink

        return FileLink(os.path.relpath(path))
    files.download(str(path))
    return None


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0 if every part was done and no contender failed."""
    reader = argparse.ArgumentParser(prog="this_gpu", description=__doc__.splitlines()[0])
    reader.add_argument("--out", type=Path, required=True)
    reader.add_argument("--data", default=None)
    reader.add_argument("--seconds", type=float, default=SECONDS)
    reader.add_argument("--rehearse", action="store_true")
    options = reader.parse_args(words)
    return gpu.session(parts(options.rehearse), options.out, options.data, options.rehearse, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
