"""One command on a machine with a GPU: correctness first, then every GPU row, resources and profiles, in 10 minutes.

    bash benchmarks/gpu.sh --out FOLDER [--data FOLDER]     leaves rows.json, report.txt, profiles.tar.gz, log.txt
    python -m benchmarks.gpu --store FOLDER/rows.json       puts the rows under benchmarks/results/
    bash benchmarks/gpu.sh --out FOLDER --rehearse          the same paths on a CPU, at sizes that mean nothing

Every part (`gpu_part.py`, or pytest) runs in a process of its own with a limit of its own, to which the parts before
it add the time they did not use; whatever a part had measured when it failed, hung or lost its device stays, and it is
started once more without the contender it was at. The files are written again after each part. Python 3.12, torch
2.11, Triton 3.6, numpy, scipy, pytest, pytest-benchmark and safetensors are enough; pytest-xdist, where there is one,
runs the tests side by side. --data or BREAKNET_DATA says where MNIST is; without it the digits are synthetic.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from benchmarks.gpu_report import Gathered, Outcome, Part, report, store, write_rows
from benchmarks.machine import core_count
from benchmarks.processes import ROOT
from benchmarks.rows import Row

#: Seconds for everything, the last of which are kept for writing.
LIMIT, WRITING = 580.0, 10.0
#: Seconds that a process gets to die in: it may be within the driver.
DYING = 10.0
FAKES = Path(__file__).parent / "fakes"

#: Tests of what only a GPU can show and of the whole backend, those of the kernels one by one, and one that is slow.
TESTS = (
    "tests/kernels/test_cooperative_gpu.py",
    "tests/backends/test_triton_backend.py",
    "tests/benchmarks/test_graph_contenders.py::test_the_end_of_another_trainer_does_no_harm",
)
KERNEL_TESTS = (
    "tests/kernels/test_summed_mse.py",
    "tests/kernels/test_linear_sigmoid.py",
    "tests/kernels/test_fused_network.py",
    "tests/kernels/test_evaluation_kernel.py",
    "tests/kernels/test_trainers.py",
    "tests/kernels/test_trainer_jobs.py",
)
SANITIZER = "tests/kernels/test_cooperative_gpu.py::test_compute_sanitizer"
REHEARSED_TESTS = ("tests/benchmarks/test_floors.py",)
#: Folders that compilers and others fill meanwhile, for all parts together: the user's may be read-only.
CACHES = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "MPLCONFIGDIR")


def parts(rehearse: bool) -> list[Part]:
    """In order of importance, should time run out. A rehearsal starts fewer processes."""
    part = (sys.executable, "-m", "benchmarks.gpu_part")
    # property tests, each of whose examples would be compiled again, are skipped by the fake hypothesis, which the
    # plugin of the real one, where it is installed, cannot work with
    pytest = (
        sys.executable, "-m", "pytest", "-m", "not slow", "-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
        "-W", "default::DeprecationWarning",  # other versions' warnings are no finding here
    )  # fmt: skip
    beside = side_by_side(core_count())
    before = [Part("tests", 50, (*pytest, *beside, "--deselect", SANITIZER, *TESTS))]
    after = [
        Part("kernel tests", 40, (*pytest, *beside, *KERNEL_TESTS)),
        Part("resources", 20, (*part, "resources")),
        Part("sanitizer", 20, (*pytest, SANITIZER)),
        Part("profiles", 15, (*part, "profiles")),
    ]
    # suites that share a process are spared the start of another
    limits = {
        "ladder": 66, "kernels": 52, "lesson": 58, "evaluation,epochs,dispatch": 86, "comparison,models": 88,
        "classroom": 25,
    }  # fmt: skip
    # where the lesson's own command can run, the same without figures says nothing more
    drawn = all(find_spec(package) for package in ("typer", "matplotlib", "jinja2"))
    less = frozenset({"lesson/cuda/bare-warm", "lesson/cuda/bare-cold"} if drawn and not rehearse else ())
    less |= {
        "classroom/cuda/whole/original",
        "classroom/cuda/whole/drop-in",
    }  # the one takes a quarter of an hour
    if rehearse:
        before = [Part("tests", 60, (*pytest, *REHEARSED_TESTS))]
        limits = {"ladder": 130, ",".join(list(limits)[1:]): 250}
        after = [Part("profiles", 25, (*part, "profiles")), Part("resources", 25, (*part, "resources"))]
    return [
        Part("machine", 30, (*part, "machine")),  # on a fresh machine the first import of torch is slow
        Part("checks", 20, (*part, "checks")),
        *before,
        *(
            Part(names.partition(",")[0], limit, (*part, "measure"), names, tries=3, less=less)
            for names, limit in limits.items()
        ),
        *after,
    ]


def side_by_side(cores: int) -> tuple[str, ...]:
    """Options of pytest for several processes, where there can be: most time goes into compiling, on a core each."""
    processes = min(12, cores - 2)
    if processes < 2 or find_spec("xdist") is None:
        return ()
    return ("-p", "xdist", "--numprocesses", str(processes), "--dist", "worksteal")


def run_parts(
    chosen: Sequence[Part],
    work: Path,
    environment: dict[str, str],
    log: TextIO,
    limit: float,
    finished: Callable[[Gathered], object] = lambda gathered: None,
) -> Gathered:
    """Run the parts one after another, all within `limit` seconds; their files are in `work`.

    `finished` is called after each process with everything gathered by then.
    """
    end = perf_counter() + limit
    gathered = Gathered()
    for number, part in enumerate(chosen):
        later = sum(one.seconds for one in chosen[number + 1 :])
        # all its tries together: its own seconds, and those that the parts before it left
        ends = max(min(end, perf_counter() + part.seconds), end - later)
        left_out = set(_last(work))
        for attempt in range(part.tries):
            seconds = ends - perf_counter()
            if seconds < 1:
                gathered.outcomes.append(Outcome(part, "not started: no time left", 0.0))
                break
            command = (*part.command, *_arguments(part, work, left_out))
            outcome = run_part(part, command, seconds, environment, log)
            gathered.outcomes.append(outcome)
            _gather(work, gathered)
            finished(gathered)
            again = to_leave_out(_last(work), attempt)
            if outcome.status == "done" or again <= left_out:
                break
            left_out = again
    _gather(work, gathered)
    return gathered


def run_part(
    part: Part, command: Sequence[str], seconds: float, environment: dict[str, str], log: TextIO
) -> Outcome:
    """Run one process for so many seconds at most; when they are over, it is ended with all its children."""
    log.write(f"\n==== {part.name}: {' '.join(command)}\n")
    log.flush()
    began = perf_counter()
    # a file, for a pipe ends only with the last of a process's children
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            returned = process.wait(seconds)
            status = "done" if returned == 0 else f"failed ({returned})"
        except subprocess.TimeoutExpired:
            status = f"out of time after {seconds:.0f} s"
        with suppress(ProcessLookupError):  # nobody is left of it
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(DYING)
        file.seek(0)
        output = file.read()
    took = perf_counter() - began
    output = "\n".join(line for line in output.splitlines() if not line.startswith("USDT:"))
    log.write(f"{output}\n---- {part.name}: {status}, {took:.1f} s\n")
    log.flush()
    print(f"{part.name}: {status}, {took:.1f} s", flush=True)
    return Outcome(part, status, took, output)


def _arguments(part: Part, work: Path, left_out: set[str]) -> list[str]:
    if part.suites:
        return [str(work), part.suites, *sorted(left_out | part.less)]
    return [str(work)] if "benchmarks.gpu_part" in part.command else []


#: The last messages on contenders, by name: "started", "row", "failed" or "missing", and a row's fields or a reason.
Messages = dict[str, tuple[str, Any]]


def _last(work: Path) -> Messages:
    """The last message on each contender so far, in the order of these messages."""
    path = work / "rows.jsonl"
    found: Messages = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):  # cut off in the middle
            kind, name, content = json.loads(line)
            found.pop(name, None)
            found[name] = kind, content
    return found


def to_leave_out(messages: Messages, attempt: int) -> set[str]:
    """Contenders that ended, and the one begun last; from the second time on, all that were begun."""
    begun = [name for name, (kind, _) in messages.items() if kind == "started"]
    return messages.keys() - set(begun[:-1] if attempt == 0 else ())


def _gather(work: Path, gathered: Gathered) -> None:
    messages = _last(work)
    machine = work / "machine.json"
    gathered.machine = json.loads(machine.read_text()) if machine.exists() else None

    def of(kind: str) -> dict[str, Any]:
        return {name: content for name, (found, content) in messages.items() if found == kind}

    gathered.rows = [Row(**row) for row in of("row").values()]
    gathered.failed = of("failed") | dict.fromkeys(of("started"), "its process ended or ran out of time")
    gathered.missing = of("missing")


def environment_for(data: str | None, rehearse: bool) -> dict[str, str]:
    """The environment of the parts; nothing in it needs the network."""
    # these would have products rounded to TF32, or all kernels interpreted
    unwanted = ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "TRITON_INTERPRET")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"KINETO_LOG_LEVEL": "5", "PYTHONUNBUFFERED": "1"}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX would take most of the memory from torch
    environment["BREAKNET_BENCH_SIZE"] = "rehearse" if rehearse else "full"
    environment["BREAKNET_BENCH_DEVICE"] = "cuda"
    if rehearse:
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    if data is not None:
        environment["BREAKNET_DATA"] = data
    paths = [str(ROOT), str(ROOT / "tests"), environment.get("PYTHONPATH", ""), str(FAKES)]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def write(out: Path, work: Path, gathered: Gathered, rehearse: bool) -> None:
    """All files but the log, of everything gathered by now."""
    write_rows(out / "rows.json", gathered, rehearse)
    if (work / "profiles").exists():
        with tarfile.open(out / "profiles.tar.gz", "w:gz") as archive:
            archive.add(work / "profiles", "")
    resources = work / "resources.txt"
    text = report(gathered, rehearse, resources.read_text() if resources.exists() else "")
    (out / "report.txt").write_text(text)


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0 if every part was done and no contender failed."""
    reader = argparse.ArgumentParser(prog="gpu", description=__doc__.splitlines()[0])
    reader.add_argument("--out", default=os.environ.get("OUT", "gpu-results"), help="where the four files go")
    reader.add_argument("--data", default=os.environ.get("BREAKNET_DATA"), help="the folder with MNIST")
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
    data = options.data
    if data not in (None, "", "synthetic", "prototypes"):
        if not Path(data).exists():
            reader.error(f"--data or BREAKNET_DATA: a folder that exists, not {data!r}")
        data = str(Path(data).resolve())
    return session(chosen, Path(options.out), data, options.rehearse, options.seconds)


def session(chosen: Sequence[Part], out: Path, data: str | None, rehearse: bool, seconds: float) -> int:
    """Run the parts within so many seconds and leave the four files in `out`; returns what `main` returns."""
    out.mkdir(parents=True, exist_ok=True)
    print(f"data: {data or 'synthetic'}", flush=True)
    environment = environment_for(data, rehearse)
    with tempfile.TemporaryDirectory() as folder, (out / "log.txt").open("w") as log:
        work = Path(folder)
        environment |= {name: str(work / name.lower()) for name in CACHES}

        def finished(gathered: Gathered) -> None:
            write(out, work, gathered, rehearse)

        gathered = run_parts(chosen, work, environment, log, seconds - WRITING, finished)
        finished(gathered)
    return 0 if not gathered.failed and all(one.status == "done" for one in gathered.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
