"""The lesson's notebook from top to bottom: reduced here, at full size on the real MNIST among the slow tests."""

import re
from pathlib import Path

import nbformat
import pytest
from executed_notebooks import outputs, pictures, printed, run_in_one_kernel, shown
from tiny import write_tiny_idx

from scripts.build_notebooks import NOTEBOOKS, tags
from scripts.run_notebooks import executed, with_parameters

NAME = "breaking_a_neural_network"

#: What a cell may say on standard error in a short run: that a curve is too short, or too flat, for a fit.
NOTICE = re.compile(r"no (line|logistic fit) ")

FURTHER = "breaking_it_further"

#: Pictures: digits, network, an answer before and after, shuffled digits, and the lesson's eight figures.
PICTURES = 13
#: Those that stand beside no prediction: all but clean_cost, both of shuffled, two of hundred, label_noise.
UNASKED = 7

#: How answers to the questions of each experiment begin.
ANSWERS = (
    "After epoch 23 the cost per image is",
    "Guessing among ten ",
    "The training accuracy is high",
)

PREDICTIONS = {
    "my_parameters": 12960,
    "my_train_cost": 0.02,
    "my_valid_cost": 0.02,
    "my_best_epoch": 15,
    "my_shuffled_train_cost": 0.5,
    "my_shuffled_valid_cost": 1.25,
    "my_shuffled_train_accuracy": 10,
    "my_shuffled_valid_accuracy": 10,
    "my_best_train_accuracy": 100,
    "my_valid_accuracy_then": 60.5,
    "my_noise_accuracies": [90, 80, 60, 40, 20, 10],
}


def read(ending: str = "", name: str = NAME) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}{ending}.ipynb", as_version=4)


def reduced(folder: Path) -> dict[str, object]:
    return {"data": str(write_tiny_idx(folder / "tiny")), "epochs_all": 24, "epochs_few": 30}


def table_rows(notebook: nbformat.NotebookNode) -> list[str]:
    """The rows of all tables of predictions but the summary."""
    found = re.findall(r"your prediction \| outcome (?:\| off by )?\|\n.*\n((?:\|.*\n?)+)", texts(notebook))
    return [line for rows in found for line in rows.splitlines()]


def texts(notebook: nbformat.NotebookNode) -> str:
    """All tables and texts."""
    return "\n\n".join(shown(notebook))


def assert_whole_and_clean(notebook: nbformat.NotebookNode, expected: int = PICTURES) -> None:
    """Every picture is there, and nothing that nobody asked for."""
    assert pictures(notebook) == expected
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert all(NOTICE.match(line) for line in printed(notebook, "stderr").splitlines() if line)
    assert "local: tiny" in printed(notebook, "stdout")


def with_predictions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with a number wherever one is asked for."""
    for cell in notebook.cells:
        if "prediction" in tags(cell):
            predicted = r"^(\w+) = None", lambda found: f"{found[1]} = {PREDICTIONS[found[1]]}"
            cell.source = re.sub(*predicted, cell.source, flags=re.M)
    return notebook


def test_outcomes_are_asked_for_shown_beside_predictions_and_answered_for_instructors(tmp_path):
    """One test, so that all run in one kernel."""
    settings = reduced(tmp_path)
    all_three = [
        with_parameters(notebook, settings)
        for notebook in (read(), with_predictions(read()), read("_instructor"))
    ]
    untouched, student, instructor = run_in_one_kernel(all_three, tmp_path)

    assert_whole_and_clean(untouched, UNASKED)  # from top to bottom nothing raises
    assert texts(untouched).count("**Your prediction first:**") == 1 + 6 + 4
    assert not table_rows(untouched)
    assert "13,002" not in texts(untouched)
    assert "You have made no predictions yet." in texts(untouched)

    assert_whole_and_clean(student)
    assert "30 epochs in" in printed(student, "stdout")
    rows = table_rows(student)
    assert rows[0] == "| parameters | 12,960 | 13,002 |"
    numbers = [value for value in PREDICTIONS.values() if not isinstance(value, list)]
    assert len(rows) == len(numbers)
    for row, prediction in zip(rows, numbers, strict=True):
        assert float(row.split(" | ")[1].replace(",", "").rstrip(" %")) == prediction
        assert "–" not in row
    assert f"for {len(numbers) - 1 + 6} predictions.**" in texts(student)
    assert "Over-fitting is the name" in texts(student)
    assert not [answer for answer in ANSWERS if answer in texts(student)]

    assert_whole_and_clean(instructor)  # without predictions the outcomes stand alone
    rows = table_rows(instructor)
    assert len(rows) == len(numbers)
    assert all(re.fullmatch(r"\| [^|]+ \| – \| [\d.,]+( %)? (\| – )?\|", row) for row in rows), rows
    assert not [answer for answer in ANSWERS if answer not in texts(instructor)]


def test_what_goes_further_runs_and_asks_too(tmp_path):
    settings = {"epochs": 3, "steps": 20, "width_epochs": 2, "memorising_epochs": 5}
    settings |= {"data": reduced(tmp_path)["data"]}
    both = [with_parameters(read(ending, FURTHER), settings) for ending in ("", "_instructor")]
    student, instructor = run_in_one_kernel(both, tmp_path)
    assert_whole_and_clean(student, 1 + 5)
    assert texts(student).count("**Your prediction first:** 100 examples") == 1
    assert_whole_and_clean(instructor, 2 + 5)
    assert "mislabel_class(4, 9): " in printed(instructor, "stdout")
    assert "### Answers" in texts(instructor)


def test_parameters_are_those_of_the_notebook():
    with pytest.raises(ValueError, match="not epoch_all"):
        with_parameters(read(), {"epoch_all": 3})
    changed = with_parameters(read(), {"seed": 3})
    places = [place for place, cell in enumerate(changed.cells) if "injected-parameters" in tags(cell)]
    assert [changed.cells[place].source for place in places] == ["seed = 3"]
    assert "parameters" in tags(changed.cells[places[0] - 1])


@pytest.mark.slow
@pytest.mark.mnist
def test_the_whole_lesson_at_full_size(mnist, tmp_path: Path):
    done = executed(read("_instructor"), tmp_path)
    assert pictures(done) == PICTURES
    assert printed(done, "stderr") == ""
    assert "MNIST: 50,000 images" in printed(done, "stdout")
    ends = re.findall(r"^\| .* \| (\d+\.\d) % \| (\d+\.\d) % \|$", texts(done), re.M)
    (clean, clean_valid), (shuffled, _), (hundred, hundred_valid) = [map(float, pair) for pair in ends]
    assert clean > 96.5
    assert clean_valid > 94
    assert 13 < shuffled < 16
    assert hundred > 97
    assert hundred_valid < 15
    assert "no logistic curve" not in texts(done).lower()
