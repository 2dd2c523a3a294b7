"""A kill, a full disk and an I/O error at every file-changing call of a lesson: nothing is lost, nothing is half."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_digits

from breaknet import Checkpoints
from breaknet.lesson.experiments import Lesson, Settings
from breaknet.lesson.output_folder import LessonFolder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


def faulty(base: Path, fault: str, numbers: Iterable[int]) -> dict[int, list[int]]:
    """The exit statuses of the lessons that `faulty_lesson` runs for each of these numbers."""
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(tests / "faulty_lesson.py"), str(base), fault, *map(str, numbers)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    return {number: statuses for number, *statuses in lines}


def assert_whole(folder: Path) -> int:
    """That a lesson's folder holds what its results tell; returns the seed."""
    results = json.loads((folder / "results.json").read_text())
    for name, size in results["files"].items():
        assert (folder / name).stat().st_size == size, name
    for name, experiment in results["experiments"].items():
        kept = Checkpoints.load(folder / "checkpoints" / f"{name}.safetensors")
        assert len(kept) == len(experiment["train_cost"])
    return results["settings"]["seed"]


def assert_unfinished_tells_the_truth(folder: Path) -> None:
    if (folder / "results.json").exists():
        for name, experiment in json.loads((folder / "results.json").read_text())["experiments"].items():
            kept = Checkpoints.load(folder / "checkpoints" / f"{name}.safetensors")
            assert len(kept) == len(experiment["train_cost"])


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("faults")
    settings = Settings(seed=1, epochs_scale=0.02, backend="torch", device="cpu", learning_rate=0.05)
    LessonFolder(base / "old").run(Lesson(tiny_digits(), settings))
    assert faulty(base, "kill", [0]) == {0: [0]}
    return base


@pytest.mark.parametrize("fault", ["kill", "full", "broken"])
def test_a_fault_at_every_call(fault, base):
    calls = int((base / "kill-0" / "made").read_text())
    assert calls > 40
    statuses = faulty(base, fault, range(1, calls + 1))
    left = []  # the seeds of the lessons that are there after a failure
    for number, (status,) in statuses.items():
        folder = base / f"{fault}-{number}"
        message = (folder / "traceback").read_text() if (folder / "traceback").exists() else ""
        assert status in ({-signal.SIGKILL} if fault == "kill" else {0, 1}), f"call {number}: {message}"
        assert_unfinished_tells_the_truth(folder / "out.unfinished")
        LessonFolder(folder / "out").abandon()  # the next start puts right what is to be put right
        seed = assert_whole(folder / "out")
        assert seed == 2 or status != 0, f"call {number}: reported as a success, but the old lesson is there"
        if status != 0:
            left.append(seed)
    assert len(left) > 20
    assert left[0] == 1
    assert left == sorted(left), "once the new lesson is in place it stays"


def test_kills_at_any_moment(base):
    moments = (
        np.random.default_rng(0).permutation(1500)[:110].tolist()
    )  # milliseconds; a lesson takes about one second
    ended, killed = [], 0
    for number, (status,) in faulty(base, "moment", moments).items():
        folder = base / f"moment-{number}"
        assert status in (0, -signal.SIGALRM)
        assert_unfinished_tells_the_truth(folder / "out.unfinished")
        LessonFolder(folder / "out").abandon()
        seed = assert_whole(folder / "out")
        assert seed == 2 or status != 0
        killed += status != 0
        ended.append(seed)
    assert killed > 40
    assert set(ended) == {1, 2}


def test_a_lesson_after_a_kill_is_like_any_other(base):
    calls = int((base / "kill-0" / "made").read_text())
    for number in (calls // 3, calls // 2, calls - 2):
        base_of_one = base / f"again-{number}"
        base_of_one.mkdir()
        faulty(base_of_one, "kill", [number])  # nothing was there before
        out = base_of_one / f"kill-{number}" / "out"
        LessonFolder(out).run(
            Lesson(tiny_digits(), Settings(seed=3, epochs_scale=0.02, backend="torch", learning_rate=0.05))
        )
        assert assert_whole(out) == 3
        assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_of_two_lessons_at_once_the_folder_holds_one(base):
    both = 0
    for number, statuses in faulty(base, "two", range(50)).items():
        folder = base / f"two-{number}"
        assert set(statuses) <= {0, 1}, (folder / "traceback").read_text()
        assert 0 in statuses
        both += statuses == [0, 0]  # the second began when the first was done
        seed = assert_whole(folder / "out")
        assert statuses[seed - 2] == 0
        assert [path.name for path in folder.iterdir()] == ["out"]
    assert both < 40, "most began while the other was at work"
