"""Jobs for the CPU backend, small enough for tests, and what must hold of their results."""

import checks
import numpy as np
import torch
from checks import assert_same_parameters, random_labels, sparse_images, start_of

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


def train(*jobs: TrainingJob, report=lambda *_: None) -> list[Trained]:
    return backend.train(list(jobs), CPU, None, report)


def assert_same(first, second):
    assert_same_parameters(first.parameters, second.parameters)
    for curve in ("train_cost", "train_accuracy", "valid_cost", "valid_accuracy"):
        assert np.array_equal(getattr(first, curve), getattr(second, curve)), curve
    assert first.diverged_at == second.diverged_at


def assert_follows(one: TrainingJob, trained: Trained) -> None:
    """`checks.assert_follows` for a backend's job."""
    assert len(trained.train_cost) == one.epochs
    train, valid = (
        (data.images, data.labels) if data is not None else None for data in (one.train, one.valid)
    )
    checks.assert_follows(
        trained, trained.parameters, one.start, train, valid, one.batch_size, one.learning_rate
    )


def mixed_jobs() -> list[TrainingJob]:
    shared, valid = examples(230), examples(90, 1)
    shuffled = Examples(shared.images, shared.labels.flip(0))
    return [
        job(shared, valid, epochs=7),
        job(shuffled, valid, epochs=7),
        job(examples(20, 2), valid, epochs=31, batch_size=6, learning_rate=0.02),
        job(shared, examples(9000, 3), epochs=3, batch_size=64, start=start_of(1, (30, 7))),
    ]
