"""One part of `gpu.py`, in a process of its own so that nothing it does can take the other parts along.

    python -m benchmarks.gpu_part machine   FOLDER               ceilings and facts -> FOLDER/machine.json
    python -m benchmarks.gpu_part checks    FOLDER               every kernel compiled and compared with float64
    python -m benchmarks.gpu_part measure   FOLDER SUITES [NAME] rows -> FOLDER/rows.jsonl, one a line, as they come
    python -m benchmarks.gpu_part resources FOLDER               registers, spills, shared memory -> resources.txt
    python -m benchmarks.gpu_part profiles  FOLDER               torch profiler traces -> FOLDER/profiles/

SUITES are some of `benchmarks.suites` with commas between them. NAMEs are contenders to leave out.
BREAKNET_BENCH_DEVICE and BREAKNET_BENCH_SIZE are as in `benchmarks/conftest.py`.
"""

import faulthandler
import gzip
import json
import logging
import os
import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import here
from benchmarks.measure import Contender, Context, Session, measure
from benchmarks.problem import size_of

#: The status of a part that stopped because its device no longer answers.
DEVICE_LOST = 3
_LOST = (
    "CUDA error", "device-side assert", "illegal memory access", "misaligned address", "launch failure",
    "launch timed out",
)  # fmt: skip
#: Seconds that a contender may take to be prepared. One whose kernel hangs must leave time for the others.
PATIENCE = float(os.environ.get("BREAKNET_BENCH_PATIENCE", "40"))


def context_of(folder: Path) -> Context:
    """The context, with the ceilings that the part `machine` has measured, if it has."""
    context = Context(os.environ.get("BREAKNET_BENCH_DEVICE", "cuda"), size_of())
    found = folder / "machine.json"
    if found.exists():
        context.given_ceilings = json.loads(found.read_text())["ceilings"] or None
    return context


def machine(folder: Path) -> int:
    """The machine and its ceilings."""
    context = context_of(folder)
    write_machine(folder, context, {})  # at once: rows are worth nothing without their machine
    print(json.dumps(write_machine(folder, context, context.ceilings), indent=1))
    return 0


def write_machine(folder: Path, context: Context, ceilings: dict[str, float]) -> dict[str, Any]:
    """Write the machine's facts; returns them."""
    facts = asdict(here(context.place.type, ceilings))
    (folder / "machine.json").write_text(json.dumps(facts))
    return facts


def checks(folder: Path) -> int:
    """The checks of the kernels by `breaknet doctor`: 0 if all hold."""
    from breaknet.backends.check import check_backend
    from breaknet.backends.triton_gpu import backend

    context = context_of(folder)
    reason = backend.unavailable(context.place)
    if reason is not None:
        print(f"the triton backend cannot be used: {reason}")
        return 1
    if context.rehearsing:
        backend.PLANS = ("packed",)  # interpreted, each plan takes seconds
    found = check_backend("triton", context.place)
    for name, ok, detail in found:
        print(f"{'ok  ' if ok else 'BAD '} {name}: {detail}")
    return 0 if all(ok for _, ok, _ in found) else 1


def measure_suites(folder: Path, suites: list[str], leave_out: list[str]) -> int:
    """Comparison by comparison, so that every measured row is on disk whatever comes next."""
    from benchmarks.suites import SUITES

    context = context_of(folder)
    if not (folder / "machine.json").exists():  # that part was left out, or had no time
        write_machine(folder, context, {})
    contenders = [one for suite in suites for one in SUITES[suite](context) if one.name not in leave_out]
    with (folder / "rows.jsonl").open("a") as file:

        def write(kind: str, name: str, content: Any = None) -> None:
            print(json.dumps([kind, name, content]), file=file, flush=True)

        def started(contender: Contender) -> None:
            write("started", contender.name)
            if not context.rehearsing:  # a process that hangs in a kernel can only be ended
                faulthandler.dump_traceback_later(PATIENCE, exit=True)

        session = Session(started=started, prepared=lambda _: faulthandler.cancel_dump_traceback_later())
        for _, some in groupby(contenders, key=lambda one: one.comparison):
            for row in measure(some, context, survive=True, session=session):
                write("row", row.name, asdict(row))
            for kind, reasons in (("failed", session.failures), ("missing", session.missing)):
                for name, reason in reasons.items():
                    write(kind, name, reason)
            if any(lost in reason for reason in session.failures.values() for lost in _LOST):
                return DEVICE_LOST
            session.failures.clear()
            session.missing.clear()
    return 0


def resources(folder: Path) -> int:
    """The report of every kernel for this GPU; in a rehearsal, of one of them for a T4."""
    from breaknet.kernels.host.resources import render, resource_report

    context = context_of(folder)
    if context.place.type == "cuda":
        major, minor = torch.cuda.get_device_capability()
        rows, problems = resource_report([f"sm_{major}{minor}"], workers=min(8, os.cpu_count() or 1))
    else:
        rows, problems = resource_report(["sm_75"], ["ordered_sum"])
    text = "\n".join([render(rows), *problems])
    (folder / "resources.txt").write_text(text + "\n")
    print(text)
    return 1 if problems else 0


def profiles(folder: Path) -> int:
    """A trace of one call of every implementation of the ladder, few steps each."""
    from benchmarks.contenders import IMPLEMENTATIONS, ladder_names

    context = context_of(folder)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if context.place.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    (folder / "profiles").mkdir(exist_ok=True)
    few = context.training(context.size.check_steps * context.size.batch_size)
    bad = 0
    for name in ladder_names(context):
        how = IMPLEMENTATIONS[name]
        try:
            if how.evaluates:
                some = context.evaluation(context.size.evaluated_images).first(
                    min(200, context.size.sampled_images)
                )
                call = how.build(context.networks(3 if how.together else 1), some)
            else:
                call = how.build(few.variants(how.models(few)), 1).train
            context.warm_up(call)
            with torch.profiler.profile(activities=activities) as profiler:
                call()
            plain = folder / "profiles" / f"{name}.json"
            profiler.export_chrome_trace(str(plain))
            plain.with_suffix(".json.gz").write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
        except Exception as error:
            bad += 1
            print(f"{name}: {type(error).__name__}: {error}")
    return 1 if bad else 0


def main(words: list[str]) -> int:
    """See the head of this file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    what, folder = words[0], Path(words[1])
    if what == "measure":
        return measure_suites(folder, words[2].split(","), words[3:])
    parts = {"machine": machine, "checks": checks, "resources": resources, "profiles": profiles}
    return parts[what](folder)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a lost device can hang the interpreter's own way out
