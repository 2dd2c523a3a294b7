"""breaknet.sweep: its table is what `train` gives run by run, and what is done is not done again."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import torch
from tiny import tiny_digits

import breaknet
from breaknet import DataError
from breaknet.sweeps import runner, shards
from breaknet.sweeps.broken_data import SHARING, BrokenData, image_set
from breaknet.sweeps.grid import settings

pytest.importorskip("pyarrow")

GRID = {
    "break": ["", "shuffle_labels(0.5) + invert", "missing_class(7) + shift(2)"],
    "examples": [60, 300],
    "hidden": [[3, 3], [4, 3]],
    "learning_rate": 0.1,
    "seed": [0, 1],
    "epochs": 4,
    "points": 2,
}


@pytest.fixture(scope="module")
def digits() -> breaknet.Digits:
    return tiny_digits()


@pytest.fixture(scope="module")
def result(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "new"
    return breaknet.sweep(GRID, data=digits, out=out, backend="torch")


def test_table_equals_train_run_by_run(digits, result):
    columns = result.results.columns
    assert len(columns["key"]) == result.trained == 24
    for row in range(24):
        seed, examples = columns["seed"][row], columns["examples"][row]
        text = columns["break"][row]
        run = breaknet.train(
            breaknet.break_data(digits.train[:examples], text, seed),
            valid=breaknet.break_data(digits.valid, text, seed, part="valid"),
            epochs=4, learning_rate=0.1, hidden=tuple(map(int, columns["hidden"][row].split(","))), seed=seed,
            backend="torch",
        )  # fmt: skip
        for name in ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy"):
            assert columns[name][row] == getattr(run, name)[-1]
            assert columns[f"curve_{name}"][row] == getattr(run, name)[1::2].tolist()
        assert columns["gap"][row] == run.train_accuracy[-1] - run.valid_accuracy[-1]
        assert columns["curve_epoch"][row] == [1, 3]
        assert (columns["backend"][row], columns["device"][row]) == ("torch", "cpu")
    assert result.results.axes == ("break", "examples", "hidden")


def test_parameters_are_kept_on_request(digits, result, tmp_path):
    grid = GRID | {"break": ["", "invert"], "examples": [60]}
    kept = breaknet.sweep(grid, data=digits, out=tmp_path / "kept", backend="torch", parameters=True)
    assert kept.results.columns.keys() == result.results.columns.keys()
    for row, setting in enumerate(kept.settings):
        if setting.seed == 1:
            run = breaknet.train(
                breaknet.break_data(digits.train[:60], setting.breakage, 1), epochs=4, learning_rate=0.1,
                hidden=setting.hidden, seed=1, backend="torch",
            )  # fmt: skip
            for name, tensor in run.checkpoints[-1].state_dict().items():
                assert torch.equal(tensor, kept.model(row).state_dict()[name])
    with pytest.raises(ValueError, match="row: 0 has no parameters kept"):
        result.model(0)
    # what was finished without them is done again, once
    plain = breaknet.sweep(grid, data=digits, out=tmp_path / "later", backend="torch")
    counts = [
        breaknet.sweep(grid, data=digits, out=tmp_path / "later", backend="torch", parameters=asked).trained
        for asked in (True, True, False)
    ]
    assert counts == [plain.trained, 0, 0]
    assert plain.results.columns == kept.results.columns
    plain.model(0)


def test_done_is_done(digits, result, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in result.folder.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(runner, "trained", None)  # would fail if anything were trained
    again = breaknet.sweep(GRID, data=digits, out=result.folder, backend="torch")
    assert again.trained == 0
    assert again.results.columns == result.results.columns
    assert {
        path: path.stat().st_mtime_ns for path in result.folder.rglob("*") if path.name != ".lock"
    } == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_the_folder_is_where_its_links_and_its_home_lead(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "far")
    for out, there in (("~/a", "a"), (tmp_path / "link", "far")):
        made = breaknet.sweep({"epochs": 1}, data=digits, out=out, backend="torch")
        assert made.folder == tmp_path / there
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: a pipe stands there; name a folder"):
        breaknet.sweep({"epochs": 1}, data=digits, out=tmp_path / "pipe", backend="torch")
    with pytest.raises(ValueError, match="out: the name of a file or folder, not ''"):
        breaknet.sweep({"epochs": 1}, data=digits, out="", backend="torch")


def test_a_larger_grid_adds_what_is_new(digits, tmp_path):
    first = breaknet.sweep({"seed": [0, 1], "epochs": 1}, data=digits, out=tmp_path / "a", backend="torch")
    more = breaknet.sweep({"seed": [0, 1, 2], "epochs": 1}, data=digits, out=tmp_path / "a", backend="torch")
    assert (first.trained, more.trained) == (2, 1)
    assert more.results.columns["seed"] == [0, 1, 2]
    assert first.results.columns["seed"] == [0, 1]


def test_shards_change_no_bit(digits, result, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_JOBS", 5)
    cut = breaknet.sweep(GRID, data=digits, out=tmp_path / "cut", backend="torch")
    assert len(list((cut.folder / "shards").iterdir())) == 5
    assert cut.results.columns == result.results.columns


def test_table_for_pandas_or_plain(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = result.table
    assert list(table)[:4] == ["key", "break", "examples", "hidden"]
    assert not any(name.startswith("curve_") for name in table)
    fake = type("pandas", (), {"DataFrame": staticmethod(lambda columns: ("frame", columns))})
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert result.table == ("frame", table)


def test_diverged_jobs_are_rows(digits, tmp_path):
    with pytest.warns(RuntimeWarning, match=r" / hidden 16,16 / rate [\d.e+]+ / seed 0 diverged"):
        done = breaknet.sweep(
            {"learning_rate": [0.1, 3e38], "epochs": 2}, data=digits, out=tmp_path / "a", backend="torch"
        )
    columns = done.results.columns
    assert columns["diverged_at"] == [None, 1]
    assert np.isnan(columns["valid_accuracy"][1])
    assert columns["curve_epoch"] == [[1], []]


def test_stuck_jobs_are_rows_that_say_since_when(digits, tmp_path):
    with pytest.warns(RuntimeWarning, match=r" / rate 100 / seed 0 learned nothing"):
        done = breaknet.sweep(
            {"learning_rate": [0.1, 100.0], "epochs": 4, "points": 2},
            data=digits, out=tmp_path / "a", backend="torch",
        )  # fmt: skip
    assert done.results.columns["stuck_at"] == [None, 1]
    assert done.results.columns["diverged_at"] == [None, None]


@pytest.mark.parametrize("parameters", [False, True])
def test_results_without_stuck_at_are_read_and_gone_on_with(digits, tmp_path, parameters):
    """So the first version wrote them."""
    import pyarrow.parquet

    def sweep(*seeds):
        grid = {"seed": list(seeds), "epochs": 1, "hidden": [2, 2]}
        return breaknet.sweep(grid, data=digits, out=tmp_path / "a", backend="torch", parameters=parameters)

    new = sweep(0, 1).results.columns
    (path,) = (tmp_path / "a" / "shards").iterdir()
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(["stuck_at"]), path)
    old = sweep(0, 1)
    assert old.trained == 0
    assert old.results.columns == new | {"stuck_at": [None, None]}
    more = sweep(0, 1, 2)
    assert more.trained == 1
    assert more.results.columns["seed"] == [0, 1, 2]
    assert more.results.columns["stuck_at"] == [None, None, None]


def test_jobs_share_what_can_be_shared(digits):
    given = {
        "break": ["", "flip_labels(0.1)", "pixel_noise(0.1)"],
        "seed": [0, 1],
        "learning_rate": [0.1, 0.2],
    }
    chosen = settings(given, 600)
    broken = BrokenData(digits)
    made = [broken.of(one) for one in chosen]  # all kept, so that no address is used twice
    arrays = {id(train.images) for train, _ in made}, {id(valid.images) for _, valid in made}
    assert (len(arrays[0]), len(arrays[1])) == (3, 3)  # the plain ones, and noise with either seed
    assert len({image_set(one) for one in chosen}) == 3
    for name in SHARING:
        train, _ = broken.of(settings({"break": breaknet.breakage.BREAKAGES[name].example}, 600)[0])
        assert np.shares_memory(train.images, digits.train.images)


def test_shards_are_bounded():
    chosen = settings(
        {"seed": list(range(50)), "epochs": 10, "points": 10, "break": "pixel_noise(0.1)"}, 50_000
    )
    speed = shards.Speed({(16, 16): 1e-6}, {(16, 16): 1e-7})
    found = shards.cut(chosen, speed, 10_000)
    assert [one for shard in found for one in shard.settings] == chosen
    assert len(found) > 10
    assert all(shard.bytes <= shards.SHARD_BYTES or len(shard.settings) == 1 for shard in found)
    shared = shards.cut(settings({"seed": list(range(50)), "epochs": 10}, 50_000), speed, 10_000)
    assert all(shard.seconds <= shards.SHARD_SECONDS for shard in shared)
    assert len(shared) == 2  # 0.5 s of training and 0.06 s of evaluation each


def test_estimates_and_refusals(digits, tmp_path, monkeypatch):
    slow = shards.Speed({(16, 16): 1.0}, {(16, 16): 1.0})
    monkeypatch.setattr(shards.Speed, "guessed", classmethod(lambda cls: slow))
    with pytest.raises(
        ValueError, match=r"^sweep: 1 job, 1 to do in 1 shard and .* about 3\.7 h; over an hour needs --yes"
    ):
        runner.prepared({"epochs": 21}, data=digits, out=tmp_path / "a", backend="torch")
    _, plan, _ = runner.prepared({"epochs": 21}, data=digits, out=tmp_path / "a", backend="torch", yes=True)
    assert plan.seconds == pytest.approx(600 * 21 + 720, abs=1)
    assert not (tmp_path / "a").exists()


def test_measured_speed(digits):
    chosen = settings({"hidden": [[3, 3], [8, 8]]}, 600)
    speed = shards.Speed.measured(digits, chosen, "torch", "cpu")
    assert set(speed.training) == {(3, 3), (8, 8)}
    assert all(0 < value < 1e-3 for value in (*speed.training.values(), *speed.evaluation.values()))


def test_foreign_folders_are_refused(digits, tmp_path):
    def refused(folder, message):
        with pytest.raises(DataError, match=message) as caught:
            breaknet.sweep({"epochs": 1}, data=digits, out=folder, backend="torch")
        assert "\n" not in str(caught.value)

    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file", "a file stands there")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("mine")
    refused(tmp_path / "work", r"holds other things than a sweep \(thesis.txt\)")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sweep.json").write_text('{"format": "theirs"}')
    refused(tmp_path / "other", "not the manifest of a sweep")
    other = breaknet.Digits(digits.train[:500], digits.valid, digits.test, "local: other")
    breaknet.sweep({"epochs": 1}, data=other, out=tmp_path / "data", backend="torch")
    refused(tmp_path / "data", "holds results on other data \\(local: other\\)")


@pytest.mark.parametrize("content", ["", "truncated", "text", "foreign"])
def test_broken_results_are_refused_and_stay(digits, tmp_path, content):
    import pyarrow as pa
    import pyarrow.parquet

    out = tmp_path / "a"
    breaknet.sweep({"epochs": 1}, data=digits, out=out, backend="torch")
    (path,) = (out / "shards").iterdir()
    if content == "foreign":
        pa.parquet.write_table(pa.table({"key": ["mine"]}), path)
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text(content)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"broken result file|not a result file") as caught:
        breaknet.sweep({"epochs": 1}, data=digits, out=out, backend="torch")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_one_sweep_at_a_time(digits, result):
    from filelock import FileLock

    with FileLock(result.folder / ".lock"), pytest.raises(DataError, match="another sweep is at work there"):
        breaknet.sweep(GRID | {"seed": 5}, data=digits, out=result.folder, backend="torch")


@pytest.mark.parametrize(("missing", "engine"), [("pyarrow", "local"), ("ray", "ray")])
def test_missing_extras(digits, tmp_path, monkeypatch, missing, engine):
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match="pip install 'breaknet\\[sweep"):
        breaknet.sweep({"epochs": 1}, data=digits, out=tmp_path / "a", backend="torch", engine=engine)


def test_wrong_arguments(digits, tmp_path):
    for given, message in (
        ({"engine": "spark"}, "engine: local or ray, not 'spark'"),
        ({"address": "1.2.3.4"}, "address: only with the ray engine"),
        ({"backend": "cuda"}, "backend: "),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            breaknet.sweep({"epochs": 1}, data=digits, out=tmp_path / "a", **given)


def test_files_and_mappings_say_the_same(digits, tmp_path):
    (tmp_path / "grid.toml").write_text('break = "invert"\nepochs = 1\nseed = [3]\n')
    done = breaknet.sweep(tmp_path / "grid.toml", data=digits, out=tmp_path / "a", backend="torch")
    mapping = {"break": "invert", "epochs": 1, "seed": 3}
    assert breaknet.sweep(mapping, data=digits, out=tmp_path / "a", backend="torch").trained == 0
    assert json.loads((done.folder / "sweep.json").read_text())["format"] == "breaknet-sweep-1"
