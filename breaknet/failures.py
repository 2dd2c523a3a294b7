"""Warnings of runs that diverged or got stuck, with what helps."""

import sys
import warnings

from .backends.interface import TrainingJob
from .model import hidden_widths
from .run import Run


def warn_of_failures(runs: dict[int, Run], jobs: list[TrainingJob]) -> None:
    """One RuntimeWarning for each run that diverged, and one for all that are stuck, with what helps."""
    for number, run in sorted(runs.items()):
        if run.diverged_at is not None:
            which = _named([number], jobs)
            warnings.warn(
                f"{which} diverged: some parameter was not finite at the end of epoch {run.diverged_at}; "
                "its curves and checkpoints end before that (a smaller learning_rate may help)",
                RuntimeWarning,
                stacklevel=_outside(),
            )
    stuck = [number for number, run in sorted(runs.items()) if run.stuck_at is not None]
    if stuck:
        first = stuck[0]
        warnings.warn(
            f"{_named(stuck, jobs)} learned nothing from epoch {runs[first].stuck_at} on: the sigmoids of a layer "
            "are saturated for nearly every image, so gradients vanish, and the cost is no better than a constant "
            f"answer's; a smaller learning_rate helps, such as {_rate_that_learns(jobs[first]):.2g}",
            RuntimeWarning,
            stacklevel=_outside(),
        )


def _named(numbers: list[int], jobs: list[TrainingJob]) -> str:
    """The jobs by name or by number, of many the first four."""
    if len(jobs) == 1:
        return jobs[0].name or "the run"
    named = [jobs[number].name or f"job {number}" for number in numbers]
    return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")


def _rate_that_learns(job: TrainingJob) -> float:
    """A learning rate that takes smaller steps than a job that got stuck.

    The cost is a sum, so a step grows with the examples in a batch, and its effect with the units of a layer: the
    lesson's learning rate is scaled by both.
    """
    batch = min(job.batch_size, len(job.train))
    return min(job.learning_rate / 5, 0.05 * 100 / batch * 16 / max(hidden_widths(job.start)))


def _outside() -> int:
    """The stack level, for the caller's `warnings.warn`, of whoever called breaknet."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("breaknet."):
        frame, level = frame.f_back, level + 1
    return level
