"""A sweep that is killed at many places loses nothing that was finished and counts nothing twice."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from checks import run_python

pytest.importorskip("pyarrow")

SCRIPT = Path(__file__).with_name("killed_sweeps.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_kills(tmp_path, kills):
    done = run_python(str(SCRIPT), str(tmp_path / "sweep"), str(kills), paths=(SCRIPT,))
    assert json.loads(done.stdout)["kills"] == kills
    looks = [json.loads(line) for line in (tmp_path / "sweep.seen").read_text().splitlines()]
    for earlier, later in pairwise(looks):
        assert len(set(later)) == len(later)  # nothing twice
        assert set(earlier) <= set(later)  # nothing lost
    assert len(looks[-1]) == 60
    grown = sum(len(later) > len(earlier) for earlier, later in pairwise(looks))
    assert grown >= kills // 3  # killed in the middle, not only at the beginning or the end
    assert not [path for path in (tmp_path / "sweep" / "shards").iterdir() if path.suffix != ".parquet"]
