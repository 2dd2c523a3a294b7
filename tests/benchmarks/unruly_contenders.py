"""Suites whose contenders misbehave in turn, for the tests of what runs suites in processes.

python unruly_contenders.py PART FOLDER ...     as benchmarks.gpu_part, with these suites beside its own
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks import gpu_part
from benchmarks.measure import Contender, Context, Ready
from benchmarks.suites import SUITES


def _good() -> Ready:
    return Ready(lambda: time.sleep(1e-6))


def _contenders(context: Context, prepares: dict[str, Callable[[], Ready]]) -> list[Contender]:
    return [
        Contender(f"step/{context.device}/{name}", "ladder", name, "one step", f"comparison/{name}", prepare)
        for name, prepare in prepares.items()
    ]


def unruly(context: Context) -> list[Contender]:
    def fail() -> Ready:
        raise RuntimeError("this contender fails")

    def crash() -> Ready:
        os._exit(11)

    def wrong() -> Ready:
        raise AssertionError("output.bias: error 1.0e+00, update 1.0e-03")

    every = {"first": _good, "fails": fail, "crashes": crash, "wrong": wrong, "last": _good, "absent": _good}
    *found, absent = _contenders(context, every)
    return [*found, replace(absent, needs=("nix",))]


def lost(context: Context) -> list[Contender]:
    """The device goes away in the middle."""

    def lose() -> Ready:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    return _contenders(context, {"before": _good, "loses": lose, "after": lose})


def hanging(context: Context) -> list[Contender]:
    """The second is never prepared."""
    return _contenders(context, {"before": _good, "hangs": lambda: time.sleep(60), "after": _good})


SUITES |= {"unruly": unruly, "lost": lost, "hanging": hanging}

if __name__ == "__main__":
    gpu_part.PATIENCE = 1.0
    os._exit(gpu_part.main(sys.argv[1:]))
