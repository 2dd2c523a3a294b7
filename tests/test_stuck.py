"""`run.stuck_at`: dead networks are told from those that learn slowly or have nothing to learn."""

import warnings

import numpy as np
import pytest
import torch
from checks import random_labels, sparse_images, start_of

import breaknet
from breaknet import Job, breakage, model

IMAGES, LABELS = sparse_images(60), random_labels(60)
DATA = IMAGES, LABELS
ARRAYS = torch.from_numpy(IMAGES), torch.from_numpy(LABELS).long()


def place(backend):
    return "cpu" if backend != "triton" or not torch.cuda.is_available() else "auto"


@pytest.mark.parametrize("backend", ["torch", "numba", "triton"])
def test_a_dead_network_is_flagged_on_every_backend(backend):
    job = {"epochs": 3, "batch_size": 20, "hidden": (3, 4), "backend": backend, "device": place(backend)}
    with pytest.warns(RuntimeWarning, match=r"^the run learned nothing from epoch \d on: [^\n]*$") as caught:
        run = breaknet.train(DATA, learning_rate=100.0, **job)
    ours = [warning for warning in caught if "learned" in str(warning.message)]  # the interpreter has others
    assert [warning.filename for warning in ours] == [__file__]
    assert run.stuck_at in (0, 1)
    assert len(run.train_cost) == len(run.checkpoints) == 3, "training goes on"
    assert f"stuck from epoch {run.stuck_at} on" in repr(run)
    assert run.checkpoints.metadata["stuck_at"] == str(run.stuck_at)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert breaknet.train(DATA, learning_rate=0.001, **job).stuck_at is None


def test_one_warning_for_many_jobs_with_the_epoch_as_it_is_counted():
    jobs = [
        Job(DATA, epochs=6, learning_rate=rate, every=every)
        for rate, every in [(0.001, 1), (100.0, 1), (100.0, 3)]
    ]
    with pytest.warns(RuntimeWarning, match="^job 1, job 2 learned nothing") as caught:
        healthy, stuck, thinned = breaknet.train_many(jobs, backend="numba", checkpoints="last")
    assert len(caught) == 1
    assert healthy.stuck_at is None
    assert stuck.stuck_at in (0, 1)
    assert thinned.stuck_at == 2, "the first that was kept"


def test_a_diverged_run_is_not_stuck_as_well():
    with pytest.warns(RuntimeWarning, match="diverged") as caught:
        run = breaknet.train(DATA, epochs=2, learning_rate=1e38, backend="numba")
    assert len(caught) == 1
    assert run.stuck_at is None


def rows(*kinds: str) -> dict[str, torch.Tensor]:
    """Parameters of which each row learns ("a"), has dead outputs ("o") or a dead first hidden layer ("h")."""
    start = start_of()
    found = {name: torch.stack([value] * len(kinds)) for name, value in start.items()}
    for row, kind in enumerate(kinds):
        if kind == "o":
            found["output.bias"][row] = -9.0
        if kind == "h":
            found["hidden1.bias"][row] = 30.0
    return found


@pytest.mark.parametrize(
    ("kinds", "first"),
    [("a", None), ("o", 0), ("h", 0), ("aoo", 1), ("oaoh", 2), ("ooa", None),
     ("o" * 100, 0), ("oaa" + "h" * 80, 3), ("", None)],
)  # fmt: skip
def test_stuck_to_the_end(kinds, first):
    assert model.stuck_since(rows(*kinds) if kinds else {}, np.full(len(kinds), 0.95), *ARRAYS) == first


def test_a_good_cost_or_a_single_class_is_never_stuck():
    cost = np.array([0.95, 0.2, 0.95])
    assert model.stuck_since(rows("o", "o", "o"), cost, *ARRAYS) == 2
    assert model.stuck_since(rows("o", "o", "o"), cost[:2], *ARRAYS) is None
    assert model.stuck_since(rows("o"), np.array([1e-6]), ARRAYS[0], torch.full((60,), 7)) is None


def test_a_healthy_run_costs_at_most_one_look(monkeypatch):
    looks = []

    def look(parameters, pixels):
        looks.append((len(parameters["output.bias"]), pixels.size // 784))
        return np.zeros(looks[-1][0], bool)

    monkeypatch.setattr(model, "_saturated", look)
    parameters = rows(*"a" * 50)
    model.stuck_since(parameters, np.full(50, 0.1), *ARRAYS)
    assert looks == []
    model.stuck_since(parameters, np.full(50, 0.9), *ARRAYS)
    assert looks == [(1, 16)], "at one checkpoint, by a few images"


def flagged(mnist):
    """Settings with which networks die on MNIST."""
    train = mnist.train
    yield from ({"data": train, "hidden": (width, width)} for width in (64, 128))
    yield from ({"data": train, "learning_rate": rate} for rate in (0.2, 0.5, 1.0, 100.0))
    yield {"data": train, "batch_size": 1000}
    yield {"data": breakage.invert(train)}


@pytest.mark.slow
@pytest.mark.mnist
def test_what_dies_on_mnist_is_flagged_and_the_remedy_works(mnist):
    jobs = [Job(**{"epochs": 5, **settings}) for settings in flagged(mnist)]
    remedies = []
    for job in jobs:
        with pytest.warns(RuntimeWarning, match="learned nothing") as caught:
            [run] = breaknet.train_many([job])
        assert run.stuck_at in (0, 1), job
        rate = float(str(caught[0].message).rsplit("such as ", 1)[1])
        remedies.append(
            Job(job.data, epochs=15, hidden=job.hidden, batch_size=job.batch_size, learning_rate=rate)
        )
    for job, run in zip(remedies, breaknet.train_many(remedies), strict=True):
        assert run.stuck_at is None, job
        assert run.train_accuracy[-1] > 0.85, job


@pytest.mark.slow
@pytest.mark.mnist
def test_the_lesson_and_slow_learning_are_never_flagged(mnist):
    jobs = []
    for seed in range(10):
        bad = breaknet.shuffle_labels(mnist.train, seed=seed)
        jobs += [Job(mnist.train, epochs=100, seed=seed), Job(bad, epochs=100, seed=seed)]
        jobs += [Job(bad[:100], epochs=1000, seed=seed)]
    jobs += [
        Job(breaknet.shuffle_labels(mnist.train, share), epochs=10) for share in (0.25, 0.5, 0.75, 0.9, 1)
    ]
    for rate in (1e-4, 1e-3, 1e-2):
        jobs += [Job(mnist.train, epochs=epochs, learning_rate=rate) for epochs in (1, 100)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = breaknet.train_many(jobs)
    assert [run.stuck_at for run in runs] == [None] * len(jobs)
