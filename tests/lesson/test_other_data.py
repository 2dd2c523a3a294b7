"""The lesson on other data: its names, a learning rate that works there, and no word of digits or MNIST."""

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from lesson_results import made_results
from report_page import Page
from tiny import tiny_digits, write_tiny_idx

import breaknet
from breaknet import Job
from breaknet.cli.commands import main
from breaknet.data.splits import DIGIT_NAMES
from breaknet.lesson import output_folder
from breaknet.lesson.experiments import LEARNING_RATE, Lesson, Settings
from breaknet.lesson.learning_rate import rates_tried
from breaknet.lesson.report_sentences import closing, notice
from breaknet.lesson.words import worded

NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TORCH = {"backend": "torch", "device": "cpu"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """All that a command sets up for a whole process ends with its test."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def bright(split: breaknet.Split) -> breaknet.Split:
    """The images on bright ground, which saturates units at the lesson's learning rate."""
    return breaknet.Split(255 - split.images, split.labels)


def test_class_names_reach_report_pictures_and_results(tmp_path, capsys, monkeypatch):
    data = str(write_tiny_idx(tmp_path / "clothes"))
    out = tmp_path / "out"
    shown = []
    real = output_folder._first
    monkeypatch.setattr(
        "breaknet.lesson.output_folder._first", lambda *given: shown.append(real(*given)) or shown[-1]
    )
    command = [
        "lesson",
        "--data",
        data,
        "--out",
        str(out),
        "--backend",
        "torch",
        "--epochs",
        "2",
        "--learning-rate",
        "0.05",
    ]
    assert main([*command, "--epochs-scale", "0.5", "--labels", ", ".join(NAMES)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["labels"] == list(NAMES)
    assert set(shown[0][1]) <= set(NAMES), "sample images stand under names"
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert ", ".join(NAMES) in page.text
    alts = " ".join(image["alt"] for image in page.all("img"))
    assert any(f"{name} is taken for" in alts for name in NAMES)
    mentioned = re.sub(r"not MNIST|of MNIST|published MNIST|breaknet[^ ]*", "", page.text)
    assert "MNIST" not in mentioned
    assert "digit" not in mentioned.lower()


def test_no_sentence_calls_other_data_digits():
    results = made_results("Fashion-MNIST")
    said = [*closing(results)]
    for name in ("clean", "shuffled", "hundred", "label_noise"):
        said += notice(results, name)
    assert "Guessing among ten classes is right in 10 % of all cases." in said
    assert not [sentence for sentence in said if "digit" in sentence or "MNIST" in sentence]
    assert worded("Ten digits, a digit", made_results()) == "Ten digits, a digit"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("a,b", "labels: ten names, not 2"),
        (",".join("abcdefghi") + ",", "labels: names of 1 to 40 printable characters, not ''"),
        (",".join("abcdefghi") + ",\x1b[31m", "labels: names of 1 to 40 printable"),
        (",".join("abcdefghi") + "," + 41 * "j", "labels: names of 1 to 40 printable"),
    ],
)
def test_wrong_names(tmp_path, capsys, names, message):
    data = str(write_tiny_idx(tmp_path / "data"))
    assert main(["lesson", "--data", data, "--out", str(tmp_path / "out"), "--labels", names]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_are_kept_by_broken_data():
    digits = replace(tiny_digits(), names=[f" {name} " for name in NAMES])
    assert digits.names == NAMES
    assert breaknet.break_data(digits, "shuffle_labels(0.5)").names == NAMES
    assert tiny_digits().names == DIGIT_NAMES


def test_the_learning_rate_is_halved_until_the_network_learns(monkeypatch):
    monkeypatch.setattr("breaknet.lesson.learning_rate.STEPS", 60)
    data = bright(tiny_digits().train)
    network = {"seed": 0, "batch_size": 100, "hidden": (16, 16)}
    tried = rates_tried(data, 4.0, network, TORCH)
    assert tried == [4.0 / 2**step for step in range(len(tried))]
    assert len(tried) > 1

    epochs = 10  # three would be few steps on few examples

    def fails(rate: float) -> bool:
        job = Job(data, epochs=epochs, every=epochs, learning_rate=rate)
        [run] = breaknet.train_many([job], **TORCH)
        return run.stuck_at is not None or run.diverged_at is not None

    with pytest.warns(RuntimeWarning):
        assert [fails(rate) for rate in tried] == [True] * (len(tried) - 1) + [False]


def test_where_no_rate_works_the_first_one_stays(monkeypatch, caplog):
    monkeypatch.setattr("breaknet.lesson.learning_rate.MAX_HALVINGS", 1)
    with caplog.at_level("WARNING", "breaknet"):
        tried = rates_tried(tiny_digits().train, 1e38, {"hidden": (16, 16)}, TORCH)
    assert tried == [1e38]
    assert "no smaller one down to 5e+37 works" in caplog.text


def test_where_nothing_can_be_learned_a_rate_that_is_not_stuck_stays(monkeypatch):
    monkeypatch.setattr("breaknet.lesson.learning_rate.MAX_HALVINGS", 2)
    data = tiny_digits().train
    blank = breaknet.Split(np.zeros_like(data.images), data.labels)
    assert rates_tried(blank, 0.05, {"hidden": (16, 16)}, TORCH) == [0.05]


def test_the_rate_is_used_shown_and_never_sought_for_digits(tmp_path, monkeypatch):
    sought = []

    def found(*given):
        sought.append(given)
        return [LEARNING_RATE, LEARNING_RATE / 2]

    monkeypatch.setattr("breaknet.lesson.experiments.rates_tried", found)
    settings = Settings(0, 0.01, "torch", "cpu", capacity=True)
    results = Lesson(tiny_digits(), settings).run()
    assert len(sought) == 1
    assert results["settings"]["learning_rate"] == 0.025
    assert results["settings"]["learning_rates_tried"] == [0.05, 0.025]
    assert results["capacity"]["widths"]["learning_rates"][0] == 0.01
    run = breaknet.train(tiny_digits().train, epochs=1, learning_rate=0.025, **TORCH)
    assert results["experiments"]["clean"]["train_cost"] == run.train_cost.tolist()
    for source, rate in (("MNIST", None), ("synthetic digits", None), ("local: x", 0.02)):
        other = Settings(0, 0.01, "torch", "cpu", learning_rate=rate)
        results = Lesson(replace(tiny_digits(), source=source), other).run()
        assert results["settings"]["learning_rate"] == (rate or LEARNING_RATE)
        assert "learning_rates_tried" not in results["settings"]
    assert len(sought) == 1


@pytest.mark.mnist
@pytest.mark.slow
def test_a_rate_is_found_on_inverted_mnist(mnist):
    data = bright(mnist.train)
    tried = rates_tried(data, LEARNING_RATE, {"hidden": (16, 16)}, {"backend": "auto"})
    assert len(tried) > 1
    run = breaknet.train(data, valid=bright(mnist.valid), epochs=10, learning_rate=tried[-1])
    assert run.valid_accuracy[-1] > 0.5, np.round(run.valid_accuracy, 2)
