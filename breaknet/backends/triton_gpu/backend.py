"""The Triton kernels as a backend: whole runs in a few launches on a CUDA GPU, or under Triton's interpreter.

Plans:
    cooperative   one network spread over many SMs, all epochs of a round in one launch
    packed        one program trains a network, or a few that share images, for many networks
    split         the cooperative trainer cut into three launches a step: every shape within the limits

On the CPU, which Triton only interprets for tests (`TRITON_INTERPRET=1`), programs run one after another and a
barrier between them would never open. There "cooperative" is run through the phase-split launches: the same device
functions on the same tiles with the same order of sums, hence the same bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BackendError
from ...kernels.jobs import Shape
from ...model import INPUTS, OUTPUTS, PARAMETER_NAMES, hidden_widths, room_for
from ..interface import Examples, Parameters, Report, Scores, Trained, TrainingJob
from .grouping import effective_batch, grouped, shape_of

if TYPE_CHECKING:
    from .rounds import RunningJob

_log = logging.getLogger("breaknet")

NAME = "triton"
PLANS = ("cooperative", "packed", "split")

OLDEST_CAPABILITY = (7, 5)
#: Checkpoints that `evaluate` has on the device at once take at most this many bytes.
EVALUATION_BYTES = 512 * 2**20


def unavailable(device: torch.device) -> str | None:
    """Why this backend cannot run on `device`; None if it can."""
    if device.type not in ("cpu", "cuda"):
        return f"needs a CUDA GPU, not {device.type}"
    if device.type == "cuda":
        if torch.version.hip is not None or not torch.cuda.is_available():
            return "torch finds no CUDA GPU"
        if (device.index or 0) >= torch.cuda.device_count():
            return f"there is no {device}, only {torch.cuda.device_count()} CUDA GPU(s)"
        found = torch.cuda.get_device_capability(device)
        if found < OLDEST_CAPABILITY:
            name = torch.cuda.get_device_name(device)
            return f"{name} has compute capability {found[0]}.{found[1]}, and Triton needs 7.5 or newer"
    from ...kernels import _triton  # only now: importing Triton takes a while

    if not _triton.HAVE_TRITON:
        return _triton.why_not()
    if device.type == "cpu" and not _triton.INTERPRETED:
        return "on the CPU Triton runs under its interpreter only, with TRITON_INTERPRET=1 in the environment"
    if device.type == "cuda" and _triton.INTERPRETED:
        return "TRITON_INTERPRET=1 is in the environment, and the interpreter does not use the GPU"
    if device.type == "cuda":
        _triton.reading()  # while data is loaded and checked
    return None


def unsupported(job: TrainingJob) -> str | None:
    """Why this backend cannot take the job's shapes; None if it can."""
    return shape_of(job).unsupported(effective_batch(job))


def unsupported_hidden(hidden: tuple[int, int]) -> str | None:
    """The same question for `evaluate`."""
    return Shape(INPUTS, *hidden, OUTPUTS).unsupported()


def train(jobs: list[TrainingJob], device: torch.device, plan: str | None, report: Report) -> list[Trained]:
    """Train the jobs, those of one kind side by side as far as they fit the device.

    Compilation runs in threads while the data is copied; `seconds["compile"]` is what was still to wait for then.

    Raises:
        BackendError: a named plan cannot take some job, with the reason.
    """
    from ...kernels.host.trainers import NotResident
    from .kept_images import KEEPING, KEPT
    from .rounds import RunningJob, run_rounds, upload

    with KEEPING:
        KEPT.clear()  # training may need the room
    began = perf_counter()
    asked, device = device, _numbered(device)
    groups = grouped(jobs, device, plan)
    with torch.cuda.device_of(torch.empty(0, device=device)), ThreadPoolExecutor(8) as pool:
        compiling = [
            pool.submit(_once_read, task) for group in groups for task in group.compilations(jobs, device)
        ]
        if compiling:
            _log.info("Compiling the GPU kernels; the first time on a machine takes some seconds.")
        uploaded = upload(
            (part for job in jobs for part in (job.train, job.valid) if part is not None), device
        )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        transferred = perf_counter()
        wait(compiling)  # what fails here fails again where it is launched, and is dealt with there
        compiled = perf_counter()
        trained: dict[int, Trained] = {}
        while groups:
            group = groups.pop(0)
            for number in group.numbers:
                job = jobs[number]
                job.checkpoints = room_for(job.epochs // job.every, hidden_widths(job.start))
            running = [
                RunningJob(
                    number=number,
                    train=uploaded[id(jobs[number].train)],
                    valid=uploaded.get(id(jobs[number].valid)),
                    epochs=jobs[number].epochs,
                    every=jobs[number].every,
                    batch=effective_batch(jobs[number]),
                    learning_rate=jobs[number].learning_rate,
                    live_row=row,
                    parameters=tuple(jobs[number].checkpoints.values()),
                )
                for row, number in enumerate(group.numbers)
            ]
            try:
                trainer = group.trainer(jobs, running[0].train, device)
            except NotResident as reason:
                if plan is not None:
                    raise BackendError(f"plan {plan!r} cannot be used here: {reason}") from reason
                _log.warning("%s; training split into launches.", reason)
                groups[:0] = grouped(jobs, device, "split", group.numbers)
                continue
            run_rounds(trainer, running, report)
            trained |= {job.number: _result(job, group.plan, asked) for job in running}
    for result in trained.values():
        result.seconds |= {"transfer": transferred - began, "compile": compiled - transferred}
        result.seconds["total"] = perf_counter() - began
    return [trained[number] for number in range(len(jobs))]


def _once_read(task: Callable[[], object]) -> object:
    from ...kernels import _triton

    _triton.reading().join()
    return task()


def _numbered(device: torch.device) -> torch.device:
    """`device` by its number: the threads that compile have a current GPU of their own."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())


def _result(job: RunningJob, plan: str, device: torch.device) -> Trained:
    kept = slice(0, job.kept)

    def curve(values: dict[str, Tensor], which: str, count: int) -> NDArray[np.float64]:
        return values[which][kept].to(torch.float64).numpy() / count

    return Trained(
        parameters={name: tensor[kept] for name, tensor in zip(PARAMETER_NAMES, job.parameters, strict=True)},
        train_cost=curve(job.cost, "train", job.train.examples),
        train_accuracy=curve(job.hits, "train", job.train.examples),
        valid_cost=None if job.valid is None else curve(job.cost, "valid", job.valid.examples),
        valid_accuracy=None if job.valid is None else curve(job.hits, "valid", job.valid.examples),
        diverged_at=job.diverged_at,
        plan=plan,
        device=str(device),
        seconds={"training": job.training_seconds, "evaluation": job.evaluation_seconds},
    )


def evaluate(parameters: Parameters, examples: Examples, device: torch.device, confusion: bool) -> Scores:
    """Cost and accuracy of C checkpoints, and the confusion counts if asked."""
    from .kept_images import KEEPING, KEPT

    if KEPT:  # what is kept for speed must not be what is missing
        with suppress(torch.OutOfMemoryError):
            return _evaluate(parameters, examples, _numbered(device), confusion)
        with KEEPING:
            KEPT.clear()
    return _evaluate(parameters, examples, _numbered(device), confusion)


def _evaluate(parameters: Parameters, examples: Examples, device: torch.device, confusion: bool) -> Scores:
    from ...kernels.evaluation import evaluate_checkpoints
    from .kept_images import keep, on_device
    from .rounds import moved

    widths = [parameters[f"{layer}.bias"].shape[1] for layer in ("hidden1", "hidden2", "output")]
    shape = Shape(parameters["hidden1.weight"].shape[2], *widths)
    hidden = (shape.hidden1, shape.hidden2)
    images, prepared, labels = on_device(examples, device)
    total = len(parameters["output.bias"])
    at_once = max(1, EVALUATION_BYTES // (4 * shape.parameters))
    found: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for low in range(0, total, at_once):
        some = [moved(parameters[name][low : low + at_once], device).flatten(1) for name in PARAMETER_NAMES]
        rows = torch.cat(some, dim=1)
        found.append(
            evaluate_checkpoints(
                rows, images, labels, hidden, shape.outputs, confusion=confusion, prepared=prepared
            )
        )
    count = len(images)
    scores = Scores(
        cost=np.concatenate([cost.cpu().numpy() for cost, _, _ in found]) / count,
        accuracy=np.concatenate([hits.cpu().numpy() for _, hits, _ in found]) / count,
        confusion=np.concatenate([cells.cpu().numpy() for _, _, cells in found if cells is not None])
        if confusion
        else None,
    )
    keep(examples, prepared)  # the results are here, so the device has finished
    return scores
