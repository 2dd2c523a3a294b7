"""One command on a machine with a GPU: correctness first, then every GPU row, resources and profiles, in 8 minutes.

    bash benchmarks/gpu_all.sh --out FOLDER [--data FOLDER]     leaves rows.json, report.txt, profiles.tar.gz, log.txt
    python -m benchmarks.gpu_all --store FOLDER/rows.json       puts the rows under benchmarks/results/
    bash benchmarks/gpu_all.sh --out FOLDER --rehearse          the same paths on a CPU, at sizes that mean nothing

Every part runs in a process of its own with a limit of its own; what a part had measured when it failed, hung or
took its device along stays, and it is started once more without what it was at. Python 3.12, torch 2.11, Triton 3.6,
numpy, scipy, pytest, pytest-benchmark and safetensors are enough.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from benchmarks.gpu_report import report
from benchmarks.machine import ROOT
from benchmarks.rows import Machine, Row, save

#: Seconds for everything, the last of which are kept for writing.
LIMIT, WRITING = 480.0, 10.0
STAND_INS = Path(__file__).parent / "stand_ins"

#: Tests of what only a GPU can show and of the whole backend, and those of the kernels one by one.
TESTS = ("tests/kernels/test_cooperative_gpu.py", "tests/backends/test_triton_backend.py")
KERNEL_TESTS = (
    "tests/kernels/test_summed_mse.py",
    "tests/kernels/test_linear_sigmoid.py",
    "tests/kernels/test_evaluation_kernel.py",
    "tests/kernels/test_packed_training.py",
    "tests/kernels/test_cooperative_training.py",
)
REHEARSED_TESTS = ("tests/benchmarks/test_floors.py",)


@dataclass(frozen=True)
class Part:
    """A process and its limit; one that measures says of which suites, and may be started `tries` times in all."""

    name: str
    seconds: float
    command: tuple[str, ...]
    suites: str = ""
    tries: int = 1


@dataclass(eq=False)
class Outcome:
    """What became of a part."""

    part: Part
    status: str  # "done", "failed (1)", "out of time after 60 s", "not started: no time left"
    seconds: float
    output: str = ""


@dataclass(eq=False)
class Gathered:
    """Everything that the report is made of."""

    machine: dict[str, Any] | None = None
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)


def parts(rehearse: bool) -> list[Part]:
    """In order of importance, should time run out. A rehearsal starts fewer processes."""
    part = (sys.executable, "-m", "benchmarks.gpu_part")
    pytest = (sys.executable, "-m", "pytest", "-m", "not slow", "-v", "-p", "no:cacheprovider")
    tests = [Part("tests", 45, (*pytest, *TESTS)), Part("kernel tests", 35, (*pytest, *KERNEL_TESTS))]
    limits = {
        "ladder": 75, "kernels": 45, "lesson": 60, "evaluation": 20, "models": 30, "rivals": 15, "epochs": 15,
        "dispatch": 10,
    }  # fmt: skip
    if rehearse:
        tests = [Part("tests", 60, (*pytest, *REHEARSED_TESTS))]
        limits = {"ladder": 130, ",".join(list(limits)[1:]): 250}
    return [
        Part("machine", 30, (*part, "machine")),
        Part("checks", 40, (*part, "checks")),
        *tests,
        *(
            Part(names.partition(",")[0], limit, (*part, "measure"), names, tries=3)
            for names, limit in limits.items()
        ),
        Part("resources", 25, (*part, "resources")),
        Part("profiles", 25, (*part, "profiles")),
    ]


def run_parts(
    chosen: Sequence[Part], work: Path, environment: dict[str, str], log: TextIO, limit: float
) -> Gathered:
    """Run the parts one after another, all within `limit` seconds; their files are in `work`."""
    end = perf_counter() + limit
    gathered = Gathered()
    for part in chosen:
        left_out: set[str] = set()
        ends = min(end, perf_counter() + part.seconds)  # of all its tries
        for attempt in range(part.tries):
            seconds = ends - perf_counter()
            if seconds < 1:
                gathered.outcomes.append(Outcome(part, "not started: no time left", 0.0))
                break
            command = (*part.command, *_arguments(part, work, left_out))
            outcome = run_part(part, command, seconds, environment, log)
            gathered.outcomes.append(outcome)
            again = to_leave_out(_lines(work), attempt)
            if not part.suites or outcome.status == "done" or again <= left_out:
                break
            left_out |= again
    _gather(_lines(work), gathered)
    found = work / "machine.json"
    gathered.machine = json.loads(found.read_text()) if found.exists() else None
    return gathered


def run_part(
    part: Part, command: Sequence[str], seconds: float, environment: dict[str, str], log: TextIO
) -> Outcome:
    """Run one process for so many seconds at most; when they are over, it is ended with all its children."""
    log.write(f"\n==== {part.name}: {' '.join(command)}\n")
    log.flush()
    began = perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
        status = "done" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = f"out of time after {seconds:.0f} s"
    took = perf_counter() - began
    output = "\n".join(line for line in output.splitlines() if not line.startswith("USDT:"))
    log.write(f"{output}\n---- {part.name}: {status}, {took:.1f} s\n")
    log.flush()
    print(f"{part.name}: {status}, {took:.1f} s", flush=True)
    return Outcome(part, status, took, output)


def _arguments(part: Part, work: Path, left_out: set[str]) -> list[str]:
    if part.suites:
        measured = {line["row"]["name"] for line in _lines(work) if "row" in line}
        return [str(work), part.suites, *sorted(measured | left_out)]
    return [str(work)] if "benchmarks.gpu_part" in part.command else []


def _lines(work: Path) -> list[dict[str, Any]]:
    """What the parts that measure have said so far."""
    path = work / "rows.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut off in the middle
    return found


def to_leave_out(lines: Sequence[dict[str, Any]], attempt: int) -> set[str]:
    """What must not be tried again: what failed, and what was begun last; from the second time on, all unfinished."""
    told = _told(lines)
    begun = [
        name for name in told["started"] if name not in {*told["row"], *told["failed"], *told["missing"]}
    ]
    return {*told["failed"], *told["missing"], *(begun[-1:] if attempt == 0 else begun)}


def _gather(lines: Sequence[dict[str, Any]], gathered: Gathered) -> None:
    told = _told(lines)
    gathered.rows = [Row(**row) for row in told["row"].values()]
    gathered.failed = {name: one["reason"] for name, one in told["failed"].items()}
    gathered.missing = {name: one["reason"] for name, one in told["missing"].items()}
    for name in told["started"]:
        if name not in {*told["row"], *gathered.failed, *gathered.missing}:
            gathered.failed[name] = "its process ended or ran out of time"


def _told(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By kind and name."""
    told: dict[str, dict[str, Any]] = {"started": {}, "row": {}, "failed": {}, "missing": {}}
    for line in lines:
        for kind, content in line.items():
            name = content if kind == "started" else content["name"]
            told[kind].pop(name, None)  # what is begun again stands last
            told[kind][name] = content
    return told


def write_rows(path: Path, gathered: Gathered, rehearse: bool) -> None:
    """All rows with the machine; of a rehearsal only what was reached, since its times mean nothing."""
    rows: list[Any] = [vars(row) for row in gathered.rows]
    if rehearse:
        rows = [{"name": row.name, "group": row.group, "launches": row.launches} for row in gathered.rows]
    content = {
        "rehearsal": rehearse, "machine": gathered.machine, "rows": rows, "failed": gathered.failed,
        "missing": gathered.missing,
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1) + "\n")


def store(path: Path) -> list[Path]:
    """Save the rows of a run under benchmarks/results/.

    Raises:
        ValueError: the rows of a rehearsal, or none.
    """
    content = json.loads(path.read_text())
    if content["rehearsal"]:
        raise ValueError(f"{path}: the rows of a rehearsal are no measurements")
    return save(Machine(**content["machine"]), [Row(**row) for row in content["rows"]])


def find_data(named: str | None) -> str | None:
    """The folder with MNIST: named, in BREAKNET_DATA, or one of the usual places; None where there is none."""
    places = [ROOT / "shared/data/mnist", ROOT.parent / "shared/data/mnist", ROOT / "data/mnist"]
    given = [Path(place) for place in (named, os.environ.get("BREAKNET_DATA")) if place]
    return next((str(place.resolve()) for place in [*given, *places] if place.exists()), None)


def environment_for(data: str | None, rehearse: bool) -> dict[str, str]:
    """What the parts run in; nothing of it is asked of the network."""
    environment = {**os.environ, "KINETO_LOG_LEVEL": "5", "PYTHONUNBUFFERED": "1"}
    environment["BREAKNET_BENCH_SIZE"] = "rehearse" if rehearse else "full"
    environment["BREAKNET_BENCH_DEVICE"] = "cuda"
    if rehearse:
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    if data is not None:
        environment["BREAKNET_DATA"] = data
    paths = [str(ROOT), str(ROOT / "tests"), environment.get("PYTHONPATH", ""), str(STAND_INS)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def pack_profiles(folder: Path, target: Path) -> None:
    """All traces as one file, if there are any."""
    if folder.exists():
        with tarfile.open(target, "w:gz") as archive:
            for trace in sorted(folder.iterdir()):
                archive.add(trace, trace.name)


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0 if every part was done and no way failed."""
    reader = argparse.ArgumentParser(prog="gpu_all", description=__doc__.splitlines()[0])
    reader.add_argument("--out", default=os.environ.get("OUT", "gpu-results"), help="where the four files go")
    reader.add_argument("--data", help="the folder with MNIST")
    reader.add_argument("--seconds", type=float, default=LIMIT, help="for everything")
    reader.add_argument("--rehearse", action="store_true", help="on a CPU, under Triton's interpreter, tiny")
    reader.add_argument(
        "--store", type=Path, help="save the rows of an earlier run under benchmarks/results/"
    )
    reader.add_argument(
        "--only", nargs="*", metavar="PART", help="some of the parts, in their order; all by default"
    )
    options = reader.parse_args(words)
    chosen = parts(options.rehearse)
    unknown = set(options.only or ()) - {part.name for part in chosen}
    if unknown:
        reader.error(
            f"--only: some of {', '.join(part.name for part in chosen)}; not {', '.join(sorted(unknown))}"
        )
    chosen = [part for part in chosen if options.only is None or part.name in options.only]
    if options.store is not None:
        for path in store(options.store):
            print(path)
        return 0
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    environment = environment_for(find_data(options.data), options.rehearse)
    with tempfile.TemporaryDirectory() as folder, (out / "log.txt").open("w") as log:
        work = Path(folder)
        gathered = run_parts(chosen, work, environment, log, options.seconds - WRITING)
        write_rows(out / "rows.json", gathered, options.rehearse)
        pack_profiles(work / "profiles", out / "profiles.tar.gz")
        told = work / "resources.txt"
        (out / "report.txt").write_text(
            report(gathered, options.rehearse, told.read_text() if told.exists() else "")
        )
    return 0 if not gathered.failed and all(one.status == "done" for one in gathered.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
