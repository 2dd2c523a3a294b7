"""Jobs for the CPU backend, small enough for tests, and what must hold of their results."""

from __future__ import annotations

import numpy as np
import torch
from checks import assert_scores, assert_update, exact_epochs, random_labels, sparse_images, start_of

from breaknet.backends.interface import Examples, Trained, TrainingJob
from breaknet.backends.numba_cpu import backend

CPU = torch.device("cpu")


def examples(count: int, seed: int = 0, density: float = 0.2, floating: bool = False) -> Examples:
    images = torch.from_numpy(sparse_images(count, seed, density))
    if floating:
        images = images.float() / 256
    return Examples(images, torch.from_numpy(random_labels(count, seed)).long())


def job(train: Examples, valid: Examples | None = None, **changes) -> TrainingJob:
    settings_ = {"epochs": 2, "batch_size": 100, "learning_rate": 0.05, "start": start_of(0)}
    return TrainingJob(train, valid, **(settings_ | changes))


def train(*jobs: TrainingJob, report=None) -> list[Trained]:
    return backend.train(list(jobs), CPU, None, report)


def at_epoch(parameters, epoch):
    return {name: value[epoch] for name, value in parameters.items()}


def assert_same(first, second):
    for name, value in first.parameters.items():
        assert torch.equal(value, second.parameters[name]), name
    for curve in ("train_cost", "train_accuracy", "valid_cost", "valid_accuracy"):
        assert np.array_equal(getattr(first, curve), getattr(second, curve)), curve
    assert first.diverged_at == second.diverged_at


def assert_follows(one: TrainingJob, trained) -> None:
    """Each epoch's parameters against float64 from the epoch before, and the curves against the parameters."""
    before = one.start
    steps = -(-len(one.train) // one.batch_size)
    assert len(trained.train_cost) == one.epochs
    for epoch in range(one.epochs):
        found = at_epoch(trained.parameters, epoch)
        (exact,) = exact_epochs(
            before, one.train.images, one.train.labels, epochs=1, batch_size=one.batch_size,
            learning_rate=one.learning_rate,
        )  # fmt: skip
        assert_update(before, found, exact, steps)
        cost, accuracy = trained.train_cost[epoch], trained.train_accuracy[epoch]
        assert_scores(cost, accuracy, found, one.train.images, one.train.labels)
        if one.valid is not None:
            cost, accuracy = trained.valid_cost[epoch], trained.valid_accuracy[epoch]
            assert_scores(cost, accuracy, found, one.valid.images, one.valid.labels)
        before = found


def mixed_jobs() -> list[TrainingJob]:
    shared, valid = examples(230), examples(90, 1)
    shuffled = Examples(shared.images, shared.labels.flip(0))
    return [
        job(shared, valid, epochs=7),
        job(shuffled, valid, epochs=7),
        job(examples(20, 2), valid, epochs=31, batch_size=6, learning_rate=0.02),
        job(shared, examples(9000, 3), epochs=3, batch_size=64, start=start_of(1, (30, 7))),
    ]
