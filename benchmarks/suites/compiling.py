"""The host's part of a GPU's first use: a fresh process that compiles the lesson's kernels for it."""

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, Context, Ready
from benchmarks.processes import run_python
from breaknet.kernels.host.targets import TARGETS

QUICK = ("sm_75",)


def contenders(context: Context) -> list[Contender]:
    """None on a GPU, where the lesson itself is timed cold."""
    if context.gpu:
        return []
    targets = [target.name for target in TARGETS.values()] if context.size.name == "full" else QUICK
    return [
        Contender(
            f"compiling/cpu/{target}/{cache}", "compiling", title, f"the lesson's kernels, compiled for {target}",
            f"compiling/{target}", partial(_ready, target, cache == "cold"), ("triton",), repeats=3,
        )
        for target in targets
        for cache, title in (("cold", "the first time"), ("warm", "again"))
    ]  # fmt: skip


def _ready(target: str, cold: bool) -> Ready:
    """A process a call; its own account of the seconds is kept in the conditions."""
    conditions: dict[str, Any] = {"cold": cold}
    filled = tempfile.TemporaryDirectory()

    def run() -> None:
        with tempfile.TemporaryDirectory() as empty:
            conditions["phases"] = compile_lesson(target, Path(empty if cold else filled.name))

    if not cold:
        compile_lesson(target, Path(filled.name))
    parts = (
        "a process from its start to its end: imports, and the trainer's and evaluation's kernels in threads"
    )
    return Ready(run, conditions=conditions, timed=(parts, "all that needs the GPU"))


def compile_lesson(target: str, cache: Path) -> dict[str, float]:
    """`benchmarks.processes.compile_kernels` with a folder as Triton's cache; its seconds.

    Raises:
        RuntimeError: it failed, with the last line of its errors.
    """
    # kernels under the interpreter cannot be compiled
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(cache)
    arguments = ["-m", "benchmarks.processes", "compile", target]
    seconds: dict[str, float] = json.loads(run_python(f"compiling for {target}", arguments, environment))
    return seconds
