"""The display of notebooks beside a run: results, predictions beside outcomes, drawings."""

import numpy as np
import pytest
import torch
from lesson_results import made_results
from tiny import tiny_digits

import breaknet
from breaknet.lesson import figures, notebook_display
from breaknet.lesson.experiments import CURVES


@pytest.fixture(scope="module")
def digits() -> breaknet.Digits:
    return tiny_digits()


@pytest.fixture(scope="module")
def run(digits) -> breaknet.Run:
    return breaknet.train(digits.train, valid=digits.valid, epochs=23, hidden=(8, 6), backend="torch")


def test_sum_up_gives_what_figures_and_texts_are_made_from(digits, run):
    results = notebook_display.sum_up(digits, clean=run)
    assert results["data_source"] == "local: tiny"
    assert results["settings"]["hidden"] == [8, 6]
    clean = results["experiments"]["clean"]
    assert all(clean[key] == getattr(run, key).tolist() for key in CURVES)
    assert clean["fits"]["train_cost_line"]["slope"] == pytest.approx(
        np.polyfit([20, 21, 22], run.train_cost[20:], 1)[0]
    )
    assert figures.png_bytes(figures.clean_cost_fits(results))
    assert f"{run.train_accuracy[-1]:.1%}".replace("%", " %") in notebook_display.noticed(results, "clean")
    assert notebook_display.looking_back(results).startswith("* Over-fitting")


def test_sum_up_refuses_what_is_no_experiment(digits, run):
    with pytest.raises(TypeError, match="runs: clean, shuffled, hundred, not cleaner"):
        notebook_display.sum_up(digits, cleaner=run)
    with pytest.raises(TypeError, match=r"clean: what breaknet\.train gives, not a list"):
        notebook_display.sum_up(digits, clean=[run])
    alone = breaknet.train(digits.train[:20], epochs=1, backend="torch")
    with pytest.raises(ValueError, match="clean: a run with validation data"):
        notebook_display.sum_up(digits, clean=alone)


def test_compared_puts_predictions_beside_outcomes():
    table = notebook_display.compared(
        {"cost": (0.02, 0.04519), "parameters": (12960, 13002), "percent": (None, np.float64(97.349))}
    )
    assert table._repr_markdown_().splitlines() == [
        "|  | your prediction | outcome | off by |",
        "| --- | --: | --: | --: |",
        "| cost | 0.02 | 0.0452 | 0.0252 |",
        "| parameters | 12,960 | 13,002 | 42 |",
        "| percent | – | 97.3 | – |",
    ]
    assert repr(table) == str(table)


def test_outcomes_come_from_the_experiments_curves():
    curves = {"train_cost": [3.0, 2.0, 1.5], "valid_cost": [3.0, 1.25, 2.5]}
    curves |= {"train_accuracy": [0.25, 0.75, 0.5], "valid_accuracy": [0.5, 0.125, 0.375]}
    results = {"experiments": {"clean": curves}}
    expected = {
        "train_cost": ("training cost at the end", "1.5"),
        "valid_cost": ("validation cost at the end", "2.5"),
        "best_epoch": ("epoch of the lowest validation cost", "1"),
        "train_accuracy": ("training accuracy at the end, percent", "50"),
        "valid_accuracy": ("validation accuracy at the end, percent", "37.5"),
        "best_train_accuracy": ("highest training accuracy, percent", "75"),
        "valid_accuracy_then": ("validation accuracy then, percent", "12.5"),
    }
    table = notebook_display.outcomes(results, "clean", **dict.fromkeys(expected))
    assert table.splitlines()[2:] == [f"| {text} | – | {value} | – |" for text, value in expected.values()]
    with pytest.raises(TypeError, match=r"predictions: any of train_cost, .*, not cost"):
        notebook_display.outcomes(results, "clean", cost=1.0)
    assert notebook_display.side_by_side(results).splitlines()[-1] == "| true labels | 50.0 % | 37.5 % |"


def test_parameters_are_listed_and_counted():
    text = notebook_display.parameters(breaknet.MLP.seeded(0), 12960)
    assert "| hidden1.weight | 16 × 784 | 12,544 |" in text.splitlines()
    assert text.splitlines()[-1] == "| parameters | 12,960 | 13,002 | 42 |"


def test_cells_of_a_table_may_hold_bars():
    table = notebook_display.table(("", "a"), [("x", "p | q")], "a note")
    assert table.splitlines() == ["|  | a |", "| --- | --: |", "| x | p \\| q |", "", "a note"]


@pytest.mark.parametrize("wrong", ["15 %", True, [15]])
def test_a_prediction_that_is_no_number_is_named(wrong):
    with pytest.raises(TypeError, match="cost: a number or None, not"):
        notebook_display.compared({"cost": (wrong, 1.0)})
    with pytest.raises(TypeError, match="training: a number or None, not"):
        notebook_display.with_prediction(figures.clean_cost(made_results()), training=wrong)


def test_no_prediction_leaves_the_figure_as_it_is():
    plain = figures.png_bytes(figures.clean_cost(made_results()))
    assert figures.png_bytes(notebook_display.with_prediction(figures.clean_cost(made_results()))) == plain


@pytest.mark.parametrize(
    ("draw", "training", "validation"),
    [
        (figures.clean_cost, 0.02, 0.021),  # close together
        (figures.clean_cost, 0.0, 1.5),  # on the edge, and far above
        (figures.shuffled_cost, 0.2, 1.1),  # far below
        (figures.shuffled_accuracy, 10, 10),  # the same
        (figures.hundred_train_accuracy, 100, None),
    ],
)
def test_predictions_are_marked_inside_the_picture(draw, training, validation):
    figure = notebook_display.with_prediction(draw(made_results()), training=training, validation=validation)
    axes = figure.axes[0]
    guesses = [guess for guess in (training, validation) if guess is not None]
    low, high = axes.get_ylim()
    assert all(low <= guess <= high for guess in guesses)
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    assert sorted(float(line.get_ydata()[0]) for line in marks) == sorted(guesses)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text().startswith("you: ")]
    assert len(boxes) == len(guesses)
    for box in boxes:
        assert box.x0 > axes.bbox.x1
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert len(boxes) == 1 or not boxes[0].overlaps(boxes[1])


def test_the_network_is_drawn_with_a_line_for_every_weight_between_units_shown():
    figure = notebook_display.network((16, 4))
    lines = [
        len(collection.get_segments())
        for collection in figure.axes[0].collections
        if hasattr(collection, "get_segments")
    ]
    assert lines == [12 * 16, 16 * 4, 4 * 10]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"784 inputs", "16 hidden", "4 hidden", "10 outputs", "0", "9"} <= set(texts)


def test_digits_stand_under_their_labels_and_the_model_answers_one(digits):
    figure = notebook_display.digits_with_labels(digits.train)
    assert [axes.get_title() for axes in figure.axes] == [
        f"label {label}" for label in digits.train.labels[:16]
    ]
    model = breaknet.MLP.seeded(0)
    _, bars = notebook_display.answer(model, digits.train, 3).axes
    outputs = model(torch.from_numpy(digits.train.images[3:4]) / 256)[0].tolist()
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(outputs)


def test_an_answer_shows_the_outputs_and_their_cost():
    outputs = torch.zeros(10)
    outputs[3], outputs[5] = 0.3, 0.8
    split = breaknet.Split(np.zeros((1, 784), np.uint8), np.array([5], np.uint8))
    figure = notebook_display.answer(lambda images: outputs, split, 0)
    picture, bars = figure.axes
    assert picture.images
    assert [bar.get_height() for bar in bars.patches] == outputs.tolist()
    colors = [bar.get_facecolor() for bar in bars.patches]
    assert colors.count(colors[5]) == 1
    assert bars.get_title(loc="left") == "answer 5, label 5, cost 0.13"
    assert figures.png_bytes(figure)
