"""Two networks trained in one call of the kernel: each has the bits that it has alone."""

import pytest
import torch
from checks import start_of

pytest.importorskip("numba")
from numba_jobs import assert_same, examples, job, train

from breaknet.backends.interface import Examples
from breaknet.backends.numba_cpu import scheduler


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """The number of networks in each call of the kernel; pairs are made on any processor, with one thread."""
    made = []
    real = scheduler.train_chunk

    def counted(runs, epochs):
        made.append(len(runs))
        return real(runs, epochs)

    monkeypatch.setattr(scheduler, "train_chunk", counted)
    monkeypatch.setattr(scheduler, "SIDE_BY_SIDE", 2)
    monkeypatch.setenv("BREAKNET_THREADS", "1")
    return made


@pytest.mark.parametrize("batch_size", [100, 3, 1500])  # columns, image by image, two segments a batch
@pytest.mark.parametrize(("density", "hidden"), [(0.2, (16, 16)), (0.2, (40, 3)), (0.9, (16, 16))])
def test_bits_are_those_of_a_network_alone(batch_size, density, hidden, calls):
    data = examples(1600 if batch_size > 1024 else 230, density=density)
    others = Examples(data.images, data.labels.flip(0))
    jobs = [
        job(
            one, others, epochs=4, batch_size=batch_size, learning_rate=rate / max(1, batch_size / 100),
            start=start_of(seed, hidden),
        )
        for seed, (one, rate) in enumerate(((data, 0.05), (others, 0.02), (data, 0.1)))
    ]  # fmt: skip
    together = train(*jobs)
    assert max(calls) == 2
    calls.clear()
    for one, trained in zip(jobs, together, strict=True):
        assert_same(trained, *train(one))
    assert max(calls) == 1


def test_a_network_that_diverges_does_not_touch_its_neighbour(calls, monkeypatch):
    monkeypatch.setattr(scheduler, "CHUNK", 1e-9)  # an epoch each: the neighbour goes on alone
    data = examples(120)
    bad = start_of(1)
    bad["output.bias"][0] = float("inf")
    jobs = [
        job(data, data, epochs=5),
        job(data, data, epochs=5, start=bad),
        job(data, data, epochs=5, start=start_of(2)),
    ]
    results = train(*jobs)
    assert [result.diverged_at for result in results] == [None, 0, None]
    assert {1, 2} == set(calls)
    for one, trained in zip(jobs, results, strict=True):
        assert_same(trained, *train(one))


def test_only_networks_on_the_same_images_and_batches_are_paired(calls):
    data = examples(60)
    same = Examples(data.images.clone(), data.labels)  # equal, but another tensor
    jobs = [
        job(data, epochs=3), job(same, epochs=3), job(data, epochs=3, batch_size=30), job(data, epochs=2),
        job(data, epochs=3, start=start_of(0, (8, 8))), job(data, epochs=4, every=2),
    ]  # fmt: skip
    train(*jobs)
    assert set(calls) == {1}
    calls.clear()
    train(*jobs, job(data, epochs=3, learning_rate=0.1))
    assert calls.count(2) == 1


def test_no_thread_is_left_idle_for_a_pair(calls, monkeypatch):
    monkeypatch.setenv("BREAKNET_THREADS", "2")
    data = examples(60)
    train(job(data, epochs=1), job(data, epochs=1))
    assert calls == [1, 1]
    calls.clear()
    train(*(job(data, epochs=1, start=start_of(seed)) for seed in range(5)))
    assert sorted(calls) == [1, 2, 2]


def test_a_neighbours_labels_and_learning_rate_are_noticed(calls, monkeypatch):
    """Mutations: the second network is given what belongs to the first."""
    data = examples(100)
    jobs = [
        job(data, epochs=1),
        job(Examples(data.images, data.labels.flip(0)), epochs=1, learning_rate=0.02, start=start_of(1)),
    ]
    (alone,) = train(jobs[1])
    real = scheduler.train_epochs
    for place in (5, 6):  # labels, learning rates

        def damaged(*arguments, place=place):
            given = list(arguments)
            given[place] = given[place].copy()
            half = len(given[place]) // 2
            given[place][half:] = given[place][:half]
            return real(*given)

        monkeypatch.setattr(scheduler, "train_epochs", damaged)
        _, trained = train(*jobs)
        assert not torch.equal(trained.parameters["hidden1.weight"], alone.parameters["hidden1.weight"])
