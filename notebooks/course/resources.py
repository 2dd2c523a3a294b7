"""What a few kernels take of a multiprocessor, by cross-compiling: no GPU is needed, Triton's compiler is.

    report()             the lesson's forms of some kernels, as `breaknet kernels` reports all forms of all
    register_caps()      the lesson's trainer, compiled with ever fewer registers a thread

Nothing can be compiled in a process where kernels are interpreted, so this starts one of its own:
`python -m notebooks.course.resources` reads tasks from standard input and answers, both as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breaknet.lesson.notebook_display import Markdown
from breaknet.lesson.notebook_display import table as text_table

if TYPE_CHECKING:
    from breaknet.kernels.host.resources import ResourceRow

SIZE = os.environ.get("BREAKNET_COURSE", "quick")  # not from `here`, which would have kernels interpreted
ROOT = Path(__file__).parents[2]
#: A kernel's module, its name and the beginning of its form: what the lesson runs.
LAYER = ("linear_sigmoid", "linear_sigmoid_forward", "N16")
TRAINER = ("host.trainers", "cooperative_training", "784-16-16-10 batch 100 u8")
_CAPPED = "at most"  # begins the form of a kernel compiled with fewer registers
Task = tuple[str, str, str, int, int | None]


def report() -> list[ResourceRow]:
    """What the lesson's forms of two kernels take on a T4 and on an H100 (in a rehearsal on a T4 alone).

    Raises:
        RuntimeError: a kernel could not be compiled, with the reason.
    """
    return [row for row in _rows() if not row.config.startswith(_CAPPED)]


def register_caps() -> list[ResourceRow]:
    """The lesson's trainer on a T4, compiled with at most so many registers a thread, the most first.

    Raises:
        RuntimeError: as `report` does.
    """
    return [row for row in _rows() if row.config.startswith(_CAPPED)]


@cache
def _rows() -> list[ResourceRow]:
    """Both, compiled in one go."""
    capabilities, caps = ((75,), (255, 128)) if SIZE == "rehearse" else ((75, 90), (255, 128, 64))
    tasks: list[Task] = [(*kernel, each, None) for kernel in (LAYER, TRAINER) for each in capabilities]
    return _compiled(tasks + [(*TRAINER, 75, cap) for cap in caps])


def table(rows: Sequence[ResourceRow]) -> Markdown:
    """The columns of the report that this course is about."""
    from breaknet.kernels.host.targets import parse_target

    header = ("", "GPU", "registers", "spills", "shared memory", "warps", "blocks that fit")
    lines = [
        (
            row.kernel if not row.config.startswith(_CAPPED) else row.config,
            f"{row.target} ({parse_target(row.target).typical.split(',')[0]})",
            f"{row.registers}",
            f"{row.spill_instructions}",
            f"{row.shared_bytes:,} of {row.shared_limit_bytes:,}",
            f"{row.warps}",
            f"{row.blocks_per_sm}",
        )
        for row in rows
    ]
    note = "Registers of a thread, instructions that spill, bytes and warps of a block"
    return text_table(header, lines, f"{note}; compiled by Triton {rows[0].triton} just now." if rows else "")


def _compiled(tasks: Sequence[Task]) -> list[ResourceRow]:
    from breaknet.kernels._triton import HAVE_TRITON, why_not
    from breaknet.kernels.host.resources import ResourceRow

    if not HAVE_TRITON:
        raise RuntimeError(f"kernels cannot be compiled here: {why_not()}")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "notebooks.course.resources"]
    done = subprocess.run(
        command, input=json.dumps(tasks), capture_output=True, text=True, env=environment, cwd=ROOT
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise RuntimeError(f"a kernel was not compiled: {lines[-1]}")
    return [ResourceRow(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def _compile(module: str, name: str, config: str, capability: int, cap: int | None) -> dict[str, Any]:
    from importlib import import_module

    from breaknet.kernels.host.machine_code import build
    from breaknet.kernels.host.resources import ResourceRow
    from breaknet.kernels.host.targets import TARGETS

    cases = import_module(f"breaknet.kernels.{module}").compile_cases(capability)
    fitting = [case for case in cases if case.name == name and case.config.startswith(config)]
    case = fitting[-1]  # the trainer's last form has the thinnest slices, for the generation's larger GPUs
    if cap is not None:
        case = replace(case, maxnreg=cap, config=f"{_CAPPED} {cap} registers")
    return asdict(ResourceRow.of(case, build(case, capability), TARGETS[capability]))


if __name__ == "__main__":
    print(json.dumps([_compile(*task) for task in json.load(sys.stdin)]))
