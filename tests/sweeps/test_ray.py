"""The Ray engine on a cluster of this machine: the local engine's bits, and a worker that is killed half-way."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest
from tiny import tiny_digits

import breaknet
from breaknet.sweeps import runner, shards
from breaknet.sweeps.grid import settings
from breaknet.sweeps.ray_engine import RayEngine

pytest.importorskip("pyarrow")

pytestmark = pytest.mark.slow

GRID = {"break": ["", "shuffle_labels(0.5)"], "seed": list(range(12)), "hidden": [3, 3], "epochs": 60}


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield ray
    ray.shutdown()


def test_a_worker_is_killed_half_way(cluster, tmp_path, monkeypatch):
    digits = tiny_digits()
    monkeypatch.setattr(shards, "SHARD_JOBS", 3)
    here = breaknet.sweep(GRID, data=digits, out=tmp_path / "local", backend="torch")
    killed: list[int] = []

    def kill_one(found: tuple[Any, Any]) -> tuple[Any, Any]:
        """After the first shard: one of the processes that are at work on another."""
        if not killed:
            own = psutil.Process().children(recursive=True)
            busy = [one for one in own if "trained_on_worker" in " ".join(one.cmdline())]
            assert busy
            os.kill(busy[0].pid, signal.SIGKILL)
            killed.append(busy[0].pid)
        return found

    class Engine(RayEngine):
        def __call__(self, *given):
            return map(kill_one, super().__call__(*given))

    digits, plan, store = runner.prepared(GRID, data=digits, out=tmp_path / "ray", backend="torch")
    assert len(plan.shards) == 8
    done = runner.run(digits, plan, store, Engine("torch", "auto", None))
    assert killed
    assert done.trained == len(settings(GRID, 600)) == 24
    assert done.results.columns == here.results.columns
