"""`breaknet bench`: checked, then timed in turn, within its time."""

import json
import re

import numpy as np
import pytest
import torch
from tiny import write_tiny_idx

import breaknet
from breaknet.cli import bench, output
from breaknet.cli.commands import main

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_tiny_idx(tmp_path_factory.mktemp("data") / "tiny"))


def test_a_table_with_ratios_and_conditions(data, capsys):
    assert main(["bench", "--data", data, "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("One epoch: 600 training images, 6 batches of 100 in order")
    assert lines[1].startswith("local: tiny; CPU")
    assert "threads" in lines[1]
    rows = [line for line in lines if " ms " in line or " us " in line]
    assert rows[0].split()[-1] == "1.0"
    assert [row[:8] for row in rows] == ["a notebo", "sliced t", "breaknet"]
    assert "checking breaknet.train" in shown.err


def test_json_has_every_call_and_condition(data, capsys):
    assert main(["bench", "--data", data, "--device", "cpu", "--json", "-q"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    found = json.loads(shown.out)
    assert found["images"] == [600, 120]
    assert {"data_source", "device", "cores", "threads", "load", "work"} < found.keys()
    assert [row["name"] for row in found["rows"]] == ["notebook", "sliced", "breaknet"]
    for row in found["rows"]:
        assert 0 < row["low"] <= row["seconds"] <= row["high"]
        assert row["calls"] == bench.ROUNDS
        assert row["ratio"] == pytest.approx(found["rows"][0]["seconds"] / row["seconds"])


def test_a_time_just_under_a_second_is_one_second(capsys):
    row = {"title": "x", "seconds": 0.9996, "low": 0.9994, "high": 9.996, "calls": 3, "ratio": 1.0}
    conditions = {"data_source": "MNIST", "device": "CPU", "cores": 2, "threads": 2, "load": None}
    bench.show({"rows": [row], "images": [100, 10], "work": bench.WORK} | conditions)
    shown = capsys.readouterr().out.splitlines()[-1]
    assert re.split("  +", shown) == ["x", "1.00 s", "999 ms to 10.0 s", "1.00 s", "1.0"]


@pytest.mark.parametrize("broken", ["update", "cost", "error"])
def test_what_is_wrong_gets_no_time(data, capsys, monkeypatch, broken):
    right = bench.sliced

    def wrong(train, valid, device):
        run = right(train, valid, device)

        def spoilt(epochs):
            if broken == "error":
                raise RuntimeError("out of luck\nand more")
            parameters, (train_cost, valid_cost) = run(epochs)
            if broken == "update":
                parameters["hidden2.bias"] = parameters["hidden2.bias"] + 1e-3
                return parameters, (train_cost, valid_cost)
            return parameters, (train_cost, valid_cost * 1.001)

        return spoilt

    monkeypatch.setattr(bench, "sliced", wrong)
    assert main(["bench", "--data", data, "--device", "cpu", "-q"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("sliced"))
    wanted = {"update": "update off by", "cost": "but float64's is", "error": "RuntimeError: out of luck"}[
        broken
    ]
    assert wanted in line
    assert " ms" not in line


def test_a_slow_machine_gets_shorter_epochs_and_ends_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(bench, "perf_counter", lambda: now[0])

    def slow(train, valid, device):
        """0.1 ms an image."""

        def run(epochs):
            now[0] += 1e-4 * len(train) * epochs
            return {}, (0.0, 0.0)

        return run

    monkeypatch.setattr(bench, "check", lambda *_: None)
    some = [bench.Contender(name, name, slow) for name in "abcd"]
    monkeypatch.setattr(bench, "contenders", lambda *_: some)
    images = breaknet.Split(np.zeros((200_000, 784), np.uint8), np.zeros(200_000, np.uint8))
    found = bench.compare(images, images[:1000], CPU, "numba", 60.0)
    assert found["images"] == [50_000, 250]  # a twelfth of a minute
    assert now[0] <= 60
    assert all(row["calls"] >= 2 for row in found["rows"])


def test_contenders_of_a_gpu_have_the_graph_and_ours_a_whole_run():
    names = [(one.name, one.epochs) for one in bench.contenders(torch.device("cuda"), "triton")]
    assert names == [("notebook", 1), ("sliced", 1), ("cuda-graph", 1), ("breaknet", 100)]
    sets_up = [one.name for one in bench.contenders(torch.device("cuda"), "triton") if one.sets_up]
    assert sets_up == ["cuda-graph"], "it captures its graph at the first call"
    assert bench.contenders(CPU, "torch")[-1].epochs == 1


def test_a_busy_machine_is_named(capsys):
    rows = [{"name": "x", "title": "x", "seconds": 2.0, "low": 1.0, "high": 3.0, "calls": 3, "ratio": 1.0}]
    found = {"images": [100, 10], "work": "batches", "data_source": "MNIST", "device": "CPU", "cores": 2,
             "threads": 2, "load": 9.5, "rows": rows}  # fmt: skip
    bench.show(found)
    assert "this machine is busy" in capsys.readouterr().out
    rows[0]["low"] = 1.9
    bench.show(found)
    assert "busy" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seconds", "0"], "seconds: 5 to 3600, not 0"), (["--device", "gpu"], "device: ")],
)
def test_bad_input_is_refused_first(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(bench, "load_digits", lambda source: pytest.fail("data loaded"))
    assert main(["bench", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert output.verbose() is False


def test_a_first_contender_that_fails_leaves_the_others_their_times(data, capsys, monkeypatch):
    def broken(train, valid, device):
        raise RuntimeError("no loader here")

    monkeypatch.setattr(bench, "notebook", broken)
    assert main(["bench", "--data", data, "--device", "cpu", "--json", "-q"]) == 1
    first, *others = json.loads(capsys.readouterr().out)["rows"]
    assert first["problem"] == "RuntimeError: no loader here"
    assert all(row["seconds"] > 0 and row["ratio"] is None for row in others)
    monkeypatch.setattr(bench, "contenders", lambda *_: [bench.Contender("a", "a", broken)])
    assert main(["bench", "--data", data, "--device", "cpu", "-q"]) == 1
    assert "no loader here" in capsys.readouterr().out
