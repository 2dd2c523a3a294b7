"""Which thread does what: training jobs side by side, and evaluation of what they have finished meanwhile.

A job's epochs are trained in chunks of about CHUNK seconds, each one compiled call in some thread, and every chunk is
evaluated in tasks of about 10 ms. A job is at most one chunk ahead of its evaluation. The calling thread hands out
the work, training before evaluation, and calls `report`. When it leaves, by an exception too (Ctrl-C among them), a
flag that the kernels read ends them within a step or so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...model import INPUTS
from ..interface import Examples, Parameters, Report, Scores, Trained, TrainingJob
from . import evaluation, pixel_terms, sparse_images
from . import training as training_kernel
from .compiling import ready
from .evaluation import MODELS
from .evaluation_tasks import Prepared, Scoring
from .layout import Floats, aligned_zeros, pack, row_length, unpack
from .pixel_terms import Terms, collect_terms
from .sparse_images import Batches, Images, by_column, compress
from .training import train_epochs

#: Seconds of work, on all threads, in a chunk of epochs.
CHUNK = 0.25

#: Multiply-adds a second of one thread, to guess the length of a first chunk.
GUESSED_RATE = 4e9

#: Seconds between looks at a signal such as Ctrl-C while all threads are busy.
PATIENCE = 0.1


@dataclass(eq=False)
class Run:
    """A job on its way: trained up to one chunk ahead of what is being evaluated."""

    index: int
    job: TrainingJob
    train: Prepared
    valid: Prepared | None
    images: Images  # of the training examples
    batches: Batches
    model: Floats  # [P], the parameters as they now are
    checkpoints: Floats  # [E, P]
    stop: NDArray[np.int64]
    trained: int = 0  # epochs that are in `checkpoints`
    diverged_at: int | None = None
    scored: list[tuple[Scoring, ...]] = field(default_factory=list)  # by chunk: training, validation examples
    tasks_left: int = 0  # of the chunk being evaluated, the last in `scored`
    training: bool = True  # queued for training or in it
    waiting: slice | None = None  # the chunk trained, but not yet being evaluated
    epoch_seconds: float = field(init=False)  # of all threads together, training and evaluation

    def __post_init__(self) -> None:
        images = 3 * len(self.train) + (len(self.valid) if self.valid else 0)
        first, second = self.job.hidden
        work = images * first * (INPUTS // 4 + second)
        self.epoch_seconds = work / GUESSED_RATE

    @property
    def wants_training(self) -> bool:
        idle = not self.training and self.waiting is None
        return idle and self.diverged_at is None and self.trained < self.job.epochs

    def chunk_length(self, threads: int) -> int:
        """How many epochs to train next: whole blocks of models for their evaluation, if there is time for one."""
        epochs = int(CHUNK * threads / self.epoch_seconds)
        if epochs > MODELS:
            epochs -= epochs % MODELS
        return min(max(epochs, 1), self.job.epochs - self.trained)

    def train_chunk(self, epochs: int) -> tuple[int, float]:
        """Train; return the epochs that ended with finite parameters, and the seconds it took."""
        began = time.perf_counter()
        done = train_epochs(
            self.model, self.checkpoints[self.trained : self.trained + epochs], self.images, self.batches,
            self.train.labels, np.float32(self.job.learning_rate), *self.job.hidden, self.stop,
        )  # fmt: skip
        return done, time.perf_counter() - began

    def score(self, chunk: slice) -> list[tuple[Scoring, tuple[int, int]]]:
        """Begin the evaluation of a chunk; return its tasks."""
        models = self.checkpoints[chunk]
        sets = (self.train,) if self.valid is None else (self.train, self.valid)
        scorings = tuple(Scoring(models, self.job.hidden, examples, self.stop) for examples in sets)
        tasks = [(scoring, task) for scoring in scorings for task in scoring.tasks()]
        self.scored.append(scorings)
        self.tasks_left = len(tasks)
        return tasks

    def curve(self, examples: int, name: str) -> NDArray[np.float64]:
        """`cost` or `accuracy` of all epochs on the training (0) or the validation (1) examples."""
        curves = [getattr(scorings[examples], name) for scorings in self.scored]
        return np.concatenate(curves) if curves else np.zeros(0)

    def result(self, plan: str, seconds: dict[str, float]) -> Trained:
        return Trained(
            parameters=unpack(self.checkpoints[: self.trained], self.job.hidden),
            train_cost=self.curve(0, "cost"),
            train_accuracy=self.curve(0, "accuracy"),
            valid_cost=self.curve(1, "cost") if self.valid is not None else None,
            valid_accuracy=self.curve(1, "accuracy") if self.valid is not None else None,
            diverged_at=self.diverged_at,
            plan=plan,
            device="cpu",
            seconds=dict(seconds),
        )


class Scheduler:
    """Runs the jobs on a pool of threads; everything here but the tasks themselves is done in the calling thread."""

    def __init__(
        self, runs: list[Run], pool: ThreadPoolExecutor, threads: int, report: Report | None
    ) -> None:
        self.pool, self.threads, self.report = pool, threads, report
        self.to_train = deque(runs)
        self.to_score: deque[tuple[Run, Scoring, tuple[int, int]]] = deque()
        self.in_flight: dict[Future[Any], Callable[[Any], None]] = {}
        self.busy = {"training": 0.0, "evaluation": 0.0}  # seconds of all threads together

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
        while len(self.in_flight) <= self.threads and (self.to_train or self.to_score):
            if self.to_train:
                run = self.to_train.popleft()
                epochs = run.chunk_length(self.threads)
                future = self.pool.submit(run.train_chunk, epochs)
                self.in_flight[future] = partial(self._trained, run, epochs)
            else:
                run, scoring, task = self.to_score.popleft()
                self.in_flight[self.pool.submit(scoring.run, task)] = partial(self._scored, run)

    def _trained(self, run: Run, epochs: int, outcome: tuple[int, float]) -> None:
        done, seconds = outcome
        run.training = False
        self.busy["training"] += seconds
        run.waiting = slice(run.trained, run.trained + done)
        run.trained += done
        run.epoch_seconds = seconds / epochs
        if done < epochs:
            run.diverged_at = run.trained
        if not run.tasks_left:
            self._score_waiting(run)

    def _score_waiting(self, run: Run) -> None:
        """Evaluate what the run has trained last, and train it further meanwhile."""
        chunk, run.waiting = run.waiting, None
        if run.wants_training:
            run.training = True
            self.to_train.append(run)
        if chunk is not None and chunk.start < chunk.stop:
            self.to_score.extend((run, *task) for task in run.score(chunk))

    def _scored(self, run: Run, seconds: float) -> None:
        self.busy["evaluation"] += seconds
        run.tasks_left -= 1
        scorings = run.scored[-1]
        epochs = len(scorings[0].models)
        run.epoch_seconds += seconds / epochs
        if run.tasks_left:
            return
        if self.report is not None:
            first = sum(len(earlier[0].models) for earlier in run.scored[:-1])
            for epoch, cost in enumerate(scorings[0].cost, first):
                self.report(run.index, epoch, float(cost))
        self._score_waiting(run)


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


class Preparation:
    """Images compressed once, however many jobs hold the same tensor, and turned once for each batch size."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.terms: dict[int, Terms] = {}
        self.images: dict[int, Images] = {}
        self.batches: dict[tuple[int, int], Batches] = {}

    def examples(self, examples: Examples) -> Prepared:
        """Examples to be judged."""
        key = id(examples.images)
        if key not in self.terms:
            self.terms[key] = collect_terms(examples.images.cpu().numpy(), self.pool)
        return Prepared.of(self.terms[key], examples.labels.cpu().numpy())

    def training(self, examples: Examples, batch_size: int) -> tuple[Images, Batches]:
        """Examples to be trained on, which `examples` has seen before."""
        key = id(examples.images)
        if key not in self.images:
            compressed = compress(examples.images.cpu().numpy(), self.pool)
            if compressed.dense:
                compressed = compressed._replace(pixels=self.terms[key].pixels)  # one copy of them is enough
            self.images[key] = compressed
        if (key, batch_size) not in self.batches:
            self.batches[key, batch_size] = by_column(self.images[key], batch_size, self.pool)
        return self.images[key], self.batches[key, batch_size]


def train_side_by_side(
    jobs: list[TrainingJob], threads: int, report: Report | None, plan: str
) -> list[Trained]:
    """`train` of the backend protocol on a number of threads."""
    began = time.perf_counter()
    sets = [examples for job in jobs for examples in (job.train, job.valid) if examples is not None]
    compile_seconds = _ready({examples.images.dtype for examples in sets}, training=True)
    prepared_at = time.perf_counter()
    with thread_pool(threads) as (pool, stop):
        preparation = Preparation(pool)
        runs = []
        for index, job in enumerate(jobs):
            train = preparation.examples(job.train)
            runs.append(
                Run(
                    index,
                    job,
                    train,
                    preparation.examples(job.valid) if job.valid is not None else None,
                    *preparation.training(job.train, job.batch_size),
                    pack({name: tensor[None] for name, tensor in job.start.items()}, job.hidden)[0],
                    aligned_zeros(job.epochs, row_length(job.hidden)),
                    stop,
                )
            )
        computed_at = time.perf_counter()
        scheduler = Scheduler(runs, pool, threads, report)
        scheduler.run()
    ended = time.perf_counter()
    # training and evaluation overlap: the time is shared out as the threads' time was
    busy = sum(scheduler.busy.values()) or 1.0
    seconds = {name: part / busy * (ended - computed_at) for name, part in scheduler.busy.items()}
    seconds = {
        "compile": compile_seconds,
        "transfer": computed_at - prepared_at,
        **seconds,
        "total": ended - began,
    }
    return [run.result(plan, seconds) for run in runs]


def evaluate_models(parameters: Parameters, examples: Examples, threads: int, confusion: bool) -> Scores:
    """`evaluate` of the backend protocol on a number of threads."""
    _ready({examples.images.dtype}, training=False)
    hidden = parameters["hidden1.bias"].shape[1], parameters["hidden2.bias"].shape[1]
    with thread_pool(threads) as (pool, stop):
        packing = pool.submit(pack, {name: tensor.detach() for name, tensor in parameters.items()}, hidden)
        prepared = Preparation(pool).examples(examples)
        scoring = Scoring(packing.result(), hidden, prepared, stop, with_confusion=confusion)
        futures = {pool.submit(scoring.run, task) for task in scoring.tasks()}
        while futures:
            done, futures = wait(futures, PATIENCE, FIRST_EXCEPTION)
            for future in done:
                future.result()
    return Scores(scoring.cost, scoring.accuracy, scoring.confusion if confusion else None)


def _ready(dtypes: set[torch.dtype], training: bool) -> float:
    """Compile or load what is needed for images of these dtypes; return the seconds it took."""
    needed = list(evaluation.needed())
    for dtype in dtypes:
        kind = np.dtype(np.uint8 if dtype == torch.uint8 else np.float32)
        needed += pixel_terms.needed(kind)
        if training:
            needed += sparse_images.needed(kind)
    if training:
        needed += training_kernel.needed()
    return ready(needed)
