"""The lesson in each breakage's docstring, found by training on it: on drawn digits, and in full on MNIST."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tiny import tiny_digits

import breaknet
from breaknet.breakage import BREAKAGES
from breaknet.data.synthetic import draw
from breaknet.evaluation import evaluate


@dataclass
class Outcome:
    """Accuracies at the end of training; those of validation on the broken and on the true validation images."""

    train: float
    broken_valid: float
    valid: float
    by_class: list[float]  # of the true validation images
    called: list[list[float]]  # true class, answer


RECIPES = (
    "",
    "shuffle_labels(0.3)",
    "shuffle_labels(1)",
    "flip_labels(0.3)",
    "flip_labels(0.5)",
    "mislabel_class(4, 9)",
    "mislabel_hardest(0.3)",
    "missing_class(7)",
    "imbalance(100)",
    "duplicates(100)",
    "fewer_examples(100)",
    "pixel_noise(0.3)",
    "valid:pixel_noise(0.3)",
    "occlude(12)",
    "valid:occlude(12)",
    "permute_pixels",
    "invert",
    "shift(3)",
    "rotate(30)",
    "leak",
    "shuffle_labels(1) + leak",
)


def trained(
    digits: breaknet.Digits, epochs: int, batch_size: int, learning_rate: float
) -> dict[str, Outcome]:
    """Every recipe, all for the same number of steps."""
    jobs = []
    for text in RECIPES:
        bad = breaknet.break_data(digits, text)
        longer = len(digits.train) // len(bad.train) if len(bad.train) < 200 else 1
        jobs.append(
            breaknet.Job(
                bad.train, valid=bad.valid, epochs=epochs * longer, batch_size=batch_size,
                learning_rate=learning_rate,
            )
        )  # fmt: skip
    outcomes = {}
    for text, run in zip(RECIPES, breaknet.train_many(jobs), strict=True):
        on_true = evaluate(run.checkpoints[-1], digits.valid, confusion=True)
        shares = on_true.confusion[0] / on_true.confusion[0].sum(1, keepdims=True)
        ends = run.train_accuracy[-1], run.valid_accuracy[-1], on_true.accuracy[0]
        outcomes[text] = Outcome(*map(float, ends), shares.diagonal().tolist(), shares.tolist())
    return outcomes


@pytest.fixture(scope="module")
def drawn() -> dict[str, Outcome]:
    every = draw(4000)
    digits = breaknet.Digits(every[:3000], every[3000:], every[:0], "synthetic digits")
    return trained(digits, epochs=40, batch_size=50, learning_rate=0.1)


def teaches_what_it_says(name: str, found: dict[str, Outcome]) -> None:
    clean = found[""]
    assert clean.valid > 0.8
    if name == "shuffle_labels":
        # right labels outvote wrong ones; when all are shuffled only memorising is left
        some, every = found["shuffle_labels(0.3)"], found["shuffle_labels(1)"]
        assert some.valid > some.train > 0.5
        assert every.valid < 0.2
    elif name == "flip_labels":
        # better than its teacher: true answers where labels were wrong
        half = found["flip_labels(0.5)"]
        assert half.valid > 0.5 > half.train - 0.05
    elif name == "mislabel_class":
        wrong = found["mislabel_class(4, 9)"]
        assert wrong.by_class[4] < 0.05
        assert wrong.called[4][9] > 0.8
        others = [digit for digit in range(10) if digit != 4]
        assert all(wrong.by_class[digit] > clean.by_class[digit] - 0.12 for digit in others)
    elif name == "mislabel_hardest":
        assert found["mislabel_hardest(0.3)"].valid < found["flip_labels(0.3)"].valid
    elif name == "missing_class":
        assert found["missing_class(7)"].by_class[7] == 0
        assert found["missing_class(7)"].train > 0.9
    elif name == "imbalance":
        rare = found["imbalance(100)"]
        assert sum(rare.by_class[7:]) / 3 < 0.1 < 0.8 < rare.by_class[0]
        assert rare.train > 0.85
    elif name in ("duplicates", "fewer_examples"):
        few = found[f"{name}(100)"]
        assert few.train > 0.99
        assert few.valid < clean.valid - 0.15
    elif name in ("pixel_noise", "occlude"):
        text = {"pixel_noise": "pixel_noise(0.3)", "occlude": "occlude(12)"}[name]
        assert found[text].broken_valid > found[f"valid:{text}"].broken_valid + 0.05
    elif name == "permute_pixels":
        assert abs(found[name].broken_valid - clean.valid) < 0.05
    elif name == "invert":
        assert found[name].broken_valid < 0.4
    elif name in ("shift", "rotate"):
        text = {"shift": "shift(3)", "rotate": "rotate(30)"}[name]
        assert found[text].train == clean.train
        assert found[text].broken_valid < clean.valid - 0.2
    elif name == "leak":
        assert found["leak"].train > 0.99
        assert found["leak"].valid < clean.valid - 0.05
        assert found["shuffle_labels(1) + leak"].train > 0.99
        assert found["shuffle_labels(1) + leak"].valid < 0.2
    else:
        raise AssertionError(f"nothing is said of {name}")


@pytest.mark.parametrize("name", BREAKAGES)
def test_drawn_digits(drawn, name):
    teaches_what_it_says(name, drawn)


@pytest.mark.slow
@pytest.mark.mnist
def test_mnist(mnist):
    found = trained(mnist, epochs=8, batch_size=100, learning_rate=0.05)
    for name in BREAKAGES:
        teaches_what_it_says(name, found)
    # what the small drawn set shows less clearly: random noise hardly hurts, the same number of hard errors does
    assert found["flip_labels(0.3)"].valid > 0.9
    assert found["mislabel_hardest(0.3)"].valid < 0.85


def test_a_run_records_what_was_done_to_its_data(tmp_path):
    digits = tiny_digits()
    bad = breaknet.break_data(digits, "leak + both:invert")
    run = breaknet.train(bad.train, valid=bad.valid, epochs=1, backend="torch")
    run.checkpoints.save(tmp_path / "run.safetensors")
    metadata = breaknet.Checkpoints.load(tmp_path / "run.safetensors").metadata
    assert (metadata["breakage"], metadata["valid_breakage"]) == ("leak(1) + invert", "invert")
    plain = breaknet.train(
        (digits.train.images, digits.train.labels), epochs=1, backend="torch"
    ).checkpoints.metadata
    assert (plain["breakage"], plain["valid_breakage"]) == ("", "")
