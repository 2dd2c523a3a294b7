"""Scenarios on fake GPUs: a process without the interpreter that runs them, and training compared with torch's.

assert_pass("kernel_scenarios.py", "sm_75", names=["scenario_packed_training"])      # in a test
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

HERE = Path(__file__).parent


def output_of(script: str, *arguments: str) -> str:
    """What a script of this folder prints, run where kernels are compiled and not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True, text=True, env=environment, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def scenarios_of(script: str, *prefixes: str) -> list[str]:
    """The functions scenario_... of a script, and those of other prefixes, such as slow_scenario_... ."""
    found = re.findall(r"^def (\w*)(scenario_\w+)", (HERE / script).read_text(), re.MULTILINE)
    return [prefix + name for prefix, name in found if prefix in ("", *prefixes)]


def assert_pass(script: str, *arguments: str, names: list[str]) -> None:
    """The named scenarios of a script run in one process, and none raises."""
    outcomes = json.loads(output_of(script, *arguments, *names).splitlines()[-1])
    assert sorted(outcomes) == sorted(names)
    wrong = [f"{name}\n{trace}" for name, trace in outcomes.items() if trace]
    assert not wrong, "\n".join(wrong)


# ---- in that process -----------------------------------------------------------------------------------------------


def prepare() -> None:
    """Have the tests' modules found, before any of them is imported."""
    sys.path[:0] = [str(HERE.parent / folder) for folder in ("kernels", "", "..")]
    os.environ.pop("TRITON_INTERPRET", None)


def run_scenarios(scenarios: dict[str, Any], names: list[str]) -> None:
    """Run those that are named, or all quick ones, and print a JSON object: by name what went wrong, or ""."""
    import pytest
    import torch

    torch.set_num_threads(1)
    outcomes = {}
    for name in names or [name for name in scenarios if name.startswith("scenario_")]:
        try:
            scenarios[name]()
        except (Exception, pytest.fail.Exception):
            outcomes[name] = traceback.format_exc()[-3000:]
        else:
            outcomes[name] = ""
    print(json.dumps(outcomes))


def train(gpus: Any, jobs: list[Any], steps: int = 4, **options: object) -> list[Any]:
    """On the fake GPUs, in rounds of few steps."""
    import breaknet
    from breaknet.backends.triton_gpu import rounds

    short = patch.dict(rounds.FIRST_STEPS, cuda=steps), patch.object(rounds, "ROUND_SECONDS", 0.01)
    with gpus, short[0], short[1]:
        return breaknet.train_many(jobs, **{"backend": "triton", "device": "cuda", **options})


def assert_as_torch(runs: list[Any], jobs: list[Any]) -> None:
    """Curves and checkpoints as plain torch trains them on the CPU."""
    import numpy as np
    import torch

    import breaknet

    for run, exact in zip(runs, breaknet.train_many(jobs, backend="torch", device="cpu"), strict=True):
        for name in ("train_cost", "valid_cost", "train_accuracy", "valid_accuracy"):
            found, wanted = getattr(run, name), getattr(exact, name)
            assert (found is None) == (wanted is None), name
            if found is not None:
                np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=name)
        for name, tensor in exact.checkpoints.stacked.items():
            torch.testing.assert_close(run.checkpoints.stacked[name], tensor, rtol=1e-4, atol=1e-6)
