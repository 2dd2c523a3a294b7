"""A classroom notebook in plain PyTorch, and the same with breaknet's names: the same lists come out."""

import ast
from pathlib import Path

import numpy as np
import pytest
from executed_notebooks import pictures, printed
from tiny import tiny_digits

from benchmarks.classroom import LISTS, NAMES, SOURCE, drop_in, original, run, write_pickle

EPOCHS = {"epochs_all": 30, "epochs_few": 40}
EXAMPLES = {"train_bad": 600, "valid_bad": 120, "train_few": 100, "valid_few": 120}


def test_only_definitions_and_an_import_differ():
    before, after = original().cells, drop_in().cells
    kept = [cell.source for cell in after]
    deleted = [cell for cell in before if cell.source not in kept]
    imports, *definitions = deleted
    assert kept[1].startswith(imports.source)
    added = ast.parse(kept[1].removeprefix(imports.source)).body
    assert [type(statement) for statement in added] == [ast.ImportFrom]
    assert {name.name for name in added[0].names} == set(NAMES)
    defined = [statement for cell in definitions for statement in ast.parse(cell.source).body]
    assert {type(statement) for statement in defined} <= {ast.ClassDef, ast.FunctionDef}
    assert {statement.name for statement in defined} == set(NAMES)
    assert len(after) == len(before) - len(definitions)


def test_the_original_knows_nothing_of_breaknet():
    imported = [node for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.ImportFrom)]
    assert all(not node.module.startswith("breaknet") for node in imported)
    assert "import breaknet" not in SOURCE.read_text()


def test_both_notebooks_come_to_the_same(tmp_path):
    """One test, so that tests side by side run neither notebook twice."""
    file = write_pickle(tiny_digits(), tmp_path / "mnist.pkl.gz")
    plain, ours = run(original(), file, timeout=300, **EPOCHS), run(drop_in(), file, timeout=300, **EPOCHS)
    for name in LISTS:
        expected, found = plain.lists[name], ours.lists[name]
        assert len(found) == len(expected) == EPOCHS["epochs_few" if name.endswith("_few") else "epochs_all"]
        if name.startswith("cost"):
            np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=name)
        else:  # one example may stand on the edge between two digits
            room = 1.5 / EXAMPLES[name.removeprefix("accuracy_")]
            np.testing.assert_allclose(found, expected, rtol=0, atol=room, err_msg=name)
    assert plain.lists["cost_train"][-1] < 0.5 * plain.lists["cost_train"][0]  # something was learned

    assert pictures(plain.notebook) == pictures(ours.notebook) == 8
    lines = [printed(done.notebook).splitlines() for done in (plain, ours)]
    beginnings = [[line.split(":")[0] for line in one] for one in lines]
    assert beginnings[0] == beginnings[1]
    epochs = [line for line in beginnings[0] if line.startswith("epoch ")]
    assert len(epochs) == 2 * EPOCHS["epochs_all"] + EPOCHS["epochs_few"]


@pytest.mark.slow
@pytest.mark.mnist
def test_at_full_size_the_drop_in_shows_the_lesson(mnist, tmp_path):
    """The original at full size is the benchmark's; here the lesson's ranges are the reference."""
    file = write_pickle(mnist, Path(tmp_path) / "mnist.pkl.gz")
    lists = run(drop_in(), file).lists
    assert 0.035 < lists["cost_train"][-1] < 0.055
    assert 0.08 < lists["cost_valid"][-1] < 0.1
    assert 0.13 < lists["accuracy_train_bad"][-1] < 0.16
    assert max(lists["accuracy_train_few"]) >= 0.98
    assert lists["accuracy_valid_few"][-1] < 0.15
