"""Compiled code on disk that is cut off, empty or something else: dropped and compiled again."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from breaknet.backends.numba_cpu.compiling import kernel

@kernel
def doubled(values):
    for place in range(len(values)):
        values[place] *= 2

values = np.ones(3)
doubled(values)
print(values.sum(), doubled.stats.cache_hits and sum(doubled.stats.cache_hits.values()))
"""


def run(folder):
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(folder / "script.py")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no such thing" * 20]
)
def test_a_broken_file_is_compiled_again(ending, spoil, tmp_path):
    assert run(tmp_path)[0] == "6.0"
    assert run(tmp_path) == ["6.0", "1"]
    [file] = (tmp_path / "cache").rglob(f"*.{ending}")
    file.write_bytes(spoil(file.read_bytes()))
    assert run(tmp_path)[0] == "6.0"
    assert run(tmp_path) == ["6.0", "1"], "what was compiled again is kept"
