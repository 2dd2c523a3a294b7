"""The kernels as Triton compiles them, run without a GPU: right results, no race, nothing out of bounds.

In a process of its own for each target, since kernels are interpreted in this one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from breaknet.kernels.host.targets import TARGETS

pytest.importorskip("triton")

SCENARIOS, TRAFFIC = (
    Path(__file__).with_name(name) for name in ("compiled_scenarios.py", "memory_traffic.py")
)
#: Run by default: the oldest, and the first with asynchronous copies and matrix stores. The others are slow.
QUICK = ("sm_75", "sm_90")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target.name, marks=() if target.name in QUICK else pytest.mark.slow)
        for target in TARGETS.values()
    ],
)
def test_compiled_kernels(target: str) -> None:
    names = re.findall(r"^def (scenario_\w+)", SCENARIOS.read_text(), re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(SCENARIOS), target], capture_output=True, text=True, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sorted(outcomes) == sorted(names)
    wrong = [f"{name}\n{trace}" for name, trace in outcomes.items() if trace]
    assert not wrong, "\n".join(wrong)


#: The most passes through shared memory, and lines of global memory, that the lesson's kernels may take on sm_75. Lines
#: are half as many again where a tensor does not begin at one, which a GPU's do.
LIMITS = {"evaluation": (203_000, 29_000), "cooperative": (226_000, 66_000), "packed": (182_000, 36_000)}


def test_passes_through_memory() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(TRAFFIC), "sm_75"], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    passes = {
        work: (spaces["shared"]["passes"], spaces["global"]["passes"]) for work, spaces in found.items()
    }
    assert sorted(passes) == sorted(LIMITS)
    for work, (shared, lines) in passes.items():
        assert shared <= LIMITS[work][0], work
        assert lines <= LIMITS[work][1], work
