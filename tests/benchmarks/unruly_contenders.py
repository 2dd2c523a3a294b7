"""A suite whose ways misbehave in turn, for the tests of what runs suites in processes."""

from __future__ import annotations

import os

from benchmarks.lab import Lab
from benchmarks.measure import Ready, Way


def ways(lab: Lab) -> list[Way]:
    def fail() -> Ready:
        raise RuntimeError("this way fails")

    def crash() -> Ready:
        os._exit(11)

    def wrong() -> Ready:
        raise AssertionError("output.bias: error 1.0e+00, update 1.0e-03")

    def good() -> Ready:
        return Ready(lambda: None, 1)

    every = {"first": good, "fails": fail, "crashes": crash, "wrong": wrong, "last": good}
    found = [
        Way(f"step/{lab.device}/{name}", "ladder", name, "one step", lab.device, f"contest/{name}", prepare)
        for name, prepare in every.items()
    ]
    return [
        *found,
        Way(
            f"step/{lab.device}/absent", "ladder", "absent", "one step", lab.device, "absent", good, ("nix",)
        ),
    ]


def lost(lab: Lab) -> list[Way]:
    """The device goes away in the middle."""

    def lose() -> Ready:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    prepares = {"before": lambda: Ready(lambda: None, 1), "loses": lose, "after": lose}
    return [
        Way(f"step/{lab.device}/{name}", "ladder", name, "one step", lab.device, f"contest/{name}", prepare)
        for name, prepare in prepares.items()
    ]
