"""Registers, spills and shared memory of every supported configuration on every GPU generation; no GPU is needed.

Kernels are compiled in processes of their own, since a process in which they are interpreted cannot compile them.
What was compiled is kept in Triton's cache.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from operator import itemgetter
from typing import Any

from breaknet.kernels import _triton
from breaknet.kernels.host.machine_code import Build, builds
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.targets import TARGETS, CompileCase, Target, parse_target


@dataclass(frozen=True)
class ResourceRow:
    """One configuration of one kernel on one target. `blocks_per_sm` is how many blocks one SM holds at once."""

    kernel: str
    config: str
    target: str
    triton: str
    registers: int
    stack_bytes: int
    spill_instructions: int
    shared_bytes: int
    shared_limit_bytes: int
    warps: int
    blocks_per_sm: int
    instructions: dict[str, int]

    @classmethod
    def of(cls, case: CompileCase, built: Build, target: Target) -> ResourceRow:
        """The resources that `case` took when it was built for `target`, by the Triton at hand."""
        import triton

        warps = case.options["num_warps"]
        return cls(
            case.name, case.config, target.name, triton.__version__,
            built.registers, built.stack_bytes, built.spill_instructions,
            built.shared_bytes, target.shared_per_block, warps,
            target.blocks_per_sm(built.registers, warps, built.shared_bytes), built.instructions,
        )  # fmt: skip

    def problem(self) -> str | None:
        """Why this configuration cannot be supported on this target, in one line; None if it can."""
        if self.stack_bytes or self.spill_instructions:
            what = f"spills: {self.stack_bytes} B of stack, {self.spill_instructions} instructions"
        elif self.shared_bytes > self.shared_limit_bytes:
            what = f"takes {self.shared_bytes} B of shared memory, over {self.shared_limit_bytes}"
        elif self.blocks_per_sm < 1:
            what = "does not fit an SM"
        elif self.instructions.get("tensor"):
            what = "multiplies on tensor cores, which round float32 to TF32"
        else:
            return None
        return f"{self.kernel} {self.config} on {self.target}, Triton {self.triton}: {what}"


def resource_report(
    targets: Sequence[str] | None = None, kernels: Sequence[str] | None = None, workers: int = 2
) -> tuple[list[ResourceRow], list[str]]:
    """Compile every supported configuration for every target: what it takes, and what is wrong, a line each.

    Args:
        targets: names such as "sm_75"; all of `targets.TARGETS` by default.
        kernels: names such as "ordered_sum"; all by default.
        workers: how many processes compile at once.

    Raises:
        ValueError: for a name that is not known.
        RuntimeError: without Triton.
    """
    chosen = list(TARGETS.values()) if targets is None else [parse_target(name) for name in targets]
    # a kernel may be there for some targets only
    known = {case.name for target in TARGETS for case in supported_configurations(target)}
    for kernel in kernels or ():
        if kernel not in known:
            raise ValueError(f"kernel: one of {', '.join(sorted(known))}, not {kernel!r}")
    batches = [batch for target in chosen for batch in _batches(target.capability, kernels, workers)]
    measured = chain.from_iterable(in_compiling_processes(_measure, batches, workers))
    ordered = [row for _, row in sorted(measured, key=itemgetter(0))]
    rows = [row for row in ordered if isinstance(row, ResourceRow)]
    failed = [row for row in ordered if isinstance(row, str)]
    return rows, failed + [problem for row in rows if (problem := row.problem())]


def _batches(
    capability: int, kernels: Sequence[str] | None, workers: int
) -> list[tuple[int, tuple[int, ...]]]:
    """The asked for among the configurations, by number, in as few batches as keep the workers busy."""
    names = [case.name for case in supported_configurations(capability)]
    numbers = [number for number, name in enumerate(names) if kernels is None or name in kernels]
    pieces = 1 if workers == 1 else 2 * workers
    # neighbours are configurations of one kernel and take alike, so they are dealt out like cards
    dealt = [tuple(numbers[piece::pieces]) for piece in range(pieces)]
    return [(capability, batch) for batch in dealt if batch]


def _measure(capability: int, numbers: Sequence[int]) -> list[tuple[tuple[int, int], ResourceRow | str]]:
    """For each of the numbered configurations (capability, number), and its row or why there is none."""
    import triton

    supported = supported_configurations(capability)
    cases, target = [supported[number] for number in numbers], TARGETS[capability]
    rows: list[ResourceRow | str] = []
    for case, built in zip(cases, builds(cases, capability), strict=True):
        if isinstance(built, Exception):
            reason = f"{type(built).__name__}: {' '.join(str(built).split())[-300:]}"
            rows.append(f"{case.name} {case.config} on {target.name}, Triton {triton.__version__}: {reason}")
        else:
            rows.append(ResourceRow.of(case, built, target))
    return [((capability, number), row) for number, row in zip(numbers, rows, strict=True)]


def in_compiling_processes(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int = 2
) -> list[Any]:
    """[function(*task) for task in tasks], in fresh processes whose kernels are compiled, never interpreted.

    The function must be importable, and what it takes and returns must pickle. What it prints goes to stderr.

    Raises:
        RuntimeError: without Triton, or where a process ended before it answered.
        Exception: what the function raised first.
    """
    if not _triton.HAVE_TRITON:
        raise RuntimeError(
            f"kernels cannot be compiled here: {_triton.why_not()}. On Linux `pip install triton` fetches it "
            "(about 200 MB; no GPU is needed); compiling then takes about a minute a target, the first time"
        )
    workers = max(1, min(workers, len(tasks)))
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_prepare_process) as pool:
            with _without_interpreter():
                answers = [pool.submit(function, *task) for task in tasks]  # starts the processes
            try:
                return [answer.result() for answer in answers]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except (BrokenProcessPool, BrokenPipeError) as error:
        raise RuntimeError("a process that compiles kernels ended before it answered") from error


@contextmanager
def _without_interpreter() -> Iterator[None]:
    """Processes that start meanwhile compile kernels: Triton reads the variable where a kernel is defined.

    Nor do they run the main module again, whose file may be no module's: the interpreter leaves its own name there.
    """
    main = vars(sys.modules["__main__"])
    wished, file = os.environ.pop("TRITON_INTERPRET", None), main.pop("__file__", None)
    try:
        yield
    finally:
        if wished is not None:
            os.environ["TRITON_INTERPRET"] = wished
        if file is not None:
            main["__file__"] = file


def _prepare_process() -> None:
    """Keep a compiler's output out of the report, and end at Ctrl-C without a traceback."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def render(rows: Sequence[ResourceRow]) -> str:
    """The report as a plain-text table; the instruction mix as the share of FMAs and of shared loads."""
    lines: list[tuple[str, ...]] = [
        ("kernel", "config", "target", "registers", "stack", "spills", "shared", "limit", "warps", "blocks/SM",
         "instructions", "FMAs", "shared loads"),
    ]  # fmt: skip
    for row in rows:
        total = max(1, sum(row.instructions.values()))
        fma = row.instructions.get("fma", 0) + row.instructions.get("fma2", 0)
        loads = sum(count for name, count in row.instructions.items() if name.startswith("shared_load"))
        cells = (
            row.kernel, row.config, row.target, row.registers, row.stack_bytes, row.spill_instructions,
            row.shared_bytes, row.shared_limit_bytes, row.warps, row.blocks_per_sm, total,
            f"{fma / total:.0%}", f"{loads / total:.0%}",
        )  # fmt: skip
        lines.append(tuple(map(str, cells)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    layout = "  ".join(f"{{:{'<' if column < 3 else '>'}{width}}}" for column, width in enumerate(widths))
    versions = ", ".join(sorted({row.triton for row in rows})) or "none"
    title = f"Triton {versions}; stack, shared and limit in bytes"
    return "\n".join([title, *(layout.format(*cells) for cells in lines)])
