"""Tables, maps and pages of sweeps, and their commands."""

from __future__ import annotations

import csv
import math
import re
import sys

import pytest
from tiny import tiny_digits, write_tiny_idx

import breaknet
from breaknet.cli.commands import main
from breaknet.sweeps import atlas, maps, runner, shards
from breaknet.sweeps.grid import settings
from breaknet.sweeps.page import write_page
from breaknet.sweeps.store import schema
from breaknet.sweeps.table import Table, names_of

pyarrow = pytest.importorskip("pyarrow")


def made_up(given: dict, accuracy) -> Table:
    """A table of settings with accuracies (training, validation) that are a function of them."""
    columns = {name: [] for name in schema().names}
    for one in settings(given, 50_000):
        train, valid = accuracy(one)
        row = {
            **one.columns(), "key": one.key, "train_cost": 0.1, "valid_cost": 0.2, "train_accuracy": train,
            "valid_accuracy": valid, "gap": train - valid, "diverged_at": None, "stuck_at": None,
            "backend": "numba", "plan": "threads", "device": "cpu",
            "curve_epoch": [one.epochs // 2 - 1, one.epochs - 1],
        }  # fmt: skip
        for name in columns:
            kind = 0 if name.endswith("cost") else 1
            columns[name].append(row.get(name, [0.5 * kind, 0.9 * kind]))
    return Table.of(columns)


def noise(one) -> float:
    return atlas._share(one.breakage)


@pytest.fixture(scope="module")
def table() -> Table:
    return made_up(
        atlas.grid(50_000),
        lambda one: (
            0.9 - 0.8 * noise(one),
            0.9 - noise(one) ** 4 * 0.8 - 5 / one.examples + 0.001 * one.seed,
        ),
    )


def test_axes_are_what_differs_by_itself(table):
    assert table.axes == ("break", "examples", "hidden")  # epochs differ too, but examples decide them
    assert len(table) == 1320
    assert len(table.cells()) == 264
    assert table.values("hidden") == ["8,8", "16,16", "32,32"]
    assert table.values("break")[:3] == ["", "shuffle_labels(0.1)", "shuffle_labels(0.2)"]
    cell = next(cell for cell in table.cells() if cell.place == ("", 50, "8,8"))
    mean, spread = table.mean_and_spread(cell, "valid_accuracy")
    assert mean == pytest.approx(0.9 - 0.1 + 0.002)
    assert spread == pytest.approx(0.001 * math.sqrt(2.5))


def test_names_of_values():
    assert names_of(["", "flip_labels(0.1)"]) == ("flip_labels", ["none", "0.1"])
    assert names_of(["", "invert"]) == ("", ["none", "invert"])
    assert names_of([1000, 0.5, "16,16"]) == ("", ["1,000", "0.5", "16,16"])


def test_maps_show_means_and_contours(table):
    figure = maps.heat_maps(table, "valid_accuracy", "MNIST")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["hidden 8,8", "hidden 16,16", "hidden 32,32"]
    (mesh, *contours) = panels[0].collections
    assert mesh.get_array().shape == (8, 11)
    assert mesh.get_array()[7, 0] == pytest.approx(90.19, abs=0.01)  # 50,000 clean examples, upper left
    assert contours
    texts = [text.get_text() for text in panels[0].texts]
    assert "90" in texts
    assert "0.2" in texts  # the spread


def test_learning_curves_of_many_settings_are_those_of_ends_and_middles(table):
    figure = maps.learning_curves(table, "MNIST")
    titles = [axes.get_title().split("\n") for axes in figure.axes if axes.get_title()]
    assert len(titles) == 12
    assert {title[0] for title in titles} == {
        "break none",
        "break shuffle_labels(0.5)",
        "break shuffle_labels(1)",
    }
    assert {title[1] for title in titles} == {"examples 50", "examples 50,000"}
    assert {title[2] for title in titles} == {"hidden 8,8", "hidden 32,32"}


def test_pictures_are_the_same_to_the_byte(table):
    given = {"seed": [0, 1], "learning_rate": [0.1, 0.2], "epochs": 4}
    small = made_up(given, lambda one: (0.9, 0.8 + one.learning_rate / 10))
    found = maps.pictures(small, "local: mine")
    assert list(found) == ["accuracy", "learning_curves"]
    assert found == maps.pictures(small, "local: mine")
    assert all(svg.startswith(b"<?xml") for _, svg in found.values())
    assert list(maps.pictures(made_up({"epochs": 4}, lambda one: (1, 1)), "MNIST")) == ["learning_curves"]


def test_the_atlas_is_the_one_promised():
    chosen = settings(atlas.grid(50_000), 50_000)
    assert len(chosen) == 11 * 8 * 3 * 5
    assert all(2_900 <= one.steps <= 3_100 for one in chosen)
    assert all(one.points >= 5 for one in chosen)
    full = settings(atlas.grid(50_000, full=True), 50_000)
    assert all(29_900 <= one.steps <= 30_100 for one in full)
    assert {one.examples for one in settings(atlas.grid(600), 600)} == {2, 4, 12, 36, 120, 300, 600}


def test_what_the_atlas_says_comes_from_the_run(table):
    (_, reading), (_, surprises) = atlas.text(table)
    assert "(8, 16, 32)" in reading[0]
    said = " ".join(surprises)
    assert "get 85.2% of the validation images right" in said  # 0.9 - 0.5^4 * 0.8 + 0.002 - 0.0001
    assert "agree with only 50.0% of the labels" in said
    assert "worth more than 50 with clean ones (80.2%)" in said
    assert "from 100 to 50,000 clean examples changes it by +5.0 points" in said
    assert "end below 50 %" not in said
    broken = made_up(atlas.grid(50_000), lambda one: (0.1, 0.1))
    said = " ".join(atlas.text(broken)[1][1])
    assert "Half shuffled" not in said
    assert "Of the 120 networks with clean labels 120 end below 50 %" in said


def test_page_and_table(tmp_path):
    digits = tiny_digits()
    grid = {
        "break": ["", "flip_labels(0.5)"],
        "examples": [50, 100],
        "epochs": 2,
        "points": 2,
        "seed": [0, 1],
    }
    result = breaknet.sweep(grid, data=digits, out=tmp_path / "a", backend="torch")
    page = write_page(result, "A <title>").read_text()
    assert "<h1>A &lt;title&gt;</h1>" in page
    assert "local: tiny, not MNIST" in page
    assert page.count("data:image/svg+xml;base64,") == 4
    assert not re.search(r"(src|href)=.http", page)  # nothing is fetched
    assert "stuck" not in page
    rows = list(csv.DictReader((tmp_path / "a" / "table.csv").open()))
    columns = result.results.columns
    assert [float(row["valid_accuracy"]) for row in rows] == columns["valid_accuracy"]
    assert [row["break"] for row in rows] == columns["break"]
    assert {path.name for path in (tmp_path / "a" / "figures").iterdir()} == {
        "map_valid_accuracy.svg", "map_train_accuracy.svg", "map_gap.svg", "learning_curves.svg",
    }  # fmt: skip


def test_the_page_counts_networks_that_are_stuck(tmp_path):
    grid = {"learning_rate": [0.1, 100.0], "epochs": 3, "seed": [0, 1]}
    with pytest.warns(RuntimeWarning, match="learned nothing"):
        result = breaknet.sweep(grid, data=tiny_digits(), out=tmp_path / "a", backend="torch")
    page = write_page(result).read_text()
    assert "2 of the 4 networks ended stuck" in page
    assert page.count("<td>2, 2 stuck</td>") == 1  # seeds of one setting
    rows = list(csv.DictReader((tmp_path / "a" / "table.csv").open()))
    assert [bool(row["stuck_at"]) for row in rows] == [row["learning_rate"] == "100.0" for row in rows]


@pytest.fixture
def data(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BREAKNET_DATA", raising=False)
    return str(write_tiny_idx(tmp_path / "tiny"))


def test_sweep_command(data, tmp_path, capsys):
    (tmp_path / "grid.toml").write_text('break = ["", "invert"]\nepochs = 2\nseed = [0, 1]\n')
    command = ["sweep", "grid.toml", "--data", data, "--backend", "torch", "--out", "new"]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert re.search(
        r"^4 jobs, 4 to do in 1 shard and about \d+ launch(es)?, \d+ MiB of memory, about 1 s$",
        shown.out,
        re.M,
    )
    assert not (tmp_path / "new").exists()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "4 networks trained" in shown.out
    assert "4 of 4 jobs" in shown.err
    assert (tmp_path / "new" / "report.html").exists()
    assert main([*command, "-q"]) == 0
    shown = capsys.readouterr()
    assert "0 networks trained" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = []", "seed: at least one value, not an empty list"),
        ("sead = 1", "(did you mean seed?)"),
        ('break = "shufle_labels(1)"', "(did you mean shuffle_labels?)"),
        ("examples = 601", "examples: at most the 600 there are, not 601"),
        ("batch_size = 0", "batch_size: 1 to 10,000,000, not 0"),
        ("epochs = 1000000\nhidden = [128, 128]", "h; over an hour needs --yes (yes=True)"),
    ],
)
def test_bad_files_end_with_status_2(data, tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.setattr(runner.Speed, "measured", classmethod(lambda cls, *_: shards.Speed.guessed()))
    (tmp_path / "grid.toml").write_text(text)
    assert main(["sweep", "grid.toml", "--data", data, "--backend", "torch", "--out", "new"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("breaknet: ")
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_atlas_command(data, tmp_path, capsys, monkeypatch):
    for name, few in (("NOISE", (0.0, 0.5, 1.0)), ("EXAMPLES", (5_000, 25_000, 50_000)), ("WIDTHS", (2, 3))):
        monkeypatch.setattr(atlas, name, few)
    monkeypatch.setattr(atlas, "SEEDS", (0, 1))
    monkeypatch.setattr(atlas, "STEPS", 12)
    pyarrow.array([])  # looks for pandas once, and would take the None below for it
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert main(["atlas", "--data", data, "--backend", "torch", "--out", "new", "-q"]) == 0
    assert "36 networks trained" in capsys.readouterr().out
    page = (tmp_path / "new" / "report.html").read_text()
    assert "How to read the maps" in page
    assert "When all labels are shuffled" in page
