"""A line for beside a measured figure: how quiet the machine was meanwhile."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from benchmarks.rows import Row

#: A median of repeats so many times the least of them: something else ran, too.
SPREAD = 1.5


@dataclass(frozen=True)
class Conditions:
    """Conditions of a measurement.

    Attributes:
        spread: the median of the repeats over the least of them, the largest of all measurements.
        load: processes that wanted a core just then; None where the system does not say.
        threads, cores: of torch, and of the machine as far as this process may use it.
    """

    spread: float
    load: float | None
    threads: int
    cores: int

    @property
    def busy(self) -> bool:
        return self.spread > SPREAD or (self.load is not None and self.load > self.cores + 0.5)

    def __str__(self) -> str:
        threads = (
            f"{self.threads} thread{'s' * (self.threads != 1)} on {self.cores} core{'s' * (self.cores != 1)}"
        )
        load = "" if self.load is None else f", load {self.load:.1f}"
        if not self.busy:
            return f"measured with {threads}{load}; repeats agree within {100 * (self.spread - 1):.0f} %"
        return (
            f"measured on a busy machine ({threads}{load}; repeats differ by {100 * (self.spread - 1):.0f} %): "
            "close other programs and run the cell again"
        )


def here(spreads: Sequence[float]) -> Conditions:
    """The conditions now, after measurements with these spreads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Conditions(max(spreads, default=1.0), load, torch.get_num_threads(), cores)


def of_rows(rows: Sequence[Row]) -> Conditions:
    """The conditions of benchmark rows of this machine, by their quartiles and the highest load when they began."""
    now = here([row.median / row.low for row in rows])
    loads = [row.conditions["load"] for row in rows if row.conditions.get("load") is not None]
    return replace(now, load=max(loads, default=None))


def spread(seconds: Sequence[float]) -> float:
    """Of repeats: the median over the least."""
    return median(seconds) / min(seconds)
