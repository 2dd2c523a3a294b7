"""Predictions in the notebook: asked for, marked in figures, compared, summed up."""

import numpy as np
import pytest
from lesson_results import diverged_results, made_results, with_capacity

import breaknet
from breaknet.lesson import figures
from breaknet.lesson.notebook_predictions import Predictions, with_prediction
from breaknet.lesson.predictions import query


def test_without_an_entry_a_cell_asks_and_goes_on():
    results, mine = with_capacity(), Predictions()
    figure = figures.clean_cost(results)
    nothing = {"train_cost": None, "valid_cost": None}
    asked = [
        mine.figure(figure, results, "clean", **nothing),
        mine.outcomes(results, "clean", **nothing),
        mine.curve(figures.label_noise, results, "label_noise", None),
        mine.parameters(breaknet.MLP.seeded(0), None),
    ]
    assert all(line.startswith("**Your prediction first:** ") for line in asked)
    assert "training cost at the end, validation cost at the end" in asked[0]
    assert "0 % shuffled, 25 % shuffled" in asked[2]
    assert not any("0.0463" in line or "13,002" in line for line in asked)
    assert mine.summary() == "You have made no predictions yet."


def test_who_insists_sees_the_outcome():
    results, figure = with_capacity(), figures.clean_cost(made_results())
    mine = Predictions()
    assert mine.figure(figure, results, "clean", train_cost=None, skip=True) is figure
    assert "| training cost at the end | – | 0.0463 | – |" in mine.outcomes(
        results, "clean", train_cost=None, skip=True
    )
    assert "13,002" in mine.parameters(breaknet.MLP.seeded(0), skip=True)
    everything = Predictions(skip=True)
    assert everything.figure(figure, results, "clean", train_cost=None) is figure
    assert len(everything.curve(figures.capacity, results, "capacity", None).axes) == 1
    assert everything.summary() == "You have made no predictions yet."


def test_predictions_stand_beside_the_outcomes_and_are_summed_up():
    results, mine = made_results(), Predictions()
    table = mine.outcomes(results, "clean", train_cost=0.0963, valid_cost=None, best_epoch=20)
    assert table.splitlines() == [
        "|  | your prediction | outcome | off by |",
        "| --- | --: | --: | --: |",
        "| training cost at the end | 0.0963 | 0.0463 | 0.0500 |",
        "| validation cost at the end | – | 0.0979 | – |",
        "| epoch of the lowest validation cost | 20 | 20 | 0 |",
    ]
    mine.outcomes(results, "hundred", best_train_accuracy=74)
    mine.outcomes(results, "hundred", best_train_accuracy=49)  # the last one counts
    summary = mine.summary()
    assert "| clean: training cost at the end | 0.0963 | 0.0463 | 0.0500 | 9 |" in summary
    assert "| hundred: highest training accuracy | 49.0 % | 99.0 % | 50.0 % | 0 |" in summary
    assert "**19 of 30 points for 3 predictions.**" in summary
    assert "| parameters | 12,960 | 13,002 |" in mine.parameters(breaknet.MLP.seeded(0), 12960)


def test_a_curve_is_predicted_as_a_number_for_each_run():
    results, mine = with_capacity(), Predictions()
    noise = results["label_noise"]
    figure = mine.curve(figures.label_noise, results, "label_noise", [90, 80, 60, 40, 20, 10])
    drawn = next(line for line in figure.axes[0].lines if line.get_label() == figures.PREDICTION["label"])
    np.testing.assert_allclose(drawn.get_xdata(), 100 * np.array(noise["fractions"]))
    np.testing.assert_allclose(drawn.get_ydata(), [90, 80, 60, 40, 20, 10])
    mine.curve(figures.capacity, results, "capacity", [100] * len(results["capacity"]["examples"]))
    summary = mine.summary()
    assert f"| label noise: 50 % shuffled | 60.0 % | {100 * noise['valid_accuracy'][2]:.1f} % |" in summary
    assert "capacity: 1,000 examples" in summary
    with pytest.raises(ValueError, match="label_noise: 6 numbers, not 2"):
        mine.curve(figures.label_noise, results, "label_noise", [1, 2])


def test_a_share_typed_for_a_percentage_is_queried():
    text = Predictions().outcomes(made_results(), "shuffled", train_accuracy=0.1, valid_accuracy=10)
    assert text.count("did you mean") == 1
    assert "training accuracy at the end: 0.1 %, or did you mean 10 %? For 10 %, write 10." in text
    assert query("percent", 120) == "an accuracy is between 0 and 100 %."
    assert query("cost", -1) == "this cannot be negative."
    assert [query("percent", value) for value in (0, 1, 55.5, 100)] == [""] * 4
    assert query("cost", 0.1) == ""


def test_a_run_without_an_epoch_has_no_outcome():
    assert "No epoch was completed" in Predictions().outcomes(diverged_results(0), "shuffled", train_cost=1)


def test_what_cannot_be_predicted_is_named():
    with pytest.raises(TypeError, match=r"predictions: any of train_cost, .*, not cost"):
        Predictions().outcomes(made_results(), "clean", cost=1.0)


@pytest.mark.parametrize("wrong", ["15 %", True, [15]])
def test_a_prediction_that_is_no_number_is_named(wrong):
    with pytest.raises(TypeError, match="training cost at the end: a number or None, not"):
        Predictions().outcomes(made_results(), "clean", train_cost=wrong)
    with pytest.raises(TypeError, match="training: a number or None, not"):
        with_prediction(figures.clean_cost(made_results()), training=wrong)


def test_no_prediction_leaves_the_figure_as_it_is():
    plain = figures.png_bytes(figures.clean_cost(made_results()))
    assert figures.png_bytes(with_prediction(figures.clean_cost(made_results()))) == plain


@pytest.mark.parametrize(
    ("draw", "training", "validation", "bold"),
    [
        (figures.clean_cost, 0.02, 0.021, ""),  # close together
        (figures.clean_cost, 0.0, 1.5, "↑"),  # on the edge, and far above
        (figures.shuffled_cost, 0.2, 1.1, "both"),  # far below
        (figures.shuffled_accuracy, 10, 10, ""),  # the same
        (figures.hundred_train_accuracy, 100, None, ""),
    ],
)
def test_predictions_are_marked_inside_the_picture(draw, training, validation, bold):
    plain = draw(made_results())
    before = plain.axes[0].get_ylim()
    figure = with_prediction(plain, training=training, validation=validation)
    axes = figure.axes[0]
    guesses = sorted(guess for guess in (training, validation) if guess is not None)
    low, high = axes.get_ylim()
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    assert sorted(float(line.get_ydata()[0]) for line in marks) == [
        min(max(one, low), high) for one in guesses
    ]
    texts = [text.get_text() for text in axes.texts if text.get_text().startswith("you: ")]
    arrows = ["↓" if guess < low else "↑" if guess > high else "" for guess in guesses]
    assert [text[-1] if text[-1] in "↑↓" else "" for text in texts] == arrows
    assert ("↑" in arrows, "↓" in arrows) == (bold in ("↑", "both"), bold in ("↓", "both"))
    # no curve is flattened: its height in the picture is at least half of what it was
    assert high - low <= 2.2 * (before[1] - before[0])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text().startswith("you: ")]
    assert len(boxes) == len(guesses)
    for box in boxes:
        assert box.x0 > axes.bbox.x1
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert len(boxes) == 1 or not boxes[0].overlaps(boxes[1])
