"""A fresh Python process that finds this checkout, for what is timed from a process's start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import ROOT


def run_python(
    what: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> str:
    """Run this Python with `arguments` in `folder`, or in this one; what it printed. `what` names it in the error.

    Raises:
        RuntimeError: it failed, with the last line of what it said.
    """
    paths = [str(ROOT), environment.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"{what} ended with {done.returncode}: {lines[-1] if lines else ''}")
    return done.stdout
