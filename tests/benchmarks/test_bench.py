"""pytest-benchmark shows the very times that were measured in turn, and only whole groups are saved."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from made_up_rows import machine, row

from benchmarks import bench as bench_module
from benchmarks.bench import Bench
from benchmarks.measure import Missing
from benchmarks.rows import load, save


def run_pytest(repository, *words, **environment):
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider", *words]
    # pytest-benchmark writes nothing where it finds itself in one of several processes of tests
    outer = ("BREAKNET_BENCH", "PYTEST_")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    environment = {**usual, "BREAKNET_BENCH_SIZE": "rehearse", **environment}
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


def test_what_pytest_benchmark_writes_is_what_was_measured(repository, tmp_path):
    path = tmp_path / "found.json"
    chosen = "dispatch/cpu/summed_mse or step/cpu/sliced"
    done = run_pytest(repository, "--benchmark-enable", f"--benchmark-json={path}", "-k", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["param"]: one for one in json.loads(path.read_text())["benchmarks"]}
    step, plain = found["step/cpu/sliced"], found["dispatch/cpu/summed_mse/torch"]
    assert set(found) - {"step/cpu/sliced", "dispatch/cpu/summed_mse/torch"} == {
        "dispatch/cpu/summed_mse/function"
    }
    assert step["group"] == "ladder/step: one training step of 10 images"
    assert step["stats"]["rounds"] == 1
    assert 1e-6 < step["stats"]["median"] < 10
    assert step["extra_info"]["launches"]["torch_operators"] > 10
    assert step["extra_info"]["size"] == "rehearse"
    assert plain["extra_info"]["interleaved_with"] == ["dispatch/cpu/summed_mse/function"]


def test_without_timing_every_contender_is_only_checked(repository):
    chosen = "step/cpu/sliced or comparison/cpu/one/jax-scan"
    done = run_pytest(repository, "--benchmark-disable", "-k", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout or "1 passed, 1 skipped" in done.stdout
    assert "saved" not in done.stdout


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A session at full size whose every contender was selected and measured; saving goes to a folder of its own."""
    monkeypatch.setenv("BREAKNET_BENCH_SIZE", "full")
    monkeypatch.setenv("BREAKNET_BENCH_DEVICE", "cpu")
    monkeypatch.setattr(bench_module, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_module, "save", lambda where, rows: save(where, rows, tmp_path))
    monkeypatch.setattr(bench_module, "here", lambda device, ceilings: machine(device, ceilings=ceilings))
    made = Bench()
    made.context.given_ceilings = {"bytes_per_s": 1e9}
    made.selected = dict(made.contenders)
    made.rows = {suite: [row_of(one) for one in some] for suite, some in made.contenders.items()}
    return made


def row_of(one, size="full"):
    return replace(row(one.name, 1.0), group=one.group, conditions={"size": size})


def saved(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json"))


def test_whole_groups_are_saved(bench, tmp_path):
    lines = bench.save()
    groups = sorted(bench.contenders.keys() - {"kernels"})  # a GPU's
    assert saved(tmp_path) == [f"made-up-cpu/{group}-cpu.json" for group in groups]
    assert len(lines) == len(groups) == 9
    where, rows = load(tmp_path / "made-up-cpu/ladder-cpu.json")
    assert where.ceilings == {"bytes_per_s": 1e9}
    assert [one.name for one in rows] == [one.name for one in bench.contenders["ladder"]]


def test_a_group_of_which_a_part_was_selected_is_not_saved(bench, tmp_path):
    bench.selected["ladder"] = bench.selected["ladder"][1:]
    bench.rows = {"ladder": bench.rows["ladder"][1:]}
    assert bench.save() == ["ladder: not saved, since not all of its contenders were selected and right"]
    assert not saved(tmp_path)


def test_a_group_with_a_failure_is_not_saved_and_one_with_a_missing_package_is(bench, tmp_path):
    (gone, *_), (absent, *_) = bench.rows["ladder"], bench.rows["comparison"]
    bench.session.failures[gone.name] = "WrongResult: off"
    bench.session.missing[absent.name] = "needs jax"
    bench.rows = {"ladder": bench.rows["ladder"][1:], "comparison": bench.rows["comparison"][1:]}
    bench.save()
    assert saved(tmp_path) == ["made-up-cpu/comparison-cpu.json"]
    with pytest.raises(RuntimeError, match="WrongResult: off"):
        bench.row("ladder", bench.contenders["ladder"][0])
    with pytest.raises(Missing, match="needs jax"):
        bench.row("comparison", bench.contenders["comparison"][0])


def test_quick_rows_never_replace_full_ones(bench, tmp_path):
    bench.save()
    assert all("saved in" in line for line in bench.save()), "full rows do replace full ones"
    bench.context.size = replace(bench.context.size, name="quick")
    bench.rows = {"ladder": [row_of(one, "quick") for one in bench.contenders["ladder"]]}
    assert bench.save() == ["ladder: not saved, since rows of full size are stored"]
    path = tmp_path / "made-up-cpu/ladder-cpu.json"
    assert load(path)[1][0].conditions["size"] == "full"
    path.unlink()
    bench.save()
    assert load(path)[1][0].conditions["size"] == "quick"


def test_stored_rows_of_a_contender_that_cannot_run_now_are_not_dropped(bench, tmp_path):
    bench.save()
    (absent, *_) = bench.rows["comparison"]
    bench.session.missing[absent.name] = "needs jax"
    bench.rows = {"comparison": bench.rows["comparison"][1:]}
    (line,) = bench.save()
    assert line.startswith(f"comparison: not saved, since this would drop what is stored of {absent.name}")
    assert load(tmp_path / "made-up-cpu/comparison-cpu.json")[1][0].name == absent.name


def test_a_rehearsal_is_never_saved(bench, tmp_path):
    bench.context.rehearsing = True
    assert bench.save() == []
    assert not saved(tmp_path)
