"""Sweep files: every combination is one job, in a fixed order; what is wrong with one is said in one line."""

from __future__ import annotations

import tomllib

import pytest

from breaknet import DataError
from breaknet.sweeps import grid
from breaknet.sweeps.grid import read_file, settings


def test_combinations():
    found = settings({"seed": [0, 1, 2], "hidden": [[4, 4], [8, 9]], "learning_rate": [0.1, 1]}, 600)
    assert len(found) == len(set(found)) == len({one.key for one in found}) == 12
    assert {(one.hidden, one.seed, one.learning_rate) for one in found} == {
        (hidden, seed, rate) for hidden in ((4, 4), (8, 9)) for seed in (0, 1, 2) for rate in (0.1, 1.0)
    }
    assert {(one.breakage, one.examples, one.batch_size, one.epochs) for one in found} == {("", 600, 100, 20)}
    assert found == settings({"learning_rate": [1, 0.1], "hidden": [[8, 9], [4, 4]], "seed": [2, 1, 0]}, 600)


def test_the_documented_file():
    """The module's docstring is a sweep file."""
    text = (grid.__doc__ or "").partition("\n\n")[2]
    found = settings(tomllib.loads(text), 50_000)
    assert len(found) == 2 * 2 * 3  # breakages, numbers of examples, seeds
    assert {one.hidden for one in found} == {(64, 64)}
    assert {one.learning_rate for one in found} == {0.01}


def test_tables_of_their_own():
    found = settings(
        {"seed": [0, 1], "epochs": 4, "job": [{"hidden": [3, 3]}, {"steps": 60, "seed": 7}]}, 600
    )
    assert sorted((one.hidden, one.seed, one.epochs) for one in found) == [
        ((3, 3), 0, 4), ((3, 3), 1, 4), ((16, 16), 7, 10),
    ]  # fmt: skip
    assert len(settings({"job": [{"seed": 1}, {"seed": [0, 1]}]}, 600)) == 2  # the same job stands once


@pytest.mark.parametrize(
    ("examples", "steps", "points", "epochs"),
    [(100, 30, 5, 30), (600, 30, 5, 5), (600, 60, 3, 9), (600, 1, 5, 1), (7, 10, 4, 8)],
)
def test_steps_become_whole_epochs(examples, steps, points, epochs):
    (one,) = settings({"examples": examples, "steps": steps, "points": points}, 600)
    assert one.epochs == epochs
    assert one.epochs % one.points == 0
    assert one.steps == epochs * one.steps_per_epoch


def test_breakages_are_put_in_plain_form():
    (one,) = settings({"break": ["train: shuffle_labels( .30 )", "shuffle_labels(0.3)"]}, 600)
    assert one.breakage == "shuffle_labels(0.3)"


def test_keys_never_change():
    """They name results on people's disks."""
    (one,) = settings({"break": "missing_class(7)", "hidden": [3, 4], "epochs": 2}, 600)
    assert one.key == "64d66add31420562"


WRONG = {
    "seeds": ({"seeds": [1]}, "sweep: keys are break, examples, hidden"),
    "nearest": ({"learnin_rate": 1}, "not 'learnin_rate' (did you mean learning_rate?)"),
    "empty": ({"seed": []}, "seed: at least one value, not an empty list"),
    "no hidden": ({"hidden": []}, "hidden: at least one value"),
    "no job": ({"job": []}, "job: at least one table"),
    "job": ({"job": {"seed": 1}}, "job: tables [[job]]"),
    "both": ({"epochs": 1, "steps": 1}, "epochs or steps, not both"),
    "seed": ({"seed": -1}, "seed: 0 to 9,223,372,036,854,775,807, not -1"),
    "half": ({"seed": 0.5}, "seed: a whole number"),
    "rate": ({"learning_rate": 0}, "learning_rate: finite and over 0, not 0"),
    "infinite": ({"learning_rate": float("inf")}, "learning_rate: finite and over 0"),
    "words": ({"learning_rate": "fast"}, "learning_rate: a number, not 'fast'"),
    "widths": ({"hidden": [16]}, "hidden: two widths such as [16, 16], not [16]"),
    "width": ({"hidden": [16, 5000]}, "hidden: 1 to 4,096, not 5,000"),
    "examples": ({"examples": 601}, "examples: at most the 600 there are, not 601"),
    "break": ({"break": ["", "shufle_labels(1)"]}, "did you mean shuffle_labels?"),
    "number": ({"break": 3}, "breakage: text such as"),
    "points": ({"points": 0}, "points: 1 to 1,000,000, not 0"),
    "endless": ({"steps": 10**9, "examples": 1, "epochs": None}, "steps: 1,000,000,000 steps are"),
    "many": (
        {"seed": list(range(1001)), "learning_rate": [1 + n / 1000 for n in range(200)]},
        "sweep: at most 200,000 jobs",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_grids(case):
    given, message = WRONG[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        settings(given, 600)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_jobs_on_request():
    assert len(settings({"seed": list(range(300))}, 600, max_jobs=300)) == 300
    with pytest.raises(ValueError, match=r"^sweep: at most 299 jobs without --yes"):
        settings({"seed": list(range(300))}, 600, max_jobs=299)


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read_file(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("seed = [0, ")
    with pytest.raises(DataError, match=r"a\.toml: not a TOML file"):
        read_file(tmp_path / "a.toml")
    with pytest.raises(TypeError, match=r"^sweep: a mapping"):
        settings([1], 600)
