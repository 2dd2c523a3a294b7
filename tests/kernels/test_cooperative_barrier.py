"""The barrier between programs: really spinning on a CPU, and its order of memory operations in compiled code."""

import multiprocessing
import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from trainer_cases import Problem, train

from breaknet.kernels.cooperative_training import cooperative_training_kernel
from breaknet.kernels.host.machine_code import build
from breaknet.kernels.host.resources import in_compiling_processes
from breaknet.kernels.host.supported_configurations import supported_configurations
from breaknet.kernels.host.tiles import TileConfig, tile_config
from breaknet.kernels.host.trainers import CooperativeTrainer, launch_options
from breaknet.kernels.jobs import JobRow, Shape, job_tables

SECONDS = 150  # a barrier that has not opened by then never will

interpreter_only = pytest.mark.skipif(torch.cuda.is_available(), reason="processes of the interpreter")


def _program(arguments: list[Any], number: int, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    cooperative_training_kernel[(1,)](*arguments, number, **options)


def spin(
    problem: Problem, config: TileConfig, jobs: list[JobRow]
) -> tuple[torch.Tensor, torch.Tensor, list[int | None]]:
    """Checkpoints, live rows and exit codes of one cooperative launch, every program a process on shared memory."""
    shape = problem.shape
    live = problem.start.repeat(max(job.live_row for job in jobs) + 1, 1)
    trainer = CooperativeTrainer(shape, config, problem.images, problem.labels, live, len(jobs))
    trainer._partials.fill_(float("nan"))
    trainer._deltas.fill_(float("nan"))
    rows = max(job.checkpoint_row + job.epochs for job in jobs)
    checkpoints = torch.full((rows, shape.parameters), float("nan"))
    arguments = trainer.arguments(checkpoints, *job_tables(jobs))
    for tensor in arguments:
        tensor.share_memory_()
    context = multiprocessing.get_context("fork")
    options = launch_options(shape, config)
    programs = [
        context.Process(target=_program, args=(arguments, number, options))
        for number in range(len(jobs) * config.programs)
    ]
    try:
        for program in programs:
            program.start()
        for program in programs:
            program.join(SECONDS)
    finally:
        for program in programs:
            if program.is_alive():
                program.kill()
                program.join()
    return checkpoints, live, [program.exitcode for program in programs]


def two_jobs() -> tuple[Problem, TileConfig, list[JobRow]]:
    """Each at barriers of its own, of two slices, one owner of W2 and one of the rest."""
    problem = Problem(Shape(20, 5, 16, 3), 25)
    jobs = [
        problem.job(batch=10, epochs=2, rate=0.5, live_row=1, checkpoint_row=0),
        problem.job(batch=7, epochs=3, rate=0.1, row=15, live_row=0, checkpoint_row=2),
    ]
    return problem, tile_config(problem.shape, 10, 16), jobs


def several_tiles() -> tuple[Problem, TileConfig, list[JobRow]]:
    """Batches of several row tiles; one slice, two owners of W2 and one of the rest."""
    problem = Problem(Shape(18, 33, 5, 2), 90)
    config = replace(tile_config(problem.shape, 70, 32), row_block=32, delta_rows=32)
    return problem, config, [problem.job(batch=70, epochs=2)]


@interpreter_only
@pytest.mark.parametrize("given", [two_jobs, several_tiles])
def test_programs_that_spin_train_as_phase_split_ones_do(given):
    problem, config, jobs = given()
    assert config.programs == 4
    checkpoints, live, exits = spin(problem, config, jobs)
    assert exits == [0] * 4 * len(jobs)
    for job in jobs:
        problem.assert_trained(job, checkpoints)
        rows = slice(job.checkpoint_row, job.checkpoint_row + job.epochs)
        split = train(problem, config, [replace(job, live_row=0, checkpoint_row=0)])
        assert torch.equal(checkpoints[rows], split), "cooperative and phase-split bits differ"
        assert torch.equal(live[job.live_row], split[-1])


# ---- compiled code ---------------------------------------------------------------------------------------------------


def _ptx(capability: int) -> str:
    cases = supported_configurations(capability)
    return build(next(case for case in cases if case.name == "cooperative_training"), capability).ptx


@cache
def ptx_of(capability: int) -> str:
    """The cooperative kernel's, compiled in a process of its own, where nothing is interpreted."""
    return in_compiling_processes(_ptx, [(capability,)])[0]


RELEASE = re.compile(
    r"(atom|red)(\.global)?\.(gpu\.release|release\.gpu)(\.global)?\.add|(atom|red)\.\S*release\S*"
)
ACQUIRE = re.compile(r"ld\.acquire\.gpu|ld\.global\.gpu\.acquire|ld\.global\.acquire\.gpu")
DATA = re.compile(r"\b(ld|st)\.(global|volatile)")


def assert_sound(ptx: str) -> None:
    """Every arrival: block barrier, release, a loop around an acquire load, block barrier; no data access between."""
    lines = [line.strip() for line in ptx.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("//", ".loc", "$L__tmp"))]
    arrivals = [number for number, line in enumerate(lines) if RELEASE.search(line)]
    assert len(arrivals) == 6, f"two barriers in each of three roles, found {len(arrivals)}"
    for arrival in arrivals:
        assert ".gpu" in lines[arrival]
        before = next(n for n in range(arrival, -1, -1) if DATA.search(lines[n]) or "bar.sync" in lines[n])
        assert "bar.sync" in lines[before], f"the block's own accesses may pass the arrival: {lines[before]}"
        after = next(n for n in range(arrival, len(lines)) if "bar.sync" in lines[n])
        between = lines[arrival + 1 : after]
        polls = [n for n, line in enumerate(between) if ACQUIRE.search(line)]
        data = [line for line in between if DATA.search(line) and not ACQUIRE.search(line)]
        assert len(polls) == 1, f"one acquire load expected before the closing block barrier: {between}"
        assert not data, f"data accessed before the barrier closed: {data}"
        heads = [n for n, line in enumerate(between[: polls[0]]) if re.match(r"\$L\w+:", line)]
        assert heads, f"the poll does not stand in a loop: {between}"
        label = between[heads[-1]].split(":")[0]
        back = [line for line in between[polls[0] :] if re.search(rf"\bbra\b.*{re.escape(label)}\s*;", line)]
        assert back, f"no branch back to before the poll: {between}"


@pytest.mark.parametrize("capability", [75, pytest.param(90, marks=pytest.mark.slow)])
def test_no_data_access_passes_the_barrier_in_ptx(capability):
    assert_sound(ptx_of(capability))


def test_the_check_of_ptx_notices_what_it_must():
    ptx = ptx_of(75)
    release = RELEASE.search(ptx)
    acquire = ACQUIRE.search(ptx)
    assert release is not None
    assert acquire is not None
    start = ptx.index(release.group())
    last_access = [access.end() for access in DATA.finditer(ptx, 0, start)][-1]
    barrier_after = ptx.index("bar.sync", start)
    poll = ptx.index(acquire.group(), start)
    load = "ld.global.b32 { %r1 }, [ %rd1 + 0 ];"
    broken = {
        "relaxed arrival": ptx[:start] + ptx[start:].replace("release", "relaxed", 1),
        "relaxed poll": ptx[:poll] + ptx[poll:].replace("acquire", "relaxed", 1),
        # some Tritons place two
        "no block barrier before": ptx[:last_access]
        + ptx[last_access:start].replace("bar.sync", "nothing")
        + ptx[start:],
        "no block barrier after": ptx[:barrier_after] + load + ptx[barrier_after + len("bar.sync") :],
        "a load above the closing barrier": ptx[:barrier_after] + load + "\n" + ptx[barrier_after:],
    }
    for name, text in broken.items():
        try:
            assert_sound(text)
        except AssertionError:
            continue
        pytest.fail(f"not noticed: {name}")
