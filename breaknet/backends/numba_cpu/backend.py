"""The CPU backend: training and evaluation compiled by numba.

Every job is trained by one thread at a time, an epoch after another in compiled calls of about a quarter of a second;
while that thread goes on, the epochs it has finished are evaluated by the others. Jobs run side by side. All sums
have one order, so the bits depend on neither the number of threads nor on what runs beside a job.

Threads: as many as cores that this process may use, or BREAKNET_THREADS.
"""

import os

import torch

from ...model import hidden_widths
from ..interface import Examples, Parameters, Report, Scores, Trained, TrainingJob

NAME = "numba"
PLANS = ("threads",)

#: The largest width of a hidden layer that the kernels take.
MAX_HIDDEN = 128


def unavailable(device: torch.device) -> str | None:
    """Why this backend cannot run on a device; None if it can."""
    if device.type != "cpu":
        return f"it runs on the CPU, not on {device}"
    thread_count()
    try:
        import numba  # noqa: F401
    except Exception as error:  # a numba that does not fit NumPy or its settings fails in many ways
        return f"numba cannot be imported: {' '.join(str(error).split()) or type(error).__name__}"
    return None


def unsupported_hidden(hidden: tuple[int, int]) -> str | None:
    """Why models of these widths cannot be evaluated; None if they can."""
    if max(hidden) > MAX_HIDDEN:
        return f"hidden layers of at most {MAX_HIDDEN}, not {hidden[0]} and {hidden[1]}"
    return None


def unsupported(job: TrainingJob) -> str | None:
    """Why a job cannot be trained; None if it can."""
    return unsupported_hidden(hidden_widths(job.start))


def thread_count() -> int:
    """The number of threads that compute: BREAKNET_THREADS, else one for each core that this process may use.

    Raises:
        ValueError: if BREAKNET_THREADS is not a whole number of 1 or more.
    """
    wanted = os.environ.get("BREAKNET_THREADS", "").strip()
    if not wanted:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"BREAKNET_THREADS: a whole number of 1 or more, not {wanted!r}")
    return int(wanted)


def train(jobs: list[TrainingJob], device: torch.device, plan: str | None, report: Report) -> list[Trained]:
    """Train every job, side by side where there are cores; `report` is called in this thread."""
    from .scheduler import train_side_by_side

    return train_side_by_side(jobs, thread_count(), report, plan or PLANS[0])


def evaluate(parameters: Parameters, examples: Examples, device: torch.device, confusion: bool) -> Scores:
    """Cost, accuracy and, if wanted, confusion counts of parameters [C, ...] on the examples."""
    from .scheduler import evaluate_side_by_side

    return evaluate_side_by_side(parameters, examples, thread_count(), confusion)
