"""Programs that wait for each other in one launch, on a GPU and on a CPU.

On a GPU the launch is cooperative: all programs are resident, or it is refused. Triton's interpreter runs programs
one after another, so the first to wait would wait for ever; here each program is therefore a process of its own on
shared memory, where the same atomic counter really spins.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.grid_barrier import arrivals_seen
from notebooks.course.diagnosis import NOT_FILLED_IN
from notebooks.course.here import INTERPRETED
from notebooks.course.memory import garbage

#: Polls after which a barrier gives up, so that a wrong one ends in a message and not in a hung GPU.
PATIENCE = 20_000 if INTERPRETED else 20_000_000
_PATIENCE = tl.constexpr(PATIENCE)
#: How long the last program is busy between a barrier and its reads, in atomic additions that change nothing.
SLOW = 200 if INTERPRETED else 5_000
SECONDS = 60  # for all processes together
GAVE_UP = 1  # the word of the counter that says so


@jit
def barrier(counter_ptr, arrivals, INTERPRETED: tl.constexpr):
    """Arrive, then go on once `arrivals` in all have been counted since the launch began.

    As `breaknet.kernels.grid_barrier`, which says why it is sound, but it gives up in the end.
    """
    tl.debug_barrier()
    tl.atomic_add(counter_ptr, 1, sem="release", scope="gpu")
    polls = 0
    while (arrivals_seen(counter_ptr, INTERPRETED) < arrivals) & (polls < _PATIENCE):
        polls += 1
    if polls >= _PATIENCE:
        tl.atomic_add(counter_ptr + 1, 1)
    tl.debug_barrier()


@jit
def dawdle(counter_ptr, program, slow, PROGRAMS: tl.constexpr):
    """The last program is slow here, as on a real machine one always is somewhere."""
    if program == PROGRAMS - 1:
        for _ in range(slow):
            tl.atomic_add(counter_ptr + 2, 0)


def launch_rounds(kernel: Any, value: Tensor, result: Tensor, rounds: int) -> str | None:
    """Run the exercise's kernel with one program a row of `value` [P, W]; what went wrong, in one line, or None."""
    programs, width = value.shape
    device = str(value.device)
    shared = garbage("shared", value.shape, torch.float32, device).values
    counter = torch.zeros(32, dtype=torch.int32, device=device)
    constants = {"PROGRAMS": programs, "WIDTH": width, "INTERPRETED": INTERPRETED}
    if INTERPRETED:
        problem = _launch_processes(kernel, [value, shared, result, counter, rounds, SLOW], constants)
    else:
        kernel[(programs,)](
            value, shared, result, counter, rounds, SLOW, 0, **constants, launch_cooperative_grid=True
        )
        problem = None
    if problem is not None:
        return problem
    if not int(counter[0]):
        return f"{NOT_FILLED_IN} (no program has arrived at a barrier)"
    if int(counter[GAVE_UP]):
        return (
            f"a barrier waited in vain: {int(counter[0])} arrivals came in all; each time all of them pass a "
            f"barrier the counter grows by PROGRAMS = {programs}"
        )
    return None


def _launch_processes(kernel: Any, arguments: list[Any], constants: dict[str, Any]) -> str | None:
    programs = constants["PROGRAMS"]
    shared = [_in_shared_memory(one) if isinstance(one, Tensor) else one for one in arguments]
    context = multiprocessing.get_context("fork")
    complaints = context.SimpleQueue()
    processes = [
        context.Process(
            target=_run_program, args=(kernel, shared, number, constants, complaints), daemon=True
        )
        for number in range(programs)
    ]
    with warnings.catch_warnings():
        # the children run numpy alone and end without cleaning up; threads of this process are not needed
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in processes:
            process.start()
    deadline = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    stuck = [process for process in processes if process.is_alive()]
    for process in stuck:
        process.kill()
        process.join()
    if not complaints.empty():
        return f"it stopped with {complaints.get()}"
    if stuck:
        return f"{len(stuck)} of {programs} programs had not ended after {SECONDS} s"
    for mine, theirs in zip(arguments, shared, strict=True):
        if isinstance(mine, Tensor):
            mine.copy_(theirs)
    return None


def _run_program(
    kernel: Any, arguments: list[Any], number: int, constants: dict[str, Any], complaints: Any
) -> None:
    try:
        torch.set_num_threads(1)
        if number == constants["PROGRAMS"] - 1:
            time.sleep(0.1)  # the last program is also late to start
        kernel[(1,)](*arguments, number, **constants)
    except Exception as error:
        lines = str(error.__cause__ or error).splitlines() or [""]
        complaints.put(f"{type(error.__cause__ or error).__name__}: {lines[-1].strip()}")


def _in_shared_memory(tensor: Tensor) -> Tensor:
    """A copy that forked processes share; garbage keeps its bits, since it is copied as integers."""
    copy = torch.empty(tensor.shape, dtype=torch.int32).share_memory_()
    copy.copy_(tensor.view(torch.int32))
    return copy.view(tensor.dtype)
