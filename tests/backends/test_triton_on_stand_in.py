"""The Triton backend's host side as it is on a GPU, where there is none: tensors, streams and launches are stand-ins.

The scenarios run in one process of their own, since kernels are interpreted in this one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCENARIOS = Path(__file__).with_name("gpu_scenarios.py")


def test_on_a_gpu_that_is_not_there():
    """All scenarios in one test: as one each they would be run by every process that tests run in side by side."""
    names = re.findall(r"^def (scenario_\w+)", SCENARIOS.read_text(), re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(SCENARIOS)], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sorted(outcomes) == sorted(names)
    wrong = [f"{name}\n{trace}" for name, trace in outcomes.items() if trace]
    assert not wrong, "\n".join(wrong)
