"""The examples run as they stand, on small data, and come to what they are meant to show."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from tiny import write_tiny_idx


@pytest.fixture
def example(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs examples/NAME.py for so many epochs; gives its variables."""
    monkeypatch.setenv("BREAKNET_DATA", str(write_tiny_idx(tmp_path / "tiny")))

    def run(name: str, epochs: int) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", [name, str(epochs)])
        return runpy.run_path(str(repository / "examples" / f"{name}.py"))

    return run


def test_train(example, capsys):
    found = example("train", 30)
    assert found["run"].train_accuracy[-1] > 0.9
    assert found["test"].confusion.sum() == 60
    assert "local: tiny" in capsys.readouterr().out


def test_break_labels(example, capsys):
    ends = [run.valid_accuracy[-1] for run in example("break_labels", 30)["runs"]]
    assert ends[0] > 0.9
    assert ends[-1] < 0.4
    assert capsys.readouterr().out.count("%") == 3 * len(ends)


def test_own_network(example):
    costs = example("own_network", 12)["costs"]
    assert costs[-1] < 0.5 * costs[0]


def test_every_example_is_tested(repository):
    assert {f"test_{path.stem}" for path in (repository / "examples").glob("*.py")} <= set(globals())


def test_map_noise(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = example("map_noise", 20)["result"].results.columns
    ends = dict(
        zip(zip(columns["break"], columns["examples"], strict=True), columns["valid_accuracy"], strict=True)
    )
    assert len(columns["key"]) == 27
    assert ends["", 600] > ends["shuffle_labels(0.8)", 600]
