"""The lesson without figures and report, for machines that lack what these need; prints its phases' seconds as JSON.

python -m benchmarks.bare_lesson DATA BACKEND DEVICE SCALE
"""

from __future__ import annotations

from time import perf_counter

_BEGAN = perf_counter()

import json  # noqa: E402
import sys  # noqa: E402

import torch  # noqa: E402

_TORCH = perf_counter()

from benchmarks.data import digits  # noqa: E402
from breaknet.lesson.experiments import Lesson, Settings  # noqa: E402


def main(source: str, backend: str, device: str, scale: str) -> None:
    """Load, train, judge and fit."""
    imported = perf_counter()
    if device == "cuda":
        torch.cuda.init()
    data = digits(source)
    loaded = perf_counter()
    results = Lesson(data, Settings(backend=backend, device=device, epochs_scale=float(scale))).run()
    seconds = dict(results["seconds"])
    seconds |= {"torch": _TORCH - _BEGAN, "imports": imported - _TORCH, "data": loaded - imported}
    seconds["total"] = perf_counter() - _BEGAN
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
