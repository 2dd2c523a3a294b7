"""On a CPU: breaknet's compiled kernels. A network is trained by one thread; all threads evaluate."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.problem import Evaluator, Parameters, Problem, Trainer, unstacked


def trainer(problems: Sequence[Problem], epochs: int) -> Trainer:
    """Networks on the same images, a thread each; images are compressed in the preparation, once for all epochs."""
    from breaknet.backends.numba_cpu import backend, training
    from breaknet.backends.numba_cpu.layout import aligned_zeros, pack, unpack
    from breaknet.backends.numba_cpu.sparse_images import by_column, compress

    first, hidden = problems[0], problems[0].hidden
    pool = ThreadPoolExecutor(min(backend.thread_count(), len(problems)))
    compressed = compress(first.images, pool)
    batches = by_column(compressed, first.batch_size, pool)
    starts = {name: torch.stack([one.start[name] for one in problems]) for name in first.start}
    current = pack(starts, hidden)
    checkpoints = aligned_zeros(len(problems) * epochs, current.shape[1])
    stop = np.zeros(1, np.int64)

    def train_one(number: int) -> None:
        one, rows = problems[number], checkpoints[number * epochs : (number + 1) * epochs]
        learning_rate = np.float32(one.learning_rate)
        job = current[number], rows, 1, compressed, batches, one.labels, learning_rate, *hidden, stop
        training.train_epochs(*job)

    def train() -> None:
        if len(problems) == 1:
            train_one(0)
        else:
            list(pool.map(train_one, range(len(problems))))

    def parameters() -> list[Parameters]:
        return unstacked(unpack(checkpoints[epochs - 1 :: epochs].copy(), hidden))

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
