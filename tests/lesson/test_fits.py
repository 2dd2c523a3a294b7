"""Fits against curves whose parameters are known, and fits that cannot be made."""

import dataclasses
import json
import math
import warnings

import numpy as np
import pytest

from breaknet.lesson.fits import (
    STARTS,
    Line,
    Logistic,
    fit_experiment,
    fit_line,
    fit_logistic,
    line_from,
    logistic_from,
)


def test_line_is_the_least_squares_line_from_epoch_20_on():
    curve = 0.08 + 0.01 * np.random.default_rng(3).normal(size=70)
    curve[:20] = 5.0  # what comes before must not matter
    found = fit_line(curve.tolist())
    expected = np.polyfit(np.arange(20, 70), curve[20:], 1)
    assert [found.slope, found.intercept] == pytest.approx(expected, rel=1e-10)
    assert fit_line([9.0] * 20 + [1.0, 3.0]) == Line(2.0, -39.0)
    assert fit_line([0.08] * 100).slope == 0


@pytest.mark.parametrize("epochs", [0, 1, 20, 21])
def test_line_needs_22_epochs_and_says_so(epochs, caplog):
    assert fit_line([0.1] * epochs, what="training cost") is None
    assert f"training cost: it needs 22 epochs, here are {epochs}" in caplog.text


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_give_no_fit(bad, caplog):
    curve = [0.1] * 50 + [bad]
    assert fit_line(curve) is None
    assert fit_logistic(curve, STARTS["shuffled"]) is None
    assert caplog.text.count("not finite") == 2


@pytest.mark.parametrize(
    ("name", "true", "epochs"),
    [
        ("shuffled", Logistic(0.0325, 0.106, 43.4, 0.1126), 100),
        ("hundred", Logistic(0.86, 0.016, 309.5, 0.1375), 1000),
    ],
)
def test_logistic_finds_known_curves(name, true, epochs):
    curve = true(np.arange(epochs))
    found = fit_logistic(curve, STARTS[name])
    assert [found.a, found.b, found.c, found.d] == pytest.approx([true.a, true.b, true.c, true.d], rel=1e-4)
    assert found.capacity_percent == pytest.approx(100 * (true.a + true.d), abs=1e-3)
    assert found.levels_off_within(epochs)
    noisy = curve + 0.035 * true.a * np.random.default_rng(0).normal(size=epochs)
    assert fit_logistic(noisy, STARTS[name]).capacity_percent == pytest.approx(found.capacity_percent, abs=1)


def test_a_clean_step_is_fitted_without_warnings():
    step = np.where(np.arange(100) < 50, 0.1, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_logistic(step, (0.8, 1.0, 49.5, 0.1))
    assert found.capacity_percent == pytest.approx(90, abs=0.1)


def test_capacity_is_the_long_run_level_whatever_signs_the_search_ends_with():
    falling = Logistic(-0.5, 0.1, 50.0, 0.9)
    found = fit_logistic(falling(np.arange(200)), (0.5, -0.1, 45.0, 0.4))
    assert found.b > 0
    assert found.capacity_percent == pytest.approx(40, abs=0.01)


def test_logistic_does_not_overflow_far_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = Logistic(0.5, 1e300, 50.0, 0.25)([-1e300, 1e300])
    assert ends.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ([0.08] * 10, "it has not begun to rise"),  # no capacity that is only the start value
        # on a straight line the capacity runs away until the calls are used up
        (0.1 + 1e-3 * np.arange(400), "did not converge"),
    ],
)
def test_no_fit_and_why(curve, message, caplog):
    assert fit_logistic(curve, STARTS["hundred"], what="training accuracy") is None
    assert "no logistic fit to the training accuracy: " in caplog.text
    assert message in caplog.text


@pytest.mark.parametrize("epochs", range(16))
def test_short_runs_never_crash(epochs):
    curve = np.random.default_rng(epochs).uniform(0.05, 0.2, size=epochs)
    for start in STARTS.values():
        found = fit_logistic(curve, start)
        assert found is None or math.isfinite(found.capacity_percent)


def test_a_fit_that_extrapolates_is_known_as_such():
    assert not Logistic(12.0, 0.01, 700.0, 0.1).levels_off_within(400)
    assert not Logistic(0.5, 0.1, 10.0, 0.1).levels_off_within(0)


def test_an_unknown_experiment():
    with pytest.raises(ValueError, match=r"^name: "):
        fit_experiment("dirty", {})


def test_experiments_have_the_fits_of_the_results_file():
    line = (0.1 - 1e-4 * np.arange(60)).tolist()
    rise = Logistic(0.033, 0.2, 30.0, 0.11)(np.arange(60)).tolist()
    curves = {"train_cost": line, "valid_cost": line[:5], "train_accuracy": rise}
    clean = fit_experiment("clean", curves)
    assert clean["valid_cost_line"] is None
    assert clean["train_cost_line"] == pytest.approx({"slope": -1e-4, "intercept": 0.1})
    for name in ("shuffled", "hundred"):
        stored = json.loads(json.dumps(fit_experiment(name, curves)))["train_accuracy_logistic"]
        assert set(stored) == {"a", "b", "c", "d", "capacity_percent"}
        assert stored["capacity_percent"] == pytest.approx(14.3, abs=0.05)
        assert dataclasses.asdict(logistic_from(stored)).items() <= stored.items()
    assert dataclasses.asdict(line_from(clean["train_cost_line"])) == clean["train_cost_line"]
    assert line_from(None) is None
    assert logistic_from(None) is None
