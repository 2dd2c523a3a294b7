"""Work that memory, the disk or a year cannot hold is refused before it starts; what a run takes is bounded."""

import shutil
from types import SimpleNamespace

import pytest
from checks import run_python
from tiny import tiny_digits, write_tiny_idx

import breaknet
from breaknet import resources
from breaknet.cli import commands
from breaknet.lesson.experiments import Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder

DATA = tiny_digits().train[:50]

_PEAK = """
import resource, sys, numpy as np, breaknet
random = np.random.default_rng(0)
data = random.integers(0, 256, (200, 784), np.uint8), random.integers(0, 10, 200)
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
breaknet.train(data, valid=data, epochs=2, hidden=(64, 64), backend=sys.argv[1], device="cpu")
before = peak()
run = breaknet.train(data, valid=data, epochs=600, hidden=(64, 64), backend=sys.argv[1], device="cpu")
size = sum(tensor.nbytes for tensor in run.checkpoints.stacked.values())
trained = peak()
run.checkpoints.save(sys.argv[2])
print((trained - before) / size, (peak() - before) / size)
"""


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_training_and_saving_take_little_more_memory_than_the_checkpoints(backend, tmp_path):
    pytest.importorskip("resource")
    pytest.importorskip(backend)
    for ratio in run_python("-c", _PEAK, backend, str(tmp_path / "run.safetensors")).stdout.split():
        assert float(ratio) < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 10**9}, "epochs: as many as memory can keep checkpoints of; 1,000,000,000 take"),
        ({"hidden": (99_999_999_999, 16)}, "hidden: widths whose parameters fit into memory"),
    ],
)
def test_what_no_memory_can_keep_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        breaknet.train(DATA, **changes)
    with pytest.raises(ValueError, match="epochs: as many as memory can keep"):
        breaknet.train_many([breaknet.Job(DATA, epochs=10**7)] * 100)


def test_free_memory_is_known():
    free = resources.available()
    assert free is None or free > 2**20


def test_years_are_refused():
    with pytest.raises(
        ValueError, match=r"epochs: .* 1,000,000,000 would take about [\d.]+ years with the torch"
    ):
        resources.check_time("torch", [(10**9, (16, 16), 60_000, 100)])
    resources.check_time("torch", [(10_000, (16, 16), 60_000, 100)])  # an hour or so
    resources.check_time("somebody's own", [(10_000, (16, 16), 60_000, 100)])
    assert 0 < resources.evaluation_seconds("somebody's own", 100, (16, 16), 60_000) < 60
    with pytest.raises(ValueError, match="epochs"):  # many in all, and steps of a single image
        resources.check_time("numba", [(10**8, (1, 1), 1000, 1)] * 100)


def test_a_full_disk_is_foreseen(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
    lesson = Lesson(tiny_digits(), Settings(backend="torch"))
    with pytest.raises(
        breaknet.DataError, match=r"out: 0.1 GiB of checkpoints, but its disk has 0.0 GiB free"
    ):
        LessonFolder(tmp_path / "new" / "out").run(lesson)
    data = write_tiny_idx(tmp_path / "data")
    arguments = ["--data", str(data), "--backend", "torch", "-q"]
    assert (
        commands.main(["train", "--epochs", "100", "--out", str(tmp_path / "new" / "run"), *arguments]) == 1
    )
    assert "its disk has 0.0 GiB free; keep fewer of them" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("command", [["lesson", "--epochs-scale", "1"], ["train", "--epochs", "100"]])
def test_the_command_line_refuses_what_takes_years(command, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(resources, "_YEAR", 1e-3)
    data = write_tiny_idx(tmp_path / "data")
    where = ["--data", str(data), "--backend", "torch", "--out", str(tmp_path / "new" / "out"), "-q"]
    assert commands.main([*command, *where]) == 1
    message = capsys.readouterr().err
    assert message.startswith("breaknet: epochs: as many as can be run in a year")
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
