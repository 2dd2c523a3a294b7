"""Programs that wait for each other in one launch, on a GPU and on a CPU.

On a GPU the launch is cooperative: all programs are resident, or it is refused. Triton's interpreter runs programs
one after another, so the first to wait would be a deadlock; here each program is therefore a process of its own on
shared memory, where the same atomic counter is really polled.
"""

import multiprocessing
import time
import warnings
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels._triton import jit, tl
from breaknet.kernels.grid_barrier import arrivals_seen
from notebooks.course.checking import NOT_FILLED_IN, garbage
from notebooks.course.here import INTERPRETED
from notebooks.course.student_code import stopped

#: Polls after which a barrier gives up, so that a wrong one ends in a message and not in a hung GPU.
PATIENCE = 20_000 if INTERPRETED else 20_000_000
_PATIENCE = tl.constexpr(PATIENCE)
#: How long the last program is busy between a barrier and its reads, in atomic additions that change nothing.
SLOW = 200 if INTERPRETED else 5_000
SECONDS = 60  # for all processes together
GAVE_UP = 1  # the element of the counter in which barriers that gave up are counted


@jit
def barrier(counter_ptr, arrivals, INTERPRETED: tl.constexpr):
    """Arrive, then return once `arrivals` in all have been counted since the launch began.

    As `breaknet.kernels.grid_barrier`, which says why it is correct, but with a limit on the polls.
    """
    tl.debug_barrier()
    tl.atomic_add(counter_ptr, 1, sem="release", scope="gpu")
    polls = 0
    while (arrivals_seen(counter_ptr) < arrivals) & (polls < _PATIENCE):
        polls += 1
    if polls >= _PATIENCE:
        tl.atomic_add(counter_ptr + 1, 1)
    tl.debug_barrier()


@jit
def delay(counter_ptr, program, slow, PROGRAMS: tl.constexpr):
    """Makes the last program slow, as one always is on a real machine."""
    if program == PROGRAMS - 1:
        for _ in range(slow):
            tl.atomic_add(counter_ptr + 2, 0)


def launch_rounds(kernel: Any, result: Tensor, value: Tensor, rounds: int) -> str | None:
    """Run the exercise's kernel with one program for each row of `value` [P, W]; a problem in one line, or None."""
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
            f"a barrier waited in vain: it counted {int(counter[0])} arrivals in all; each barrier adds "
            f"PROGRAMS = {programs} to the counter"
        )
    return None


def _launch_processes(kernel: Any, arguments: list[Any], constants: dict[str, Any]) -> str | None:
    shared = [_in_shared_memory(one) if isinstance(one, Tensor) else one for one in arguments]
    programs = constants["PROGRAMS"]
    context = multiprocessing.get_context("fork")  # what the initialiser gets is inherited, not pickled
    with warnings.catch_warnings():
        # the children use numpy only and end without cleaning up; they need no threads of this process
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = context.Pool(programs, _program.update, [{"launch": (kernel, shared, constants)}])
    with pool:
        try:
            problems = pool.map_async(_run_program, range(programs), chunksize=1).get(SECONDS)
        except multiprocessing.TimeoutError:
            return f"its {programs} programs had not all ended after {SECONDS} s"
    for mine, theirs in zip(arguments, shared, strict=True):
        if isinstance(mine, Tensor):
            mine.copy_(theirs)
    return next(filter(None, problems), None)


_program: dict[str, Any] = {}  # in a process of a program: its kernel, arguments and constants


def _run_program(number: int) -> str | None:
    kernel, arguments, constants = _program["launch"]
    torch.set_num_threads(1)
    if number == constants["PROGRAMS"] - 1:
        time.sleep(0.1)  # the last program is also late to start
    try:
        kernel[(1,)](*arguments, number, **constants)
    except Exception as error:
        return stopped(error, kernel)
    return None


def _in_shared_memory(tensor: Tensor) -> Tensor:
    """A copy that forked processes share; garbage keeps its bits, since it is copied as integers."""
    copy = torch.empty(tensor.shape, dtype=torch.int32).share_memory_()
    copy.copy_(tensor.view(torch.int32))
    return copy.view(tensor.dtype)
