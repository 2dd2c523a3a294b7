"""The work of the threads: training jobs side by side, and evaluation of what they have finished meanwhile.

A job's epochs are trained in chunks of about CHUNK seconds, each one compiled call in some thread, and every chunk is
evaluated in tasks of about 10 ms. A job is at most one chunk ahead of its evaluation. The calling thread hands out
the work, training before evaluation, and calls `report`. When it leaves, by an exception too (Ctrl-C among them), a
flag that the kernels read ends them within a step or so.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...model import INPUTS, MLP, hidden_widths, room_for
from ..interface import Examples, Parameters, Report, Scores, Trained, TrainingJob
from .compiling import announced
from .evaluation import MODELS, EvaluationTasks, Prepared
from .layout import Floats, aligned_zeros, pack, unpack_into
from .sparse_images import SCATTER_UP_TO, Batches, Images, by_column, compress
from .training import SIDE_BY_SIDE, train_epochs

#: Seconds of work, on all threads, in a chunk of epochs.
CHUNK = 0.25

#: ... and its most bytes of parameters, which exist a second time in torch's layout.
CHUNK_BYTES = 16 * 2**20

#: FMAs a second of one thread, to guess the length of a first chunk.
GUESSED_SPEED = 4e9

#: How many waiting runs are looked through for one that may be trained beside the first.
LOOK_AHEAD = 16

#: Seconds between looks at a signal such as Ctrl-C while all threads are busy.
PATIENCE = 0.1


@dataclass(eq=False)
class Run:
    """A job in progress: trained up to one chunk ahead of what is being evaluated."""

    index: int
    job: TrainingJob
    hidden: tuple[int, int]
    train: Prepared
    valid: Prepared | None
    images: Images  # of the training examples
    batches: Batches
    model: Floats  # [P], the current parameters
    stop: NDArray[np.int64]
    rows: Floats = field(init=False)  # [., P], the parameters of the chunk trained last
    trained: int = 0  # rows, each after `job.every` epochs
    diverged_at: int | None = None
    handed_out: int = 0  # rows of which the evaluation has begun
    evaluations: tuple[EvaluationTasks, ...] = ()  # of the chunk being evaluated: training, validation
    tasks_left: int = 0  # of `evaluations`
    curves: NDArray[np.float64] = field(init=False)  # [training or validation, cost or accuracy, E]
    training: bool = False  # queued for training or in it
    epoch_seconds: float = field(init=False)  # of all threads together, training and evaluation

    def __post_init__(self) -> None:
        images = 3 * len(self.train) * self.job.every + (len(self.valid) if self.valid else 0)
        first, second = self.hidden
        work = images * first * (INPUTS // 4 + second)
        self.epoch_seconds = work / GUESSED_SPEED
        self.curves = np.zeros((2, 2, self.job.epochs // self.job.every))
        self.job.checkpoints = room_for(self.job.epochs // self.job.every, self.hidden)

    def chunk_length(self, threads: int) -> int:
        """The number of epochs to train next: whole blocks of models for their evaluation, if there is time for one."""
        epochs = min(int(CHUNK * threads / self.epoch_seconds), CHUNK_BYTES // self.model.nbytes)
        if epochs > MODELS:
            epochs -= epochs % MODELS
        return min(max(epochs, 1), self.job.epochs // self.job.every - self.trained)

    def goes_with(self, other: "Run") -> bool:
        """Whether one call of the kernel can train both: the same images, batches, widths and epochs to come."""
        return (
            self.images is other.images
            and self.batches is other.batches
            and self.hidden == other.hidden
            and (self.trained, self.job.every, self.job.epochs)
            == (other.trained, other.job.every, other.job.epochs)
        )

    def evaluation_tasks(self) -> list[tuple[EvaluationTasks, tuple[int, int]]]:
        """Begin the evaluation of what was trained last; return its tasks."""
        models = self.rows[: self.trained - self.handed_out]
        self.handed_out = self.trained
        sets = (self.train,) if self.valid is None else (self.train, self.valid)
        self.evaluations = tuple(EvaluationTasks(models, self.hidden, data, self.stop) for data in sets)
        tasks = [(evaluation, task) for evaluation in self.evaluations for task in evaluation.tasks()]
        self.tasks_left = len(tasks)
        return tasks

    def result(self, plan: str, seconds: dict[str, float]) -> Trained:
        train, valid = self.curves[:, :, : self.trained]
        return Trained(
            parameters={name: tensor[: self.trained] for name, tensor in self.job.checkpoints.items()},
            train_cost=train[0],
            train_accuracy=train[1],
            valid_cost=valid[0] if self.valid is not None else None,
            valid_accuracy=valid[1] if self.valid is not None else None,
            diverged_at=self.diverged_at,
            plan=plan,
            device="cpu",
            seconds=dict(seconds),
        )


def train_chunk(runs: list[Run], epochs: int) -> tuple[list[int], float]:
    """Train one run, or runs that go with each other; return each one's finite checkpoints, and the seconds it took."""
    began = time.perf_counter()
    first, count = runs[0], len(runs)
    models = np.concatenate([run.model for run in runs], out=aligned_zeros(count * first.model.size))
    rows = aligned_zeros(count, epochs, first.model.size)
    labels = first.train.labels if count == 1 else np.concatenate([run.train.labels for run in runs])
    learning_rates = np.array([run.job.learning_rate for run in runs], np.float32)
    done = np.zeros(count, np.int64)
    train_epochs(
        models, rows.reshape(-1), first.job.every, first.images, first.batches, labels, learning_rates, *first.hidden,
        first.stop, done,
    )  # fmt: skip
    for run, model, chunk in zip(runs, models.reshape(count, -1), rows, strict=True):
        run.model, run.rows = model, chunk
    return done.tolist(), time.perf_counter() - began


class Scheduler:
    """Runs the jobs on a pool of threads; everything here but the tasks themselves is done in the calling thread."""

    def __init__(self, runs: list[Run], pool: Executor, threads: int, report: Report) -> None:
        self.pool, self.threads, self.report = pool, threads, report
        self.to_train: deque[Run] = deque()
        self.to_evaluate: deque[tuple[Run, EvaluationTasks, tuple[int, int]]] = deque()
        self.in_flight: dict[Future[Any], Callable[[Any], None]] = {}
        self.busy = {"training": 0.0, "evaluation": 0.0}  # seconds of all threads together
        for run in runs:
            self._advance(run)

    def run(self) -> None:
        while True:
            self._hand_out()
            if not self.in_flight:
                return
            done, _ = wait(self.in_flight, PATIENCE, FIRST_COMPLETED)
            for future in done:
                self.in_flight.pop(future)(future.result())

    def _hand_out(self) -> None:
        """Give the pool work for every thread and one task more, so that none waits for this thread."""
        while len(self.in_flight) <= self.threads and (self.to_train or self.to_evaluate):
            if self.to_train:
                runs = self._next_to_train()
                epochs = runs[0].chunk_length(self.threads)
                future = self.pool.submit(train_chunk, runs, epochs)
                self.in_flight[future] = partial(self._trained, runs, epochs)
            else:
                run, evaluation, task = self.to_evaluate.popleft()
                self.in_flight[self.pool.submit(evaluation.run, task)] = partial(self._evaluated, run)

    def _next_to_train(self) -> list[Run]:
        """A run, and another that goes with it while enough are left for every thread."""
        first = self.to_train.popleft()
        if SIDE_BY_SIDE > 1 and len(self.to_train) >= self.threads:
            for run in islice(self.to_train, LOOK_AHEAD):
                if run.goes_with(first):
                    self.to_train.remove(run)
                    return [first, run]
        return [first]

    def _trained(self, runs: list[Run], epochs: int, outcome: tuple[list[int], float]) -> None:
        every_done, seconds = outcome
        self.busy["training"] += seconds
        for run, done in zip(runs, every_done, strict=True):
            run.training = False
            run.trained += done
            run.epoch_seconds = seconds / epochs / len(runs)
            if done < epochs:
                run.diverged_at = (run.trained + 1) * run.job.every - 1
            self._advance(run)

    def _advance(self, run: Run) -> None:
        """Evaluate what the run has trained last, once the chunk before it is done, and train it further meanwhile."""
        if not run.tasks_left and run.handed_out < run.trained:
            self.to_evaluate.extend((run, *task) for task in run.evaluation_tasks())
        all_handed_out = not run.training and run.handed_out == run.trained
        if all_handed_out and run.diverged_at is None and run.trained < run.job.epochs // run.job.every:
            run.training = True
            self.to_train.append(run)

    def _evaluated(self, run: Run, seconds: float) -> None:
        self.busy["evaluation"] += seconds
        run.tasks_left -= 1
        models = run.evaluations[0].models
        epochs = len(models)
        run.epoch_seconds += seconds / epochs
        if run.tasks_left:
            return
        first = run.handed_out - epochs
        kept = {name: tensor[first : run.handed_out] for name, tensor in run.job.checkpoints.items()}
        unpack_into(kept, models, run.hidden)
        for curves, evaluation in zip(run.curves, run.evaluations, strict=False):
            scores = evaluation.scores()
            curves[:, first : run.handed_out] = scores.cost, scores.accuracy
        for row in range(first, run.handed_out):
            self.report(run.index, (row + 1) * run.job.every - 1, float(run.curves[0, 0, row]))
        self._advance(run)


@contextmanager
def thread_pool(threads: int) -> Iterator[tuple[ThreadPoolExecutor, NDArray[np.int64]]]:
    """A pool, and the flag that ends its kernels; it is set, and the threads are awaited, on the way out."""
    stop = np.zeros(1, np.int64)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="breaknet")
    try:
        yield pool, stop
    finally:
        stop[0] = 1
        pool.shutdown(wait=True, cancel_futures=True)


def train_side_by_side(jobs: list[TrainingJob], threads: int, report: Report, plan: str) -> list[Trained]:
    """`train` of the backend protocol on a number of threads."""
    began = time.perf_counter()
    sets = [examples for job in jobs for examples in (job.train, job.valid) if examples is not None]
    compile_kernels({examples.images.dtype for examples in sets}, training=True)
    compiled_at = time.perf_counter()
    with thread_pool(threads) as (pool, stop):
        runs = _prepare(jobs, pool, stop)
        computed_at = time.perf_counter()
        scheduler = Scheduler(runs, pool, threads, report)
        scheduler.run()
    ended = time.perf_counter()
    # training and evaluation overlap: the time is shared out as the threads' time was
    busy = sum(scheduler.busy.values()) or 1.0
    seconds = {name: part / busy * (ended - computed_at) for name, part in scheduler.busy.items()}
    seconds |= {"compile": compiled_at - began, "transfer": computed_at - compiled_at, "total": ended - began}
    return [run.result(plan, seconds) for run in runs]


def _prepare(jobs: list[TrainingJob], pool: Executor, stop: NDArray[np.int64]) -> list[Run]:
    """The jobs' runs; what several need of the same tensor is made once."""

    @cache
    def compressed(images: Tensor, pairs: bool) -> Images:
        if not pairs and compressed(images, True).dense:
            return compressed(images, True)
        return compress(images.cpu().numpy(), pool, pairs)

    @cache
    def batches(images: Tensor, batch_size: int) -> Batches:
        return by_column(compressed(images, False), batch_size, pool)

    def prepared(examples: Examples) -> Prepared:
        return Prepared.of(compressed(examples.images, True), examples.labels.cpu().numpy())

    runs = []
    for index, job in enumerate(jobs):
        hidden = hidden_widths(job.start)
        train = prepared(job.train)
        valid = prepared(job.valid) if job.valid is not None else None
        images = compressed(job.train.images, False)
        by_batch = batches(job.train.images, job.batch_size)
        model = pack({name: tensor[None] for name, tensor in job.start.items()}, hidden)[0]
        runs.append(Run(index, job, hidden, train, valid, images, by_batch, model, stop))
    return runs


def evaluate_side_by_side(
    parameters: Parameters, examples: Examples, threads: int, confusion: bool
) -> Scores:
    """`evaluate` of the backend protocol on a number of threads."""
    compile_kernels({examples.images.dtype}, training=False)
    with thread_pool(threads) as (pool, stop):
        return _evaluate(parameters, examples, pool, stop, confusion)


def _evaluate(
    parameters: Parameters, examples: Examples, pool: Executor, stop: NDArray[np.int64], confusion: bool
) -> Scores:
    hidden = hidden_widths(parameters)
    packing = pool.submit(pack, {name: tensor.detach() for name, tensor in parameters.items()}, hidden)
    terms = compress(examples.images.cpu().numpy(), pool, pairs=True)
    prepared = Prepared.of(terms, examples.labels.cpu().numpy())
    evaluation = EvaluationTasks(packing.result(), hidden, prepared, stop, with_confusion=confusion)
    futures = {pool.submit(evaluation.run, task) for task in evaluation.tasks()}
    while futures:
        done, futures = wait(futures, PATIENCE, FIRST_EXCEPTION)
        for future in done:
            future.result()
    return evaluation.scores()


class _CallingThread(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


_compiled: set[tuple[torch.dtype, bool]] = set()


def compile_kernels(dtypes: set[torch.dtype], training: bool) -> None:
    """Have all kernels for images of these dtypes compiled, or loaded from disk.

    A few images go through the whole of training or evaluation, in this thread, where Ctrl-C ends it.
    """
    pool, stop = _CallingThread(), np.zeros(1, np.int64)
    for dtype in dtypes:
        if (dtype, training) in _compiled:
            continue
        images = torch.zeros(SCATTER_UP_TO + 1, INPUTS, dtype=dtype)
        images[:, ::28] = 1
        examples = Examples(images, torch.zeros(len(images), dtype=torch.int64))
        start = {name: tensor.detach() for name, tensor in MLP.seeded(0, (1, 1)).state_dict().items()}
        with announced():
            if training:
                job = TrainingJob(examples, None, 1, len(images), 0.05, start)
                Scheduler(_prepare([job], pool, stop), pool, 1, lambda *_: None).run()
            else:
                _evaluate({name: tensor[None] for name, tensor in start.items()}, examples, pool, stop, False)
        _compiled.add((dtype, training))
