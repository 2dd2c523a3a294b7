"""The statements of docs/teaching.md on a class whose students all have seeds of their own."""

import numpy as np
import pytest

import breaknet
from breaknet.lesson.many_runs import label_noise

SEEDS = 10


@pytest.mark.slow
@pytest.mark.mnist
def test_what_holds_with_every_seed_and_what_does_not(mnist):
    jobs = []
    for seed in range(SEEDS):
        bad = breaknet.shuffle_labels(mnist.train, seed=seed)
        for data, epochs in ((mnist.train, 100), (bad, 100), (bad[:100], 1000)):
            jobs.append(breaknet.Job(data, valid=mnist.valid, epochs=epochs, seed=seed))
    runs = breaknet.train_many(jobs, progress=False)
    late = np.arange(20, 100)
    rises, lowest, above = set(), [], set()
    for clean, shuffled, hundred in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        assert 0.96 < clean.train_accuracy[-1] < 0.98
        assert 0.93 < clean.valid_accuracy[-1] < 0.96
        assert np.polyfit(late, clean.train_cost[20:], 1)[0] < 0
        rises.add(bool(np.polyfit(late, clean.valid_cost[20:], 1)[0] > 0))
        lowest.append(int(clean.valid_cost.argmin()))
        assert 0.14 < shuffled.train_accuracy[-1] < 0.16
        assert 0.06 < shuffled.valid_accuracy[-1] < 0.14
        above.add(bool(shuffled.valid_accuracy[-1] > 0.1))
        assert hundred.train_accuracy.max() >= 0.97
        assert 0.05 < hundred.valid_accuracy[-1] < 0.14
    for seed in range(SEEDS):
        half, most = label_noise(mnist, fractions=(0.5, 0.9), seed=seed)["valid_accuracy"]
        assert 0.91 < half < 0.93
        assert 0.5 < most < 0.75
    assert rises == above == {True, False}
    assert min(lowest) >= 10
    assert max(lowest) <= 65
