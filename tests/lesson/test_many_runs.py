"""Accuracy against label noise, and how much is memorised: what is trained, and that what the texts claim happens."""

import numpy as np
import pytest
import torch
from tiny import tiny_digits

import breaknet
from breaknet import Job
from breaknet.lesson.many_runs import EXAMPLES, STEPS, WIDTHS, capacity, capacity_by_width, label_noise

TORCH = {"backend": "torch", "device": "cpu"}


def test_label_noise_trains_a_network_for_each_share():
    digits = tiny_digits()
    found = label_noise(digits, fractions=(0, 0.5, 1), epochs=3, seed=1, shuffle_seed=2, running=TORCH)
    assert found["fractions"] == [0, 0.5, 1]
    assert (found["epochs"], found["seeds"]) == (3, {"start": 1, "shuffle": 2})
    for place, share in enumerate(found["fractions"]):
        bad = breaknet.shuffle_labels(digits.train, fraction=share, seed=2)
        run = breaknet.train(bad, valid=digits.valid, epochs=3, seed=1, **TORCH)
        assert found["valid_accuracy"][place] == run.valid_accuracy[-1]
        assert found["train_accuracy"][place] == run.train_accuracy[-1]
        assert found["labels_right"][place] == (bad.labels == digits.train.labels).mean()


def test_runs_are_named_by_what_differs(monkeypatch):
    names = []
    monkeypatch.setattr(
        "breaknet.lesson.many_runs.train_many",
        lambda jobs, **running: (
            names.append([job.name for job in jobs]) or breaknet.train_many(jobs, **running)
        ),
    )
    digits = tiny_digits()
    label_noise(digits, fractions=(0, 0.25), epochs=1, running=TORCH)
    capacity(digits.train, examples=(50, 100), steps=1, running=TORCH)
    capacity_by_width(digits.train, widths={(3, 4): 0.05}, epochs=1, running=TORCH)
    assert names == [["0 % shuffled", "25 % shuffled"], ["50 examples", "100 examples"], ["3-4"]]


def test_a_share_that_diverges_is_none():
    with pytest.warns(RuntimeWarning, match="diverged"):
        found = label_noise(
            tiny_digits(), fractions=(0,), epochs=2, network={"learning_rate": 1e38}, running=TORCH
        )
    assert found["valid_accuracy"] == [None]


def test_capacity_holds_the_steps_fixed():
    bad = breaknet.shuffle_labels(tiny_digits().train)
    found = capacity(bad, examples=(50, 150, 400, 9000), steps=12, network={"batch_size": 50}, running=TORCH)
    assert (found["examples"], found["epochs"]) == ([50, 150, 400], [12, 4, 2])
    run = breaknet.train(bad[:150], epochs=4, batch_size=50, **TORCH)
    assert found["best_train_accuracy"][1] == run.train_accuracy.max()


def test_each_width_has_its_own_learning_rate():
    bad = breaknet.shuffle_labels(tiny_digits().train)
    widths = {(3, 4): 0.05, (9, 2): 0.01}
    found = capacity_by_width(bad, widths=widths, examples=200, epochs=250, running=TORCH)
    assert found["hidden"] == [[3, 4], [9, 2]]
    assert found["learning_rates"] == [0.05, 0.01]
    run = breaknet.train(bad[:200], epochs=250, hidden=(9, 2), learning_rate=0.01, **TORCH)
    assert found["best_train_accuracy"][1] == run.train_accuracy[4::5].max(), (
        "every fifth epoch, and the last"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps: 1 or more"),
        ({"examples": (0,)}, "examples: 1 or more"),
        ({"network": {"batch_size": 0}}, "batch_size: 1 or more"),
    ],
)
def test_what_capacity_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        capacity(tiny_digits().train, **wrong)


# ---- what report, notebook and teacher's answers say: each claim is made to happen, at full size


def test_a_step_of_the_same_learning_rate_grows_with_the_width():
    """The sum of an output unit changes by more, the more units it adds up."""
    images, labels = tiny_digits().train[:100]
    pixels = torch.from_numpy(images.astype(np.float64) / 256)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), 10)
    changes = []
    for width in (16, 32, 64, 128):
        network = breaknet.MLP.seeded(0, (width, width)).double()
        before = network(pixels)
        ((before - targets) ** 2).sum().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 1e-4 * parameter.grad  # small, so that the change is in proportion
            changes.append(float((torch.logit(network(pixels)) - torch.logit(before)).abs().mean()))
    assert changes == sorted(changes)
    assert changes[-1] > 3 * changes[0]


@pytest.mark.mnist
def test_errors_that_agree_are_learned(mnist):
    """With 60 % of the labels wrong, random errors hardly matter; if all name the next digit, that is learned."""
    random = np.random.default_rng(0)
    wrong = random.random(len(mnist.train)) < 0.6
    true = mnist.train.labels
    others = (true + random.integers(1, 10, len(true))) % 10
    found = {}
    for name, instead in (("random", others), ("the next digit", (true + 1) % 10)):
        labels = np.where(wrong, instead, true).astype(np.uint8)
        run = breaknet.train((mnist.train.images, labels), valid=mnist.valid, epochs=3)
        found[name] = run.valid_accuracy[-1]
    assert found["random"] > 0.85
    assert found["the next digit"] < 0.25


@pytest.mark.mnist
@pytest.mark.slow
def test_the_labels_alone_decide_on_which_side_of_guessing_the_validation_accuracy_ends(mnist):
    """A few points above or below 10 %, depending on the shuffle; and always answering 1 is right in about 11 %."""
    jobs = [
        Job(
            breaknet.shuffle_labels(mnist.train, seed=seed),
            valid=mnist.valid,
            epochs=100,
            every=100,
            seed=seed,
        )
        for seed in range(6)
    ]
    runs = breaknet.train_many(jobs)
    ends = [run.valid_accuracy[-1] for run in runs]
    assert min(ends) < 0.095 < 0.105 < max(ends) < 0.16
    assert min(ends) > 0.04
    assert all(0.12 < run.train_accuracy[-1] < 0.2 for run in runs)
    assert all(0.105 < (split.labels == 1).mean() < 0.115 for split in (mnist.train, mnist.valid, mnist.test))


@pytest.mark.mnist
@pytest.mark.slow
def test_more_steps_memorise_more(mnist):
    bad = breaknet.shuffle_labels(mnist.train)
    short, long = (breaknet.train(bad[:1_000], epochs=epochs).train_accuracy.max() for epochs in (300, 3_000))
    assert long > short + 0.1
    # and without them, wide layers are no help
    wide = {"hidden": (64, 64), "learning_rate": WIDTHS[64, 64]}
    assert capacity(bad, examples=(1_000,), network=wide)["best_train_accuracy"][0] < short


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_fewer_examples_are_memorised_better_in_the_same_number_of_steps(mnist, seed):
    bad = breaknet.shuffle_labels(mnist.train, seed=seed)
    best = capacity(bad, seed=seed)["best_train_accuracy"]
    assert best == sorted(best, reverse=True)
    assert best == pytest.approx([0.99, 0.95, 0.71, 0.23, 0.125], abs=0.1)
    # with 300 epochs for all of them, fewer examples look less learned
    few, many = (
        breaknet.train(bad[:count], epochs=300, seed=seed).train_accuracy.max() for count in (100, 300)
    )
    assert few < many
    assert (EXAMPLES[2], STEPS) == (1_000, 3_000)


@pytest.mark.mnist
@pytest.mark.slow
def test_wider_networks_memorise_more_and_know_no_more_about_digits(mnist):
    bad = breaknet.shuffle_labels(mnist.train)
    narrow, middle, wide = capacity_by_width(bad)["best_train_accuracy"]
    assert narrow == pytest.approx(0.366, abs=0.04)
    assert middle == pytest.approx(0.494, abs=0.04)
    assert wide == pytest.approx(0.633, abs=0.04)
    # at the narrow one's rate of the lesson the widest is dead, and in no way does it know digits
    rate = WIDTHS[64, 64]
    with pytest.warns(RuntimeWarning, match="learned nothing"):
        dead = breaknet.train(bad[:1_000], epochs=300, hidden=(64, 64))
    assert dead.train_accuracy.max() < 0.15
    assert dead.stuck_at is not None
    # a smaller learning rate helps, also with true labels
    with pytest.warns(RuntimeWarning, match="learned nothing"):
        stuck = breaknet.train(mnist.train, valid=mnist.valid, epochs=5, hidden=(64, 64))
    alive = breaknet.train(mnist.train, valid=mnist.valid, epochs=20, hidden=(64, 64), learning_rate=0.01)
    assert stuck.valid_accuracy[-1] < 0.2
    assert alive.valid_accuracy[-1] > 0.94
    run = breaknet.train(bad[:10_000], valid=mnist.valid, epochs=500, hidden=(64, 64), learning_rate=rate)
    assert run.valid_accuracy[-1] < 0.2
