"""The first use of a GPU, as far as the host goes: a fresh process that compiles the lesson's kernels for it."""

from __future__ import annotations

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way
from benchmarks.processes import run_python
from breaknet.kernels.host.targets import TARGETS

QUICK = ("sm_75",)
REPEATS = 3


def ways(lab: Lab) -> list[Way]:
    """None on a GPU, where the lesson itself is timed cold."""
    if lab.gpu:
        return []
    targets = [target.name for target in TARGETS.values()] if lab.size.name == "full" else QUICK
    return [
        Way(
            name=f"compiling/{lab.device}/{target}/{cache}", group="compiling", title=title,
            work=f"the lesson's kernels, compiled for {target}", device=lab.device,
            contest=f"compiling/{target}", prepare=partial(_ready, target, cache == "cold"), needs=("triton",),
            repeats=REPEATS,
        )
        for target in targets
        for cache, title in (("cold", "the first time"), ("warm", "again"))
    ]  # fmt: skip


def _ready(target: str, cold: bool) -> Ready:
    """A process a call; its own account of the seconds is kept in the conditions."""
    conditions: dict[str, Any] = {
        "cold": cold,
        "timed": {
            "in": "a process from its start to its end: imports, and the trainer's and evaluation's kernels in threads",
            "out": "all that needs the GPU",
        },
    }  # fmt: skip
    filled = tempfile.TemporaryDirectory()

    def run() -> None:
        with tempfile.TemporaryDirectory() as empty:
            conditions["phases"] = compile_lesson(target, Path(empty if cold else filled.name))

    if not cold:
        compile_lesson(target, Path(filled.name))
    return Ready(run, 1, conditions=conditions)


def compile_lesson(target: str, cache: Path) -> dict[str, float]:
    """`benchmarks.compile_lesson` with a folder as Triton's cache; its seconds.

    Raises:
        RuntimeError: it failed, with the last line of what it said.
    """
    # kernels under the interpreter cannot be compiled
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(cache)
    arguments = ["-m", "benchmarks.compile_lesson", target]
    seconds: dict[str, float] = json.loads(run_python(f"compiling for {target}", arguments, environment))
    return seconds
