"""Memory is bounded by a shard, not by the grid: ten times the jobs take hardly more of it."""

from __future__ import annotations

import json

import pytest
from checks import run_python

pytest.importorskip("pyarrow")

SCRIPT = """
import json, resource, sys
import breaknet
from tiny import tiny_digits

count = int(sys.argv[1])
grid = {"seed": list(range(count)), "examples": 10, "hidden": [16, 16], "epochs": 2, "points": 2}
done = breaknet.sweep(grid, data=tiny_digits(), out=sys.argv[2], backend="numba", yes=True)
print(json.dumps([done.trained, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_jobs(tmp_path):
    peaks = {}
    for count in (3_000, 30_000):  # one shard's worth and more, and ten times that
        shown = run_python("-c", SCRIPT, str(count), str(tmp_path / str(count))).stdout
        trained, peaks[count] = json.loads(shown)
        assert trained == count
    # all parameters of 27,000 more networks at two points would be 2.8 GB
    assert peaks[30_000] - peaks[3_000] < 200
