"""What every shipped kernel takes on every GPU generation, found by cross-compiling: no GPU is needed.

    from breaknet.kernels.resources import render, resource_report
    print(render(resource_report(targets=["sm_75"])))

The compiling is done in processes of their own, two at a time, because it cannot be done in one where kernels are
interpreted. Built kernels are kept in Triton's cache. `python -m breaknet.kernels.host.resources --worker` is such a
process: it reads lines of JSON, each a task or a list of tasks for one target, and answers each with a line.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from breaknet.kernels._triton import HAVE_TRITON, why_not
from breaknet.kernels.host.machine_code import Build, builds, disassembly, loops
from breaknet.kernels.host.targets import TARGETS, CompileCase, Target, parse_target


@dataclass(frozen=True)
class ResourceRow:
    """One form of one kernel on one target. `blocks_per_sm` is how many blocks one multiprocessor holds at once."""

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
        """What `case` took when it was built for `target`, by the Triton at hand."""
        import triton

        return cls(
            kernel=case.name,
            config=case.config,
            target=target.name,
            triton=triton.__version__,
            registers=built.registers,
            stack_bytes=built.stack_bytes,
            spill_instructions=built.spill_instructions,
            shared_bytes=built.shared_bytes,
            shared_limit_bytes=target.shared_per_block,
            warps=case.num_warps,
            blocks_per_sm=target.blocks_per_sm(built.registers, case.num_warps, built.shared_bytes),
            instructions=built.instructions,
        )

    def problem(self) -> str | None:
        """Why this form must not be shipped for this target, in one line; None if it may."""
        if self.stack_bytes or self.spill_instructions:
            what = f"spills: {self.stack_bytes} B of stack, {self.spill_instructions} instructions"
        elif self.shared_bytes > self.shared_limit_bytes:
            what = f"takes {self.shared_bytes} B of shared memory, over {self.shared_limit_bytes}"
        elif self.blocks_per_sm < 1:
            what = "does not fit a multiprocessor"
        elif self.instructions.get("tensor"):
            what = "multiplies on tensor cores, which round float32 to TF32"
        else:
            return None
        return f"{self.kernel} {self.config} on {self.target}, Triton {self.triton}: {what}"


@dataclass(frozen=True)
class Listing:
    """The code of one form of a kernel on one target; `loops` as in `machine_code.Loop`, for models of time."""

    ptx: str
    sass: str
    loops: list[dict[str, Any]]


class _Worker:
    """A process that compiles."""

    def __init__(self) -> None:
        import breaknet

        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        root = str(Path(next(iter(breaknet.__path__))).parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "breaknet.kernels.host.resources", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(tasks) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the compiling process ended with status {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def resource_report(
    targets: Sequence[str] | None = None,
    kernels: Sequence[str] | None = None,
    *,
    errors: list[str] | None = None,
    workers: int = 2,
) -> list[ResourceRow]:
    """Compile every shipped form of every kernel for every target and say what it takes.

    Args:
        targets: names such as "sm_75"; all of `targets.TARGETS` by default.
        kernels: names of kernels or of their modules; all by default.
        errors: where to put one line for each form that did not compile; without it the first one raises.
        workers: how many processes compile at once.

    Raises:
        ValueError: for a name that is not known.
        RuntimeError: without Triton, or for a form that did not compile.
    """
    chosen = list(TARGETS.values()) if targets is None else [parse_target(name) for name in targets]
    tasks = [
        {"module": module, "index": index, "capability": target.capability, "listing": False}
        for module, index, _, target in _cases(chosen, kernels)
    ]
    answers = _run(tasks, workers)
    failed = [answer["error"] for answer in answers if "error" in answer]
    if failed and errors is None:
        raise RuntimeError(failed[0])
    if errors is not None:
        errors.extend(failed)
    return [ResourceRow(**answer) for answer in answers if "error" not in answer]


def listing(kernel: str, config: str, target: str) -> Listing:
    """PTX, SASS and loops of one shipped form; ValueError for a name that is not known."""
    for module, index, case, found in _cases([parse_target(target)], [kernel]):
        if case.config == config:
            task = {"module": module, "index": index, "capability": found.capability, "listing": True}
            answer = _run([task], 1)[0]
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return Listing(**answer)
    raise ValueError(f"config: a shipped form of {kernel}, not {config!r}")


def _cases(
    targets: Sequence[Target], kernels: Sequence[str] | None
) -> list[tuple[str, int, CompileCase, Target]]:
    """(module, index among its cases, case, target) of every form asked for."""
    if not HAVE_TRITON:
        raise RuntimeError(f"kernels cannot be compiled here: {why_not()}")
    modules = kernel_modules()
    found, known = [], set(modules)
    for name, module in modules.items():
        for target in targets:
            for index, case in enumerate(module.compile_cases(target.capability)):
                known.add(case.name)
                if kernels is None or name in kernels or case.name in kernels:
                    found.append((name, index, case, target))
    for kernel in kernels or ():
        if kernel not in known:
            raise ValueError(f"kernel: one of {', '.join(sorted(known))}, not {kernel!r}")
    return found


def kernel_modules() -> dict[str, ModuleType]:
    """The modules of `breaknet.kernels` that ship kernels, that is define `compile_cases`, by name."""
    found = {}
    here = Path(__file__).parent
    names = [module.name for module in pkgutil.iter_modules([str(here.parent)])]
    names += [f"host.{module.name}" for module in pkgutil.iter_modules([str(here)])]
    for name in sorted(names):
        # not this module: run by `-m` it would be imported a second time
        if name != "host.resources":
            module = importlib.import_module(f"breaknet.kernels.{name}")
            cases = getattr(module, "compile_cases", None)
            if cases is not None and cases.__module__ == module.__name__:
                found[name] = module
    return found


def _run(tasks: list[dict[str, Any]], workers: int) -> list[dict[str, Any]]:
    """The answers to `tasks`, in their order."""
    batches = _batches(tasks, workers)
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for batch in batches:
        waiting.put(batch)
    answers: dict[int, dict[str, Any]] = {}
    running: list[_Worker] = []
    broken: list[BaseException] = []

    def serve() -> None:
        try:
            worker = _Worker()
            running.append(worker)
            try:
                while not broken:
                    batch = waiting.get_nowait()
                    answers.update(zip(batch, worker.ask([tasks[number] for number in batch]), strict=True))
            except queue.Empty:
                pass
            finally:
                worker.close()
        except BaseException as error:  # told in the caller's thread
            broken.append(error)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(workers, len(batches)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        broken.append(KeyboardInterrupt())
        for worker in running:
            worker.process.terminate()
        raise
    if broken:
        raise broken[0]
    return [answers[number] for number in range(len(tasks))]


def _batches(tasks: list[dict[str, Any]], workers: int) -> list[list[int]]:
    """The numbers of the tasks that are done together: of one target, as few batches as keep the workers busy."""
    by_target: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        by_target.setdefault(task["capability"], []).append(number)
    pieces = 1 if workers == 1 else 2 * workers
    # neighbours are forms of one kernel and take alike, so they are dealt out like cards
    dealt = (numbers[piece::pieces] for numbers in by_target.values() for piece in range(pieces))
    return [batch for batch in dealt if batch]


def _answers(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a worker says to tasks for one target."""
    target = TARGETS[tasks[0]["capability"]]
    cases = [_case(**task) for task in tasks]
    answered = zip(cases, builds(cases, target.capability), tasks, strict=True)
    return [_answer(case, built, target, task["listing"]) for case, built, task in answered]


def _case(module: str, index: int, capability: int, listing: bool) -> CompileCase:
    return importlib.import_module(f"breaknet.kernels.{module}").compile_cases(capability)[index]


def _answer(case: CompileCase, built: Build | Exception, target: Target, listed: bool) -> dict[str, Any]:
    import triton

    if isinstance(built, Exception):
        reason = " ".join(str(built).split())
        what = f"{type(built).__name__}: {reason[:300]}"
        return {"error": f"{case.name} {case.config} on {target.name}, Triton {triton.__version__}: {what}"}
    if listed:
        sass = disassembly(built.cubin)
        return {"ptx": built.ptx, "sass": sass, "loops": [asdict(loop) for loop in loops(sass)]}
    return asdict(ResourceRow.of(case, built, target))


def render(rows: Sequence[ResourceRow]) -> str:
    """The report as a plain-text table; the instruction mix as the share of multiply-adds and of shared loads."""
    header = (
        "kernel", "config", "target", "registers", "stack", "spills", "shared", "limit", "warps", "blocks/SM",
        "instructions", "multiply-adds", "shared loads",
    )  # fmt: skip
    table: list[tuple[str, ...]] = [header]
    for row in rows:
        total = max(1, sum(row.instructions.values()))
        fma = row.instructions.get("fma", 0) + row.instructions.get("fma2", 0)
        loads = sum(count for name, count in row.instructions.items() if name.startswith("shared_load"))
        cells = (
            row.kernel, row.config, row.target, row.registers, row.stack_bytes, row.spill_instructions,
            row.shared_bytes, row.shared_limit_bytes, row.warps, row.blocks_per_sm, total,
            f"{fma / total:.0%}", f"{loads / total:.0%}",
        )  # fmt: skip
        table.append(tuple(map(str, cells)))
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    words = 3  # the first columns are words, the rest numbers
    lines = [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
    versions = ", ".join(sorted({row.triton for row in rows})) or "none"
    return "\n".join([f"Triton {versions}; stack, shared and limit in bytes", *lines])


def _work() -> None:
    """Answer tasks from standard input until it ends; what else prints goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        task = json.loads(line)
        answers.write(json.dumps(_answers(task) if isinstance(task, list) else _answers([task])[0]) + "\n")
        answers.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """`--worker`, or print the report (of the targets named, as JSON after `--json`).

    Returns 1 if a form did not compile or must not be shipped, after a line for each on standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--worker"]:
        _work()
        return 0
    errors: list[str] = []
    rows = resource_report([word for word in words if word != "--json"] or None, errors=errors)
    print(json.dumps([asdict(row) for row in rows]) if "--json" in words else render(rows))
    problems = errors + [problem for row in rows if (problem := row.problem())]
    print("\n".join(problems), file=sys.stderr)
    return 1 if problems else 0


#: The names of a row, in order, as `breaknet kernels --json` writes them.
FIELDS = tuple(field.name for field in fields(ResourceRow))

if __name__ == "__main__":
    sys.exit(main())
