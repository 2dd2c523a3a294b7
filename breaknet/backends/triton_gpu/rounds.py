"""The data of all jobs on the device, and jobs of one kind trained in rounds of some epochs each.

Images and labels lie on the device once: jobs that share a tensor share its upload.

A round trains, evaluates its checkpoints and starts copying the results, all asynchronously; the next round is
launched before the last one's results are looked at, so that the device never waits for the host. How long a round
is changes no bit of any result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from breaknet.kernels.evaluation import evaluate_checkpoints, prepared_images
from breaknet.kernels.host.trainers import Trainer
from breaknet.kernels.jobs import JobRow, Shape

from ..interface import Examples, Report

#: A round is made to last about this long, so that progress shows while launches stay negligible.
ROUND_SECONDS = 0.25
#: Steps of the longest job in the first round, before any has been timed.
FIRST_STEPS = {"cuda": 10_000, "cpu": 20}
#: What is copied to the device at a time.
PIECE_BYTES = 4 * 2**20
#: The checkpoints of one round take at most this many bytes on the device.
ROUND_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)  # two are never equal: comparing them would compare their tensors
class DeviceData:
    """The place of one set of examples: rows of `images` and entries of `labels` in the uploads of its dtype."""

    images: Tensor  # uint8 or float32 [M, K], the upload that all sets of this dtype share
    labels: Tensor  # int32 [L], likewise
    image_row: int
    label: int
    examples: int
    #: `prepared` of all sets of this dtype, by image_row and examples.
    laid_out: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def own(self) -> tuple[Tensor, Tensor]:
        """Views of this set's images [N, K] and labels [N]."""
        rows = slice(self.image_row, self.image_row + self.examples)
        return self.images[rows], self.labels[self.label : self.label + self.examples]

    def prepared(self) -> Tensor:
        """This set's images as evaluation reads them, made once for all sets that share them."""
        key = self.image_row, self.examples
        if key not in self.laid_out:
            self.laid_out[key] = prepared_images(self.own()[0])
        return self.laid_out[key]


def upload(sets: Iterable[Examples], device: torch.device) -> dict[int, DeviceData]:
    """Copy every set to `device`; the result is by `id` of the set.

    One tensor of images for each dtype and one of labels, which hold each distinct tensor of the caller's once.
    """
    distinct = {id(examples): examples for examples in sets}
    uploaded: dict[int, DeviceData] = {}
    for dtype in (torch.uint8, torch.float32):
        chosen = {key: examples for key, examples in distinct.items() if examples.images.dtype == dtype}
        if not chosen:
            continue
        images, image_rows = _joined([examples.images for examples in chosen.values()], dtype, device)
        labels, label_starts = _joined([examples.labels for examples in chosen.values()], torch.int32, device)
        laid_out: dict[tuple[int, int], Tensor] = {}
        for key, examples in chosen.items():
            row, start = image_rows[id(examples.images)], label_starts[id(examples.labels)]
            uploaded[key] = DeviceData(images, labels, row, start, len(examples.images), laid_out)
    return uploaded


def _joined(tensors: list[Tensor], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, dict[int, int]]:
    """The distinct tensors one below the other, contiguous, and the first row of each by its `id`."""
    distinct = {id(tensor): tensor for tensor in tensors}
    starts, rows = {}, 0
    for key, tensor in distinct.items():
        starts[key] = rows
        rows += len(tensor)
    only = next(iter(distinct.values()))
    if len(distinct) == 1 and only.device == device and only.dtype == dtype and only.is_contiguous():
        return only, starts  # already there: the kernels only read
    joined = torch.empty(rows, *only.shape[1:], dtype=dtype, device=device)
    for key, tensor in distinct.items():
        _fill(joined[starts[key] : starts[key] + len(tensor)], tensor)
    return joined, starts


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, itself where it lies there; does not wait for the device."""
    if tensor.device == device:
        return tensor
    there = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    _fill(there, tensor)
    return there


def _fill(target: Tensor, source: Tensor) -> None:
    """Copy and convert, without waiting for the device; the caller may change `source` as soon as this returns.

    A GPU copies at its full rate only from page-locked memory. So the host's goes there piece by piece, and while a
    piece travels the next one is on its way there. torch keeps such memory for the next time.
    """
    if target.device.type != "cuda" or source.device.type != "cpu":
        target.copy_(source, non_blocking=True)
        return
    rows = max(1, PIECE_BYTES // max(1, target[:1].numel() * target.element_size()))
    for there, piece in zip(target.split(rows), source.split(rows), strict=True):
        there.copy_(piece.to(target.dtype).pin_memory(), non_blocking=True)


@dataclass(eq=False)
class RunningJob:
    """One job on its way: where its data lies, how far it is and what has come back."""

    number: int  # in the caller's list
    train: DeviceData
    valid: DeviceData | None
    epochs: int
    batch: int
    learning_rate: float
    live_row: int
    parameters: tuple[Tensor, ...]  # of its job's checkpoints [points, ...], in torch's order
    every: int = 1  # results are kept after every so many epochs
    launched: int = 0  # epochs
    diverged_at: int | None = None
    kept: int = 0  # rows of results that are in `parameters` and below
    cost: dict[str, Tensor] = field(default_factory=dict)  # of "train" and "valid": summed, float64 [epochs]
    hits: dict[str, Tensor] = field(default_factory=dict)  # int64 [epochs]
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.launched >= self.epochs or self.diverged_at is not None

    @property
    def steps_an_epoch(self) -> int:
        return -(-self.train.examples // self.batch)

    @property
    def points(self) -> int:
        return self.epochs // self.every

    def kept_of(self, epochs: int) -> range:
        """Which of the next so many epochs are kept, counted from the first of them."""
        return range(-(self.launched + 1) % self.every, epochs, self.every)

    def __post_init__(self) -> None:
        for which in ("train", "valid") if self.valid is not None else ("train",):
            self.cost[which] = torch.empty(self.points, dtype=torch.float64)
            self.hits[which] = torch.empty(self.points, dtype=torch.int64)

    def row(self, epochs: int, checkpoint_row: int) -> JobRow:
        """This job's line of the next launch."""
        return JobRow(
            image_row=self.train.image_row,
            label=self.train.label,
            examples=self.train.examples,
            batch=self.batch,
            epochs=epochs,
            live_row=self.live_row,
            checkpoint_row=checkpoint_row,
            learning_rate=self.learning_rate,
        )


@dataclass(eq=False)
class _Round:
    """A launched round: its jobs with the rows of `checkpoints` that are theirs, and its results to come."""

    parts: list[tuple[RunningJob, slice]]
    steps: int  # of its longest job
    checkpoints: Tensor
    finite: Tensor
    scores: dict[str, tuple[Tensor, Tensor]]  # cost float64 and hits int64, by rows of checkpoints
    events: tuple[Any, Any, Any]  # start, trained, evaluated and copied


def run_rounds(trainer: Trainer, jobs: list[RunningJob], report: Report) -> None:
    """Train and evaluate the jobs to their ends, at most the trainer's capacity of them side by side."""
    shape, device, at_once = trainer.shape, trainer.device, trainer.capacity
    rows = max(min(len(jobs), at_once), ROUND_BYTES // (4 * shape.parameters))
    rows = min(rows, sum(job.epochs for job in jobs))
    # one buffer will do: a round's copy to the host stands before the next round in the device's queue
    buffer = torch.empty(rows, shape.parameters, dtype=torch.float32, device=device)
    steps = FIRST_STEPS[device.type]
    pending: _Round | None = None
    while True:
        chosen = [job for job in jobs if not job.finished][:at_once]
        launched = _launch(trainer, chosen, steps, buffer) if chosen else None
        if pending is not None:
            took = _collect(pending, shape, report)
            if took > 0:
                steps = max(1, int(pending.steps * ROUND_SECONDS / took))
        pending = launched
        if pending is None and all(job.finished for job in jobs):
            return


def _launch(trainer: Trainer, jobs: list[RunningJob], steps: int, buffer: Tensor) -> _Round:
    shape, device = trainer.shape, trainer.device
    epochs = _epochs_of_round(jobs, steps, len(buffer))
    parts, rows, first = [], [], 0
    kept: list[int] = []  # rows of the buffer
    for job in jobs:
        rows.append(job.row(epochs[job.number], first))
        kept_of_job = [first + epoch for epoch in job.kept_of(epochs[job.number])]
        parts.append((job, slice(len(kept), len(kept) + len(kept_of_job))))
        kept += kept_of_job
        first += epochs[job.number]
        job.launched += epochs[job.number]
    start = _event(device)
    trainer.launch(buffer, rows)
    trained = _event(device)
    checkpoints = (
        buffer[:first] if len(kept) == first else buffer[torch.tensor(kept, dtype=torch.int64, device=device)]
    )
    scores = {"train": _evaluate(parts, "train", checkpoints, shape)}
    if any(job.valid is not None for job in jobs):
        scores["valid"] = _evaluate(parts, "valid", checkpoints, shape)
    finite = _to_host(torch.isfinite(checkpoints).all(dim=1))
    copied = _to_host(checkpoints)
    longest = max(epochs[job.number] * job.steps_an_epoch for job in jobs)
    return _Round(parts, longest, copied, finite, scores, (start, trained, _event(device)))


def _epochs_of_round(jobs: list[RunningJob], steps: int, rows: int) -> dict[int, int]:
    """Epochs for each job, so that all take about as many steps; none has more of the `rows` than its share."""
    share = rows // len(jobs)
    return {
        job.number: min(job.epochs - job.launched, max(1, steps // job.steps_an_epoch), share) for job in jobs
    }


def _evaluate(
    parts: list[tuple[RunningJob, slice]], which: str, checkpoints: Tensor, shape: Shape
) -> tuple[Tensor, Tensor]:
    """Cost and hits of all rows, NaN and -1 where a job has no such examples; those that share them at once."""
    cost = torch.full((len(checkpoints),), float("nan"), dtype=torch.float64, device=checkpoints.device)
    hits = torch.full((len(checkpoints),), -1, dtype=torch.int64, device=checkpoints.device)
    for data, group in groupby(parts, key=lambda part: getattr(part[0], which)):
        if data is None:
            continue
        slices = [rows for _, rows in group]
        rows = slice(slices[0].start, slices[-1].stop)
        if rows.start == rows.stop:
            continue
        images, labels = data.own()
        hidden = (shape.hidden1, shape.hidden2)
        cost[rows], hits[rows], _ = evaluate_checkpoints(
            checkpoints[rows], images, labels, hidden, shape.outputs, prepared=data.prepared()
        )
    return _to_host(cost), _to_host(hits)


def _collect(done: _Round, shape: Shape, report: Report) -> float:
    """Hand a round's results to its jobs and report their epochs; returns the seconds that the round took."""
    start, trained, evaluated = done.events
    if not isinstance(evaluated, float):
        evaluated.synchronize()
    for job, rows in done.parts:
        if job.diverged_at is not None:
            continue  # launched before its divergence was known
        job.training_seconds += _seconds(start, trained)
        job.evaluation_seconds += _seconds(trained, evaluated)
        finite = done.finite[rows].tolist()
        good = finite.index(False) if False in finite else len(finite)
        first, job.kept = job.kept, job.kept + good
        if good < len(finite):
            job.diverged_at = (job.kept + 1) * job.every - 1
        here, there = slice(rows.start, rows.start + good), slice(first, job.kept)
        for kept, tensor in zip(job.parameters, shape.unpack(done.checkpoints[here]), strict=True):
            kept[there] = tensor
        for which in job.cost:
            cost, hits = done.scores[which]
            job.cost[which][there], job.hits[which][there] = cost[here], hits[here]
        for epoch, cost in enumerate(job.cost["train"][there].tolist(), start=first):
            report(job.number, (epoch + 1) * job.every - 1, cost / job.train.examples)
    return _seconds(start, evaluated)


def _event(device: torch.device) -> Any:
    """A CUDA event after all launched so far; without a GPU, where launches return when done, the time."""
    if device.type != "cuda":
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _seconds(earlier: Any, later: Any) -> float:
    """The time between two events that the device has passed."""
    if isinstance(earlier, float):
        return later - earlier
    return earlier.elapsed_time(later) / 1000.0


def _to_host(tensor: Tensor) -> Tensor:
    """A CPU copy that is complete once an event recorded after this call has been reached."""
    if tensor.device.type != "cuda":
        return tensor.clone()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
