"""Jobs that keep every k-th epoch only, and calls that keep the last parameters only: the same bits at those epochs."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from checks import assert_same_parameters, random_labels, sparse_images

import breaknet
from breaknet import training
from breaknet.model import seeded_parameters

DATA = sparse_images(25), random_labels(25)
VALID = sparse_images(20, seed=1), random_labels(20, seed=1)


def jobs(every: int, learning_rate: float = 0.05) -> list[breaknet.Job]:
    return [
        breaknet.Job(
            DATA, valid=VALID, epochs=epochs, batch_size=10, learning_rate=learning_rate, hidden=(3, 4), seed=seed,
            every=every,
        )
        for seed, epochs in enumerate((12, 6))
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["torch", "numba", "triton"])
def test_every_third_epoch(backend):
    device = "auto" if backend != "triton" or torch.cuda.is_available() else "cpu"
    whole = breaknet.train_many(jobs(1), backend=backend, device=device)
    seen: list[tuple[int, int]] = []
    thinned = breaknet.train_many(
        jobs(3),
        backend=backend,
        device=device,
        progress=lambda epoch, epochs, cost: seen.append((epoch, epochs)),
    )
    assert sorted(seen) == [(2, 6), (2, 12), (5, 6), (5, 12), (8, 12), (11, 12)]
    for all_epochs, some in zip(whole, thinned, strict=True):
        for name in ("train_cost", "train_accuracy", "valid_cost", "valid_accuracy"):
            assert np.array_equal(getattr(some, name), getattr(all_epochs, name)[2::3])
        expected = {name: tensor[2::3] for name, tensor in all_epochs.checkpoints.stacked.items()}
        assert_same_parameters(some.checkpoints.stacked, expected)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_divergence_is_seen_at_the_next_kept_epoch(backend):
    with pytest.warns(RuntimeWarning, match="diverged"):
        runs = breaknet.train_many(jobs(3, learning_rate=3e38), backend=backend)
    assert [run.diverged_at for run in runs] == [2, 2]
    assert [len(run.checkpoints) for run in runs] == [0, 0]


def test_last_parameters_only(monkeypatch):
    whole = breaknet.train_many(jobs(1), backend="torch")
    calls = []
    train_group = training._train_group
    monkeypatch.setattr(training, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr(training, "_train_group", lambda *given: calls.append(given) or train_group(*given))
    last = breaknet.train_many(jobs(1), backend="torch", checkpoints="last")
    assert len(calls) == 2  # one job at a time: together they would take over a byte
    for one, other in zip(whole, last, strict=True):
        assert np.array_equal(one.train_cost, other.train_cost)
        assert len(other.checkpoints) == 1
        assert_same_parameters(other.checkpoints.stacked, one.checkpoints[-1:].stacked)
        assert other.checkpoints.stacked["hidden1.weight"].untyped_storage().nbytes() == 4 * 3 * 784


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_starts_are_drawn_as_their_turn_comes_and_then_forgotten(backend, monkeypatch):
    """So that they take no memory beside the final parameters, however many jobs there are."""
    drawn: list[weakref.ref[torch.Tensor]] = []
    alive = []

    def draw(seed, hidden):
        alive.append(sum(one() is not None for one in drawn))
        start = seeded_parameters(seed, hidden)
        drawn.append(weakref.ref(start["hidden1.weight"]))
        return start

    monkeypatch.setattr(training, "seeded_parameters", draw)
    monkeypatch.setattr(training, "_BYTES_AT_ONCE", 2 * 4 * 3 * 2425)  # two jobs at a time
    many = [breaknet.Job(DATA, epochs=1, hidden=(3, 4), seed=seed) for seed in range(7)]
    runs = breaknet.train_many(many, backend=backend, checkpoints="last")
    assert alive == [0, 1, 0, 1, 0, 1, 0]
    for seed in (0, 6):
        alone = breaknet.train(DATA, epochs=1, hidden=(3, 4), seed=seed, backend=backend)
        assert_same_parameters(runs[seed].checkpoints.stacked, alone.checkpoints.stacked)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^every: a divisor of the 5 epochs, not 2$"):
        breaknet.train_many([breaknet.Job(DATA, epochs=5, every=2)], backend="torch")
    with pytest.raises(ValueError, match=r"^every: 1 or more"):
        breaknet.train_many([breaknet.Job(DATA, epochs=5, every=0)], backend="torch")
    with pytest.raises(ValueError, match=r"^checkpoints: 'all' or 'last', not 'some'$"):
        breaknet.train_many([], checkpoints="some")
