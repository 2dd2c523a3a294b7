"""One shipped form of a kernel on one target: its loops, and how many of its blocks an SM holds. No GPU is needed.

Compiling is done by the worker process of `breaknet.kernels.host.resources`, since it cannot be done where kernels are
interpreted; Triton's cache makes a second time quick.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import breaknet
from benchmarks.t4.control_flow import Loop, read
from breaknet.kernels._triton import HAVE_TRITON, why_not
from breaknet.kernels.host.resources import kernel_modules


@dataclass(frozen=True)
class Compiled:
    """The loops of a form's machine code, and its blocks an SM."""

    loops: Loop
    blocks: int


@lru_cache
def compiled(kernel: str, config: str, target: str) -> Compiled:
    """Cross-compile the form `config` of `kernel` for `target`, such as "sm_75".

    Raises:
        ValueError: no such shipped form.
        RuntimeError: without Triton, or where it does not compile.
    """
    if not HAVE_TRITON:
        raise RuntimeError(f"kernels cannot be compiled here: {why_not()}")
    capability = int(target.removeprefix("sm_"))
    found = [
        {"module": name, "index": index, "capability": capability}
        for name, module in kernel_modules().items()
        for index, case in enumerate(module.compile_cases(capability))
        if (case.name, case.config) == (kernel, config)
    ]
    if not found:
        raise ValueError(f"config: a shipped form of {kernel} on {target}, not {config!r}")
    listing, row = _ask([found[0] | {"listing": True}, found[0] | {"listing": False}])
    return Compiled(read(listing["sass"]), row["blocks_per_sm"])


def _ask(tasks: list[dict]) -> list[dict]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    root = str(Path(next(iter(breaknet.__path__))).parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "breaknet.kernels.host.resources", "--worker"],
        input="".join(json.dumps(task) + "\n" for task in tasks),
        capture_output=True,
        text=True,
        env=environment,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(tasks):
        raise RuntimeError(f"the compiling process ended with status {done.returncode}: {done.stderr[-300:]}")
    for answer in answers:
        if "error" in answer:
            raise RuntimeError(answer["error"])
    return answers
