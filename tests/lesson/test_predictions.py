"""Predictions of the lesson: their outcomes, their points, and the axes that they are drawn in."""

import numpy as np
import pytest
from lesson_results import diverged_results, made_results, with_capacity

from breaknet.lesson.predictions import CURVES, NUMBERS, POINTS, allowed_miss, points, questions, written
from breaknet.lesson.sketch_axes import AREA, round_step, sketch_axes, ticks


def test_outcomes_come_from_the_experiments_curves():
    results = with_capacity()
    runs = results["experiments"]
    found = {question.key: outcome for question, outcome in questions(results)}
    assert list(found) == [question.key for question in (*NUMBERS, *CURVES)]
    assert found["clean.train_cost"] == runs["clean"]["train_cost"][-1]
    assert found["clean.best_epoch"] == 20
    assert found["shuffled.valid_accuracy"] == pytest.approx(100 * runs["shuffled"]["valid_accuracy"][-1])
    best = int(np.argmax(runs["hundred"]["train_accuracy"]))
    assert found["hundred.valid_accuracy_then"] == pytest.approx(
        100 * runs["hundred"]["valid_accuracy"][best]
    )
    noise = results["label_noise"]
    half = 100 * noise["valid_accuracy"][noise["fractions"].index(0.5)]
    assert (found["label_noise.half"], found["label_noise.valid_accuracy_curve"][20]) == pytest.approx(
        (half, half)
    )
    curve = found["hundred.train_accuracy_curve"]
    assert len(curve) == POINTS
    assert [curve[0], curve[-1]] == pytest.approx(
        [100 * runs["hundred"]["train_accuracy"][at] for at in (0, -1)], abs=1e-5
    )


def test_what_was_not_run_or_has_no_epoch_is_not_asked():
    results = diverged_results(0)
    del results["experiments"]["hundred"]
    results["label_noise"]["valid_accuracy"] = [0.9, None, None, None, None, None]
    assert {question.key.partition(".")[0] for question, _ in questions(results)} == {"clean"}


def test_a_run_that_diverged_leaves_a_gap_that_is_bridged():
    results = made_results()
    results["label_noise"] |= {"fractions": [0.0, 0.5, 1.0], "valid_accuracy": [0.9, None, 0.1]}
    found = {question.key: outcome for question, outcome in questions(results)}
    assert "label_noise.half" not in found
    assert found["label_noise.valid_accuracy_curve"] == pytest.approx(np.linspace(90, 10, POINTS))


@pytest.mark.parametrize(
    ("guess", "outcome", "allowed", "expected"),
    [
        (12.0, 12.0, 50, 10),
        (37.0, 12.0, 50, 5),
        (12.0, 37.0, 50, 5),
        (99.0, 12.0, 50, 0),
        ([1.0, None, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0], 1, 5),
        ([None, None], [1.0, 1.0], 1, 0),
        ([1.05], [1.0], 0.5, 9),
    ],
)
def test_points_fall_in_proportion_to_the_miss(guess, outcome, allowed, expected):
    assert points(guess, outcome, allowed) == expected


def test_a_miss_of_half_of_the_epochs_leaves_no_points():
    assert (allowed_miss("epoch", 100), allowed_miss("epoch", 1), allowed_miss("cost", 100)) == (50, 1, 0.5)


def test_numbers_are_written_plainly():
    assert [written("cost", value) for value in (0.04523, 0.00004, 1.0)] == ["0.0452", "0.0000400", "1.00"]
    assert (written("percent", 14.49), written("epoch", 62)) == ("14.5 %", "62")


def test_empty_axes_give_the_outcome_away_only_where_it_would_not_fit():
    low, high = ([[value] * POINTS] for value in (0.05, 1.1))
    assert sketch_axes("cost", "epoch", [0, 99], low) == sketch_axes("cost", "epoch", [0, 99], high)
    beyond = sketch_axes("cost", "epoch", [0, 99], [[2.9] * POINTS])
    assert beyond.top == 3.0
    assert [text for _, text in beyond.y_ticks] == ["0", "0.5", "1", "1.5", "2", "2.5", "3"]
    long = sketch_axes("percent", "epoch", [0, 999], [])
    assert [text for _, text in long.x_ticks] == ["0", "200", "400", "600", "800"]
    assert sketch_axes("cost", "epoch", [0], []).right == 1  # a run of one epoch
    examples = sketch_axes("percent", "examples", [2, 2.5, 4], [])
    assert [text for _, text in examples.x_ticks] == ["100", "316", "10,000"]
    assert [x for x, _ in examples.x_ticks] == pytest.approx([AREA[0], AREA[0] + 0.25 * 390, AREA[2]])
    assert [examples.place_texts()[at] for at in (0, 20)] == ["100 examples", "1,000 examples"]
    assert sketch_axes("percent", "fractions", [0, 100], []).place_texts()[1] == "2 % shuffled"


def test_curves_are_paths_from_edge_to_edge_with_gaps():
    left, top, right, bottom = AREA
    axes = sketch_axes("percent", "epoch", [0, 10], [])
    values = [0.0, *(POINTS - 3) * [None], 50.0, 100.0]
    step = (right - left) / (POINTS - 1)
    assert axes.path(values) == (
        f"M{left:.1f} {bottom:.1f}M{right - step:.1f} {(top + bottom) / 2:.1f}L{right:.1f} {top:.1f}"
    )


@pytest.mark.parametrize(("end", "step"), [(99, 20), (999, 200), (9, 2), (1, 0.2), (23, 5), (4.9, 1)])
def test_steps_are_round(end, step):
    assert round_step(end, 5) == pytest.approx(step)
    assert ticks(end, step)[:2] == [0, step]
