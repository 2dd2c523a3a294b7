"""The notebook that measures anybody's GPU: its parts, its digits, its table, and itself under the interpreter."""

import json
from dataclasses import asdict, replace

import nbformat
import numpy as np
import pytest
import torch
from environments import new_environment, run
from made_up_rows import ladder, machine

import breaknet
from benchmarks import gpu, this_gpu
from benchmarks.gpu_report import Gathered, write_rows
from benchmarks.rows import Row, save
from breaknet.kernels._triton import HAVE_TRITON


def written(folder, rows: list[Row], rehearse: bool = False, **machine_facts: str):
    here = replace(machine("cuda"), **machine_facts)
    write_rows(folder / "rows.json", Gathered(machine=asdict(here), rows=rows), rehearse)
    return folder / "rows.json"


def test_parts_come_by_worth_and_keep_within_eight_minutes():
    found = this_gpu.parts()
    assert [part.name for part in found] == list(this_gpu.WORTH)
    assert found[0].name == "machine"
    assert sum(part.seconds for part in found) + gpu.WRITING <= this_gpu.SECONDS == 480
    known = {part.name: part for part in gpu.parts(False)}
    assert all(replace(part, seconds=0) == replace(known[part.name], seconds=0) for part in found)
    assert [part.name for part in this_gpu.parts(rehearse=True)] == ["machine", "checks", "ladder", "kernels"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_what_to_choose(tmp_path):
    with pytest.raises(RuntimeError, match="Runtime > Change runtime type > T4 GPU"):
        this_gpu.measure(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_digits_of_all_parts_are_one_file(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (count, 784), np.uint8) for count in (100, 20, 10)]
    labels = [np.arange(len(each), dtype=np.uint8) % 10 for each in images]
    splits = [breaknet.Split(*pair) for pair in zip(images, labels, strict=True)]
    monkeypatch.setattr(this_gpu, "digits_of", lambda: breaknet.Digits(*splits, "made up"))
    found = breaknet.load_mnist(this_gpu.digits_file(tmp_path))
    for split, read in zip(splits, (found.train, found.valid, found.test), strict=True):
        assert np.array_equal(split.images, read.images)
        assert np.array_equal(split.labels, read.labels)


@pytest.mark.mnist
@pytest.mark.slow
def test_mnist_is_still_mnist_in_that_file(tmp_path, mnist, monkeypatch):
    monkeypatch.setattr(this_gpu, "digits_of", lambda: mnist)
    assert breaknet.load_mnist(this_gpu.digits_file(tmp_path)).source == "MNIST"


def test_without_network_the_digits_are_synthetic(tmp_path, monkeypatch, capsys):
    def nothing():
        raise breaknet.DataError("no mirror answers")

    monkeypatch.setattr(this_gpu, "digits_of", nothing)
    assert str(this_gpu.digits_file(tmp_path)) == "synthetic"
    assert "no MNIST (no mirror answers): synthetic digits" in capsys.readouterr().out


def test_the_ladder_stands_beside_stored_ones_and_the_model(tmp_path, monkeypatch):
    rows = ladder("cuda")
    save(replace(machine("cuda"), gpu="NVIDIA H200", name="nvidia-h200"), rows[:3], tmp_path / "results")
    monkeypatch.setattr(this_gpu, "stored", lambda: real_stored(tmp_path / "results"))
    step = Row(
        name="step/cuda/cooperative", group="ladder", title="all epochs in one launch", work="one training step",
        device="cuda", median=2e-5, low=2e-5, high=2e-5, repeats=3, conditions={"units_a_call": 10_000},
    )  # fmt: skip
    mine = [*(row for row in rows[:4] if row.name != step.name), step]
    text = this_gpu.ladder(written(tmp_path, mine, gpu="Tesla T4"))
    header, _, *lines = text.splitlines()
    assert header == "|  | here: Tesla T4 | by the model | stored: NVIDIA H200 |"
    cells = {
        line.split(" | ")[0].strip("| "): [one.strip(" |") for one in line.split(" | ")[1:]]
        for line in lines
        if " | " in line
    }
    here, predicted, stored_time = cells["all epochs in one launch: one training step"]
    assert here.startswith("20.0 us")
    assert predicted.endswith("us")  # counted on what Triton compiles for a T4
    assert stored_time == "100 us (90.0 to 120)"
    assert any(one[2] != "–" and one[1] == "–" for one in cells.values())
    assert "predictions, not measurements." in text
    unknown = this_gpu.ladder(written(tmp_path, mine, gpu="Some Other GPU"))
    assert "it knows T4 and H200 only" in unknown


def test_a_rehearsal_and_a_failure_have_no_ladder_but_say_why(tmp_path):
    assert "a rehearsal, whose times mean nothing" in this_gpu.ladder(written(tmp_path, ladder("cuda"), True))
    path = written(tmp_path, [])
    content = json.loads(path.read_text()) | {"failed": {"step/cuda/fused": "out of memory"}}
    path.write_text(json.dumps(content))
    shown = this_gpu.ladder(path)
    assert "no rows" in shown
    assert "step/cuda/fused (out of memory)" in shown


def test_checks_are_told_even_if_there_were_none(tmp_path):
    assert this_gpu.checks(tmp_path / "report.txt").endswith("none were made")
    (tmp_path / "report.txt").write_text("MACHINE\nname: x\n\nCHECKS\nok   a: b\nBAD  c: d\n\nTESTS\n")
    assert this_gpu.checks(tmp_path / "report.txt") == "Checks against float64:\nok   a: b\nBAD  c: d"


real_stored = this_gpu.stored


@pytest.mark.slow
@pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton")
def test_the_notebook_is_rehearsed_with_nothing_but_itself(repository, tmp_path):
    """From top to bottom, in an empty folder and an environment without breaknet."""
    bare = new_environment(tmp_path / "environment")
    work = tmp_path / "work"
    work.mkdir()
    run([str(bare), str(repository / "scripts" / "pack_notebooks.py"), "--out", str(work)], repository)
    command = [str(bare), str(repository / "scripts" / "run_notebooks.py"), "--out", str(work / "done")]
    run([*command, "--set", "rehearse=True", "measure_this_gpu.ipynb"], work, PIP_NO_INDEX="1")
    done = nbformat.read(work / "done" / "measure_this_gpu.ipynb", as_version=4)
    printed = "".join(
        output.text for cell in done.cells for output in cell.get("outputs", []) if "text" in output
    )
    assert "machine: done" in printed
    assert "ladder: done" in printed
    assert "Checks against float64:\nok   evaluation: cost within" in printed
    assert json.loads((work / "measured-gpu" / "rows.json").read_text())["rehearsal"]
