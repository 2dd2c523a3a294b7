"""Runs a sweep again and again, each time killed at another line of what writes its results; then to its end.

    python killed_sweeps.py FOLDER KILLS

Processes are forked from this one, which has imported everything but computed nothing, so a run takes a moment. Before
each run but the first, what the killed one had finished is noted; it prints JSON: kills, and rows and jobs at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path

import filelock  # noqa: F401
import pyarrow
import pyarrow.parquet
import torch
import tqdm  # noqa: F401
from tiny import tiny_digits

import breaknet
from breaknet.backends import torch_backend  # noqa: F401
from breaknet.sweeps import runner, shards, store

JOBS = 60
GRID = {"seed": list(range(JOBS)), "examples": 10, "hidden": [2, 2], "epochs": 1}
#: Whose lines are counted.
CODE = {
    function.__code__
    for function in (
        runner.run, store.Store._check, store.Store.locked.__wrapped__, store.Store.write,
        breaknet.files.written_whole.__wrapped__,
    )
}  # fmt: skip


def in_child(work) -> int:
    """The exit status of `work`, done in a process of its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = work() or 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def sweep(folder: Path, lines: int | None) -> None:
    """A sweep in shards of two jobs; killed before it executes the `lines`-th line of `CODE`."""
    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)
    shards.SHARD_JOBS = 2
    seen = 0

    def count(frame: types.FrameType, event: str, argument: object) -> object:
        nonlocal seen
        if frame.f_code not in CODE:
            return None
        if event == "line":
            seen += 1
            if seen == lines:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    if lines is not None:
        sys.settrace(count)
    breaknet.sweep(GRID, data=tiny_digits(), out=folder, backend="torch")


def note(folder: Path) -> None:
    """The keys of each row that is kept, one line a look, in `folder`.seen."""
    found = store.Store(folder, None)
    keys = [key for path in found._files() for key in found._read(path, ["key"])["key"].to_pylist()]
    with folder.with_suffix(".seen").open("a") as file:
        file.write(json.dumps(keys) + "\n")


def main() -> None:
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    kills = 0
    for kill in range(most):
        kills += in_child(lambda at=3 + 11 * kill % 109: sweep(folder, at)) != 0
        if folder.exists() and in_child(lambda: note(folder)):
            raise SystemExit("what a killed sweep left cannot be read")
    if in_child(lambda: sweep(folder, None)):
        raise SystemExit("the last sweep failed")
    if in_child(lambda: note(folder)):
        raise SystemExit("the results cannot be read")
    print(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main()
