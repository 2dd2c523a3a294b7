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

#: Pictures: digits, network, an answer before and after, shuffled digits, and the lesson's seven figures.
PICTURES = 12

#: How answers to the questions of each experiment begin.
ANSWERS = (
    "After epoch 23 the cost per image is",
    "Guessing among ten digits",
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
}


def read(ending: str = "") -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{NAME}{ending}.ipynb", as_version=4)


def reduced(folder: Path) -> dict[str, object]:
    return {"data": str(write_tiny_idx(folder / "tiny")), "epochs_all": 24, "epochs_few": 30}


def table_rows(notebook: nbformat.NotebookNode) -> list[str]:
    """The rows of all tables of predictions."""
    found = re.findall(r"your prediction \| outcome \| off by \|\n.*\n((?:\|.*\n?)+)", texts(notebook))
    return [line for rows in found for line in rows.splitlines()]


def texts(notebook: nbformat.NotebookNode) -> str:
    """All tables and texts."""
    return "\n\n".join(shown(notebook))


def assert_whole_and_clean(notebook: nbformat.NotebookNode) -> None:
    """Every picture is there, and nothing that nobody asked for."""
    assert pictures(notebook) == PICTURES
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert all(NOTICE.match(line) for line in printed(notebook, "stderr").splitlines() if line)
    assert "local: tiny" in printed(notebook, "stdout")
    assert "30 epochs in" in printed(notebook, "stdout")


def test_students_see_predictions_beside_outcomes_and_instructors_answers_too(tmp_path):
    """One test, so that both run in one kernel."""
    student = read()
    for cell in student.cells:
        if "prediction" in tags(cell):
            predicted = r"^(\w+) = None", lambda found: f"{found[1]} = {PREDICTIONS[found[1]]}"
            cell.source = re.sub(*predicted, cell.source, flags=re.M)
    settings = reduced(tmp_path)
    both = [with_parameters(notebook, settings) for notebook in (student, read("_instructor"))]
    student, instructor = run_in_one_kernel(both, tmp_path)

    assert_whole_and_clean(student)
    rows = table_rows(student)
    assert rows[0] == "| parameters | 12,960 | 13,002 | 42 |"
    assert len(rows) == len(PREDICTIONS)
    for row, prediction in zip(rows, PREDICTIONS.values(), strict=True):
        assert row.split(" | ")[1].replace(",", "") == str(prediction)
        assert "–" not in row
    assert "Over-fitting is the name" in texts(student)
    assert not [answer for answer in ANSWERS if answer in texts(student)]

    assert_whole_and_clean(instructor)  # without predictions the outcomes stand alone
    rows = table_rows(instructor)
    assert len(rows) == len(PREDICTIONS)
    assert all(re.fullmatch(r"\| [^|]+ \| – \| [\d.,]+ \| – \|", row) for row in rows), rows
    assert not [answer for answer in ANSWERS if answer not in texts(instructor)]


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
