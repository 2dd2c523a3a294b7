"""Times that can be compared: ways called in turn, A B A B, so that a machine that drifts drifts for all of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

#: A way one of whose calls takes longer than so many seconds gets no more than so many calls.
LONG = ((1.0, 5), (3.0, 3), (10.0, 2), (30.0, 1))


@dataclass(frozen=True)
class Times:
    """Seconds of single calls, in the order in which they were made."""

    seconds: tuple[float, ...]

    def quartiles(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile."""
        low, median, high = np.percentile(self.seconds, (25, 50, 75))
        return float(low), float(median), float(high)


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    repeats: int | Mapping[str, int],
    *,
    broken: dict[str, Exception] | None = None,
) -> dict[str, Times]:
    """Time every way, one call of each after another, round by round.

    A way has been called before (nothing is compiled or loaded here) and waits for its device before it returns. The
    garbage collector rests meanwhile. A way whose calls are long gets fewer of them, see LONG.

    Args:
        ways: what to call, by name.
        repeats: timed calls, of all or by name.
        broken: where to put the exception of a way that raises, which is then not called again and has no times;
            without it the exception is raised.

    Raises:
        ValueError: for fewer than one repeat.
    """
    wanted = dict.fromkeys(ways, repeats) if isinstance(repeats, int) else dict(repeats)
    if any(count < 1 for count in wanted.values()):
        raise ValueError(f"repeats: 1 or more, not {min(wanted.values())}")
    found: dict[str, list[float]] = {name: [] for name in ways}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(max(wanted.values(), default=0)):
            for name, call in ways.items():
                if name not in found or len(found[name]) >= enough(wanted[name], found[name]):
                    continue
                began = perf_counter()
                try:
                    call()
                except Exception as error:
                    if broken is None:
                        raise
                    broken[name] = error
                    del found[name]
                    continue
                found[name].append(perf_counter() - began)
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def enough(repeats: int, seconds: Sequence[float]) -> int:
    """How many calls a way gets whose calls so far took `seconds`."""
    longest = max(seconds, default=0.0)
    return min([repeats, *(calls for over, calls in LONG if longest > over)])
