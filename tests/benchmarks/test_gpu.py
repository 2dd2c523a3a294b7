"""The one-shot GPU script, rehearsed whole with nothing installed but what it may need; and how it takes failures."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_report, rows
from benchmarks.gpu import environment_for, run_part, run_parts, to_leave_out
from benchmarks.gpu_report import Gathered, Part, line_of, pytest_summary, report, store, write_rows
from benchmarks.rows import Row, stored
from benchmarks.suites import SUITES
from breaknet.kernels._triton import HAVE_TRITON

#: What is not on a machine with a GPU; a name is hidden from every import, as if it were not installed.
HIDDEN = (
    "numba", "llvmlite", "matplotlib", "typer", "rich", "jinja2", "tqdm", "platformdirs", "pooch", "requests",
    "hypothesis", "expecttest", "jax", "jupytext", "nbclient", "nbformat", "ipykernel", "PIL",
)  # fmt: skip
SITE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An environment for processes to which the packages in HIDDEN are not there."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE.format(hidden=set(HIDDEN)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BREAKNET")}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "PYTHON": sys.executable, "NO_PROXY": "*"}
    # the property tests' own place for examples, and the plugins of packages that are hidden
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment["PYTEST_PLUGINS"] = "pytest_benchmark.plugin"
    return environment


HALVES = (
    ("machine", "checks", "tests", "ladder", "resources", "profiles"),
    ("machine", "kernels"),  # and the other suites
)


@pytest.mark.skipif(not HAVE_TRITON, reason="needs Triton's interpreter")
@pytest.mark.parametrize("half", HALVES, ids=["first", "second"])
def test_the_rehearsal_goes_through_everything(half, bare, repository, tmp_path):
    out = tmp_path / "out"
    command = ["bash", "benchmarks/gpu.sh", "--rehearse", "--out", str(out), "--only", *half]
    done = subprocess.run(command, cwd=repository, env=bare, capture_output=True, text=True)
    log = (out / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-6000:]
    found = json.loads((out / "rows.json").read_text())
    assert found["rehearsal"] is True
    assert not found["failed"]
    # JAX is missing, and nothing else
    assert {name.split("/")[-1].split("-")[0] for name in found["missing"]} <= {"jax"} | {"1", "2"}
    assert all("needs jax" in reason for reason in found["missing"].values())
    groups = {row["group"] for row in found["rows"]}
    first = "ladder" in half
    assert groups == (
        {"ladder"}
        if first
        else {"kernels", "lesson", "evaluation", "models", "comparison", "epochs", "dispatch", "classroom"}
    )
    for row in found["rows"]:
        assert "median" not in row, "a rehearsal has no times"
        assert "/cuda/" in row["name"]
    text = (out / "report.txt").read_text()
    assert "no time in here means anything" in text
    expected = {"rows.json", "report.txt", "log.txt"} | ({"profiles.tar.gz"} if first else set())
    assert {path.name for path in out.iterdir()} == expected
    if first:
        names = {
            "step/cuda/fused",
            "step/cuda/cooperative",
            "step/cuda/packed",
            "accuracy/cuda/all-checkpoints",
        }
        assert names <= {row["name"] for row in found["rows"]}
        assert "ok   evaluation: cost within" in text
        assert "passed" in text
        assert "ordered_sum" in text
        with tarfile.open(out / "profiles.tar.gz") as archive:
            assert "cooperative.json.gz" in archive.getnames()
    with pytest.raises(ValueError, match="no measurements"):
        store(out / "rows.json")


def test_all_parts_together_keep_within_the_limit():
    for rehearse in (False, True):
        names = [part.name for part in gpu.parts(rehearse)]
        assert names[:3] == ["machine", "checks", "tests"], "correctness comes first"
        assert len(set(names)) == len(names)
        measured = [name for part in gpu.parts(rehearse) if part.suites for name in part.suites.split(",")]
        assert sorted(measured) == sorted(SUITES.keys() - {"compiling"})  # which is a CPU's
    assert gpu.LIMIT <= 580
    assert sum(part.seconds for part in gpu.parts(False)) <= gpu.LIMIT - gpu.WRITING
    for test in (*gpu.TESTS, *gpu.KERNEL_TESTS, *gpu.REHEARSED_TESTS, gpu.SANITIZER):
        file, _, name = test.partition("::")
        assert f"def {name}" in (gpu.ROOT / file).read_text(), test


def part_of(suite: str, tries: int) -> Part:
    """A part that measures one of the misbehaving suites."""
    script = Path(__file__).parent / "unruly_contenders.py"
    return Part(suite, 120, (sys.executable, str(script), "measure"), suite, tries)


def test_a_part_whose_contenders_fail_and_crash_is_survived(tmp_path):
    log, heard = io.StringIO(), []
    after = Part("after", 20, (sys.executable, "-c", "print('still here')"))
    gathered = run_parts(
        [part_of("unruly", 3), after], tmp_path, environment_for(None, rehearse=True), log, 200,
        lambda gathered: heard.append((len(gathered.outcomes), len(gathered.rows))),
    )  # fmt: skip
    assert [row.name for row in gathered.rows] == ["step/cuda/first", "step/cuda/last"]
    assert gathered.failed == {
        "step/cuda/fails": "RuntimeError: this contender fails",
        "step/cuda/crashes": "its process ended or ran out of time",
        "step/cuda/wrong": "WrongResult: step/cuda/wrong is wrong and gets no time: output.bias: error 1.0e+00, "
        "update 1.0e-03",
    }
    assert list(gathered.missing) == ["step/cuda/absent"]
    assert [(one.part.name, one.status) for one in gathered.outcomes] == [
        ("unruly", "failed (11)"), ("unruly", "done"), ("after", "done"),
    ]  # fmt: skip
    assert heard == [(1, 1), (2, 2), (3, 2)], "told after every process"
    assert "still here" in log.getvalue()
    text = report(gathered, False, "")
    assert "FAILED: 3" in text
    assert "NOT TRIED: 1" in text
    assert sum(line.startswith("unruly") for line in text.splitlines()) == 2, "each try has its line"


@pytest.mark.parametrize(
    ("suite", "size", "statuses", "rows", "reasons"),
    [
        (
            "lost",
            "rehearse",
            ["failed (3)", "failed (3)", "done"],
            ["before"],
            ["RuntimeError: CUDA error"] * 2,
        ),
        ("hanging", "quick", ["failed (1)", "done"], ["before", "after"], ["its process ended"]),
    ],
)
def test_what_follows_a_lost_device_or_a_hang_is_another_processs(
    suite, size, statuses, rows, reasons, tmp_path
):
    environment = environment_for(None, rehearse=True)
    environment |= {"BREAKNET_BENCH_SIZE": size, "BREAKNET_BENCH_DEVICE": "cpu"}
    gathered = run_parts([part_of(suite, 3)], tmp_path, environment, io.StringIO(), 120)
    assert [one.status for one in gathered.outcomes] == statuses
    assert [row.name.rpartition("/")[2] for row in gathered.rows] == rows
    for found, reason in zip(gathered.failed.values(), reasons, strict=True):
        assert found.startswith(reason)


@pytest.mark.parametrize(
    ("start", "limit", "status", "said"),
    [
        ("subprocess.run", 1.5, "out of time after 2 s", "begun"),  # the part hangs with its child
        ("subprocess.Popen", 30, "done", "begun"),  # the child outlives its part, and is not waited for
    ],
)
def test_a_part_is_ended_with_its_children(start, limit, status, said, tmp_path):
    mark = tmp_path / "alive"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    code = f"import subprocess, sys; print('begun', flush=True); {start}([sys.executable, '-c', {child!r}])"
    part = Part("part", limit, (sys.executable, "-c", code))
    began = time.perf_counter()
    outcome = run_part(part, part.command, limit, dict(os.environ), io.StringIO())
    assert (outcome.status, outcome.output) == (status, said)
    assert time.perf_counter() - began < 3
    time.sleep(max(0.0, 4.5 - (time.perf_counter() - began)))
    assert not mark.exists()


def sleeping(name: str, limit: float, seconds: float) -> Part:
    return Part(name, limit, (sys.executable, "-c", f"import time; time.sleep({seconds})"))


@pytest.mark.parametrize(
    ("chosen", "limit", "statuses"),
    [
        ([sleeping("late", 20, 0)], 0.5, ["not started: no time left"]),
        # what a part leaves over the next may use
        ([sleeping("short", 4, 0), sleeping("long", 1, 2), sleeping("last", 1, 0)], 6, ["done"] * 3),
        # no part takes what the later ones are promised
        ([sleeping("hangs", 1.5, 60), sleeping("last", 2, 0)], 3.5, ["out of time after 1 s", "done"]),
    ],
)
def test_parts_share_their_seconds(chosen, limit, statuses, tmp_path):
    gathered = run_parts(chosen, tmp_path, dict(os.environ), io.StringIO(), limit)
    assert [one.status for one in gathered.outcomes] == statuses


def test_what_is_not_tried_again():
    messages = {"a": ("row", {}), "c": ("started", None), "b": ("failed", "bad"), "d": ("started", None)}
    assert to_leave_out(messages, 0) == {"a", "b", "d"}
    assert to_leave_out(messages, 1) == {"a", "b", "c", "d"}


def test_the_last_message_on_a_contender_counts(tmp_path):
    """One that was begun again and hangs again stands last; a line that was cut off does not count."""
    lines = [["started", "c", None], ["started", "d", None], ["started", "c", None], ["row", "d", {}]]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "rows.jsonl").write_text(text[:-3])
    assert list(gpu._last(tmp_path)) == ["d", "c"]


def gathered_rows() -> Gathered:
    from dataclasses import asdict

    from made_up_rows import ladder, machine

    return Gathered(machine=asdict(machine("cuda")), rows=ladder("cuda"))


def test_the_rows_of_a_run_are_stored(tmp_path, monkeypatch):
    gathered = gathered_rows()
    write_rows(tmp_path / "rows.json", gathered, rehearse=False)
    monkeypatch.setattr(
        gpu_report, "save", lambda machine, rows: real_save(machine, rows, tmp_path / "results")
    )
    store(tmp_path / "rows.json")
    ((machine, found),) = stored(tmp_path / "results")
    assert found == gathered.rows
    assert machine.name == "made-up-gpu"


def test_rows_that_were_cut_off_replace_no_more_than_they_have(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(
        gpu_report, "save", lambda machine, rows: real_save(machine, rows, tmp_path / "results")
    )
    whole, part = gathered_rows(), gathered_rows()
    part.rows = [
        *part.rows[:-1],
        replace(part.rows[-1], name="dispatch/cuda/made-up", group="dispatch", work="a call"),
    ]
    for gathered in (whole, part):
        write_rows(tmp_path / "rows.json", gathered, rehearse=False)
        written = store(tmp_path / "rows.json")
    assert [path.name for path in written] == ["dispatch-cuda.json"]
    kept = {row.name for _, some in stored(tmp_path / "results") for row in some}
    assert kept == {row.name for row in whole.rows} | {"dispatch/cuda/made-up"}


real_save = gpu_report.save


def test_the_report_tells_a_row_with_its_launches_and_floor():
    row = Row(
        "step/cuda/cooperative", "ladder", "all epochs in one launch", "one training step", "cuda", 4.25e-6, 4.2e-6,
        4.5e-6, 9, {"kernels": 1e-4, "host_launches": 2e-4},
        {"bytes": 1.0, "operations": 1.0, "seconds": 1e-7}, {"extrapolated": True},
    )  # fmt: skip
    line = line_of(row)
    for part in (
        "4.25 us (4.20 to 4.50)", "0.000100 kernels", "42 x its floor", "extrapolated", "one training step",
    ):  # fmt: skip
        assert part in line


@pytest.mark.parametrize("before", ["", "[gw0] "], ids=["alone", "side by side"])
def test_the_report_counts_tests_even_when_pytest_was_cut_off(before):
    words = {"one": "PASSED", "two": "PASSED", "three": "FAILED"}
    cut_off = [f"a.py::test_{name} {word} [ 1%]" for name, word in words.items()]
    if before:
        cut_off = [f"{before}[ 1%] {word} a.py::test_{name}" for name, word in words.items()]
    assert pytest_summary("\n".join(cut_off)) == ["2 passed, 1 failed, 0 error, 0 skipped"]
    end = ["a log: ERROR", "FAILED a.py::test_three - assert 1 == 2", "=== 1 failed, 2 passed in 3.21s ==="]
    assert pytest_summary("\n".join(cut_off + end)) == ["2 passed, 1 failed, 0 error, 0 skipped", end[1]]


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "ladders"])
    assert "--only: some of machine, checks" in capsys.readouterr().err


def test_data_is_what_the_environment_or_the_option_names(tmp_path, monkeypatch, capsys):
    """And nothing else: a folder that is not there is refused."""
    assert "BREAKNET_DATA" not in environment_for(None, rehearse=True) or os.environ.get("BREAKNET_DATA")
    assert environment_for(str(tmp_path), rehearse=True)["BREAKNET_DATA"] == str(tmp_path)
    monkeypatch.setenv("BREAKNET_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path / "out")])
    assert "--data or BREAKNET_DATA: a folder that exists, not" in capsys.readouterr().err
