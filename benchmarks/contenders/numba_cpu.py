"""On a CPU: breaknet's compiled kernels. A network is trained by one thread; all threads evaluate."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.problem import Evaluator, Parameters, Problem, Trainer, unstacked


def trainer(problems: Sequence[Problem], epochs: int) -> Trainer:
    """Networks on the same images, one or two to a thread; images are compressed in the preparation, for all epochs."""
    from breaknet.backends.numba_cpu import backend, training
    from breaknet.backends.numba_cpu.layout import aligned_zeros, pack, unpack
    from breaknet.backends.numba_cpu.sparse_images import by_column, compress

    first, hidden = problems[0], problems[0].hidden
    threads = backend.thread_count()
    pool = ThreadPoolExecutor(threads)
    compressed = compress(first.images, pool)
    batches = by_column(compressed, first.batch_size, pool)
    starts = {name: torch.stack([one.start[name] for one in problems]) for name in first.start}
    current = pack(starts, hidden)
    checkpoints = aligned_zeros(len(problems), epochs, current.shape[1])
    labels = np.concatenate([one.labels for one in problems]).reshape(len(problems), -1)
    learning_rates = np.array([one.learning_rate for one in problems], np.float32)
    stop = np.zeros(1, np.int64)
    # as the scheduler has it: side by side where enough are left for every thread
    at_once = training.SIDE_BY_SIDE if len(problems) > threads else 1

    def train_some(number: int) -> None:
        models, rows, theirs = (
            of[number : number + at_once].reshape(-1) for of in (current, checkpoints, labels)
        )
        rates = learning_rates[number : number + at_once]
        done = np.zeros(len(rates), np.int64)
        training.train_epochs(models, rows, 1, compressed, batches, theirs, rates, *hidden, stop, done)

    def train_the_rest(numbers: Iterator[int]) -> None:
        for number in numbers:
            train_some(number)

    def train() -> None:
        numbers = range(0, len(problems), at_once)
        # all take from one iterator: a task of the pool for each training would take long beside one so short
        rest = iter(numbers)
        others = [pool.submit(train_the_rest, rest) for _ in range(min(threads, len(numbers)) - 1)]
        train_the_rest(rest)
        for other in others:
            other.result()

    def parameters() -> list[Parameters]:
        return unstacked(unpack(checkpoints[:, -1].copy(), hidden))

    return Trainer(train, parameters)


def prepared_evaluator(models: Parameters, problem: Problem) -> Evaluator:
    """Evaluation with images compressed and networks packed beforehand, as for a run's checkpoints in mid-training."""
    from breaknet.backends.numba_cpu import backend
    from breaknet.backends.numba_cpu.evaluation import EvaluationTasks, Prepared
    from breaknet.backends.numba_cpu.layout import pack
    from breaknet.backends.numba_cpu.sparse_images import compress

    pool = ThreadPoolExecutor(backend.thread_count())
    prepared = Prepared.of(compress(problem.images, pool, pairs=True), problem.labels)
    packed, stop = pack(models, problem.hidden), np.zeros(1, np.int64)

    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        evaluation = EvaluationTasks(packed, problem.hidden, prepared, stop)
        list(pool.map(evaluation.run, evaluation.tasks()))
        scores = evaluation.scores()
        return scores.cost, scores.accuracy

    return evaluate
