"""A sweep that is killed at thirty places loses nothing that was finished and counts nothing twice."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from checks import run_python

SCRIPT = Path(__file__).with_name("killed_sweeps.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_thirty_kills(tmp_path):
    done = run_python(str(SCRIPT), str(tmp_path / "sweep"), "30", paths=(SCRIPT,))
    assert json.loads(done.stdout)["kills"] == 30
    looks = [json.loads(line) for line in (tmp_path / "sweep.seen").read_text().splitlines()]
    for earlier, later in pairwise(looks):
        assert len(set(later)) == len(later)  # nothing twice
        assert set(earlier) <= set(later)  # nothing lost
    assert len(looks[-1]) == 12
    grown = sum(len(later) > len(earlier) for earlier, later in pairwise(looks))
    assert grown >= 4  # killed in the middle, not only at the beginning or the end
    assert not [path for path in (tmp_path / "sweep" / "shards").iterdir() if path.suffix != ".parquet"]
