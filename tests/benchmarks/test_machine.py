"""The machine is asked of the system; the commit says whether the checkout was changed."""

import subprocess
from datetime import date

import numpy
import pytest
import torch

from benchmarks import machine


def git(folder, *words):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, in the place of this one."""
    git(tmp_path, "init", "-q")
    for name in ("breaknet/model.py", "benchmarks/results/there/rows.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("first")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "First")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


def test_here_says_what_and_where():
    found = machine.here("cpu", {"bytes_per_s": 1e10})
    assert found.gpu is None
    assert found.name == machine.slug(f"{found.cpu} {found.cores} cores")
    assert found.date == date.today().isoformat()
    assert found.versions["torch"] == torch.__version__
    assert found.versions["numpy"] == numpy.__version__
    assert found.ceilings == {"bytes_per_s": 1e10}


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match='device: "cpu", or "cuda" where there is a GPU'):
        machine.here("cuda")


def test_the_commit_says_whether_files_differ_other_than_stored_results(checkout):
    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert machine.commit() == head[:7]
    (checkout / "benchmarks/results/there/rows.json").write_text("second")
    (checkout / "benchmarks/results/there/more.json").write_text("new")
    assert machine.commit() == head[:7]


@pytest.mark.parametrize("name", ["breaknet/model.py", "breaknet/untracked.py"])
def test_changes_are_told(name, checkout):
    (checkout / name).write_text("second")
    assert machine.commit().endswith("+changes")


def test_without_git_the_sources_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    (tmp_path / "kernels").mkdir()
    source = tmp_path / "kernels" / "one.py"
    source.write_text("first")
    first = machine.commit()
    assert first.startswith("sources-")
    assert machine.commit() == first
    source.write_text("second")
    assert machine.commit() != first


def test_names_of_folders():
    assert machine.slug("  Tesla T4 ") == "tesla-t4"
    assert machine.slug("AMD EPYC (family 23, model 1) 2 cores") == "amd-epyc-family-23-model-1-2-cores"


def test_a_notebook_that_carries_the_sources_says_their_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.commit().startswith("sources-")
    (tmp_path / "COMMIT").write_text("1a2b3c4\n")
    assert machine.commit() == "1a2b3c4"
