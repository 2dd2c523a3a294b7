"""A suite whose contenders misbehave in turn, for the tests of what runs suites in processes."""

from __future__ import annotations

import os

from benchmarks.measure import Contender, Context, Ready


def contenders(context: Context) -> list[Contender]:
    def fail() -> Ready:
        raise RuntimeError("this contender fails")

    def crash() -> Ready:
        os._exit(11)

    def wrong() -> Ready:
        raise AssertionError("output.bias: error 1.0e+00, update 1.0e-03")

    def good() -> Ready:
        return Ready(lambda: None, 1)

    every = {"first": good, "fails": fail, "crashes": crash, "wrong": wrong, "last": good}
    found = [
        Contender(f"step/{context.device}/{name}", "ladder", name, "one step", f"comparison/{name}", prepare)
        for name, prepare in every.items()
    ]
    return [
        *found,
        Contender(f"step/{context.device}/absent", "ladder", "absent", "one step", "absent", good, ("nix",)),
    ]


def lost(context: Context) -> list[Contender]:
    """The device goes away in the middle."""

    def lose() -> Ready:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    prepares = {"before": lambda: Ready(lambda: None, 1), "loses": lose, "after": lose}
    return [
        Contender(f"step/{context.device}/{name}", "ladder", name, "one step", f"comparison/{name}", prepare)
        for name, prepare in prepares.items()
    ]
