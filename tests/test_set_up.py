"""`make lesson` before anything is there: how much will be fetched, and pip's own progress."""

import subprocess
import sys

import pytest

from scripts import set_up


@pytest.mark.parametrize(
    ("extras", "index", "size"), [([], "https://there/cpu", "1.5 GB"), (["dev", "docs"], None, "2.5 GB")]
)
def test_set_up_says_how_much_and_shows_pips_progress(extras, index, size, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(set_up, "torch_index", lambda: index)
    monkeypatch.setattr(sys, "platform", "linux")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    # stands for the new environment's Python: tells what it was called with, as pip would its progress
    python.write_text('#!/bin/sh\necho "pip: $@"\n')
    python.chmod(0o755)
    set_up.main(tmp_path, extras)
    said, *more = capfd.readouterr().out.splitlines()
    assert size in said
    assert ("CUDA" in more[0]) == (index is None)
    called = next(line for line in more if line.startswith("pip: "))
    assert "--quiet" not in called
    assert "-q" not in called.split()
    assert ("--extra-index-url" in called) == (index is not None)


def test_a_failed_pip_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(set_up, "torch_index", lambda: None)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        set_up.main(tmp_path, [])
