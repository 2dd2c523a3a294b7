"""Breaknet's own calls as they are: training by `train_many`, evaluation by a backend, all moved at each call."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.problem import Evaluator, Parameters, Problem, Trainer
from breaknet import Job, train_many
from breaknet.backends import select
from breaknet.backends.interface import Examples
from breaknet.data.splits import Unseen
from breaknet.model import MLP


def trainer(backend: str, problems: Sequence[Problem], epochs: int) -> Trainer:
    """One problem by `train_many`."""
    (problem,) = problems
    runs = []

    def train() -> None:
        start = MLP.seeded(problem.seed)
        job = Job(
            (problem.images, torch.from_numpy(problem.labels)), epochs=epochs, batch_size=problem.batch_size,
            learning_rate=problem.learning_rate, init=start,
        )  # fmt: skip
        runs[:] = train_many([job], backend=backend, device=problem.device)

    return Trainer(train, lambda: [runs[0].checkpoints[-1].state_dict()])


def evaluator(backend: str, models: Parameters, problem: Problem, *, loaded: bool = False) -> Evaluator:
    """A backend's `evaluate`: moving and compressing images and packing checkpoints are in.

    `loaded`: as with images of `load_mnist` that nobody was given, which a GPU keeps from the first call on.
    """
    evaluate_all = select.load(backend).evaluate
    unseen = Unseen() if loaded else None
    examples = Examples(torch.from_numpy(problem.images), torch.from_numpy(problem.labels), unseen)

    def evaluate() -> tuple[np.ndarray, np.ndarray]:
        scores = evaluate_all(models, examples, problem.device, False)
        return scores.cost, scores.accuracy

    return evaluate
