"""`train` and `train_many`: check everything once, pick a backend, return runs."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch

from .backends import select
from .backends.interface import Report, Trained, TrainingJob
from .checkpoints import Checkpoints
from .failures import warn_of_failures
from .fast_paths import difference_in_outputs, difference_in_training
from .inputs import (
    ExamplesReader,
    check_count,
    check_learning_rate,
    check_seed,
    knows_other_names,
    with_labels,
)
from .model import (
    MLP,
    PARAMETER_NAMES,
    all_finite,
    check_hidden,
    hidden_widths,
    parameter_bytes,
    parameter_shapes,
    seeded_parameters,
    stuck_since,
    torch_settings,
)
from .progress import CallbackFailed, Progress
from .resources import ALWAYS_THERE, check_memory
from .run import Run

#: This very object, not its value, means that the caller named no widths (an `init` then brings its own).
_DEFAULT_HIDDEN = (16, 16)


@dataclass(frozen=True, eq=False)
class Job:
    """One training run to make; the fields mean what the arguments of `train` mean."""

    data: Any
    valid: Any = None
    epochs: int = 100
    batch_size: int = 100
    learning_rate: float = 0.05
    hidden: tuple[int, int] = _DEFAULT_HIDDEN
    seed: int = 0
    init: MLP | None = None
    every: int = 1  # keep curves and checkpoints after every so many epochs only; divides `epochs`
    name: str = ""  # how a progress bar and warnings call it


setattr(Job, "__init__", knows_other_names(Job.__init__))  # noqa: B010, an assignment would be a new method to mypy

#: With checkpoints="last", the parameters of jobs that are trained at once take at most this many bytes.
_BYTES_AT_ONCE = 512 * 2**20


@knows_other_names
def train(
    data: Any,
    labels: Any = None,
    *,
    valid: Any = None,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: float = 0.05,
    hidden: tuple[int, int] = _DEFAULT_HIDDEN,
    seed: int = 0,
    init: MLP | None = None,
    backend: str = "auto",
    device: str | torch.device = "auto",
    progress: Any = None,
) -> Run:
    """Train one network by plain SGD on the summed squared error, batches in order, and keep every epoch.

    Args:
        data: what to train on: a Split, or a pair (images, labels) of numpy arrays or torch tensors. Images are
            uint8 (meaning byte / 256) or floating (used as they are), [N, 784] or [N, 28, 28]; labels are
            whole numbers 0 to 9, [N], in a list if you like.
        labels: the labels, where `data` is images alone: `train(images, labels)`.
        valid: what to evaluate on after each epoch as well, in the same forms; None for nothing.
        epochs: passes over the data, 1 or more.
        batch_size: examples a step, 1 or more; the last batch of an epoch may be smaller.
        learning_rate: finite, over 0.
        hidden: widths of the two hidden layers, each 1 or more.
        seed: draws the starting parameters, 0 to 2^63 - 1. The caller's random state is left alone.
        init: a model to start from (left unchanged), instead of `seed`; it brings its own widths, so an explicit
            `hidden` must agree with it. One that is frozen in part, shares parameters or has gradient hooks is
            trained so, by the torch backend; one that computes something else is a ValueError.
        backend: "auto" (triton on a usable CUDA GPU, else numba, else torch), "torch", "numba" or "triton".
        device: "auto", or a torch device or its name.
        progress: None for a bar in a notebook once a second has passed, and nothing elsewhere; True for a bar, False
            for silence, or a callable(epoch, epochs, train_cost).

    Raises:
        TypeError, ValueError: for arguments of a wrong type or value; nothing has been done then.
        BackendError: where a backend or device was named that cannot be used or cannot take these shapes.

    A run whose parameters stop being finite ends there with one RuntimeWarning and `diverged_at` set; one that learns
    nothing any more, since gradients vanish, goes on, with one RuntimeWarning that names a remedy and `stuck_at` set.
    """
    job = Job(with_labels(data, labels), valid, epochs, batch_size, learning_rate, hidden, seed, init)
    return train_many([job], backend=backend, device=device, progress=progress)[0]


@knows_other_names
def train_many(
    jobs: list[Job] | tuple[Job, ...],
    *,
    backend: str = "auto",
    device: str | torch.device = "auto",
    progress: Any = None,
    plan: str | None = None,
    checkpoints: str = "all",
) -> list[Run]:
    """Train many networks, side by side where the backend can; runs come back in the order of the jobs.

    Args:
        jobs: what to train; jobs given the same images share them.
        backend, device: as in `train`.
        progress: as in `train`: one bar for all jobs, by their names; a callable is called for each job.
        plan: how the backend is to run the jobs, one of its `PLANS`; None lets it choose. Within a plan a job
            gives the same bits alone or among others.
        checkpoints: "all" for those of every epoch, or "last" for the final parameters alone: jobs are then trained
            some at a time, so that memory does not grow with epochs.

    Raises:
        TypeError, ValueError, BackendError: as `train` does; a job's errors name it by its number from 0.
    """
    if checkpoints not in ("all", "last"):
        raise ValueError(f"checkpoints: 'all' or 'last', not {checkpoints!r}")
    with torch_settings():
        runs = train_checked(check_jobs(jobs), backend, device, progress, plan, checkpoints)
    for run, job in zip(runs, jobs, strict=True):
        run.checkpoints.metadata.update(_breakages(job))
    return runs


def train_checked(
    checked: list[TrainingJob],
    backend: str,
    device: str | torch.device,
    progress: Any,
    plan: str | None = None,
    checkpoints: str = "all",
) -> list[Run]:
    """`train_many` of jobs that were checked; an interruption leaves in their `checkpoints` what was reported."""
    with torch_settings():
        # no object for no progress: most runs have none, and outside of notebooks None is none
        silent = progress is False or (progress is None and "ipykernel" not in sys.modules)
        shown = None if silent else Progress(progress, checked)
        if checkpoints == "all":
            _check_room([(job.epochs // job.every, hidden_widths(job.start)) for job in checked])
        usable = select.choices(backend, device)
        _check_plan(plan, backend, usable)
        if not checked:
            return []
        runs: dict[int, Run] = {}
        with shown or nullcontext():
            for numbers in _by_backend(checked, usable, checkpoints == "last"):
                group = [checked[number] for number in numbers]
                _draw_starts(group)
                report = partial(_report, shown, numbers)
                trained, used = _train_group(group, usable, backend != "auto", plan, report)
                for number, job, one in zip(numbers, group, trained, strict=True):
                    runs[number] = _as_run(one, used, job, last_only=checkpoints == "last")
                    job.start = _shapes_alone(hidden_widths(job.start))
                    if checkpoints == "last":
                        job.checkpoints = {}
                del trained  # before the next group's parameters are made
    failed = [run.diverged_at is not None or run.stuck_at is not None for run in runs.values()]
    if any(failed):
        warn_of_failures(runs, checked)
    return [runs[number] for number in range(len(checked))]


def check_jobs(jobs: Any) -> list[TrainingJob]:
    """The jobs that `train_many` is given, checked, in a backend's form."""
    if not isinstance(jobs, (list, tuple)):
        raise TypeError(f"jobs: a list of Job, not a {type(jobs).__name__}")
    reader = ExamplesReader()
    checked = []
    for number, job in enumerate(jobs):
        if not isinstance(job, Job):
            raise TypeError(f"jobs: a list of Job, but number {number} is a {type(job).__name__}")
        try:
            checked.append(_check_job(job, reader))
        except (TypeError, ValueError) as error:
            if len(jobs) == 1:
                raise
            raise type(error)(f"job {number}: {error}") from error
    return checked


def _check_room(kept: list[tuple[int, tuple[int, int]]]) -> None:
    """Refuse checkpoints that memory cannot hold; most are so small that the system need not be asked."""
    if sum(epochs * parameter_bytes(hidden) for epochs, hidden in kept) > ALWAYS_THERE:
        check_memory(kept)


def _check_job(job: Job, reader: ExamplesReader) -> TrainingJob:
    # the cheap questions first: images are looked at only once everything else is right
    epochs = check_count(job.epochs, "epochs")
    every = check_count(job.every, "every")
    if epochs % every:
        raise ValueError(f"every: a divisor of the {epochs} epochs, not {every}")
    batch_size = check_count(job.batch_size, "batch_size")
    learning_rate = check_learning_rate(job.learning_rate)
    seed = check_seed(job.seed)
    hidden = check_hidden(job.hidden)
    if job.init is None:
        _check_room([(epochs // every, hidden)])
    if job.init is not None:
        if not isinstance(job.init, MLP):
            raise TypeError(f"init: a breaknet.MLP, not a {type(job.init).__name__}")
        if job.hidden is not _DEFAULT_HIDDEN and hidden != job.init.hidden:
            raise ValueError(f"hidden: {hidden} differs from the widths of init, {job.init.hidden}")
        reason = difference_in_outputs(job.init)
        if reason is not None:
            raise ValueError(f"init: {reason}; an MLP as it is, or else breaknet.notebook.train_model")
        obstacle = difference_in_training(job.init)
        state: Mapping[str, torch.Tensor] = dict(job.init.named_parameters(remove_duplicate=False))
        if not all_finite(state):
            raise ValueError("init: finite parameters only, but some are NaN or infinite")
        start = {name: state[name].detach().to("cpu", torch.float32, copy=True) for name in PARAMETER_NAMES}
    else:
        start, obstacle = _shapes_alone(hidden), None
    train_examples = reader.read(job.data, "data")
    valid_examples = None if job.valid is None else reader.read(job.valid, "valid")
    module = job.init if obstacle is not None else None
    return TrainingJob(
        train_examples, valid_examples, epochs, batch_size, learning_rate, start, every, module, obstacle,
        _check_name(job.name), seed if job.init is None else None,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _shapes_alone(hidden: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Parameters without values: the start of a job before and after its turn, which takes no memory."""
    return {
        name: torch.empty(shape, dtype=torch.float32, device="meta")
        for name, shape in parameter_shapes(hidden).items()
    }


def _draw_starts(jobs: list[TrainingJob]) -> None:
    """Values for the starts that have shapes alone."""
    for job in jobs:
        if job.seed is not None:
            job.start = seeded_parameters(job.seed, hidden_widths(job.start))


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: text, not {name!r}")
    return name


def _obstacle(choice: select.Choice, job: TrainingJob) -> str | None:
    """Why a backend cannot train a job; None if it can."""
    own = job.obstacle if choice.name != "torch" else None
    return own or choice.backend.unsupported(job)


def _check_plan(plan: object, backend: str, usable: list[select.Choice]) -> None:
    if plan is None:
        return
    if not isinstance(plan, str):
        raise TypeError(f"plan: a name or None, not {plan!r}")
    first = usable[0]
    if plan not in first.backend.PLANS:
        raise ValueError(
            f"plan: {' or '.join(first.backend.PLANS)} with the {first.name} backend, not {plan!r}"
        )


def _by_backend(jobs: list[TrainingJob], usable: list[select.Choice], in_parts: bool) -> list[list[int]]:
    """The jobs' numbers, grouped by the first backend that can take them; `in_parts` of bounded memory."""
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        able = [choice for choice in usable if _obstacle(choice, job) is None]
        groups.setdefault((able or usable)[0].name, []).append(number)
    return [part for group in groups.values() for part in (_parts(jobs, group) if in_parts else [group])]


def _parts(jobs: list[TrainingJob], numbers: list[int]) -> list[list[int]]:
    """The numbers cut where starts, current parameters and checkpoints would take over `_BYTES_AT_ONCE`."""
    parts: list[list[int]] = []
    room = 0
    for number in numbers:
        job = jobs[number]
        size = 4 * (job.epochs // job.every + 2) * sum(tensor.numel() for tensor in job.start.values())
        if not parts or size > room:
            parts.append([])
            room = _BYTES_AT_ONCE
        parts[-1].append(number)
        room -= size
    return parts


def _train_group(
    jobs: list[TrainingJob], usable: list[select.Choice], named: bool, plan: str | None, report: Report
) -> tuple[list[Trained], select.Choice]:
    """Train jobs that the same backends can take; return with them the backend that did."""
    obstacles = {
        choice.name: next((why for job in jobs if (why := _obstacle(choice, job))), None) for choice in usable
    }

    def train_on(choice: select.Choice) -> list[Trained]:
        used_plan = plan if plan in choice.backend.PLANS else None
        trained: list[Trained] = choice.backend.train(jobs, choice.device, used_plan, report)
        return trained

    try:
        return select.run_on_first(usable, obstacles, named, train_on)
    except CallbackFailed as failed:
        raise failed.error from None


def _report(shown: Progress | None, numbers: list[int], job: int, epoch: int, train_cost: float) -> None:
    """Pass on that the group's `job`, the caller's numbers[job], has finished an epoch."""
    if shown is not None:
        shown.report(numbers[job], epoch, train_cost)


def _as_run(trained: Trained, choice: select.Choice, job: TrainingJob, last_only: bool = False) -> Run:
    kept = trained.parameters
    if last_only:  # copies, since a slice would keep the memory of all
        kept = {name: tensor[-1:].clone() for name, tensor in kept.items()}
    stuck_at = _stuck_at(trained, job)
    checkpoints = Checkpoints(
        kept,
        {
            "backend": choice.name,
            "plan": trained.plan,
            "device": trained.device or str(choice.device),
            "epochs": str(job.epochs),
            "batch_size": str(job.batch_size),
            "learning_rate": repr(job.learning_rate),
            "hidden": ",".join(map(str, hidden_widths(job.start))),
            "every": str(job.every),
            "diverged_at": "" if trained.diverged_at is None else str(trained.diverged_at),
            "stuck_at": "" if stuck_at is None else str(stuck_at),
        },
    )
    return Run(
        train_cost=trained.train_cost,
        valid_cost=trained.valid_cost,
        train_accuracy=trained.train_accuracy,
        valid_accuracy=trained.valid_accuracy,
        checkpoints=checkpoints,
        backend=choice.name,
        plan=trained.plan,
        device=checkpoints.metadata["device"],
        seconds=trained.seconds,
        diverged_at=trained.diverged_at,
        stuck_at=stuck_at,
    )


def _stuck_at(trained: Trained, job: TrainingJob) -> int | None:
    """The epoch that `stuck_since` finds; None for a run that diverged, whose end is another."""
    if trained.diverged_at is not None:
        return None
    row = stuck_since(trained.parameters, trained.train_cost, job.train.images, job.train.labels)
    return None if row is None else (row + 1) * job.every - 1


def _breakages(job: Job) -> dict[str, str]:
    """The breakages of a job's Splits, as text that `breaknet.break_data` takes; "" for nothing."""
    return {
        "breakage": getattr(job.data, "breakage", ""),
        "valid_breakage": getattr(job.valid, "breakage", ""),
    }
