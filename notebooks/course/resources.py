"""Registers, warps and memory that a few kernels take of an SM, by cross-compiling, for which no GPU is needed.

    report()             the lesson's configurations of two kernels, as `breaknet kernels` reports all of all
    register_caps()      the lesson's trainer, compiled with ever fewer registers a thread

Kernels compile in processes of their own that import this file, which must therefore not import `here`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from breaknet.lesson import notebook_display
from breaknet.lesson.notebook_display import Markdown

if TYPE_CHECKING:
    from breaknet.kernels.host.resources import ResourceRow

REHEARSAL = os.environ.get("BREAKNET_COURSE") == "rehearse"
#: A kernel's name and the beginning of its configuration: what the lesson runs.
LAYER = ("linear_sigmoid_forward", "N16")
TRAINER = ("cooperative_training", "784-16-16-10 batch 100 u8")
_CAPPED = "at most"  # begins the configuration of a kernel compiled with fewer registers


def report() -> list[ResourceRow]:
    """Both kernels on a T4 and on an H100 (in a rehearsal on a T4 alone).

    Raises:
        RuntimeError: a kernel could not be compiled, with the reason.
    """
    return [row for row in _rows() if not row.config.startswith(_CAPPED)]


def register_caps() -> list[ResourceRow]:
    """The trainer on a T4, compiled with at most so many registers a thread, the most first; raises as `report`."""
    return [row for row in _rows() if row.config.startswith(_CAPPED)]


@cache
def _rows() -> list[ResourceRow]:
    """All, since the process that compiles takes longer to start than to compile."""
    capabilities, caps = ((75,), (255, 128)) if REHEARSAL else ((75, 90), (255, 128, 64))
    tasks = [(*kernel, each, None) for kernel in (LAYER, TRAINER) for each in capabilities]
    return _compiled(tasks + [(*TRAINER, 75, cap) for cap in caps])


def table(rows: Sequence[ResourceRow]) -> Markdown:
    """The columns of the report that this course is about."""
    from breaknet.kernels.host.targets import parse_target

    header = ("", "GPU", "registers", "spills", "shared memory", "warps", "blocks that fit")
    lines = [
        (
            row.config if row.config.startswith(_CAPPED) else row.kernel,
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
    compiled = f"{note}; compiled by Triton {rows[0].triton} just now." if rows else ""
    return notebook_display.table(header, lines, compiled)


def _compiled(tasks: Sequence[tuple[str, str, int, int | None]]) -> list[ResourceRow]:
    from breaknet.kernels.host.resources import in_compiling_processes

    try:
        return in_compiling_processes(_compile, tasks, workers=1)
    except Exception as error:
        raise RuntimeError(f"a kernel was not compiled: {error}") from error


def _compile(name: str, config: str, capability: int, cap: int | None) -> ResourceRow:
    from breaknet.kernels.host.machine_code import build
    from breaknet.kernels.host.resources import ResourceRow
    from breaknet.kernels.host.supported_configurations import supported_configurations
    from breaknet.kernels.host.targets import TARGETS

    cases = supported_configurations(capability)
    fitting = [case for case in cases if case.name == name and case.config.startswith(config)]
    case = fitting[-1]  # the trainer's last configuration has the thinnest slices, for the larger GPUs
    if cap is not None:
        case = replace(case, options=case.options | {"maxnreg": cap}, config=f"{_CAPPED} {cap} registers")
    return ResourceRow.of(case, build(case, capability), TARGETS[capability])
