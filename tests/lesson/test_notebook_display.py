"""The display of notebooks beside a run: results, tables, drawings."""

import numpy as np
import pytest
import torch
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


def test_accuracies_stand_side_by_side_and_parameters_are_listed():
    curves = {"train_accuracy": [0.25, 0.75, 0.5], "valid_accuracy": [0.5, 0.125, 0.375]}
    text = notebook_display.side_by_side({"experiments": {"clean": curves}})
    assert text.splitlines()[-1] == "| true labels | 50.0 % | 37.5 % |"
    assert repr(text) == text._repr_markdown_() == str(text)
    listed = notebook_display.parameter_table(breaknet.MLP.seeded(0))
    assert "| hidden1.weight | 16 × 784 | 12,544 |" in listed.splitlines()


def test_cells_of_a_table_may_hold_bars():
    table = notebook_display.table(("", "a"), [("x", "p | q")], "a note")
    assert table.splitlines() == ["|  | a |", "| --- | --: |", "| x | p \\| q |", "", "a note"]


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
